//! The live view as ratatui draws it: figures, rate over time, latency over time, percentiles.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Cell, Chart, Dataset, GraphType, Paragraph, Row, Sparkline, Table,
};

use crate::report::Quantiles;
use crate::snapshot::Snapshot;
use crate::units::{amount, short, time};

/// Snapshots that the charts go back: two minutes.
const POINTS_MAX: usize = 480;
/// A lower window shows no charts.
const CHART_ROWS_MIN: u16 = 16;

const RATE: Color = Color::Blue;
const P50: Color = Color::Green;
const P99: Color = Color::Yellow;
const MAX: Color = Color::Red;

/// The snapshots so far, as many as fit the window.
#[derive(Default)]
pub(super) struct View {
    now: Snapshot,
    /// The latest at the back.
    points: VecDeque<Point>,
}

#[derive(Clone, Copy)]
struct Point {
    at_seconds: f64,
    received_per_second: f64,
    latency: Quantiles,
}

impl View {
    /// Adds a snapshot.
    pub(super) fn take(&mut self, now: &Snapshot) {
        // Each of several runs begins at zero again.
        if self.now.turn.map(|turn| turn.number) != now.turn.map(|turn| turn.number) {
            self.points.clear();
        }
        self.now = now.clone();
        self.points.push_back(Point {
            at_seconds: now.elapsed_ms as f64 / 1e3,
            received_per_second: now.received_per_second,
            latency: now.latency_ns,
        });
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    /// Draws the whole view.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.height < CHART_ROWS_MIN {
            let [head, figures, table] = Layout::vertical([
                Constraint::Length(1),
                Constraint::Length(3),
                Constraint::Min(0),
            ])
            .areas(area);
            self.head(frame, head);
            self.figures(frame, figures);
            self.percentiles(frame, table);
            return;
        }
        let [head, figures, rate, latency, table, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(3),
            Constraint::Fill(2),
            Constraint::Fill(3),
            Constraint::Length(5),
            Constraint::Length(1),
        ])
        .areas(area);
        self.head(frame, head);
        self.figures(frame, figures);
        self.rate(frame, rate);
        self.latency(frame, latency);
        self.percentiles(frame, table);
        let foot_line = Line::from("Ctrl-C ends the run and reports; again: ends at once").dim();
        frame.render_widget(foot_line.alignment(Alignment::Center), foot);
    }

    fn head(&self, frame: &mut Frame<'_>, area: Rect) {
        let now = &self.now;
        let mut phase = format!(" {} ", now.phase);
        if let Some(left_ms) = now.remaining_ms {
            phase += &format!("· {} s left ", left_ms.div_ceil(1000));
        }
        let mut parts = vec![
            Span::from(" loadgen ").bold(),
            Span::styled(phase, Style::new().reversed()),
        ];
        if let Some(turn) = now.turn {
            let of = turn.of.map_or(String::new(), |of| format!(" of {of}"));
            let rate = turn.rate.map_or(String::new(), |rate| {
                format!(", {} messages/s", amount(rate, "1/s"))
            });
            parts.push(format!(" run {}{of}{rate}", turn.number).into());
        }
        frame.render_widget(Line::from(parts), area);
    }

    fn figures(&self, frame: &mut Frame<'_>, area: Rect) {
        let now = &self.now;
        let figures = [
            (
                "deliveries/s",
                amount(now.received_per_second.round(), "1/s"),
                RATE,
            ),
            (
                "messages/s",
                amount(now.sent_per_second.round(), "1/s"),
                Color::Reset,
            ),
            (
                "MB/s",
                format!("{:.1}", now.received_bytes_per_second / 1e6),
                Color::Reset,
            ),
            (
                "connected",
                format!("{}/{}", now.connected, now.clients),
                Color::Reset,
            ),
            (
                "late at 99 %",
                time(now.lateness_ns.p99 as f64),
                Color::Reset,
            ),
            (
                "own CPU",
                format!("{:.0} %", now.cpu_share * 100.0),
                Color::Reset,
            ),
            (
                "faults",
                amount(now.faults as f64, ""),
                if now.faults == 0 {
                    Color::Green
                } else {
                    Color::Red
                },
            ),
        ];
        let areas = Layout::horizontal([Constraint::Fill(1); 7]).split(area);
        for ((name, value, color), area) in figures.into_iter().zip(areas.iter()) {
            let block = Block::bordered()
                .title(name)
                .border_style(Style::new().dim());
            let text = Paragraph::new(value.fg(color).bold()).block(block);
            frame.render_widget(text.alignment(Alignment::Center), *area);
        }
    }

    /// The newest at the right edge.
    fn rate(&self, frame: &mut Frame<'_>, area: Rect) {
        let most = self.points.iter().map(|point| point.received_per_second);
        let most = most.fold(1.0, f64::max);
        let title = format!(
            " deliveries a second, at most {} ",
            amount(most.round(), "1/s")
        );
        let block = Block::bordered()
            .title(title)
            .border_style(Style::new().dim());
        let columns = usize::from(block.inner(area).width);
        let latest = self.points.len().saturating_sub(columns);
        let rates: Vec<u64> = self
            .points
            .iter()
            .skip(latest)
            .map(|point| point.received_per_second as u64)
            .collect();
        let line = Sparkline::default().data(rates).max(most as u64).fg(RATE);
        frame.render_widget(line.block(block), area);
    }

    /// On a log axis: ratatui's charts are linear, so it gets logarithms.
    fn latency(&self, frame: &mut Frame<'_>, area: Rect) {
        let points = |value: fn(&Quantiles) -> u64| -> Vec<(f64, f64)> {
            let known = self.points.iter().filter(|point| point.latency.count > 0);
            known
                .map(|point| {
                    (
                        point.at_seconds,
                        (value(&point.latency).max(1) as f64).log10(),
                    )
                })
                .collect()
        };
        let (p50, p99, max) = (
            points(|of| of.p50),
            points(|of| of.p99),
            points(|of| of.max),
        );
        let low = p50.iter().map(|point| point.1).fold(f64::MAX, f64::min);
        let high = max.iter().map(|point| point.1).fold(0.0, f64::max);
        let (low, high) = match low <= high {
            true => (low.floor(), (high + 0.001).ceil()),
            false => (3.0, 6.0),
        };
        let begin = self.points.front().map_or(0.0, |point| point.at_seconds);
        let end = self
            .points
            .back()
            .map_or(1.0, |point| point.at_seconds)
            .max(begin + 1.0);
        let set = |name, points, color| {
            Dataset::default()
                .name(name)
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .fg(color)
                .data(points)
        };
        let decades = (low as i32)..=(high as i32);
        let labels: Vec<String> = decades.map(|decade| time(10f64.powi(decade))).collect();
        let seconds = |at: f64| format!("{} s", short(at.round()));
        let chart = Chart::new(vec![
            set("max", &max, MAX),
            set("99 %", &p99, P99),
            set("median", &p50, P50),
        ])
        .block(
            Block::bordered()
                .title(" latency ")
                .border_style(Style::new().dim()),
        )
        .x_axis(
            Axis::default()
                .bounds([begin, end])
                .labels([seconds(begin), seconds(end)])
                .dim(),
        )
        .y_axis(Axis::default().bounds([low, high]).labels(labels).dim());
        frame.render_widget(chart, area);
    }

    fn percentiles(&self, frame: &mut Frame<'_>, area: Rect) {
        let row = |name: &'static str, of: &Quantiles| {
            let times = [
                (of.p50, P50),
                (of.p90, Color::Reset),
                (of.p99, P99),
                (of.p99_9, Color::Reset),
                (of.p99_99, Color::Reset),
                (of.max, MAX),
            ];
            let times = times.map(|(ns, color)| match of.count {
                0 => Cell::from("–"),
                _ => Cell::from(time(ns as f64)).fg(color),
            });
            Row::new([Cell::from(name).bold()].into_iter().chain(times))
        };
        let head = ["", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "max"];
        let rows = [
            row("latency now", &self.now.latency_ns),
            row("latency so far", &self.now.latency_so_far_ns),
        ];
        let widths = [Constraint::Length(15)]
            .into_iter()
            .chain([Constraint::Length(9); 6]);
        let table = Table::new(rows, widths)
            .header(Row::new(head).dim())
            .block(Block::bordered().border_style(Style::new().dim()));
        frame.render_widget(table, area);
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::snapshot::{Phase, Turn};

    fn snapshot(elapsed_ms: u64) -> Snapshot {
        let latency = Quantiles {
            count: 10,
            p50: 120_000,
            p99: 3_400_000,
            max: 56_000_000,
            ..Quantiles::default()
        };
        Snapshot {
            phase: Phase::Measuring,
            elapsed_ms,
            remaining_ms: Some(7_500),
            connected: 50,
            clients: 50,
            received_per_second: 49_876.0,
            latency_ns: latency,
            latency_so_far_ns: latency,
            ..Snapshot::default()
        }
    }

    /// The text that a window of this size shows.
    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn the_live_view_fits_a_window_of_any_size() {
        let mut view = View::default();
        for look in 0..1000 {
            view.take(&snapshot(look * 250));
        }
        assert_eq!(view.points.len(), POINTS_MAX);
        for (width, height) in [(100, 40), (80, 24), (80, 12)] {
            let text = drawn(&view, width, height);
            for shown in [
                "measuring",
                "8 s left",
                "49,876",
                "50/50",
                "120µs",
                "3.40ms",
                "56.0ms",
            ] {
                assert!(
                    text.contains(shown),
                    "no {shown} in {width}x{height}:\n{text}"
                );
            }
        }
        // A window too small for anything must not panic either.
        drawn(&view, 1, 1);
        drawn(&View::default(), 80, 24);
    }

    #[test]
    fn the_next_of_several_runs_begins_a_new_chart() {
        let mut view = View::default();
        view.take(&snapshot(250));
        view.take(&snapshot(500));
        let second = Snapshot {
            turn: Some(Turn {
                number: 2,
                of: Some(3),
                rate: Some(500.0),
            }),
            ..snapshot(250)
        };
        view.take(&second);
        assert_eq!(view.points.len(), 1);
        let text = drawn(&view, 100, 30);
        assert!(text.contains("run 2 of 3, 500 messages/s"), "{text}");
    }
}
