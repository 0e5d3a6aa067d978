//! The signed events of one run, and their expected receivers.
//!
//! Everything is prepared before the run, so that none of it is measured. The threads record the
//! state of an event in flight in atomics, which are read when the run is over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use corecast_nostr::Filter;

use super::bits::Bits;
use super::draw::{Draws, Traits, Wish, in_parallel};
use super::queries::Queries;
use super::sync::{self, SPREAD_S, Syncs};
use super::text::append_text;
use crate::error::RunError;
use crate::first_last::Ends;
use crate::histogram;
use crate::pacing::Pacing;
use crate::plan::{Nostr, Pace, Relay};
use crate::stamp::Stamp;

/// The most events of a run: they are signed before it and kept in memory.
pub(crate) const EVENTS_MAX: u64 = 500_000;
/// The most synchronizations of a closed loop.
const SYNCS_MAX: u64 = 100_000;
/// The most memory for the events of a run and the sets of them.
const BYTES_MAX: u64 = 2 << 30;
/// Approximate memory of an event besides its JSON.
const AROUND_BYTES: u64 = 160;

/// Approximate memory of a subscription besides its sets of events.
const SUBSCRIPTION_BYTES: u64 = 128;

/// The relay's answer to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Answer {
    None,
    Taken,
    Refused,
}

/// An event and its state.
#[derive(Debug)]
pub(super) struct Signed {
    /// Its JSON.
    pub(super) json: Box<[u8]>,
    /// Subscriptions that should get it.
    pub(super) receivers: u32,
    /// Number of the publisher that sent it.
    publisher: AtomicU32,
    due_ns: AtomicU64,
    /// When it was sent; the lowest bit says whether it had waited for the socket; 0: it was not
    /// sent.
    sent_ns: AtomicU64,
    answer: AtomicU8,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    arrivals: AtomicU64,
}

/// How an arriving event was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    pub(super) due_ns: u64,
    pub(super) sent_ns: u64,
    pub(super) is_held: bool,
}

/// A filter and the events that it matches.
#[derive(Debug)]
pub(super) struct Chosen {
    wish: Wish,
    pub(super) events: Bits,
}

/// A filter, and how many subscriptions have it.
type Wanted = (Filter, u32);

/// The events of a run and their receivers.
#[derive(Debug)]
pub(crate) struct Script {
    /// The value of the `t` tag that all events of the run have.
    pub(super) run: String,
    /// Subscriptions of one client.
    pub(super) per_client: u32,
    publishers: u32,
    /// In a closed loop the next publisher that may send takes the next event: the number taken so
    /// far.
    taken: Option<AtomicU64>,
    pub(super) events: Vec<Signed>,
    /// Numbers of events, by the first half of their ids.
    by_id: HashMap<[u8; ID_PART], u32>,
    /// By subscription, of all clients: its filter.
    pub(super) subscriptions: Vec<u32>,
    pub(super) filters: Vec<Chosen>,
    /// Clients do not publish, but ask for the events, which are stored first.
    pub(super) queries: Option<Queries>,
    draws: Draws,
    /// Clients synchronize: `events` are their synchronizations.
    pub(super) syncs: Option<Syncs>,
    mask: [u8; 4],
}

/// When the first event that is queried was created, in seconds since 1970: in June 2025, since
/// relays may refuse what is too old.
const QUERIED_AT: u64 = 1_750_000_000;

/// Digits of an id by which events are looked up: a hash of 128 bits.
pub(super) const ID_PART: usize = 32;

impl Script {
    /// Draws and signs everything for a run.
    ///
    /// # Errors
    /// It needs more events than can be kept.
    pub(crate) fn new(
        relay: &Relay,
        nostr: Nostr,
        seed: u64,
        size: usize,
        run_id: u64,
        mask: [u8; 4],
    ) -> Result<Self, RunError> {
        let count = events_of(relay, nostr, seed)?;
        let subscriptions = match relay.is_pushed {
            true => relay.clients.saturating_mul(nostr.subscriptions),
            false => 0,
        };
        let events_bytes = events_bytes(nostr, count, size as u64);
        let each_bytes = SUBSCRIPTION_BYTES + 4 * u64::from(relay.publishers) + 2 * count / 8;
        let subscriptions_bytes = u64::from(subscriptions) * each_bytes;
        if events_bytes + subscriptions_bytes > BYTES_MAX {
            return Err(RunError::new(format!(
                "{count} events and their receivers need more than {} MiB: use fewer events or \
                    subscriptions",
                BYTES_MAX >> 20
            )));
        }
        let (run, created_at) = match nostr.query {
            // Another run with this seed has the same events.
            Some(_) => (format!("loadgen-{seed:016x}"), QUERIED_AT),
            None => (format!("loadgen-{run_id:016x}"), now()),
        };
        let draws = Draws::new(nostr, seed, size, created_at, &run);
        let draws = match nostr.sync {
            Some(_) => draws.spread_over(SPREAD_S),
            None => draws,
        };
        let syncs = nostr
            .sync
            .map(|sync| Syncs::new(&draws, nostr.events, sync, seed, &run));
        let wishes = draws.wishes(subscriptions);
        let mut script = Self {
            run,
            per_client: if relay.is_pushed {
                nostr.subscriptions
            } else {
                0
            },
            publishers: relay.publishers,
            taken: matches!(relay.pace, Pace::Closed { .. }).then(AtomicU64::default),
            events: Vec::new(),
            by_id: HashMap::with_capacity(count as usize),
            subscriptions: Vec::with_capacity(wishes.len()),
            filters: Vec::new(),
            queries: None,
            draws,
            syncs: syncs.transpose()?,
            mask,
        };
        if script.syncs.is_some() {
            let records = (0..count).map(|_| Signed::new(Box::default(), 0));
            script.events = records.collect();
            return Ok(script);
        }
        let wanted = script.take_wishes(wishes, count as usize)?;
        script.sign(count as u32, &wanted);
        if let Some(query) = nostr.query {
            let ids = script.events.iter().map(Signed::id).collect::<Vec<_>>();
            script.queries = Some(Queries::new(&script.draws, query, &ids));
        }
        Ok(script)
    }

    /// Numbers the distinct filters. Returns each once, parsed, with the number of subscriptions
    /// that have it.
    fn take_wishes(&mut self, wishes: Vec<Wish>, events: usize) -> Result<Vec<Wanted>, RunError> {
        let (mut known, mut wanted) = (HashMap::new(), Vec::<Wanted>::new());
        for wish in wishes {
            let number = match known.get(&wish) {
                Some(number) => *number,
                None => {
                    let filter = Filter::parse(&self.draws.filter(&wish, 0));
                    let filter = filter.map_err(|error| RunError::new(error.to_string()))?;
                    let number = wanted.len() as u32;
                    wanted.push((filter, 0));
                    known.insert(wish.clone(), number);
                    self.filters.push(Chosen {
                        wish,
                        events: Bits::new(events),
                    });
                    number
                }
            };
            wanted[number as usize].1 += 1;
            self.subscriptions.push(number);
        }
        Ok(wanted)
    }

    /// The filter of a subscription, in JSON.
    pub(super) fn filter_of(&self, subscription: u32) -> String {
        let filter = self.subscriptions[subscription as usize];
        self.draws.filter(&self.filters[filter as usize].wish, 0)
    }

    /// Signs all events and determines the receivers of each.
    fn sign(&mut self, count: u32, wanted: &[Wanted]) {
        let askers = Askers::of(self.filters.iter().map(|filter| &filter.wish));
        let numbers: Vec<u32> = (0..count).collect();
        let draws = &self.draws;
        let signed = in_parallel(&numbers, |number| {
            let event = draws.sign(*number);
            // How a filter was drawn narrows the candidates; the filter itself decides.
            let matched: Vec<u32> = askers
                .of_event(draws.traits(*number))
                .filter(|filter| wanted[*filter as usize].0.matches(&event))
                .collect();
            (Box::<[u8]>::from(event.json().as_bytes()), matched)
        });
        for (number, (json, matched)) in (0..).zip(signed) {
            if let Some(id) = id_part(&json) {
                self.by_id.insert(id, number);
            }
            let receivers = matched.iter().map(|filter| wanted[*filter as usize].1);
            self.events.push(Signed::new(json, receivers.sum()));
            for filter in matched {
                self.filters[filter as usize].events.add(number);
            }
        }
    }

    /// The event with this id, of which the first digits are enough.
    pub(super) fn number_of(&self, id: &[u8]) -> Option<u32> {
        let part: &[u8; ID_PART] = id.first_chunk()?;
        self.by_id.get(part).copied()
    }

    /// The next event of a publisher, or the next query; `None` if none is left.
    pub(crate) fn next(&self, publisher: u32, seq: u64) -> Option<u32> {
        let number = match &self.taken {
            Some(taken) => taken.fetch_add(1, Ordering::Relaxed),
            None => seq * u64::from(self.publishers) + u64::from(publisher),
        };
        if self.queries.is_some() {
            return Some(number as u32);
        }
        (number < self.events.len() as u64).then_some(number as u32)
    }

    /// Appends the event of a stamp as a whole frame, and records when it is sent. Returns the
    /// arrivals to expect for it: its deliveries and its answer.
    pub(crate) fn append(&self, out: &mut Vec<u8>, stamp: &Stamp) -> u32 {
        let event = &self.events[stamp.seq as usize];
        event.publisher.store(stamp.publisher, Ordering::Relaxed);
        event.due_ns.store(stamp.due_ns, Ordering::Relaxed);
        let sent_ns = (stamp.sent_ns & !1).max(2) | u64::from(stamp.is_held);
        // Release: a reader that sees the time also sees what was recorded before.
        event.sent_ns.store(sent_ns, Ordering::Release);
        match &self.syncs {
            Some(syncs) => syncs.append(out, self.mask, stamp.seq),
            None => append_text(out, self.mask, &[b"[\"EVENT\",", &event.json, b"]"]),
        }
        event.receivers + 1
    }

    /// Events that are to be stored before the run.
    pub(crate) fn stored(&self) -> &[Box<[u8]>] {
        self.syncs.as_ref().map_or(&[], |syncs| &syncs.stored)
    }

    /// Events that were signed before the run.
    pub(super) fn signed(&self) -> u64 {
        match &self.syncs {
            Some(syncs) => syncs.stored.len() as u64,
            None => self.events.len() as u64,
        }
    }

    /// Whether clients query stored events.
    pub(crate) fn has_queries(&self) -> bool {
        self.queries.is_some()
    }

    pub(super) fn publishers(&self) -> u32 {
        self.publishers
    }

    /// The mask of all frames of the run.
    pub(super) fn mask(&self) -> [u8; 4] {
        self.mask
    }

    /// Adds the first and the last receivers of the events that were due from `measure_ns` on.
    pub(crate) fn finish(&self, measure_ns: u64, ends: &mut Ends) {
        for event in &self.events {
            let Some(sending) = event.sending().filter(|one| one.due_ns >= measure_ns) else {
                continue;
            };
            let count = event.arrivals.load(Ordering::Relaxed);
            if count == 0 {
                continue;
            }
            let (first_ns, last_ns) = (&event.first_ns, &event.last_ns);
            let (first_ns, last_ns) = (
                first_ns.load(Ordering::Relaxed),
                last_ns.load(Ordering::Relaxed),
            );
            let record = |histogram, at_ns: u64, from_ns| {
                histogram::record(histogram, at_ns.saturating_sub(from_ns));
            };
            record(&mut ends.first, first_ns, sending.due_ns);
            record(&mut ends.first_uncorrected, first_ns, sending.sent_ns);
            if count == u64::from(event.receivers.max(u32::from(self.per_client == 0))) {
                record(&mut ends.last, last_ns, sending.due_ns);
                record(&mut ends.last_uncorrected, last_ns, sending.sent_ns);
            }
        }
    }
}

impl Signed {
    fn new(json: Box<[u8]>, receivers: u32) -> Self {
        Self {
            json,
            receivers,
            publisher: AtomicU32::new(0),
            due_ns: AtomicU64::new(0),
            sent_ns: AtomicU64::new(0),
            answer: AtomicU8::new(Answer::None as u8),
            first_ns: AtomicU64::new(u64::MAX),
            last_ns: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
        }
    }

    /// Its id in hex.
    fn id(&self) -> &str {
        let id = self.json.get(ID_PLACE).unwrap_or_default();
        std::str::from_utf8(id).unwrap_or_default()
    }

    /// How it was sent; `None` if it was not.
    pub(super) fn sending(&self) -> Option<Sending> {
        let sent_ns = self.sent_ns.load(Ordering::Acquire);
        (sent_ns > 0).then(|| Sending {
            due_ns: self.due_ns.load(Ordering::Relaxed),
            sent_ns: sent_ns & !1,
            is_held: sent_ns & 1 == 1,
        })
    }

    pub(super) fn publisher(&self) -> u32 {
        self.publisher.load(Ordering::Relaxed)
    }

    pub(super) fn arrived(&self, now_ns: u64) {
        self.first_ns.fetch_min(now_ns, Ordering::Relaxed);
        self.last_ns.fetch_max(now_ns, Ordering::Relaxed);
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// Records an answer. False if it already had one.
    pub(super) fn answer(&self, answer: Answer) -> bool {
        let none = Answer::None as u8;
        let answer = answer as u8;
        let set = self
            .answer
            .compare_exchange(none, answer, Ordering::Relaxed, Ordering::Relaxed);
        set.is_ok()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answer.load(Ordering::Relaxed) != Answer::None as u8
    }

    pub(super) fn is_refused(&self) -> bool {
        self.answer.load(Ordering::Relaxed) == Answer::Refused as u8
    }
}

/// Candidate filters for an event, by its properties.
#[derive(Default)]
struct Askers {
    all: Vec<u32>,
    by_key: HashMap<u32, Vec<u32>>,
    by_kind: HashMap<u16, Vec<u32>>,
    by_topic: HashMap<u64, Vec<u32>>,
}

impl Askers {
    fn of<'a>(wishes: impl Iterator<Item = &'a Wish>) -> Self {
        let mut askers = Self::default();
        for (filter, wish) in (0..).zip(wishes) {
            match wish {
                // No subscription has ids: they are of stored events.
                Wish::All | Wish::Ids(_) => askers.all.push(filter),
                Wish::Kinds(kinds) => kinds
                    .iter()
                    .for_each(|kind| askers.by_kind.entry(*kind).or_default().push(filter)),
                Wish::Authors(keys) => keys
                    .iter()
                    .for_each(|key| askers.by_key.entry(*key).or_default().push(filter)),
                Wish::Topic(topic) => askers.by_topic.entry(*topic).or_default().push(filter),
            }
        }
        askers
    }

    fn of_event(&self, traits: Traits) -> impl Iterator<Item = u32> {
        let by = [
            Some(&self.all),
            self.by_key.get(&traits.key),
            self.by_kind.get(&traits.kind),
            self.by_topic.get(&traits.topic),
        ];
        by.into_iter().flatten().flatten().copied()
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Memory of the events, and of the sets of clients that synchronize.
fn events_bytes(nostr: Nostr, count: u64, size: u64) -> u64 {
    let (signed, sets_bytes) = match nostr.sync {
        Some(sync) => (
            u64::from(nostr.events),
            sync::sets_bytes(nostr.events, sync),
        ),
        None => (count, 0),
    };
    count * AROUND_BYTES + signed * size + sets_bytes
}

/// The most events that a run needs.
fn events_of(relay: &Relay, nostr: Nostr, seed: u64) -> Result<u64, RunError> {
    if nostr.query.is_some() {
        return Ok(u64::from(nostr.events));
    }
    let (Pace::Open { per_second, .. }, true) = (relay.pace, relay.publishers > 0) else {
        return Ok(match nostr.sync {
            Some(_) => SYNCS_MAX,
            None => u64::from(nostr.events),
        });
    };
    let time = relay.ramp + relay.warmup + relay.duration;
    let about = per_second * time.as_secs_f64();
    let mut each = vec![0_u64; relay.publishers as usize];
    if about <= EVENTS_MAX as f64 {
        let mut pacing = Pacing::new(relay, seed, 0, 1);
        while let Some(publisher) = pacing.take_due(time.as_nanos() as u64) {
            each[publisher as usize] += 1;
        }
    }
    let most = each.iter().max().copied().unwrap_or(0);
    match most * u64::from(relay.publishers) {
        count if about <= EVENTS_MAX as f64 && count <= 2 * EVENTS_MAX => Ok(count),
        _ => Err(RunError::new(format!(
            "the run needs {about:.0} events, and at most {EVENTS_MAX} can be signed before it: \
                use a lower --rate or a shorter --duration"
        ))),
    }
}

/// The first digits of the id of an event in canonical JSON.
pub(super) fn id_part(json: &[u8]) -> Option<[u8; ID_PART]> {
    let id = json.strip_prefix(b"{\"id\":\"")?;
    id.first_chunk().copied()
}

/// The place of the id in canonical JSON.
const ID_PLACE: std::ops::Range<usize> = 7..71;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corecast_nostr::ParsedEvent;

    use super::super::draw::tests::NOSTR;
    use super::*;
    use crate::plan::tests::relay;
    use crate::plan::{Arrivals, Expect};

    fn load(arrivals: Arrivals) -> Relay {
        Relay {
            publishers: 3,
            is_pushed: true,
            nostr: Some(NOSTR),
            pace: Pace::Open {
                per_second: 100.0,
                arrivals,
            },
            ..relay(40, Expect::All)
        }
    }

    fn script(relay: &Relay) -> Script {
        Script::new(relay, NOSTR, 5, 600, 9, [1, 2, 3, 4]).expect("a script")
    }

    #[test]
    fn an_event_reaches_exactly_the_matching_filters() {
        let script = script(&load(Arrivals::Constant));
        assert_eq!((script.events.len(), script.subscriptions.len()), (102, 40));
        assert!(script.filters.len() < 40);
        for (number, signed) in (0..).zip(&script.events) {
            let json = std::str::from_utf8(&signed.json).expect("text");
            let parsed = ParsedEvent::parse(json).expect("an event");
            parsed.check_id().expect("its id");
            let event = parsed.into_unverified().verify().expect("signed");
            let mut receivers = 0;
            for (subscription, filter) in (0..).zip(&script.subscriptions) {
                let chosen = &script.filters[*filter as usize];
                let asked = script.filter_of(subscription);
                let matches = Filter::parse(&asked).expect("a filter").matches(&event);
                assert_eq!(matches, chosen.events.has(number), "{json} {asked}");
                receivers += u32::from(matches);
            }
            assert_eq!(receivers, signed.receivers);
            assert_eq!(script.number_of(&json.as_bytes()[7..71]), Some(number));
        }
        assert!(script.events.iter().any(|event| event.receivers > 0));
    }

    #[test]
    fn every_publisher_gets_events_with_either_arrivals() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let relay = load(arrivals);
            let script = script(&relay);
            let mut pacing = Pacing::new(&relay, 5, 0, 1);
            let mut seqs = [0; 3];
            while let Some(publisher) = pacing.take_due(1_000_000_000) {
                let seq = &mut seqs[publisher as usize];
                assert!(script.next(publisher, *seq).is_some());
                *seq += 1;
            }
        }
    }

    #[test]
    fn more_events_than_can_be_signed_are_refused() {
        let long = Relay {
            duration: Duration::from_secs(100_000),
            ..load(Arrivals::Constant)
        };
        let told = Script::new(&long, NOSTR, 5, 600, 9, [0; 4]).expect_err("too many");
        assert!(told.to_string().contains("--duration"), "{told}");
    }
}
