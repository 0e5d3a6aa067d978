//! Events in a folder: the binary, killed and started again; a store that fails.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use corecast::engine::EndpointSettings;
use corecast::relay::nostr::{Nostr, NostrSettings};
use corecast_nostr::{
    DeletionRule, Event, MemoryStore, Numbered, Outcome, Page, Query, Seq, Store, StoreError,
};
use rustix::process::Signal;
use serde_json::json;

use super::{Nostrich, Relay, event, id};
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::relay::Relay as Binary;

/// The settings of a binary whose events are in this folder.
fn sets(folder: &Path) -> Vec<String> {
    let store = format!("endpoints.nostr.nostr.store={}", folder.display());
    let kind = "endpoints.nostr.kind=nostr".to_owned();
    vec![kind, "endpoints.nostr.path=/nostr".to_owned(), store]
}

fn start(folder: &Path) -> Binary {
    let sets = sets(folder);
    let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    Binary::start(&arguments)
}

fn client(relay: &Binary) -> Nostrich {
    Nostrich(Client::open(relay.address, "/nostr"))
}

fn end(relay: Binary, signal: Signal) {
    relay.signal(signal);
    relay.exit_code();
}

#[test]
fn events_outlive_a_killed_relay() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("made/events");
    let [profile, newer] = [20, 10].map(|ago| event(1, 0, ago, &[]));
    let notes = [30, 40, 50].map(|ago| event(2, 1, ago, &[&["t", "x"]]));
    let deletion = event(2, 5, 5, &[&["e", &id(&notes[2])]]);
    let relay = start(&folder);
    let mut one = client(&relay);
    for event in [&profile, &newer, &notes[0], &notes[1], &notes[2], &deletion] {
        one.expect_taken(event);
    }
    end(relay, Signal::KILL);
    let left = [&deletion, &newer, &notes[0], &notes[1]].map(id);
    // The second time nothing is replayed, since the relay was told to end.
    for signal in [Signal::TERM, Signal::TERM] {
        let relay = start(&folder);
        let mut one = client(&relay);
        assert_eq!(one.query(&[json!({})]), left);
        assert_eq!(one.query(&[json!({"#t": ["x"]})]), left[2..]);
        let told = "blocked: this event was deleted".to_owned();
        assert_eq!(one.publish(&notes[2]), (false, told));
        let (is_accepted, told) = one.publish(&newer);
        assert!(is_accepted && told.starts_with("duplicate:"), "{told}");
        let (is_accepted, told) = one.publish(&profile);
        assert!(!is_accepted && told.starts_with("duplicate:"), "{told}");
        end(relay, signal);
    }
}

#[test]
fn a_second_process_does_not_start_with_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = start(folder.path());
    let mut command = Command::new(crate::support::binary("corecast"));
    for set in sets(folder.path()) {
        command.args(["--set", &set]);
    }
    for port in ["server.port=0", "metrics.port=0"] {
        command.args(["--set", port]);
    }
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{told}");
    let due = format!(
        "{}: another process has this store open",
        folder.path().join("records.redb").display()
    );
    assert!(told.contains(&due), "{told}");
    client(&relay).expect_taken(&event(1, 1, 0, &[]));
    end(relay, Signal::TERM);
}

/// Cannot write while it is told so.
struct Failing {
    store: MemoryStore,
    fails: AtomicBool,
}

impl Failing {
    fn check(&self) -> Result<(), StoreError> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(StoreError("no space".to_owned())),
            false => Ok(()),
        }
    }
}

impl Store for Failing {
    fn commit(
        &self,
        events: &[Arc<Event>],
        rule: &dyn DeletionRule,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.check()?;
        self.store.commit(events, rule)
    }

    fn last_seq(&self) -> Seq {
        self.store.last_seq()
    }

    fn page(
        &self,
        query: &mut Query,
        rows: usize,
        bytes: usize,
        now: u64,
    ) -> Result<Page, StoreError> {
        self.store.page(query, rows, bytes, now)
    }

    fn since(&self, after: Seq, rows: usize) -> Result<(Vec<Numbered>, Seq), StoreError> {
        self.store.since(after, rows)
    }

    fn tidy(&self, now: u64) -> Result<usize, StoreError> {
        self.check()?;
        self.store.tidy(now)
    }

    fn size(&self) -> (usize, usize) {
        self.store.size()
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.store.notes()
    }

    fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.check()?;
        self.store.set_note(name, value)
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.check()
    }
}

#[test]
fn a_store_that_fails_is_read_and_used_again() {
    let store = Arc::new(Failing {
        store: MemoryStore::new(10),
        fails: AtomicBool::new(false),
    });
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let nostr = Nostr::with_store(NostrSettings::default(), shared);
    let relay = Relay::of(1, EndpointSettings::default(), nostr);
    let mut one = relay.open();
    let notes = [30, 20, 10].map(|ago| event(1, 1, ago, &[]));
    one.expect_taken(&notes[0]);
    store.fails.store(true, Ordering::SeqCst);
    let told = "error: the store cannot write events at the moment".to_owned();
    assert_eq!(one.publish(&notes[1]), (false, told));
    assert!(relay.stats.is_store_failing());
    assert_eq!(one.query(&[json!({})]), [id(&notes[0])]);
    store.fails.store(false, Ordering::SeqCst);
    eventually("it can be written again", || {
        !relay.stats.is_store_failing()
    });
    one.expect_taken(&notes[2]);
    assert_eq!(one.query(&[json!({})]), [id(&notes[2]), id(&notes[0])]);
}
