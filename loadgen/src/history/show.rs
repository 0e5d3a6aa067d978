//! A history on a terminal: a table, bars, and two runs side by side.

use clap::ValueEnum;

use super::Row;
use crate::units::{amount, time};

/// Columns of a bar.
const BAR_COLUMNS: usize = 40;

/// The figure that a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Figure {
    /// Deliveries a second, or handshakes
    Rate,
    /// Median latency
    P50,
    /// 99th percentile of the latency
    P99,
    /// 99.9th percentile of the latency
    #[value(name = "p99.9")]
    P99_9,
    /// Largest latency
    Max,
    /// Faulty deliveries
    Faults,
}

impl Figure {
    fn of(self, row: &Row) -> f64 {
        match self {
            Self::Rate => row.rate,
            Self::P50 => row.p50_ns as f64,
            Self::P99 => row.p99_ns as f64,
            Self::P99_9 => row.p99_9_ns as f64,
            Self::Max => row.max_ns as f64,
            Self::Faults => row.faults as f64,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Rate | Self::Faults => "1/s",
            Self::P50 | Self::P99 | Self::P99_9 | Self::Max => "ns",
        }
    }
}

/// One line for each run.
pub(super) fn list(rows: &[Row]) -> String {
    let mut out = format!(
        "{:>4}  {:16}  {:20} {:>7} {:>10} {:>7} {:>7} {:>7}  {}\n",
        "run", "began (UTC)", "what", "clients", "per second", "p50", "p99", "max", "verdict"
    );
    for row in rows {
        let line = format!(
            "{:>4}  {:16}  {:20} {:>7} {:>10} {:>7} {:>7} {:>7}  {}",
            row.id,
            minute(&row.started_at),
            cut(&name(row), 20),
            row.clients,
            amount(row.rate, "1/s"),
            time(row.p50_ns as f64),
            time(row.p99_ns as f64),
            time(row.max_ns as f64),
            row.verdict()
        );
        out += &line;
        out.push('\n');
    }
    out
}

/// One bar for each run, from zero.
pub(super) fn chart(rows: &[Row], figure: Figure) -> String {
    let most = rows.iter().map(|row| figure.of(row)).fold(0.0, f64::max);
    let mut out = String::new();
    for row in rows {
        let value = figure.of(row);
        out += &format!(
            "{:>4}  {:16}  {:>10} {}\n",
            row.id,
            minute(&row.started_at),
            amount(value, figure.unit()),
            bar(value, most)
        );
    }
    out
}

/// A bar in eighths of a column.
fn bar(value: f64, most: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if most > 0.0 {
        (value / most).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let eighths = (share * (BAR_COLUMNS * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn name(row: &Row) -> String {
    row.label.clone().unwrap_or_else(|| row.scenario.clone())
}

fn minute(started_at: &str) -> String {
    started_at.replace('T', " ").chars().take(16).collect()
}

/// At most this many letters, without any that would control a terminal.
fn cut(text: &str, letters: usize) -> String {
    let clean = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let all: Vec<char> = clean.collect();
    match all.len() > letters {
        true => all[..letters - 1].iter().chain(&['…']).collect(),
        false => all.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.0, 10.0), "");
        assert_eq!(bar(10.0, 10.0).chars().count(), BAR_COLUMNS);
        assert_eq!(bar(5.0, 10.0), "█".repeat(BAR_COLUMNS / 2));
        assert_eq!(bar(1.0, 320.0), "▏");
        assert_eq!(bar(f64::NAN, 0.0), "");
    }

    #[test]
    fn a_label_neither_breaks_the_table_nor_steers_the_terminal() {
        assert_eq!(cut("short", 20), "short");
        assert_eq!(cut("a\u{1b}[31m", 20), "a [31m");
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
