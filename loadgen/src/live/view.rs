//! The live view as ratatui draws it: figures, rate over time, latency over time, percentiles.

use std::collections::VecDeque;

use corecast_terminal::fit::{self, Column, Need};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Sparkline};

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
        let texts = [
            "Ctrl-C ends the run and reports; again: ends at once",
            "Ctrl-C ends the run",
        ];
        let foot_line = Line::from(fit::first(&texts, foot.width)).dim();
        frame.render_widget(foot_line.alignment(Alignment::Center), foot);
    }

    fn head(&self, frame: &mut Frame<'_>, area: Rect) {
        let now = &self.now;
        let left = now.remaining_ms.map_or(String::new(), |left_ms| {
            format!("· {} s left ", left_ms.div_ceil(1000))
        });
        let phase = Style::new().reversed();
        let mut parts = vec![
            (3, Span::from(" loadgen ").bold()),
            (0, Span::styled(format!(" {} ", now.phase), phase)),
            (1, Span::styled(left, phase)),
        ];
        if let Some(turn) = now.turn {
            let of = turn.of.map_or(String::new(), |of| format!(" of {of}"));
            let rate = turn.rate.map_or(String::new(), |rate| {
                format!(", {} messages/s", amount(rate, "1/s"))
            });
            parts.push((2, format!(" run {}{of}", turn.number).into()));
            parts.push((4, rate.into()));
        }
        frame.render_widget(fit::line(parts, area.width), area);
    }

    /// Names, values and colours of the figures, and which of them give way first.
    fn cards(&self) -> [(&'static str, String, Color, u8); 7] {
        let now = &self.now;
        let faults = match now.faults {
            0 => Color::Green,
            _ => Color::Red,
        };
        let rate = |of: f64| amount(of.round(), "1/s");
        let plain = Color::Reset;
        [
            ("deliveries/s", rate(now.received_per_second), RATE, 0),
            ("messages/s", rate(now.sent_per_second), plain, 4),
            (
                "MB/s",
                format!("{:.1}", now.received_bytes_per_second / 1e6),
                plain,
                6,
            ),
            (
                "connected",
                format!("{}/{}", now.connected, now.clients),
                plain,
                2,
            ),
            ("late at 99 %", time(now.lateness_ns.p99 as f64), plain, 5),
            (
                "own CPU",
                format!("{:.0} %", now.cpu_share * 100.0),
                plain,
                3,
            ),
            ("faults", amount(now.faults as f64, ""), faults, 1),
        ]
    }

    fn figures(&self, frame: &mut Frame<'_>, area: Rect) {
        let cards = self.cards();
        let needs = cards.each_ref().map(|(name, value, _, rank)| Need {
            width: Span::from(*name)
                .width()
                .max(Span::from(value.as_str()).width()) as u16
                + 2,
            rank: *rank,
        });
        for (place, area) in fit::cards(&needs, area) {
            let (name, value, color, _) = cards[place].clone();
            let block = Block::bordered()
                .title(name)
                .border_style(Style::new().dim());
            let text = Paragraph::new(value.fg(color).bold()).block(block);
            frame.render_widget(text.alignment(Alignment::Center), area);
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
        let texts = [title.as_str(), " deliveries/s "];
        let block = Block::bordered()
            .title(fit::first(&texts, area.width.saturating_sub(2)).to_owned())
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
        let of = [&self.now.latency_ns, &self.now.latency_so_far_ns];
        let column = |head, rank, color: Color, value: fn(&Quantiles) -> u64| Column {
            rank,
            head,
            cells: of
                .iter()
                .map(|of| match of.count {
                    0 => Line::from("–"),
                    _ => Line::from(time(value(of) as f64)).fg(color),
                })
                .collect(),
        };
        let names = ["latency now", "latency so far"];
        let columns = vec![
            Column {
                rank: 0,
                head: "",
                cells: names.map(|name| Line::from(name).bold()).to_vec(),
            },
            column("50 %", 2, P50, |of| of.p50),
            column("90 %", 4, Color::Reset, |of| of.p90),
            column("99 %", 1, P99, |of| of.p99),
            column("99.9 %", 5, Color::Reset, |of| of.p99_9),
            column("99.99 %", 6, Color::Reset, |of| of.p99_99),
            column("max", 3, MAX, |of| of.max),
        ];
        let block = Block::bordered().border_style(Style::new().dim());
        let table = fit::table(columns, block.inner(area).width);
        frame.render_widget(table.block(block), area);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
        for (width, height) in [(120, 40), (100, 40), (80, 24), (80, 12), (60, 15)] {
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

    /// The words and figures on a screen, without its lines and bars.
    fn words(screen: &str) -> BTreeSet<&str> {
        let is_part = |letter: char| letter.is_alphanumeric() || "/%.,:-µ–".contains(letter);
        let words = screen.split(|letter| !is_part(letter));
        words
            .map(|word| word.trim_matches([',', ':', '.']))
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .collect()
    }

    #[test]
    fn a_word_is_in_a_small_window_whole_or_not_at_all() {
        let mut view = View::default();
        let turn = Turn {
            number: 2,
            of: Some(3),
            rate: Some(500.0),
        };
        for look in 0..100 {
            view.take(&Snapshot {
                turn: Some(turn),
                ..snapshot(look * 250)
            });
        }
        let large = drawn(&view, 300, 100);
        let all: BTreeSet<&str> = words(&large).into_iter().chain(["Ctrl-C", "run"]).collect();
        let widths = (24..=130).step_by(7).chain([60, 80, 120]);
        for (width, height) in
            widths.flat_map(|width| [8, 12, 15, 24, 40].map(|height| (width, height)))
        {
            let small = drawn(&view, width, height);
            let cut: Vec<_> = words(&small).difference(&all).copied().collect();
            assert!(cut.is_empty(), "{width}x{height}: {cut:?}\n{small}");
        }
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
