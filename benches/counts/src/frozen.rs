//! The limits: each work's count when it was frozen, by compiler, and the verdict on a new count.
//!
//! A limit is meant for all later changes together, so it does not follow the last measurement.
//! Raising one needs a reason, which stays in the file beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Instructions by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Prefix of the names of turns.
pub(crate) const TURN: &str = "turn: ";
/// Tolerance for a whole turn: the timing of events varies.
const TURN_TOLERANCE: f64 = 0.03;
/// Tolerance for the codec and the fan-out in memory: unrelated code moves inlining a little.
const TOLERANCE: f64 = 0.01;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Frozen {
    by_compiler: BTreeMap<String, Limits>,
}

/// The limits of one compiler.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// The commit that was measured first.
    commit: String,
    counts: BTreeMap<String, Limit>,
}

/// The limit of one work, before the tolerance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    count: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    raised: Vec<Raise>,
}

/// One time that a limit was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Raise {
    from: u64,
    to: u64,
    why: String,
}

impl Frozen {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    pub(crate) fn of(&self, compiler: &str) -> Option<&Limits> {
        self.by_compiler.get(compiler)
    }

    /// Freezes counts without a limit for this compiler, at their value of `commit`. Existing
    /// limits stay. Returns the names of the new ones.
    pub(crate) fn add(&mut self, compiler: &str, commit: &str, counts: &Counts) -> Vec<String> {
        let limits = self.by_compiler.entry(compiler.to_owned());
        let limits = limits.or_insert_with(|| Limits {
            commit: commit.to_owned(),
            counts: BTreeMap::new(),
        });
        let mut new = Vec::new();
        for (name, count) in counts {
            limits.counts.entry(name.clone()).or_insert_with(|| {
                new.push(name.clone());
                Limit {
                    count: *count,
                    raised: Vec::new(),
                }
            });
        }
        new
    }

    /// Raises the limit of `name` to `count`, and keeps the reason.
    ///
    /// # Errors
    /// The limit does not exist, is not lower already, or the reason is missing.
    pub(crate) fn raise(
        &mut self,
        compiler: &str,
        name: &str,
        count: u64,
        why: &str,
    ) -> Result<()> {
        let limits = self.by_compiler.get_mut(compiler);
        let limit = limits.and_then(|limits| limits.counts.get_mut(name));
        let limit = limit.with_context(|| format!("{name:?} has no limit for {compiler}"))?;
        ensure!(!why.trim().is_empty(), "raising a limit needs a reason");
        ensure!(
            count > limit.count,
            "{name} takes {count}, and may take {}",
            limit.count
        );
        limit.raised.push(Raise {
            from: limit.count,
            to: count,
            why: why.trim().to_owned(),
        });
        limit.count = count;
        Ok(())
    }
}

/// A count compared with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within {
        count: u64,
        limit: u64,
    },
    Over {
        count: u64,
        limit: u64,
    },
    /// No limit exists: it is new, or was renamed.
    Missing,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, limit, word) = match *self {
            Self::Within { count, limit } => (count, limit, "ok"),
            Self::Over { count, limit } => (count, limit, "TOO MANY"),
            Self::Missing => return write!(out, "NO LIMIT: scripts/bench counts --update"),
        };
        let change = 100.0 * (count as f64 / limit as f64 - 1.0);
        write!(out, "{count:>10} of {limit:>10} {change:>+7.2} %  {word}")
    }
}

/// Each count, in the order of the names.
pub(crate) fn judge<'a>(counts: &'a Counts, limits: &Limits) -> Vec<(&'a str, Verdict)> {
    let verdict = |name: &str, count: u64| match limits.counts.get(name) {
        None => Verdict::Missing,
        Some(&Limit { count: limit, .. }) => {
            let tolerance = match name.starts_with(TURN) {
                true => TURN_TOLERANCE,
                false => TOLERANCE,
            };
            match count as f64 > (1.0 + tolerance) * limit as f64 {
                true => Verdict::Over { count, limit },
                false => Verdict::Within { count, limit },
            }
        }
    };
    let each = counts.iter();
    each.map(|(name, count)| (name.as_str(), verdict(name, *count)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: &str = "rustc 1";

    fn counts(name: &str, count: u64) -> Counts {
        Counts::from([(name.to_owned(), count)])
    }

    fn verdict(frozen: &Frozen, name: &str, count: u64) -> Verdict {
        let limits = frozen.of(BUILT).expect("there are some");
        judge(&counts(name, count), limits)[0].1
    }

    fn frozen(name: &str, count: u64) -> Frozen {
        let mut frozen = Frozen::default();
        frozen.add(BUILT, "abc", &counts(name, count));
        frozen
    }

    #[test]
    fn the_codec_may_take_one_percent_more_and_a_turn_three() {
        let (codec, turn) = (frozen("encode", 1_000), frozen("turn: idle", 1_000));
        let is_within = |verdict| matches!(verdict, Verdict::Within { .. });
        assert!(is_within(verdict(&codec, "encode", 1_010)));
        assert!(!is_within(verdict(&codec, "encode", 1_011)));
        assert!(is_within(verdict(&turn, "turn: idle", 1_030)));
        assert!(!is_within(verdict(&turn, "turn: idle", 1_031)));
        assert!(is_within(verdict(&turn, "turn: idle", 10)));
    }

    #[test]
    fn a_count_without_limit_is_reported_and_fails() {
        let frozen = frozen("encode", 1);
        assert_eq!(verdict(&frozen, "decode", 1), Verdict::Missing);
    }

    #[test]
    fn adding_moves_no_limit_up_or_down() {
        let mut frozen = frozen("encode", 100);
        for count in [50, 200] {
            let mut measured = counts("encode", count);
            measured.insert("decode".to_owned(), count);
            let new = frozen.add(BUILT, "def", &measured);
            assert_eq!(new.len(), usize::from(count == 50));
        }
        let limits = frozen.of(BUILT).expect("there are some");
        assert_eq!(limits.commit, "abc");
        assert_eq!(limits.counts["encode"].count, 100);
        assert_eq!(limits.counts["decode"].count, 50);
    }

    #[test]
    fn raising_needs_a_reason_which_is_kept() {
        let mut frozen = frozen("encode", 100);
        assert!(frozen.raise(BUILT, "encode", 120, "  ").is_err());
        assert!(frozen.raise(BUILT, "encode", 100, "no more").is_err());
        assert!(frozen.raise(BUILT, "decode", 120, "unknown").is_err());
        assert!(frozen.raise("rustc 2", "encode", 120, "unknown").is_err());
        let why = "it checks what it did not";
        frozen.raise(BUILT, "encode", 120, why).expect("a reason");
        let text = serde_json::to_string(&frozen).expect("JSON");
        let frozen: Frozen = serde_json::from_str(&text).expect("the same");
        let limit = &frozen.of(BUILT).expect("there are some").counts["encode"];
        assert_eq!(limit.count, 120);
        assert_eq!(limit.raised[0].from, 100);
        assert_eq!(limit.raised[0].why, why);
    }

    #[test]
    fn limits_of_another_compiler_are_none_and_stay() {
        let mut frozen = frozen("encode", 1);
        assert!(frozen.of("rustc 2").is_none());
        frozen.add("rustc 2", "def", &counts("encode", 2));
        assert_eq!(
            verdict(&frozen, "encode", 1),
            Verdict::Within { count: 1, limit: 1 }
        );
    }
}
