//! What may be taken, by compiler, and how it is judged.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Instructions by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Inlining moves a little with unrelated code.
const TOLERANCE: f64 = 0.03;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Thresholds {
    by_compiler: BTreeMap<String, Counts>,
}

impl Thresholds {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    pub(crate) fn of(&self, compiler: &str) -> Option<&Counts> {
        self.by_compiler.get(compiler)
    }

    /// Replaces what there was for this compiler; those of others stay.
    pub(crate) fn set(&mut self, compiler: &str, counts: Counts) {
        self.by_compiler.insert(compiler.to_owned(), counts);
    }
}

/// What a count is beside its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within {
        count: u64,
        threshold: u64,
    },
    Over {
        count: u64,
        threshold: u64,
    },
    /// So much less that the threshold guards nothing any more.
    Under {
        count: u64,
        threshold: u64,
    },
    /// There is none: it is new, or was renamed.
    Missing,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, threshold, word) = match *self {
            Self::Within { count, threshold } => (count, threshold, "ok"),
            Self::Over { count, threshold } => (count, threshold, "TOO MANY"),
            Self::Under { count, threshold } => (
                count,
                threshold,
                "fewer: scripts/bench counts --update keeps it so",
            ),
            Self::Missing => return write!(out, "NO THRESHOLD: scripts/bench counts --update"),
        };
        let change = 100.0 * (count as f64 / threshold as f64 - 1.0);
        write!(
            out,
            "{count:>10} of {threshold:>10} {change:>+7.2} %  {word}"
        )
    }
}

/// Each count, in the order of the names.
pub(crate) fn judge<'a>(counts: &'a Counts, thresholds: &Counts) -> Vec<(&'a str, Verdict)> {
    let verdict = |name: &str, count: u64| match thresholds.get(name) {
        None => Verdict::Missing,
        Some(&threshold) => {
            let allowed = TOLERANCE * threshold as f64;
            let change = count as f64 - threshold as f64;
            match change {
                _ if change > allowed => Verdict::Over { count, threshold },
                _ if change < -allowed => Verdict::Under { count, threshold },
                _ => Verdict::Within { count, threshold },
            }
        }
    };
    let each = counts.iter();
    each.map(|(name, count)| (name.as_str(), verdict(name, *count)))
        .collect()
}

/// The number of `==123== Collected : 4567`.
pub(crate) fn parse_collected(said: &str) -> Option<u64> {
    let line = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(count: u64) -> Counts {
        Counts::from([("encode".to_owned(), count)])
    }

    #[test]
    fn three_percent_more_pass_and_four_do_not() {
        let verdict = |count| judge(&one(count), &one(1_000))[0].1;
        assert!(matches!(verdict(1_030), Verdict::Within { .. }));
        assert!(matches!(verdict(1_040), Verdict::Over { .. }));
        assert!(matches!(verdict(960), Verdict::Under { .. }));
    }

    #[test]
    fn what_has_no_threshold_is_said_and_does_not_pass() {
        assert_eq!(judge(&one(1), &Counts::new())[0].1, Verdict::Missing);
    }

    #[test]
    fn thresholds_of_another_compiler_are_none_and_stay() {
        let mut thresholds = Thresholds::default();
        thresholds.set("rustc 1", one(1));
        assert!(thresholds.of("rustc 2").is_none());
        thresholds.set("rustc 2", one(2));
        assert_eq!(thresholds.of("rustc 1"), Some(&one(1)));
    }

    #[test]
    fn the_count_is_found_in_what_valgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 281543\n==7==\n";
        assert_eq!(parse_collected(said), Some(281_543));
        assert_eq!(parse_collected("==7== Collected :\n"), None);
    }
}
