//! The progress of a long task, on standard error: a bar on a terminal, otherwise a line now and
//! then.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

/// Interval between two updates of the bar, and between two lines.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Columns of the bar itself.
const BAR_COLUMNS: u64 = 30;

/// Shows how far a task has come.
pub(super) struct Progress<W> {
    output: W,
    is_terminal: bool,
    began: Instant,
    shown: Instant,
    /// `None`: nobody knows.
    total: Option<u64>,
    /// Amount at the beginning, of `total`.
    from: u64,
    has_bar: bool,
}

impl Progress<io::Stderr> {
    /// A progress of `total`, of which `from` is done already.
    pub(super) fn on_stderr(total: Option<u64>, from: u64) -> Progress<io::Stderr> {
        let is_terminal = io::stderr().is_terminal();
        Progress::new(io::stderr(), is_terminal, total, from, Instant::now())
    }
}

impl<W: Write> Progress<W> {
    fn new(
        output: W,
        is_terminal: bool,
        total: Option<u64>,
        from: u64,
        now: Instant,
    ) -> Progress<W> {
        Progress {
            output,
            is_terminal,
            began: now,
            shown: now,
            total,
            from,
            has_bar: false,
        }
    }

    /// Time since the beginning.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// `done` of the total is done, and since the beginning `events` events.
    pub(super) fn show(&mut self, done: u64, events: u64, now: Instant) {
        let interval = match self.is_terminal {
            true => BAR_INTERVAL,
            false => LINE_INTERVAL,
        };
        if now.saturating_duration_since(self.shown) < interval {
            return;
        }
        self.shown = now;
        let elapsed = self.elapsed(now).as_secs_f64().max(0.001);
        let rate = grouped((events as f64 / elapsed) as u64);
        let told = match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let done = done.min(total);
                let speed = done.saturating_sub(self.from) as f64 / elapsed;
                let left = (total - done) as f64 / speed.max(0.001);
                let percent = u128::from(done) * 100 / u128::from(total);
                let bar = match self.is_terminal {
                    true => bar(done, total) + " ",
                    false => String::new(),
                };
                let left = clock(left);
                format!("{bar}{percent:3} %  {rate} events a second  {left} left")
            }
            None => format!("{} events  {rate} a second", grouped(events)),
        };
        // If standard error is closed, the work goes on.
        let _ = match self.is_terminal {
            true => write!(self.output, "\r{told}\x1b[K").and_then(|()| self.output.flush()),
            false => writeln!(self.output, "{told}"),
        };
        self.has_bar = self.is_terminal;
    }

    /// Removes the bar, so that other text can follow.
    pub(super) fn clear(&mut self) {
        if self.has_bar {
            let _ = write!(self.output, "\r\x1b[K").and_then(|()| self.output.flush());
            self.has_bar = false;
        }
    }
}

fn bar(done: u64, total: u64) -> String {
    let full = (u128::from(done) * u128::from(BAR_COLUMNS) / u128::from(total)) as usize;
    let empty = BAR_COLUMNS as usize - full;
    format!("[{}{}]", "#".repeat(full), "-".repeat(empty))
}

/// Hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    // A day and more is as good as unknown.
    if seconds >= 86_400.0 {
        return "more than a day".to_owned();
    }
    let seconds = seconds as u64;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A number with a comma between groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, which are `word` with an s.
pub(super) fn counted(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output after these seconds, with so much done and so many events.
    fn shown(is_terminal: bool, total: Option<u64>, at: &[(u64, u64, u64)]) -> String {
        let (mut output, began) = (Vec::new(), Instant::now());
        let mut progress = Progress::new(&mut output, is_terminal, total, 0, began);
        for (seconds, done, events) in at {
            progress.show(*done, *events, began + Duration::from_secs(*seconds));
        }
        progress.clear();
        String::from_utf8(output).expect("UTF-8")
    }

    #[test]
    fn a_terminal_has_a_bar_that_goes_at_the_end() {
        let text = shown(true, Some(1_000), &[(0, 0, 0), (4, 500, 10_000)]);
        let bar = "###############---------------";
        let line = format!("\r[{bar}]  50 %  2,500 events a second  0:04 left\x1b[K\r\x1b[K");
        assert_eq!(text, line);
    }

    #[test]
    fn elsewhere_a_line_comes_every_ten_seconds() {
        let at = [
            (1, 1, 9),
            (10, 100, 20_000),
            (15, 150, 0),
            (20, 200, 40_000),
        ];
        assert_eq!(
            shown(false, Some(1_000), &at),
            " 10 %  2,000 events a second  1:30 left\n 20 %  2,000 events a second  1:20 left\n"
        );
        assert_eq!(
            shown(false, None, &[(20, 0, 1_234_567)]),
            "1,234,567 events  61,728 a second\n"
        );
    }

    #[test]
    fn times_and_numbers_are_easy_to_read() {
        assert_eq!(clock(59.9), "0:59");
        assert_eq!(clock(3_661.0), "1:01:01");
        assert_eq!(clock(f64::INFINITY), "more than a day");
        let numbers = [0, 999, 1_000, 12_345, 1_234_567];
        let told = ["0", "999", "1,000", "12,345", "1,234,567"];
        assert_eq!(numbers.map(grouped), told);
        assert_eq!(counted(1, "line"), "1 line");
        assert_eq!(counted(1_000, "line"), "1,000 lines");
    }
}
