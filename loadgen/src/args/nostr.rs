//! The options of Nostr scenarios.

use std::ops::RangeInclusive;

use super::resolve::within;
use super::scenario::Preset;
use super::{Args, Quota, Rate};
use crate::error::PlanError;
use crate::nostr::EVENTS_MAX;
use crate::plan::{Filters, Nostr, NostrSync};
use crate::stamp::Form;

const KEYS_DEFAULT: u32 = 1000;
const KEYS_MAX: u32 = 1_000_000;
const AUTHORS_DEFAULT: u32 = 20;
const EVENTS_DEFAULT: u32 = 100_000;
const STORED_DEFAULT: u32 = 10_000;
const DIFFERENCES_DEFAULT: u32 = 100;
const SUBSCRIPTIONS_MAX: u32 = 10_000;
/// JSON bytes of an event: with an empty content, and the most that fits a message with its head.
const EVENT_BYTES: RangeInclusive<usize> = 500..=100_000;

impl Args {
    /// Nostr's part of a plan; `None` for any other load.
    pub(super) fn nostr(&self, preset: &Preset) -> Result<Option<Nostr>, PlanError> {
        let Some(subscriptions) = preset.nostr else {
            return self.refuse_nostr_options();
        };
        let is_fanout = subscriptions > 0;
        let unfit = self.not_of_nostr(is_fanout);
        if let Some(option) = unfit.or_else(|| self.not_of_sync(preset.is_sync)) {
            let scenario = self.scenario.name();
            let told = format!("--scenario {scenario} does not support {option}");
            return Err(PlanError::new(told));
        }
        let is_closed = self.rate.or(preset.rate) == Some(Rate::Max);
        if self.events.is_some() && !is_closed {
            return Err(PlanError::new(
                "--events needs --rate max: a fixed rate already decides their number",
            ));
        }
        let nostr = Nostr {
            subscriptions: self.subscriptions.unwrap_or(subscriptions),
            filters: self.filters.unwrap_or(Filters::Mixed),
            keys: self.keys.unwrap_or(KEYS_DEFAULT),
            authors: self.authors.unwrap_or(AUTHORS_DEFAULT),
            events: self.events.unwrap_or(EVENTS_DEFAULT),
            sync: preset.is_sync.then(|| NostrSync {
                stored: self.stored.unwrap_or(STORED_DEFAULT),
                differences: self.differences.unwrap_or(DIFFERENCES_DEFAULT),
            }),
        };
        let [subscriptions, keys, authors, events] =
            [nostr.subscriptions, nostr.keys, nostr.authors, nostr.events].map(u64::from);
        let subscriptions_max = u64::from(SUBSCRIPTIONS_MAX);
        within(
            "--subscriptions",
            subscriptions,
            is_fanout.into(),
            subscriptions_max,
        )?;
        within("--keys", keys, 1, KEYS_MAX.into())?;
        within("--authors", authors, 1, keys.max(AUTHORS_DEFAULT.into()))?;
        within("--events", events, 1, EVENTS_MAX)?;
        if let Some(sync) = nostr.sync {
            let stored = u64::from(sync.stored);
            within("--stored", stored, 1, EVENTS_MAX)?;
            within("--differences", sync.differences.into(), 0, stored)?;
        }
        Ok(Some(nostr))
    }

    /// An option that was given but has no effect in this scenario.
    fn not_of_nostr(&self, is_fanout: bool) -> Option<&'static str> {
        let given = [
            (
                "--subscriptions",
                self.subscriptions.is_some() && !is_fanout,
            ),
            ("--filters", self.filters.is_some() && !is_fanout),
            ("--authors", self.authors.is_some() && !is_fanout),
            ("--publishers", self.publishers.is_some() && !is_fanout),
            ("--expect", self.expect.is_some()),
            ("--no-echo", self.no_echo),
            ("--rooms", self.rooms.is_some()),
            ("--binary", self.binary),
            ("--payload", self.payload.is_some()),
            ("--stalled", self.stalled != Quota::Count(0)),
            ("--slow-readers", self.slow_readers != Quota::Count(0)),
            ("--churn", self.churn.is_some()),
            ("--storm-every", self.storm_every.is_some()),
        ];
        let mut given = given.iter().filter(|(_, is_given)| *is_given);
        given.next().map(|(option, _)| *option)
    }

    fn not_of_sync(&self, is_sync: bool) -> Option<&'static str> {
        let given = [
            ("--stored", self.stored.is_some() && !is_sync),
            ("--differences", self.differences.is_some() && !is_sync),
            ("--events", self.events.is_some() && is_sync),
        ];
        let mut given = given.iter().filter(|(_, is_given)| *is_given);
        given.next().map(|(option, _)| *option)
    }

    fn refuse_nostr_options(&self) -> Result<Option<Nostr>, PlanError> {
        let given = [
            ("--subscriptions", self.subscriptions.is_some()),
            ("--filters", self.filters.is_some()),
            ("--keys", self.keys.is_some()),
            ("--authors", self.authors.is_some()),
            ("--events", self.events.is_some()),
        ];
        let syncs = [
            ("--stored", self.stored.is_some()),
            ("--differences", self.differences.is_some()),
        ];
        if let Some((option, _)) = syncs.iter().find(|(_, is_given)| *is_given) {
            return Err(PlanError::new(format!(
                "{option} needs --scenario nostr-sync"
            )));
        }
        match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(None),
            Some((option, _)) => Err(PlanError::new(format!(
                "{option} needs --scenario nostr-fanout or nostr-publish"
            ))),
        }
    }

    /// The allowed sizes of a message in bytes.
    pub(super) fn sizes(form: Form, preset: &Preset) -> RangeInclusive<usize> {
        match preset.nostr {
            Some(_) => EVENT_BYTES,
            None => form.sizes(),
        }
    }
}
