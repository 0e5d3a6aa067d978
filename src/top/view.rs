//! How a snapshot looks in a terminal, and as text.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Row, Sparkline, Table, Widget};

use super::Seen;
use super::numbers::{bytes, count, micros, span};
use crate::admin::dashboard::{Reason, Shard, SlowClient, Snapshot};

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

/// Figures beside each other, those that change by the second with their history.
fn draw_figures(frame: &mut Frame<'_>, area: Rect, seen: &Seen, snapshot: &Snapshot) {
    let areas: [Rect; 4] = Layout::horizontal([Constraint::Fill(1); 4]).areas(area);
    let (now, rates) = (&snapshot.now, &snapshot.rates);
    let mean = snapshot.frames_per_send.mean;
    let mean = mean.map_or_else(|| "–".to_owned(), count);
    let resident = snapshot.process.resident_bytes;
    let resident = resident.map_or_else(|| "–".to_owned(), |each| bytes(each as f64));
    let cards: [(&str, String, String, fn(&Snapshot) -> f64); 4] = [
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
            let mut counts = vec![0; scale.rows];
            for bucket in &snapshot.latency.buckets {
                counts[scale.row(bucket.below.unwrap_or(LONGEST_NS))] += bucket.count;
            }
            let total: u64 = counts.iter().sum();
            for (row, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let share = (*count as f64 / total as f64).sqrt();
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

fn who(client: &SlowClient) -> &str {
    client.address.as_deref().unwrap_or(&client.connection)
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

/// Why connections ended and were refused, what is most frequent first.
fn ends(snapshot: &Snapshot) -> Vec<(&'static str, &Reason)> {
    let closes = snapshot.closes.iter().map(|reason| ("closed", reason));
    let refusals = snapshot.refusals.iter().map(|reason| ("refused", reason));
    let mut ends: Vec<_> = closes.chain(refusals).collect();
    ends.sort_by_key(|(_, reason)| std::cmp::Reverse(reason.total));
    ends
}

/// One snapshot for a pipe: a figure a line.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let (now, rates, latency) = (&snapshot.now, &snapshot.rates, &snapshot.latency);
    let mean = snapshot.frames_per_send.mean;
    let mut lines: Vec<(&str, String)> = vec![
        (
            "version",
            format!("{} ({})", snapshot.version, snapshot.commit),
        ),
        ("uptime", span(snapshot.uptime_s)),
        (
            "ready",
            if snapshot.ready { "yes" } else { "no" }.to_owned(),
        ),
        ("clients", count(now.clients as f64)),
        ("connections", count(now.connections as f64)),
        ("rooms", count(now.rooms as f64)),
        (
            "messages",
            format!(
                "{}/s, {} in all",
                count(rates.messages),
                snapshot.totals.messages
            ),
        ),
        (
            "deliveries",
            format!(
                "{}/s, {} in all",
                count(rates.deliveries),
                snapshot.totals.deliveries
            ),
        ),
        ("received", format!("{}/s", bytes(rates.message_bytes))),
        ("sent", format!("{}/s", bytes(rates.sent_bytes))),
        ("frames a send", mean.map_or_else(|| "–".to_owned(), count)),
        ("latency p50", micros(latency.p50_us)),
        ("latency p90", micros(latency.p90_us)),
        ("latency p99", micros(latency.p99_us)),
        ("latency p99.9", micros(latency.p999_us)),
        ("latency max", micros(latency.max_us)),
        ("waits to be sent", bytes(now.live_bytes as f64)),
        (
            "CPU",
            format!("{:.1} %", snapshot.process.cpu_cores * 100.0),
        ),
    ];
    if let Some(resident) = snapshot.process.resident_bytes {
        lines.push(("memory", bytes(resident as f64)));
    }
    for (place, shard) in snapshot.shards.iter().enumerate() {
        let figures = format!(
            "{place}: {:.1} % busy, {} connections, {} in outboxes, {} wakes/s",
            shard.busy * 100.0,
            count(f64::from(shard.connections)),
            bytes(shard.outbox_bytes as f64),
            count(shard.wakes),
        );
        lines.push(("shard", figures));
    }
    for client in &snapshot.slow_clients {
        let behind = micros(Some(client.age_ms as f64 * 1e3));
        let waits = bytes(client.outbox_bytes as f64);
        let figures = format!(
            "{} ({}): {behind} behind, {waits}",
            who(client),
            client.endpoint
        );
        lines.push(("slow client", figures));
    }
    for (word, reason) in ends(snapshot) {
        lines.push((word, format!("{}: {}", reason.reason, reason.total)));
    }
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        // A `String` takes every write.
        let _ = writeln!(text, "{name:<17} {value}");
        text
    })
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    const SNAPSHOT: &str = r#"{"format":1,"version":"0.1.0","commit":"abc","at_unix_ms":1,
        "uptime_s":3661.0,"ready":true,"config_unix_s":0,"window_s":1.0,
        "now":{"clients":1200,"connections":1201,"rooms":3,"live_bytes":2048,"inbound_bytes":0},
        "totals":{"messages":7,"message_bytes":7,"deliveries":14,"sent_bytes":9,"sends":2,
            "opened":1,"closed":1,"refused":4,"dropped":0},
        "rates":{"messages":50.0,"message_bytes":2048.0,"deliveries":60000.0,"sent_bytes":4e6,
            "sends":10.0,"opened":0.0,"closed":0.0,"refused":0.0,"dropped":0.0},
        "latency":{"p50_us":40.0,"p90_us":80.0,"p99_us":1500.0,"p999_us":1500.0,"max_us":1500.0,
            "buckets":[{"below":40000,"count":90},{"below":1500000,"count":10}]},
        "frames_per_send":{"mean":2.5,"buckets":[{"below":4,"count":10}]},
        "shards":[{"busy":0.25,"connections":600,"outbox_bytes":0,"outbox_age_ms":0,"mailbox":0,
            "wakes":12.0,"messages":25.0,"deliveries":30000.0,"turn_age_ms":1},
            {"busy":0.0,"connections":601,"outbox_bytes":4096,"outbox_age_ms":9,"mailbox":0,
            "wakes":0.0,"messages":25.0,"deliveries":30000.0,"turn_age_ms":9000}],
        "slow_clients_total":12,"slow_clients":[{"connection":"0-7-1","address":null,
            "endpoint":"hub","age_ms":2500,"outbox_bytes":65536}],
        "closes":[{"reason":"slow_age","total":3,"recent":1}],
        "refusals":[{"reason":"bad_key","total":4,"recent":0}],
        "process":{"cpu_cores":0.42,"resident_bytes":1048576}}"#;

    fn snapshot() -> Snapshot {
        serde_json::from_str(SNAPSHOT).expect("a snapshot")
    }

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
        let mut seen = Seen::default();
        seen.lost = Some("refused".to_owned());
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

    #[test]
    fn text_has_a_figure_a_line() {
        let text = text(&snapshot());
        for line in [
            "clients           1,200",
            "messages          50/s, 7 in all",
            "latency p99       1.5 ms",
            "shard             0: 25.0 % busy, 600 connections, 0 B in outboxes, 12 wakes/s",
            "slow client       0-7-1 (hub): 2.5 s behind, 64.0 KiB",
            "closed            slow_age: 3",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}:\n{text}");
        }
    }
}
