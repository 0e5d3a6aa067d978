//! The options of Nostr scenarios.

use std::ops::RangeInclusive;

use super::resolve::within;
use super::scenario::Preset;
use super::{Args, Quota, Rate};
use crate::error::PlanError;
use crate::nostr::EVENTS_MAX;
use crate::plan::{Filters, Nostr, NostrSync, Query};
use crate::stamp::Form;

const KEYS_DEFAULT: u32 = 1000;
const KEYS_MAX: u32 = 1_000_000;
const AUTHORS_DEFAULT: u32 = 20;
const EVENTS_DEFAULT: u32 = 100_000;
const SYNCED_DEFAULT: u32 = 10_000;
const DIFFERENCES_DEFAULT: u32 = 100;
const QUERIED_DEFAULT: u32 = 20_000;
const ROWS_DEFAULT: u32 = 20;
/// Relays return no more.
const ROWS_MAX: u32 = 5000;
const SAME_SECOND_DEFAULT: u32 = 2;
const SUBSCRIPTIONS_MAX: u32 = 10_000;
/// JSON bytes of an event: with an empty content, and the most that fits a message with its head.
const EVENT_BYTES: RangeInclusive<usize> = 500..=100_000;

impl Args {
    /// Nostr's part of a plan; `None` for any other load.
    pub(super) fn nostr(&self, preset: &Preset) -> Result<Option<Nostr>, PlanError> {
        let Some(subscriptions) = preset.nostr else {
            return self.refuse_nostr_options();
        };
        let (is_fanout, is_query) = (subscriptions > 0, preset.queries);
        let unfit = self.not_of_nostr(is_fanout, is_query);
        if let Some(option) = unfit.or_else(|| self.not_of_sync(preset.is_sync)) {
            let scenario = self.scenario.name();
            let told = format!("--scenario {scenario} does not support {option}");
            return Err(PlanError::new(told));
        }
        let is_closed = self.rate.or(preset.rate) == Some(Rate::Max);
        if self.events.is_some() && !is_closed && !is_query && !preset.is_sync {
            return Err(PlanError::new(
                "--events needs --rate max: a fixed rate already decides their number",
            ));
        }
        if self.filters == Some(Filters::Ids) && !is_query {
            return Err(PlanError::new(
                "--filters ids needs --scenario nostr-query: ids of other events are not known",
            ));
        }
        let events = match (is_query, preset.is_sync) {
            (true, _) => QUERIED_DEFAULT,
            (_, true) => SYNCED_DEFAULT,
            _ => EVENTS_DEFAULT,
        };
        let nostr = Nostr {
            subscriptions: self.subscriptions.unwrap_or(subscriptions),
            filters: self.filters.unwrap_or(Filters::Mixed),
            keys: self.keys.unwrap_or(KEYS_DEFAULT),
            authors: self.authors.unwrap_or(AUTHORS_DEFAULT),
            events: self.events.unwrap_or(events),
            query: is_query.then(|| self.query()),
            sync: preset.is_sync.then(|| NostrSync {
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
            within("--differences", sync.differences.into(), 0, events)?;
        }
        if let Some(query) = nostr.query {
            within("--rows", query.rows.into(), 1, ROWS_MAX.into())?;
            within("--same-second", query.same_second.into(), 1, EVENTS_MAX)?;
        }
        Ok(Some(nostr))
    }

    fn query(&self) -> Query {
        Query {
            rows: self.rows.unwrap_or(ROWS_DEFAULT),
            is_stored: self.stored,
            same_second: self.same_second.unwrap_or(SAME_SECOND_DEFAULT),
        }
    }

    /// An option that was given but has no effect in this scenario.
    fn not_of_nostr(&self, is_fanout: bool, is_query: bool) -> Option<&'static str> {
        let has_filters = is_fanout || is_query;
        let given = [
            (
                "--subscriptions",
                self.subscriptions.is_some() && !is_fanout,
            ),
            ("--filters", self.filters.is_some() && !has_filters),
            ("--authors", self.authors.is_some() && !has_filters),
            ("--rows", self.rows.is_some() && !is_query),
            ("--same-second", self.same_second.is_some() && !is_query),
            ("--stored", self.stored && !is_query),
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
        (self.differences.is_some() && !is_sync).then_some("--differences")
    }

    fn refuse_nostr_options(&self) -> Result<Option<Nostr>, PlanError> {
        let given = [
            ("--subscriptions", self.subscriptions.is_some()),
            ("--filters", self.filters.is_some()),
            ("--keys", self.keys.is_some()),
            ("--authors", self.authors.is_some()),
            ("--events", self.events.is_some()),
            ("--rows", self.rows.is_some()),
            ("--same-second", self.same_second.is_some()),
            ("--stored", self.stored),
        ];
        if self.differences.is_some() {
            return Err(PlanError::new("--differences needs --scenario nostr-sync"));
        }
        match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(None),
            Some((option, _)) => Err(PlanError::new(format!(
                "{option} needs --scenario nostr-fanout, nostr-publish or nostr-query"
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
