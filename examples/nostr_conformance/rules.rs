//! Rules and their verdicts.

use crate::context::Context;

/// Why a rule does not hold or cannot be tested.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Failed(String),
    Skipped(String),
}

impl From<String> for Verdict {
    fn from(reason: String) -> Verdict {
        Verdict::Failed(reason)
    }
}

/// The verdict that a rule was not tested, and why.
pub(crate) fn skipped(reason: impl Into<String>) -> Verdict {
    Verdict::Skipped(reason.into())
}

pub(crate) type Check = Result<(), Verdict>;

/// A requirement on a relay, and its test.
pub(crate) struct Rule {
    /// `nip01/…`, or `corecast/…` if the NIPs leave it open and Corecast does not.
    pub(crate) id: &'static str,
    /// The NIPs that the relay must support: the first one states the rule.
    pub(crate) nips: &'static [u64],
    /// The heading in the NIP.
    pub(crate) paragraph: &'static str,
    pub(crate) text: &'static str,
    pub(crate) check: fn(&Context) -> Check,
}

impl Rule {
    pub(crate) const fn new(
        id: &'static str,
        nips: &'static [u64],
        paragraph: &'static str,
        text: &'static str,
        check: fn(&Context) -> Check,
    ) -> Rule {
        Rule {
            id,
            nips,
            paragraph,
            text,
            check,
        }
    }

    /// A rule of NIP-01.
    pub(crate) const fn basic(
        id: &'static str,
        paragraph: &'static str,
        text: &'static str,
        check: fn(&Context) -> Check,
    ) -> Rule {
        Rule::new(id, &[1], paragraph, text, check)
    }

    /// Whether it is a choice of Corecast.
    pub(crate) fn is_ours(&self) -> bool {
        self.id.starts_with("corecast/")
    }
}

/// Fails with this message unless the condition holds.
pub(crate) fn ensure(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}

/// The ids are those of these events, in this order.
pub(crate) fn same_order(
    what: &str,
    got: &[String],
    due: &[&crate::event::Event],
) -> Result<(), String> {
    let due: Vec<&str> = due.iter().map(|event| event.id.as_str()).collect();
    ensure(got == due, || format!("{what}: due {due:?}, came {got:?}"))
}

/// The ids are those of these events, each once, in any order.
pub(crate) fn same_set(
    what: &str,
    got: &[String],
    due: &[&crate::event::Event],
) -> Result<(), String> {
    let mut got: Vec<&str> = got.iter().map(String::as_str).collect();
    let mut due: Vec<&str> = due.iter().map(|event| event.id.as_str()).collect();
    got.sort_unstable();
    due.sort_unstable();
    ensure(got == due, || format!("{what}: due {due:?}, came {got:?}"))
}
