//! Draws snapshots in a terminal of any size. Parts that do not fit are left out as a whole.

use std::time::Instant;

use corecast_terminal::fit::{self, Column, Need};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Sparkline, Table};

use super::colors::{ACCENT, DIM, HIGH};
use super::heat::Heat;
use super::numbers::{bytes, count, micros, span};
use super::seen::Seen;
use super::words::{ends, who};
use crate::admin::dashboard::{Shard, Snapshot};

/// An event loop that has not begun a turn for this long is stuck.
const STANDS_MS: u64 = 5_000;

/// The lines around the rows of a table: its border and its head.
const TABLE_FRAME: u16 = 3;

/// On narrower terminals one list is shown in place of two side by side.
const TWO_LISTS_COLUMNS: u16 = 76;

/// Draws the whole screen, as of `now`.
pub(super) fn draw(frame: &mut Frame<'_>, name: &str, seen: &Seen, now: Instant) {
    let [head, body] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(frame.area());
    frame.render_widget(title(name, seen, now, head.width), head);
    let Some(snapshot) = seen.snapshots.back() else {
        let waits = "Waiting for the first second of data …";
        return frame.render_widget(Line::from(waits).fg(DIM), body);
    };
    let [figures, heat, shards, lists] =
        Layout::vertical(rows(body.height, snapshot.shards.len() as u16).map(Constraint::Length))
            .areas(body);
    draw_figures(frame, figures, seen, snapshot);
    draw_latency(frame, heat, seen, snapshot);
    frame.render_widget(shard_table(&snapshot.shards, shards), shards);
    draw_lists(frame, lists, snapshot);
    if seen.stale_s(now).is_some() {
        dim(frame, body);
    }
}

/// The title of the terminal's window.
pub(super) fn window_title(name: &str, seen: &Seen, now: Instant) -> String {
    match (&seen.lost, seen.stale_s(now)) {
        (Some(_), _) => format!("connection lost: Corecast {name}"),
        (None, Some(_)) => format!("no data: Corecast {name}"),
        (None, None) => format!("Corecast {name}"),
    }
}

fn title(name: &str, seen: &Seen, now: Instant, width: u16) -> Line<'static> {
    let snapshot = seen.snapshots.back();
    let stale_s = seen.stale_s(now);
    let version = snapshot.map_or("", |snapshot| &snapshot.version);
    // The uptime of an old snapshot is not the current one.
    let up = snapshot.filter(|_| stale_s.is_none());
    let up = up.map_or_else(String::new, |each| format!("up {}  ", span(each.uptime_s)));
    let last = stale_s.map(|age_s| format!("last data {} ago", span(age_s as f64)));
    let state = match (&seen.lost, last, snapshot) {
        (Some(_), Some(last), _) => format!("{last}, retrying").fg(HIGH),
        (Some(_), None, _) => "no connection, retrying".fg(HIGH),
        (None, Some(last), _) => last.fg(HIGH),
        (None, None, Some(snapshot)) if !snapshot.ready => "shutting down".fg(HIGH),
        (None, None, Some(_)) => "live".fg(Color::Green),
        (None, None, None) => "connecting".fg(DIM),
    };
    let why = seen
        .lost
        .as_deref()
        .map_or_else(String::new, |why| format!("  {why}"));
    let parts = vec![
        (1, " Corecast ".bold()),
        (4, format!("{version} ").bold()),
        (3, format!(" {name}  ").fg(DIM)),
        (2, up.fg(DIM)),
        (0, state),
        (6, why.fg(DIM)),
        (5, "   q quits".fg(DIM)),
    ];
    fit::line(parts, width)
}

/// The heights of the figures, the latency, the shards and the lists. On a low terminal the shards
/// get rows first, then the figures, and the lists last.
fn rows(height: u16, shards: u16) -> [u16; 4] {
    let mut left = height;
    let mut grant = |want: u16, least: u16| {
        let granted = if left < least { 0 } else { want.min(left) };
        left -= granted;
        granted
    };
    let all_shards = shards + TABLE_FRAME;
    let mut of_shards = grant(all_shards.min(TABLE_FRAME + 2), TABLE_FRAME + 1);
    let mut figures = grant(4, 4);
    let mut latency = grant(5, 5);
    let mut lists = grant(5, 5);
    if lists > 0 {
        // The row of the figures' history.
        figures += grant(1, 1);
    }
    of_shards += grant(all_shards - of_shards.min(all_shards), 1);
    let of_all = (height / 3).clamp(6, 18);
    latency += grant(of_all.saturating_sub(latency), 1);
    let rest = grant(u16::MAX, 1);
    match (lists, latency) {
        (1.., _) => lists += rest,
        (0, 1..) => latency += rest,
        (0, 0) => figures += rest,
    }
    [figures, latency, of_shards, lists]
}

/// Greys figures that are out of date.
fn dim(frame: &mut Frame<'_>, area: Rect) {
    let stale = Style::new().fg(DIM).add_modifier(Modifier::DIM);
    frame
        .buffer_mut()
        .set_style(area, stale.remove_modifier(Modifier::BOLD));
}

fn block(title: impl Into<Line<'static>>) -> Block<'static> {
    Block::bordered()
        .border_style(Style::new().fg(Color::Indexed(240)))
        .title(title)
}

/// A card: a name, a figure, notes beside it (the longest first), and the data of its history.
struct Card {
    name: &'static str,
    value: String,
    more: Vec<String>,
    history: fn(&Snapshot) -> f64,
}

impl Card {
    /// The last cards are left out first.
    fn need(&self, rank: u8) -> Need {
        let least = self.more.last().map_or("", String::as_str);
        let texts = [self.name, &self.value, least].map(|text| Span::from(text).width());
        let width = texts.into_iter().max().unwrap_or(0) as u16 + 2;
        Need { width, rank }
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, seen: &Seen) {
        let block = block(self.name);
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
        ];
        let [value, more, chart] = Layout::vertical(rows).areas(inside);
        frame.render_widget(Line::from(self.value.clone()).bold(), value);
        let texts: Vec<&str> = self.more.iter().map(String::as_str).collect();
        let said = fit::first(&texts, more.width).to_owned();
        frame.render_widget(Line::from(said).fg(DIM), more);
        let columns = usize::from(chart.width);
        let from = seen.snapshots.len().saturating_sub(columns);
        let history = seen.snapshots.range(from..);
        let history: Vec<u64> = history.map(|each| (self.history)(each) as u64).collect();
        frame.render_widget(Sparkline::default().data(history).fg(ACCENT), chart);
    }
}

fn cards(snapshot: &Snapshot) -> [Card; 4] {
    let (now, rates) = (&snapshot.now, &snapshot.rates);
    let mean = snapshot.frames_per_send.mean;
    let mean = mean.map_or_else(|| "–".to_owned(), count);
    let sent = format!("{}/s", bytes(rates.sent_bytes));
    let resident = snapshot.process.resident_bytes;
    let resident = resident.map_or_else(|| "–".to_owned(), |each| bytes(each as f64));
    [
        Card {
            name: "Clients",
            value: count(now.clients as f64),
            more: vec![match now.rooms {
                1 => "1 room".to_owned(),
                rooms => format!("{} rooms", count(rooms as f64)),
            }],
            history: |each| each.now.clients as f64,
        },
        Card {
            name: "Messages in",
            value: format!("{}/s", count(rates.messages)),
            more: vec![format!("{}/s", bytes(rates.message_bytes))],
            history: |each| each.rates.messages,
        },
        Card {
            name: "Deliveries",
            value: format!("{}/s", count(rates.deliveries)),
            more: vec![format!("{sent}, {mean} a send"), sent],
            history: |each| each.rates.deliveries,
        },
        Card {
            name: "CPU",
            value: format!("{:.0} %", snapshot.process.cpu_cores * 100.0),
            more: vec![format!("{resident} RAM")],
            history: |each| each.process.cpu_cores * 1e3,
        },
    ]
}

/// Draws the figures side by side, those that change every second with their history.
fn draw_figures(frame: &mut Frame<'_>, area: Rect, seen: &Seen, snapshot: &Snapshot) {
    if area.height == 0 {
        return;
    }
    let cards = cards(snapshot);
    let needs = cards.each_ref().map(|card| card.need(0));
    for (place, area) in fit::cards(&needs, area) {
        cards[place].draw(frame, area, seen);
    }
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, seen: &Seen, snapshot: &Snapshot) {
    let latency = &snapshot.latency;
    let figures = [
        ("p50", latency.p50_us, 1),
        ("p90", latency.p90_us, 4),
        ("p99", latency.p99_us, 0),
        ("p99.9", latency.p999_us, 3),
        ("max", latency.max_us, 2),
    ];
    // A name and its figure are shown or left out together.
    let needs = figures.map(|(name, us, rank)| Need {
        width: Span::from(format!(" {name} {} ", micros(us))).width() as u16,
        rank,
    });
    let heading = "Relay latency";
    let room = area.width.saturating_sub(2 + heading.len() as u16);
    let mut title = vec![Span::from(fit::first(
        &[heading],
        area.width.saturating_sub(2),
    ))];
    for place in fit::fitting(&needs, 0, room) {
        let (name, us, _) = figures[place];
        title.extend([format!(" {name} ").fg(DIM), micros(us).bold(), " ".into()]);
    }
    let block = block(Line::from(title));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(Heat(seen), inside);
}

/// As many shards as there are rows; the busiest, if that is not all of them.
fn shard_table(shards: &[Shard], area: Rect) -> Table<'static> {
    let room = usize::from(area.height.saturating_sub(TABLE_FRAME));
    let inside = area.width.saturating_sub(2);
    let mut shown: Vec<(usize, &Shard)> = shards.iter().enumerate().collect();
    let standing = |shard: &Shard| shard.turn_age_ms > STANDS_MS;
    shown.sort_by(|(_, one), (_, other)| {
        let stands = standing(other).cmp(&standing(one));
        stands.then(other.busy.total_cmp(&one.busy))
    });
    shown.truncate(room);
    shown.sort_by_key(|(place, _)| *place);
    let bar = usize::from(inside / 4).clamp(4, 30);
    let column = |rank, head, of: &dyn Fn(&Shard) -> String| Column {
        rank,
        head,
        cells: shown
            .iter()
            .map(|(_, shard)| Line::from(of(shard)))
            .collect(),
    };
    let busy = Column {
        rank: 0,
        head: "shard  busy",
        cells: shown
            .iter()
            .map(|(place, shard)| busy(*place, shard, bar))
            .collect(),
    };
    let columns = vec![
        busy,
        column(1, "conns", &|shard| count(f64::from(shard.connections))),
        column(4, "outbox", &|shard| bytes(shard.outbox_bytes as f64)),
        column(3, "in/s", &|shard| count(shard.messages)),
        column(2, "out/s", &|shard| count(shard.deliveries)),
        column(5, "wakes/s", &|shard| count(shard.wakes)),
    ];
    let (all, some) = (shards.len(), shown.len());
    let title = match some == all {
        true => "Shards".to_owned(),
        false => format!("Shards: the busiest {some} of {all}"),
    };
    let title = fit::first(&[&title, "Shards"], inside).to_owned();
    fit::table(columns, inside).block(block(title))
}

/// A shard's number and the share of a core that it uses.
fn busy(place: usize, shard: &Shard, columns: usize) -> Line<'static> {
    let filled = ((shard.busy * columns as f64).round() as usize).min(columns);
    let color = if shard.busy > 0.9 { HIGH } else { ACCENT };
    Line::from(vec![
        Span::from(format!("{place:>3}  ")).bold(),
        Span::from("█".repeat(filled)).fg(color),
        Span::from("░".repeat(columns - filled)).fg(Color::Indexed(238)),
        match shard.turn_age_ms > STANDS_MS {
            true => Span::from(" stuck").fg(HIGH),
            false => Span::from(format!(" {:>5.1} %", shard.busy * 100.0)),
        },
    ])
}

fn draw_lists(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    if area.height == 0 {
        return;
    }
    if area.width >= TWO_LISTS_COLUMNS {
        let halves = [Constraint::Fill(1), Constraint::Fill(1)];
        let [slow, ends] = Layout::horizontal(halves).areas(area);
        frame.render_widget(slow_table(snapshot, slow.width), slow);
        frame.render_widget(end_table(snapshot, ends.width), ends);
    } else if snapshot.slow_clients_total > 0 {
        frame.render_widget(slow_table(snapshot, area.width), area);
    } else {
        frame.render_widget(end_table(snapshot, area.width), area);
    }
}

fn slow_table(snapshot: &Snapshot, width: u16) -> Table<'static> {
    let inside = width.saturating_sub(2);
    let clients = &snapshot.slow_clients;
    // A long address leaves room for the two figures.
    let name = inside.saturating_sub(20).max(8);
    let waiting = |waiting: usize| Line::from(bytes(waiting as f64));
    let columns = vec![
        Column {
            rank: 0,
            head: "client",
            cells: clients
                .iter()
                .map(|each| fit::shortened(who(each), name).into())
                .collect(),
        },
        Column {
            rank: 3,
            head: "endpoint",
            cells: clients
                .iter()
                .map(|each| Line::from(each.endpoint.clone()).fg(DIM))
                .collect(),
        },
        Column {
            rank: 1,
            head: "behind",
            cells: clients
                .iter()
                .map(|each| micros(Some(each.age_ms as f64 * 1e3)).into())
                .collect(),
        },
        Column {
            rank: 2,
            head: "waiting",
            cells: clients
                .iter()
                .map(|each| waiting(each.outbox_bytes))
                .collect(),
        },
    ];
    let title = match snapshot.slow_clients_total {
        0 => fit::first(
            &["Slow clients: everybody keeps up", "No slow clients"],
            inside,
        )
        .to_owned(),
        total => format!("Slow clients: {total}"),
    };
    let title = fit::first(&[&title, "Slow"], inside).to_owned();
    fit::table(columns, inside).block(block(title))
}

fn end_table(snapshot: &Snapshot, width: u16) -> Table<'static> {
    let inside = width.saturating_sub(2);
    let ends = ends(snapshot);
    // A long reason leaves room for its total.
    let room = inside.saturating_sub(8).max(8);
    let reason = |word: &str, reason: &str| {
        let reason = reason.replace('_', " ");
        let whole = format!("{reason} {word}");
        match fit::shortened(&whole, room) {
            same if same == whole => Line::from(vec![reason.into(), format!(" {word}").fg(DIM)]),
            shorter => Line::from(shorter),
        }
    };
    let recent = |recent: u64| {
        Line::from(count(recent as f64)).add_modifier(match recent {
            0 => Modifier::DIM,
            _ => Modifier::BOLD,
        })
    };
    let columns = vec![
        Column {
            rank: 0,
            head: "reason",
            cells: ends
                .iter()
                .map(|(word, each)| reason(word, &each.reason))
                .collect(),
        },
        Column {
            rank: 2,
            head: "last second",
            cells: ends.iter().map(|(_, each)| recent(each.recent)).collect(),
        },
        Column {
            rank: 1,
            head: "total",
            cells: ends
                .iter()
                .map(|(_, each)| count(each.total as f64).into())
                .collect(),
        },
    ];
    let title = fit::first(&["Closed and refused", "Ends"], inside).to_owned();
    fit::table(columns, inside).block(block(title))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::{Buffer, Cell};

    use super::*;
    use crate::top::text::tests::snapshot;

    fn buffer(width: u16, height: u16, seen: &Seen, now: Instant) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        let drawn = terminal.draw(|frame| draw(frame, "http://relay:9090", seen, now));
        drawn.expect("drawn").buffer.clone()
    }

    fn screen(width: u16, height: u16, seen: &Seen, now: Instant) -> String {
        let buffer = buffer(width, height, seen, now);
        let letters: Vec<&str> = buffer.content().iter().map(Cell::symbol).collect();
        let lines = letters.chunks(usize::from(width)).map(<[&str]>::concat);
        lines.collect::<Vec<_>>().join("\n")
    }

    fn seen(now: Instant) -> Seen {
        let mut seen = Seen::default();
        seen.take(snapshot(), now);
        seen
    }

    /// The words and figures on a screen, without lines and bars.
    fn words(screen: &str) -> BTreeSet<&str> {
        let is_part = |letter: char| letter.is_alphanumeric() || "/%.,:-_µ–>".contains(letter);
        let words = screen.split(|letter| !is_part(letter));
        words
            .map(|word| word.trim_matches([',', ':', '.']))
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .collect()
    }

    #[test]
    fn a_large_screen_shows_the_whole_snapshot() {
        let now = Instant::now();
        let screen = screen(120, 40, &seen(now), now);
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
            "stuck",
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
    fn a_word_is_on_a_small_screen_whole_or_not_at_all() {
        let now = Instant::now();
        let seen = seen(now);
        let large = screen(400, 100, &seen, now);
        let all = words(&large);
        let widths = (30..=130).step_by(7).chain([60, 80, 120]);
        for (width, height) in
            widths.flat_map(|width| [8, 12, 15, 24, 40].map(|height| (width, height)))
        {
            let small = screen(width, height, &seen, now);
            let cut: Vec<_> = words(&small).difference(&all).copied().collect();
            assert!(cut.is_empty(), "{width}x{height}: {cut:?}\n{small}");
        }
    }

    #[test]
    fn every_screen_shows_the_shards_or_the_busiest_of_them() {
        let now = Instant::now();
        let mut many = snapshot();
        many.shards = vec![many.shards[0]; 16];
        many.shards[11].busy = 0.99;
        let mut crowded = Seen::default();
        crowded.take(many, now);
        for (width, height) in [(60, 15), (80, 24), (120, 40), (40, 10)] {
            let few = screen(width, height, &seen(now), now);
            assert!(few.contains("25.0 %") && few.contains("stuck"), "{few}");
            let crowd = screen(width, height, &crowded, now);
            assert!(
                crowd.contains(" 11 ") && crowd.contains("99.0 %"),
                "{crowd}"
            );
        }
        let low = screen(60, 15, &crowded, now);
        assert!(low.contains("Shards: the busiest 2 of 16"), "{low}");
    }

    #[test]
    fn stale_figures_are_dimmed_and_show_their_age_but_no_uptime() {
        let now = Instant::now();
        let mut seen = seen(now);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(screen(100, 30, &seen, later(1)).contains("live"));
        // The connection is open, but nothing arrives.
        let quiet = screen(100, 30, &seen, later(4));
        assert!(
            quiet.contains("last data 4 s ago") && !quiet.contains("retrying"),
            "{quiet}"
        );
        seen.lost = Some("refused".to_owned());
        for (seconds, age) in [(1, "1 s"), (12, "12 s"), (80, "1 min 20 s")] {
            let lost = screen(100, 30, &seen, later(seconds));
            assert!(
                lost.contains(&format!("last data {age} ago, retrying")),
                "{lost}"
            );
            assert!(lost.contains("1,200") && !lost.contains("up 1 h"), "{lost}");
        }
        assert_eq!(window_title("a", &seen, now), "connection lost: Corecast a");
        let body = buffer(100, 30, &seen, now);
        let bright = body.content().iter().skip(100);
        let bright = bright.filter(|cell| cell.fg != DIM || cell.modifier != Modifier::DIM);
        assert_eq!(bright.count(), 0);
        seen.take(snapshot(), later(90));
        assert!(screen(100, 30, &seen, later(91)).contains("up 1 h"));
    }

    #[test]
    fn a_connection_lost_at_once_is_shown() {
        let mut seen = Seen::default();
        seen.lost = Some("refused".to_owned());
        let screen = screen(100, 30, &seen, Instant::now());
        assert!(
            screen.contains("no connection, retrying  refused"),
            "{screen}"
        );
    }

    #[test]
    fn no_terminal_is_too_small_or_too_large() {
        let now = Instant::now();
        let mut seen = Seen::default();
        (0..700).for_each(|_| seen.take(snapshot(), now));
        for (width, height) in [(1, 1), (8, 3), (20, 8), (79, 24), (300, 90)] {
            screen(width, height, &seen, now);
        }
    }
}
