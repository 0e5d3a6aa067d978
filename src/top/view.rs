//! How snapshots look in a terminal.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Row, Sparkline, Table, Widget};

use super::numbers::{bytes, count, micros, span};
use super::seen::Seen;
use super::words::{ends, who};
use crate::admin::dashboard::{Shard, Snapshot};

const ACCENT: Color = Color::Indexed(69);
const HIGH: Color = Color::Indexed(209);
const DIM: Color = Color::Indexed(245);

/// From hardly any messages to nearly all of a second.
const SHADES: [Color; 6] = [
    Color::Indexed(17),
    Color::Indexed(18),
    Color::Indexed(20),
    Color::Indexed(62),
    Color::Indexed(69),
    Color::Indexed(147),
];

/// The longest bound of a latency bucket, in nanoseconds; what is longer is drawn there.
const LONGEST_NS: u64 = 1 << 34;

/// A loop that has begun no turn for so long stands.
const STANDS_MS: u64 = 5_000;

pub(super) fn draw(frame: &mut Frame<'_>, name: &str, seen: &Seen) {
    let [head, body] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(frame.area());
    let Some(snapshot) = seen.snapshots.back() else {
        frame.render_widget(title(name, None, seen.lost.as_deref()), head);
        let waits = seen
            .lost
            .as_deref()
            .unwrap_or("The first second is being counted …");
        return frame.render_widget(Line::from(waits.to_owned()).fg(DIM), body);
    };
    frame.render_widget(title(name, Some(snapshot), seen.lost.as_deref()), head);
    let shards = snapshot.shards.len() as u16 + 3;
    let heat = (body.height / 3).clamp(6, 18);
    let [figures, heat, shards, lists] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Length(heat),
        Constraint::Max(shards),
        Constraint::Fill(1),
    ])
    .areas(body);
    draw_figures(frame, figures, seen, snapshot);
    draw_latency(frame, heat, seen, snapshot);
    frame.render_widget(shard_table(&snapshot.shards), shards);
    let [slow, ends] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(lists);
    frame.render_widget(slow_table(snapshot), slow);
    frame.render_widget(end_table(snapshot), ends);
}

fn title<'t>(name: &'t str, snapshot: Option<&Snapshot>, lost: Option<&'t str>) -> Line<'t> {
    let version = snapshot.map_or("", |snapshot| &snapshot.version);
    let up = snapshot.map_or_else(String::new, |each| format!("up {}", span(each.uptime_s)));
    let state = match (lost, snapshot) {
        (Some(lost), _) => format!("connection lost: {lost}").fg(HIGH),
        (None, Some(snapshot)) if !snapshot.ready => "shutting down".fg(HIGH),
        (None, Some(_)) => "live".fg(Color::Green),
        (None, None) => "connecting".fg(DIM),
    };
    Line::from(vec![
        format!(" Corecast {version} ").bold(),
        format!(" {name}  {up}  ").fg(DIM),
        state,
        "   q quits".fg(DIM),
    ])
}

fn block(title: impl Into<Line<'static>>) -> Block<'static> {
    Block::bordered()
        .border_style(Style::new().fg(Color::Indexed(240)))
        .title(title)
}

/// A name, a figure, another one, and what the history is of.
type Card = (&'static str, String, String, fn(&Snapshot) -> f64);

/// Figures beside each other, those that change by the second with their history.
fn draw_figures(frame: &mut Frame<'_>, area: Rect, seen: &Seen, snapshot: &Snapshot) {
    let areas: [Rect; 4] = Layout::horizontal([Constraint::Fill(1); 4]).areas(area);
    let (now, rates) = (&snapshot.now, &snapshot.rates);
    let mean = snapshot.frames_per_send.mean;
    let mean = mean.map_or_else(|| "–".to_owned(), count);
    let resident = snapshot.process.resident_bytes;
    let resident = resident.map_or_else(|| "–".to_owned(), |each| bytes(each as f64));
    let cards: [Card; 4] = [
        (
            "Clients",
            count(now.clients as f64),
            match now.rooms {
                1 => "1 room".to_owned(),
                rooms => format!("{} rooms", count(rooms as f64)),
            },
            |each| each.now.clients as f64,
        ),
        (
            "Messages in",
            format!("{}/s", count(rates.messages)),
            format!("{}/s", bytes(rates.message_bytes)),
            |each| each.rates.messages,
        ),
        (
            "Deliveries",
            format!("{}/s", count(rates.deliveries)),
            format!("{}/s, {mean} a send", bytes(rates.sent_bytes)),
            |each| each.rates.deliveries,
        ),
        (
            "CPU",
            format!("{:.0} %", snapshot.process.cpu_cores * 100.0),
            format!("{resident} RAM"),
            |each| each.process.cpu_cores * 1e3,
        ),
    ];
    for (area, (name, value, more, of)) in areas.into_iter().zip(cards) {
        let inside = block(name).inner(area);
        frame.render_widget(block(name), area);
        let [value_row, more_row, chart] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
        ])
        .areas(inside);
        frame.render_widget(Line::from(value).bold(), value_row);
        frame.render_widget(Line::from(more).fg(DIM), more_row);
        let from = seen
            .snapshots
            .len()
            .saturating_sub(usize::from(chart.width));
        let history: Vec<u64> = seen
            .snapshots
            .range(from..)
            .map(|each| of(each) as u64)
            .collect();
        frame.render_widget(Sparkline::default().data(history).fg(ACCENT), chart);
    }
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, seen: &Seen, snapshot: &Snapshot) {
    let latency = &snapshot.latency;
    let figures = [
        ("p50", latency.p50_us),
        ("p90", latency.p90_us),
        ("p99", latency.p99_us),
        ("p99.9", latency.p999_us),
        ("max", latency.max_us),
    ];
    let mut title = vec![Span::from("Relay latency ")];
    for (name, us) in figures {
        title.push(format!(" {name} ").fg(DIM));
        title.push(micros(us).bold());
    }
    title.push(Span::from(" "));
    let block = block(Line::from(title));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(Heat(seen), inside);
}

/// Latency over time: a column for each second, darker where few messages were.
struct Heat<'s>(&'s Seen);

/// Which row of the heat map stands for which latency.
struct Scale {
    /// Powers of ten of nanoseconds, from the lower edge of the map to its upper one.
    decades: (i32, i32),
    rows: usize,
}

impl Scale {
    /// For all of these upper bounds in nanoseconds.
    fn new(bounds: impl Iterator<Item = u64> + Clone, rows: usize) -> Scale {
        let least = bounds.clone().min().unwrap_or(10_000) as f64;
        let most = bounds.max().unwrap_or(10_000_000) as f64;
        let low = (least.log10() - 0.1).floor() as i32;
        let high = (most.log10().ceil() as i32).max(low + 1);
        Scale {
            decades: (low, high),
            rows,
        }
    }

    /// The row, from the bottom, of what is below this bound.
    fn row(&self, below_ns: u64) -> usize {
        let (low, high) = self.decades;
        // The bound itself is in the bucket above.
        let decade = (below_ns as f64 * 0.95).log10() - f64::from(low);
        let row = decade / f64::from(high - low) * self.rows as f64;
        (row.max(0.0) as usize).min(self.rows.saturating_sub(1))
    }
}

impl Heat<'_> {
    const LABELS: u16 = 8;

    fn draw_labels(scale: &Scale, area: Rect, buffer: &mut Buffer) {
        for decade in scale.decades.0..scale.decades.1 {
            let ns = 10_f64.powi(decade);
            let y = area.bottom() - 1 - scale.row((ns * 1.1) as u64) as u16;
            let label = micros(Some(ns / 1e3)).replace(".0 ", " ");
            buffer.set_string(area.x, y, format!("{label:>6} "), Style::new().fg(DIM));
        }
    }
}

impl Widget for Heat<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let columns = usize::from(area.width.saturating_sub(Heat::LABELS));
        if columns == 0 || area.height == 0 {
            return;
        }
        let from = self.0.snapshots.len().saturating_sub(columns);
        let shown = self.0.snapshots.range(from..);
        let buckets = shown.clone().flat_map(|each| &each.latency.buckets);
        let bounds = buckets.map(|bucket| bucket.below.unwrap_or(LONGEST_NS));
        let scale = Scale::new(bounds, usize::from(area.height));
        Heat::draw_labels(&scale, area, buffer);
        let count = shown.len();
        for (column, snapshot) in shown.enumerate() {
            let x = area.right() - (count - column) as u16;
            let mut counts = vec![0.0; scale.rows];
            for bucket in &snapshot.latency.buckets {
                counts[scale.row(bucket.below.unwrap_or(LONGEST_NS))] += bucket.count as f64;
            }
            let total: f64 = counts.iter().sum();
            for (row, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                let share = (count / total).sqrt();
                let shade = (share * SHADES.len() as f64) as usize;
                let shade = SHADES[shade.min(SHADES.len() - 1)];
                let y = area.bottom() - 1 - row as u16;
                buffer.set_string(x, y, "█", Style::new().fg(shade));
            }
        }
    }
}

fn header<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    let cell = |(place, name): (usize, &'static str)| {
        let line = Line::from(name);
        Cell::from(if place == 0 {
            line
        } else {
            line.right_aligned()
        })
    };
    Row::new(names.into_iter().enumerate().map(cell)).style(Style::new().fg(DIM))
}

/// A row, its first cell at the left and the others at the right.
fn row(cells: impl IntoIterator<Item = Line<'static>>) -> Row<'static> {
    let cells = cells.into_iter().enumerate();
    Row::new(cells.map(|(place, line)| match place {
        0 => Cell::from(line),
        _ => Cell::from(line.right_aligned()),
    }))
}

fn shard_table(shards: &[Shard]) -> Table<'static> {
    const BAR: usize = 20;
    let rows = shards.iter().enumerate().map(|(place, shard)| {
        let filled = ((shard.busy * BAR as f64).round() as usize).min(BAR);
        let color = if shard.busy > 0.9 { HIGH } else { ACCENT };
        let bar = Line::from(vec![
            Span::from(format!("{place:>3}  ")).bold(),
            Span::from("█".repeat(filled)).fg(color),
            Span::from("░".repeat(BAR - filled)).fg(Color::Indexed(238)),
            match shard.turn_age_ms > STANDS_MS {
                true => Span::from(" stands").fg(HIGH),
                false => Span::from(format!(" {:>4.1} %", shard.busy * 100.0)),
            },
        ]);
        row([
            bar,
            Line::from(count(f64::from(shard.connections))),
            Line::from(bytes(shard.outbox_bytes as f64)),
            Line::from(count(shard.messages)),
            Line::from(count(shard.deliveries)),
            Line::from(count(shard.wakes)),
        ])
    });
    let widths = [
        Constraint::Length(33),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let names = ["shard  busy", "conns", "outbox", "in/s", "out/s", "wakes/s"];
    Table::new(rows, widths)
        .header(header(names))
        .block(block("Shards"))
}

fn slow_table(snapshot: &Snapshot) -> Table<'static> {
    let rows = snapshot.slow_clients.iter().map(|client| {
        row([
            Line::from(who(client).to_owned()),
            Line::from(client.endpoint.clone()).fg(DIM),
            Line::from(micros(Some(client.age_ms as f64 * 1e3))),
            Line::from(bytes(client.outbox_bytes as f64)),
        ])
    });
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let title = match snapshot.slow_clients_total {
        0 => "Slow clients: everybody keeps up".to_owned(),
        total => format!("Slow clients: {total}"),
    };
    Table::new(rows, widths)
        .header(header(["client", "endpoint", "behind", "waiting"]))
        .block(block(title))
}

fn end_table(snapshot: &Snapshot) -> Table<'static> {
    let rows = ends(snapshot).into_iter().map(|(word, reason)| {
        row([
            Line::from(vec![
                Span::from(reason.reason.replace('_', " ")),
                Span::from(format!(" {word}")).fg(DIM),
            ]),
            Line::from(count(reason.recent as f64)).add_modifier(match reason.recent {
                0 => Modifier::DIM,
                _ => Modifier::BOLD,
            }),
            Line::from(count(reason.total as f64)),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(11),
        Constraint::Length(9),
    ];
    Table::new(rows, widths)
        .header(header(["reason", "last second", "in all"]))
        .block(block("Closed and refused"))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::text::tests::snapshot;

    fn screen(width: u16, height: u16, seen: &Seen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        let drawn = terminal.draw(|frame| draw(frame, "http://relay:9090", seen));
        drawn.expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn a_screen_has_all_that_a_snapshot_says() {
        let mut seen = Seen::default();
        seen.take(snapshot());
        let screen = screen(120, 40, &seen);
        for said in [
            "Corecast 0.1.0",
            "http://relay:9090",
            "up 1 h 1 min",
            "live",
            "1,200",
            "3 rooms",
            "50/s",
            "60.0k/s",
            "2.5 a send",
            "42 %",
            "1.0 MiB RAM",
            "p99 1.5 ms",
            "100 µs",
            "25.0 %",
            "stands",
            "4.0 KiB",
            "Slow clients: 12",
            "0-7-1",
            "2.5 s",
            "64.0 KiB",
            "slow age closed",
            "bad key refused",
            "q quits",
        ] {
            assert!(screen.contains(said), "{said}:\n{screen}");
        }
    }

    #[test]
    fn a_lost_connection_is_said_and_the_last_figures_stay() {
        let mut seen = Seen {
            lost: Some("refused".to_owned()),
            ..Seen::default()
        };
        assert!(screen(100, 30, &seen).contains("connection lost: refused"));
        seen.take(snapshot());
        assert!(!screen(100, 30, &seen).contains("lost"), "it is back");
        seen.lost = Some("gone".to_owned());
        let screen = screen(100, 30, &seen);
        assert!(
            screen.contains("lost: gone") && screen.contains("1,200"),
            "{screen}"
        );
    }

    #[test]
    fn no_terminal_is_too_small_or_too_large() {
        let mut seen = Seen::default();
        (0..700).for_each(|_| seen.take(snapshot()));
        for (width, height) in [(1, 1), (8, 3), (20, 8), (79, 24), (300, 90)] {
            screen(width, height, &seen);
        }
    }
}
