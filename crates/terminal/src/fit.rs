//! Selects the parts of a screen that fit into its width.
//!
//! Nothing is cut in the middle of a word. Of the parts of a line, the columns of a table or cards
//! side by side, those with the highest rank are left out until the rest fits. A part of rank 0 is
//! left out last.

use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};

/// Space between the columns of a table.
const GAP: u16 = 1;

/// The width of a part, and its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Width in columns of the terminal.
    pub width: u16,
    /// Parts with the highest rank are left out first; among equal ranks, the last part.
    pub rank: u8,
}

/// The indices of the parts that fit side by side, `gap` columns apart.
pub fn fitting(needs: &[Need], gap: u16, width: u16) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..needs.len()).collect();
    let total = |kept: &[usize]| -> u32 {
        let gaps = kept.len().saturating_sub(1) as u32 * u32::from(gap);
        kept.iter()
            .map(|place| u32::from(needs[*place].width))
            .sum::<u32>()
            + gaps
    };
    while total(&kept) > u32::from(width) {
        let last = kept
            .iter()
            .enumerate()
            .max_by_key(|(_, place)| needs[**place].rank);
        match last.map(|(at, _)| at) {
            Some(at) => kept.remove(at),
            None => break,
        };
    }
    kept
}

/// A line of the parts that fit, each given with its rank.
pub fn line(parts: Vec<(u8, Span<'static>)>, width: u16) -> Line<'static> {
    let need = |(rank, span): &(u8, Span<'_>)| Need {
        width: columns(span.width()),
        rank: *rank,
    };
    let needs: Vec<Need> = parts.iter().map(need).collect();
    let kept = fitting(&needs, 0, width);
    let parts = parts.into_iter().enumerate();
    let parts = parts.filter(|(place, _)| kept.contains(place));
    Line::from_iter(parts.map(|(_, (_, span))| span))
}

/// The first of these texts that fits, or an empty one.
pub fn first<'t>(texts: &[&'t str], width: u16) -> &'t str {
    let fits = |text: &&&str| columns(Span::from(**text).width()) <= width;
    texts.iter().find(fits).copied().unwrap_or_default()
}

/// A text of at most `width` columns: the last words, or the end of a single word that is too long,
/// are replaced by an ellipsis.
pub fn shortened(text: &str, width: u16) -> String {
    if columns(Span::from(text).width()) <= width {
        return text.to_owned();
    }
    let room = usize::from(width.saturating_sub(1));
    let fits = |end: &usize| Span::from(&text[..*end]).width() <= room;
    let letters = text
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8());
    let end = letters.take_while(fits).last().unwrap_or(0);
    let whole = match text[end..].starts_with(' ') {
        true => Some(end),
        false => text[..end].rfind(' '),
    };
    let kept = text[..whole.unwrap_or(end)].trim_end();
    if width == 0 {
        String::new()
    } else {
        format!("{kept}…")
    }
}

/// The cards that fit side by side, by their indices, with equal widths if possible.
pub fn cards(needs: &[Need], area: Rect) -> Vec<(usize, Rect)> {
    let kept = fitting(needs, 0, area.width);
    let Ok(count) = u16::try_from(kept.len()) else {
        return Vec::new();
    };
    let widest = kept.iter().map(|place| needs[*place].width).max();
    let is_even = widest.is_some_and(|widest| widest.saturating_mul(count) <= area.width);
    let base = |place: &usize| if is_even { 0 } else { needs[*place].width };
    let spare = area.width - kept.iter().map(base).sum::<u16>();
    let mut x = area.x;
    let mut areas = Vec::new();
    for (number, place) in kept.iter().enumerate() {
        let extra = u16::from((number as u16) < spare % count);
        let width = base(place) + spare / count + extra;
        areas.push((*place, Rect { x, width, ..area }));
        x += width;
    }
    areas
}

/// A column of a table. The first one is aligned left; the others are figures, aligned right.
pub struct Column {
    /// The rank; see [`Need::rank`].
    pub rank: u8,
    /// The heading.
    pub head: &'static str,
    /// The cells, from the top down.
    pub cells: Vec<Line<'static>>,
}

impl Column {
    fn need(&self) -> Need {
        let head = Span::from(self.head).width();
        let widest = self.cells.iter().map(Line::width).chain([head]).max();
        Need {
            width: columns(widest.unwrap_or(0)),
            rank: self.rank,
        }
    }
}

/// A table of the columns that fit. Spare width goes between the first column and the others.
pub fn table(columns: Vec<Column>, width: u16) -> Table<'static> {
    let needs: Vec<Need> = columns.iter().map(Column::need).collect();
    let kept = fitting(&needs, GAP, width);
    let gaps = GAP * (kept.len() as u16).saturating_sub(1);
    let taken: u16 = kept.iter().map(|place| needs[*place].width).sum();
    let mut spare = width.saturating_sub(taken + gaps);
    let mut widths: Vec<u16> = kept.iter().map(|place| needs[*place].width).collect();
    // Spare width goes between the figures first, as far as rows stay easy to read.
    for (number, width) in widths.iter_mut().enumerate().rev() {
        let extra = match number {
            0 => spare,
            _ => (spare / 2).min(APART_MAX),
        };
        *width += extra;
        spare -= extra;
    }
    let rows = columns.iter().map(|column| column.cells.len()).max();
    let mut columns: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
    let mut columns: Vec<Column> = kept.iter().filter_map(|at| columns[*at].take()).collect();
    let head = columns
        .iter()
        .map(|column| Line::from(column.head))
        .collect();
    let rows: Vec<Row<'_>> = (0..rows.unwrap_or(0))
        .map(|at| row(columns.iter_mut().map(|each| take(each, at)).collect()))
        .collect();
    Table::new(rows, widths.into_iter().map(Constraint::Length))
        .column_spacing(GAP)
        .header(row(head).style(Style::new().add_modifier(Modifier::DIM)))
}

/// The most spare width between two columns of figures.
const APART_MAX: u16 = 6;

fn take(column: &mut Column, at: usize) -> Line<'static> {
    column
        .cells
        .get_mut(at)
        .map(std::mem::take)
        .unwrap_or_default()
}

fn row(lines: Vec<Line<'static>>) -> Row<'static> {
    let lines = lines.into_iter().enumerate();
    Row::new(lines.map(|(place, line)| match place {
        0 => Cell::from(line),
        _ => Cell::from(line.right_aligned()),
    }))
}

/// A width as `u16`; larger ones are wider than any terminal anyway.
fn columns(width: usize) -> u16 {
    u16::try_from(width).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(of: &[(u16, u8)]) -> Vec<Need> {
        of.iter()
            .map(|(width, rank)| Need {
                width: *width,
                rank: *rank,
            })
            .collect()
    }

    #[test]
    fn the_highest_rank_is_left_out_first_then_the_last_part() {
        let all = needs(&[(5, 0), (5, 2), (5, 1), (5, 2)]);
        assert_eq!(fitting(&all, 1, 23), [0, 1, 2, 3]);
        assert_eq!(fitting(&all, 1, 22), [0, 1, 2]);
        assert_eq!(fitting(&all, 1, 16), [0, 2]);
        assert_eq!(fitting(&all, 1, 5), [0]);
        assert!(fitting(&all, 1, 4).is_empty());
    }

    #[test]
    fn a_line_leaves_out_parts_and_cuts_none() {
        let parts = || {
            vec![
                (0, "first ".into()),
                (2, "second ".into()),
                (1, "third".into()),
            ]
        };
        assert_eq!(line(parts(), 18).to_string(), "first second third");
        assert_eq!(line(parts(), 17).to_string(), "first third");
        assert_eq!(line(parts(), 10).to_string(), "first ");
        assert_eq!(first(&["longer", "long", ""], 5), "long");
    }

    #[test]
    fn a_text_that_is_too_long_ends_after_a_word_if_it_has_several() {
        assert_eq!(shortened("slow age closed", 15), "slow age closed");
        assert_eq!(shortened("slow age closed", 14), "slow age…");
        assert_eq!(shortened("slow age closed", 9), "slow age…");
        assert_eq!(shortened("slow age closed", 8), "slow…");
        assert_eq!(shortened("2001:db8::1", 6), "2001:…");
        assert_eq!(shortened("µµµ", 0), "");
    }

    #[test]
    fn cards_fill_the_area_and_none_is_narrower_than_it_needs() {
        let all = needs(&[(14, 0), (8, 1), (8, 2)]);
        for width in 0..100 {
            let shown = cards(&all, Rect::new(3, 0, width, 3));
            let total: u16 = shown.iter().map(|(_, area)| area.width).sum();
            assert!(shown.is_empty() || total == width, "{width}: {shown:?}");
            assert!(
                shown
                    .iter()
                    .all(|(place, area)| area.width >= all[*place].width)
            );
            assert_eq!(shown.is_empty(), width < 14);
        }
    }

    #[test]
    fn a_table_leaves_out_columns() {
        let column = |rank, head: &'static str, cell: &'static str| Column {
            rank,
            head,
            cells: vec![Line::from(cell)],
        };
        let drawn = |width: u16| {
            let columns = vec![
                column(0, "name", "one"),
                column(2, "endpoint", "hub"),
                column(1, "n", "1,234"),
            ];
            let area = Rect::new(0, 0, width, 2);
            let mut buffer = ratatui::buffer::Buffer::empty(area);
            ratatui::widgets::Widget::render(table(columns, width), area, &mut buffer);
            let letters = buffer.content().iter().map(ratatui::buffer::Cell::symbol);
            letters.collect::<String>()
        };
        assert_eq!(drawn(19), "name endpoint     none       hub 1,234");
        assert_eq!(drawn(18), "name             none          1,234");
    }
}
