//! The lines of a file that were not taken, by reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::progress::grouped;

/// Reasons that are told apart; some repeat text of the file. All others are one.
const REASONS_MAX: usize = 32;
const OTHER: &str = "other reasons";

/// Lines that are named for each reason.
const LINES_TOLD: usize = 10;

#[derive(Debug, Default)]
struct Lines {
    count: u64,
    first: Vec<u64>,
}

/// Lines by reason.
#[derive(Debug, Default)]
pub(super) struct ByReason(BTreeMap<String, Lines>);

impl ByReason {
    /// Adds a line.
    pub(super) fn add(&mut self, line: u64, reason: &str) {
        let is_new = !self.0.contains_key(reason);
        let reason = match is_new && self.0.len() >= REASONS_MAX {
            true => OTHER,
            false => reason,
        };
        let lines = self.0.entry(reason.to_owned()).or_default();
        lines.count += 1;
        if lines.first.len() < LINES_TOLD {
            lines.first.push(line);
        }
    }

    /// All lines together.
    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|lines| lines.count).sum()
    }

    /// A line of text for each reason, the most frequent first, with the first lines of the file.
    pub(super) fn report(&self) -> String {
        let mut reasons: Vec<_> = self.0.iter().collect();
        reasons.sort_by_key(|(_, lines)| std::cmp::Reverse(lines.count));
        let mut text = String::new();
        for (reason, lines) in reasons {
            let count = grouped(lines.count);
            // The text may come from the file: nothing in it may control a terminal.
            let reason = reason.escape_debug();
            let numbers: Vec<String> = lines.first.iter().map(u64::to_string).collect();
            let word = if lines.count == 1 { "line" } else { "lines" };
            let more = if lines.count > LINES_TOLD as u64 {
                ", …"
            } else {
                ""
            };
            // A write to a `String` cannot fail.
            let numbers = numbers.join(", ");
            let _ = writeln!(text, "{count:>12}  {reason}: {word} {numbers}{more}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_reason_is_first_with_its_first_lines() {
        let mut refused = ByReason::default();
        refused.add(7, "rare \u{1b}[2J");
        (1..=1_234).for_each(|line| refused.add(line, "frequent"));
        assert_eq!(refused.count(), 1_235);
        let report = refused.report();
        let expected = "       1,234  frequent: lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …
           1  rare \\u{1b}[2J: line 7
";
        assert_eq!(report, expected);
    }

    #[test]
    fn reasons_without_end_become_one() {
        let mut refused = ByReason::default();
        for line in 0..1_000 {
            refused.add(line, &format!("reason {line}"));
        }
        assert_eq!(refused.count(), 1_000);
        let report = refused.report();
        assert_eq!(report.lines().count(), REASONS_MAX + 1);
        assert!(
            report.starts_with("         968  other reasons: lines 32, "),
            "{report}"
        );
    }
}
