//! From stored to live events: each event once, in order, no matter when it comes.
//!
//! The store is a real one that blocks at each page until the test releases it, so that events come
//! before a page, between two, and while the last is in progress.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corecast::engine::EndpointSettings;
use corecast::relay::nostr::{Nostr, NostrSettings};
use corecast_nostr::{
    DeletionRule, Event, MemoryStore, Outcome, Page, Query, Seq, Store, StoreError,
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use proptest::prelude::*;
use serde_json::json;

use crate::support::DEADLINE;
use crate::{Relay, event, id};

/// A store whose readers block until released.
struct Gated {
    store: MemoryStore,
    /// One message for each read that may continue.
    gate: Receiver<()>,
    /// Reads that have begun.
    begun: Arc<AtomicUsize>,
}

impl Gated {
    fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        // A finished test releases all reads.
        let _ = self.gate.recv_timeout(DEADLINE);
    }
}

impl Store for Gated {
    fn commit(
        &self,
        events: &[Arc<Event>],
        rule: &dyn DeletionRule,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.store.commit(events, rule)
    }

    fn last_seq(&self) -> Seq {
        self.store.last_seq()
    }

    fn page(
        &self,
        query: &mut Query,
        _rows: usize,
        bytes: usize,
        now: u64,
    ) -> Result<Page, StoreError> {
        self.pass();
        self.store.page(query, 2, bytes, now)
    }

    fn since(&self, after: Seq, _rows: usize) -> Result<(Vec<(Seq, Arc<Event>)>, Seq), StoreError> {
        self.pass();
        // As many as the engine asks for: fewer would mean that these were the last.
        self.store.since(after, 64)
    }

    fn tidy(&self, now: u64) -> Result<usize, StoreError> {
        self.store.tidy(now)
    }

    fn size(&self) -> (usize, usize) {
        self.store.size()
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.store.notes()
    }

    fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.store.set_note(name, value)
    }
}

pub(crate) struct Stage {
    pub(crate) relay: Relay,
    pub(crate) lets: Sender<()>,
    begun: Arc<AtomicUsize>,
}

impl Stage {
    fn new() -> Stage {
        Stage::of(NostrSettings::default())
    }

    pub(crate) fn with(change: impl FnOnce(&mut NostrSettings)) -> Stage {
        let mut settings = NostrSettings::default();
        change(&mut settings);
        Stage::of(settings)
    }

    pub(crate) fn of(settings: NostrSettings) -> Stage {
        let (lets, gate) = unbounded();
        let begun = Arc::new(AtomicUsize::new(0));
        let store = Gated {
            store: MemoryStore::new(10_000),
            gate,
            begun: Arc::clone(&begun),
        };
        let nostr = Nostr::with_store(settings, Arc::new(store));
        let relay = Relay::of(2, EndpointSettings::default(), nostr);
        Stage { relay, lets, begun }
    }

    /// Lets this many reads go on.
    pub(crate) fn let_read(&self, count: usize) {
        (0..count).for_each(|_| self.lets.send(()).expect("a store"));
    }

    /// Reads that have begun.
    pub(crate) fn reads(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until this many reads are blocked.
    pub(crate) fn await_reads(&self, count: usize) {
        crate::support::eventually("a reader waits", || self.reads() >= count);
    }
}

/// Events before the REQ, then a number before each page, with ephemeral ones among them.
fn hand_over(before: usize, between: &[usize], ephemeral_every: usize) {
    let stage = Stage::new();
    let (mut reader, mut writer) = (stage.relay.open(), stage.relay.open());
    let mut ago = 10_000;
    let mut made = 0;
    let mut next = || {
        ago -= 1;
        made += 1;
        let kind = if made % ephemeral_every == 0 {
            20_001
        } else {
            1
        };
        event(1, kind, ago % 800, &[&["n", &made.to_string()]])
    };
    let mut stored: BTreeSet<String> = BTreeSet::new();
    // Ephemeral events take another way, so they have an order of their own.
    let mut later: [Vec<String>; 2] = Default::default();
    for _ in 0..before {
        let event = next();
        writer.expect_taken(&event);
        if event.kind() == 1 {
            stored.insert(id(&event));
        }
    }
    reader.req("s", &[json!({"kinds": [1, 20_001]})]);
    let mut reads = 1;
    stage.await_reads(reads);
    for count in between {
        for _ in 0..*count {
            let event = next();
            writer.expect_taken(&event);
            later[usize::from(event.kind() != 1)].push(id(&event));
        }
        stage.lets.send(()).expect("a gate");
        if stored.len() > 2 * reads {
            reads += 1;
            stage.await_reads(reads);
        }
    }
    // No read is blocked any more.
    (0..10_000).for_each(|_| stage.lets.send(()).expect("a gate"));
    let (got, _) = reader.stored("s");
    assert_eq!(got.iter().cloned().collect::<BTreeSet<_>>(), stored);
    assert_eq!(got.len(), stored.len());
    for _ in 0..5 {
        let event = next();
        writer.expect_taken(&event);
        later[usize::from(event.kind() != 1)].push(id(&event));
    }
    let mut got: [Vec<String>; 2] = Default::default();
    for _ in 0..later[0].len() + later[1].len() {
        let live = reader.live("s");
        got[usize::from(later[1].contains(&live))].push(live);
    }
    assert_eq!(got, later);
    reader.expect_nothing();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn each_event_comes_once_whenever_it_comes(
        before in 0..12_usize,
        between in proptest::collection::vec(0..6_usize, 1..5),
        ephemeral_every in 2..5_usize,
    ) {
        hand_over(before, &between, ephemeral_every);
    }
}

/// While the stored events are read, more events come than are kept for a subscription.
#[test]
fn overflowing_live_events_are_read_from_the_store() {
    let stage = Stage::new();
    let (mut reader, mut writer) = (stage.relay.open(), stage.relay.open());
    writer.expect_taken(&event(1, 1, 800, &[]));
    reader.req("s", &[json!({"kinds": [1]})]);
    stage.await_reads(1);
    let later: Vec<Event> = (0..600)
        .map(|ago| event(1, 1, ago, &[&["later"]]))
        .collect();
    later.iter().for_each(|event| writer.expect_taken(event));
    crate::support::eventually("it overflows", || stage.relay.stats.overflows() == 1);
    stage.let_read(100);
    let (got, _) = reader.stored("s");
    assert_eq!(got.len(), 1);
    let last = event(1, 1, 0, &[&["last"]]);
    writer.expect_taken(&last);
    let got: Vec<String> = (0..601).map(|_| reader.live("s")).collect();
    let wanted: Vec<String> = later.iter().chain([&last]).map(id).collect();
    assert_eq!(got, wanted);
    reader.expect_nothing();
}

/// A page for a subscription that is closed, or was replaced, is not sent.
#[test]
fn late_pages_are_dropped() {
    let stage = Stage::new();
    let (mut reader, mut writer) = (stage.relay.open(), stage.relay.open());
    for kind in [1, 2] {
        writer.expect_taken(&event(1, kind, 0, &[]));
    }
    reader.req("s", &[json!({"kinds": [1]})]);
    stage.await_reads(1);
    reader.say(&json!(["CLOSE", "s"]));
    reader.req("s", &[json!({"kinds": [2]})]);
    stage.await_reads(2);
    stage.let_read(10);
    assert_eq!(reader.stored("s").0.len(), 1);
    reader.expect_nothing();
}

/// A failing store causes an error answer, and the relay continues.
#[test]
fn a_failing_store_gives_an_error_answer() {
    struct Broken;
    impl Store for Broken {
        fn commit(
            &self,
            _: &[Arc<Event>],
            _: &dyn DeletionRule,
        ) -> Result<Vec<Outcome>, StoreError> {
            Err(StoreError("no space".to_owned()))
        }
        fn last_seq(&self) -> Seq {
            0
        }
        fn page(&self, _: &mut Query, _: usize, _: usize, _: u64) -> Result<Page, StoreError> {
            Err(StoreError("no space".to_owned()))
        }
        fn since(&self, _: Seq, _: usize) -> Result<(Vec<(Seq, Arc<Event>)>, Seq), StoreError> {
            Err(StoreError("no space".to_owned()))
        }
        fn tidy(&self, _: u64) -> Result<usize, StoreError> {
            Ok(0)
        }
        fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
            Ok(Vec::new())
        }
        fn set_note(&self, _: &str, _: Option<&[u8]>) -> Result<(), StoreError> {
            Err(StoreError("no space".to_owned()))
        }
        fn size(&self) -> (usize, usize) {
            (0, 0)
        }
    }
    let nostr = Nostr::with_store(NostrSettings::default(), Arc::new(Broken));
    let relay = Relay::of(1, EndpointSettings::default(), nostr);
    let mut client = relay.open();
    let (is_taken, told) = client.publish(&event(1, 1, 0, &[]));
    assert!(!is_taken && told.starts_with("error: "), "{told}");
    for verb in ["REQ", "COUNT"] {
        let answer = client.refused(&json!([verb, "s", {}]));
        assert_eq!((&answer[0], &answer[1]), (&json!("CLOSED"), &json!("s")));
        assert!(
            answer[2]
                .as_str()
                .is_some_and(|told| told.starts_with("error: ")),
            "{answer}"
        );
    }
    assert_eq!(relay.stats.open_subscriptions(), 0);
}
