//! Synchronization (NIP-77), with the crate `negentropy` as the client.

use std::collections::BTreeSet;
use std::time::Duration;

use corecast_nostr::{Draft, Event, RelayUrls, Signer, to_hex};
use corecast_test::eventually;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::{Nostrich, Relay, event, id, key, now, signer};

/// The message of a client that has no event.
const EMPTY: &str = "6100000200";

fn storage<'e>(events: impl IntoIterator<Item = &'e Event>) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for event in events {
        let id = Id::from_byte_array(*event.id());
        storage.insert(event.created_at(), id).expect("not sealed");
    }
    storage.seal().expect("not sealed");
    storage
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("a string").as_bytes();
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16);
    hex.chunks(2)
        .map(|pair| digits(pair).expect("hex"))
        .collect()
}

/// The ids that only the client has, and those that only the relay has.
type Differences = (BTreeSet<String>, BTreeSet<String>);

impl Nostrich {
    /// The next message, which is a NEG-MSG of that name.
    fn neg(&mut self, name: &str) -> Vec<u8> {
        let answer = self.hear();
        assert_eq!(
            (&answer[0], &answer[1]),
            (&json!("NEG-MSG"), &json!(name)),
            "{answer}"
        );
        bytes(&answer[2])
    }

    /// The reason of the NEG-ERR that answers a message.
    fn neg_refused(&mut self, message: &Value) -> String {
        let answer = self.refused(message);
        assert_eq!(
            (&answer[0], &answer[1]),
            (&json!("NEG-ERR"), &message[1]),
            "{answer}"
        );
        answer[2].as_str().expect("a reason").to_owned()
    }

    /// Opens a session with an empty set, and returns the relay's ids of a small set.
    fn neg_ids(&mut self, name: &str, filter: &Value) -> BTreeSet<String> {
        self.sync(name, filter, []).1
    }

    fn sync<'e>(
        &mut self,
        name: &str,
        filter: &Value,
        own: impl IntoIterator<Item = &'e Event>,
    ) -> Differences {
        let storage = storage(own);
        let mut client = Negentropy::borrowed(&storage, 4_096).expect("a limit");
        let first = to_hex(&client.initiate().expect("a message"));
        self.say(&json!(["NEG-OPEN", name, filter, first]));
        let (mut have, mut need) = (Vec::new(), Vec::new());
        for _ in 0..1_000 {
            let answer = self.neg(name);
            assert!(answer.len() <= 60_000);
            let next = client.reconcile_with_ids(&answer, &mut have, &mut need);
            match next.expect("the protocol") {
                Some(next) => self.say(&json!(["NEG-MSG", name, to_hex(&next)])),
                None => {
                    self.say(&json!(["NEG-CLOSE", name]));
                    let set = |ids: Vec<Id>| ids.iter().map(|id| to_hex(&id[..])).collect();
                    return (set(have), set(need));
                }
            }
        }
        panic!("it does not end");
    }
}

fn ids<'e>(events: impl IntoIterator<Item = &'e Event>) -> BTreeSet<String> {
    events.into_iter().map(id).collect()
}

/// Stores events, many at a time.
fn publish_all<'e>(client: &mut Nostrich, events: impl IntoIterator<Item = &'e Event>) {
    let events: Vec<&Event> = events.into_iter().collect();
    for some in events.chunks(32) {
        for event in some {
            client.0.text(&format!("[\"EVENT\",{}]", event.json()));
        }
        for event in some {
            assert_eq!(client.hear(), json!(["OK", id(event), true, ""]));
        }
    }
}

fn notes(signer: &Signer, count: usize, seconds: u64) -> Vec<Event> {
    let base = now() - seconds;
    let draft = |number: usize| Draft {
        created_at: base + number as u64 % seconds,
        kind: 1,
        content: number.to_string(),
        ..Draft::default()
    };
    (0..count)
        .map(|number| signer.sign(draft(number)))
        .collect()
}

#[test]
fn any_two_sets_are_told_apart_exactly() {
    let relay = Relay::with(2, |_| {});
    let case = (any::<u64>(), 1..200_u64, 0..300_usize, 0..100_u8, 0..100_u8);
    let mut runner = TestRunner::new(Config::with_cases(12));
    let outcome = runner.run(&case, |(seed, seconds, count, only_mine, only_theirs)| {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        let signer = Signer::new(secret).expect("a key");
        let events = notes(&signer, count, seconds);
        let share = |event: &Event| event.id()[0] % 200;
        let is_theirs = |event: &&Event| share(event) >= only_mine;
        let is_mine = |event: &&Event| share(event) < 200 - only_theirs;
        let theirs: Vec<&Event> = events.iter().filter(is_theirs).collect();
        let mine: Vec<&Event> = events.iter().filter(is_mine).collect();
        let mut client = relay.open();
        publish_all(&mut client, theirs.iter().copied());
        let filter = json!({"authors": [to_hex(&signer.public_key())]});
        let (have, need) = client.sync("s", &filter, mine.iter().copied());
        prop_assert_eq!(
            have,
            ids(mine.iter().copied().filter(|event| !is_theirs(event)))
        );
        prop_assert_eq!(
            need,
            ids(theirs.iter().copied().filter(|event| !is_mine(event)))
        );
        Ok(())
    });
    outcome.expect("the right differences");
}

#[test]
fn a_set_of_many_pages_is_one_set() {
    let relay = Relay::start();
    let mut client = relay.open();
    let events = notes(&signer(1), 4_500, 1_500);
    publish_all(&mut client, &events);
    let mine = events.iter().enumerate();
    let mine: Vec<&Event> = mine.filter(|(n, _)| n % 100 != 0).map(|(_, e)| e).collect();
    let missing = events.iter().step_by(100);
    assert_eq!(client.sync("s", &json!({}), mine).1, ids(missing));
    // A limit keeps the newest.
    assert_eq!(client.neg_ids("s", &json!({"limit": 20})).len(), 20);
    eventually("the session ends", || relay.stats.open_syncs() == 0);
}

#[test]
fn a_session_sees_the_events_of_its_beginning() {
    let relay = Relay::start();
    let mut client = relay.open();
    let old = event(1, 1, 5, &[]);
    client.expect_taken(&old);
    client.say(&json!(["NEG-OPEN", "s", {}, EMPTY]));
    let first = client.neg("s");
    client.expect_taken(&event(1, 1, 4, &[]));
    client.say(&json!(["NEG-MSG", "s", EMPTY]));
    assert_eq!(client.neg("s"), first);
    client.say(&json!(["NEG-OPEN", "s", {}, EMPTY]));
    assert_ne!(client.neg("s"), first);
    assert_eq!(relay.stats.open_syncs(), 1);
}

#[test]
fn names_are_apart_from_those_of_queries() {
    let relay = Relay::start();
    let mut client = relay.open();
    client.req("s", &[json!({})]);
    client.stored("s");
    client.say(&json!(["NEG-OPEN", "s", {}, EMPTY]));
    client.neg("s");
    client.say(&json!(["COUNT", "s", {}]));
    assert_eq!(client.hear(), json!(["COUNT", "s", {"count": 0}]));
    client.say(&json!(["CLOSE", "s"]));
    client.say(&json!(["NEG-MSG", "s", EMPTY]));
    client.neg("s");
    client.say(&json!(["NEG-CLOSE", "s"]));
    client.say(&json!(["NEG-CLOSE", "s"]));
    let told = client.neg_refused(&json!(["NEG-MSG", "s", EMPTY]));
    assert!(told.starts_with("closed: "), "{told}");
    client.expect_nothing();
}

#[test]
fn sessions_of_one_connection_go_on_side_by_side() {
    let relay = Relay::with(1, |settings| settings.sync.sessions_max = 2);
    let mut client = relay.open();
    let events = [event(1, 1, 2, &[]), event(2, 1, 1, &[])];
    events.iter().for_each(|event| client.expect_taken(event));
    for name in ["a", "b"] {
        let secret = if name == "a" { 1 } else { 2 };
        client.say(&json!(["NEG-OPEN", name, {"authors": [key(secret)]}, EMPTY]));
        client.neg(name);
    }
    let told = client.neg_refused(&json!(["NEG-OPEN", "c", {}, EMPTY]));
    assert_eq!(told, "blocked: a connection has at most 2 synchronizations");
    // A name in use is replaced, so it fits.
    client.say(&json!(["NEG-OPEN", "b", {"authors": [key(1)]}, EMPTY]));
    let both = client.neg("b");
    client.say(&json!(["NEG-MSG", "a", EMPTY]));
    assert_eq!(client.neg("a"), both);
    client.say(&json!(["NEG-CLOSE", "a"]));
    client.say(&json!(["NEG-OPEN", "c", {}, EMPTY]));
    client.neg("c");
    assert_eq!(relay.stats.open_syncs(), 2);
    drop(client);
    eventually("all sessions end", || relay.stats.open_syncs() == 0);
}

#[test]
fn too_many_events_are_refused_with_the_bound() {
    let relay = Relay::with(1, |settings| settings.sync.events_max = Some(2));
    let mut client = relay.open();
    for ago in 1..4 {
        client.expect_taken(&event(1, 1, ago, &[]));
    }
    let answer = client.refused(&json!(["NEG-OPEN", "s", {}, EMPTY]));
    let told = "blocked: more than 2 events match";
    assert_eq!(answer, json!(["NEG-ERR", "s", told, 2]));
    assert_eq!(client.neg_ids("s", &json!({"limit": 2})).len(), 2);
    // All sessions together have room for four sets of the largest size.
    for name in ["a", "b", "c", "d"] {
        client.say(&json!(["NEG-OPEN", name, {"limit": 2}, EMPTY]));
        client.neg(name);
    }
    let mut other = relay.open();
    let told = other.neg_refused(&json!(["NEG-OPEN", "s", {"limit": 1}, EMPTY]));
    assert!(told.starts_with("blocked: "), "{told}");
    drop(client);
    eventually("its sessions end", || relay.stats.open_syncs() == 0);
    assert_eq!(other.neg_ids("s", &json!({"limit": 1})).len(), 1);
}

#[test]
fn a_session_without_messages_ends() {
    let idle = Duration::from_secs(1);
    let relay = Relay::with(1, |settings| settings.sync.idle = idle);
    let mut client = relay.open();
    client.say(&json!(["NEG-OPEN", "s", {}, EMPTY]));
    client.neg("s");
    let answer = client.hear();
    assert_eq!(
        answer,
        json!(["NEG-ERR", "s", "closed: no message for 1 s"])
    );
    let told = client.neg_refused(&json!(["NEG-MSG", "s", EMPTY]));
    assert!(told.starts_with("closed: "), "{told}");
    assert_eq!(relay.stats.open_syncs(), 0);
}

#[test]
fn wrong_messages_end_the_session_alone() {
    let relay = Relay::start();
    let mut client = relay.open();
    for (parts, prefix) in [
        (json!(["NEG-OPEN", "s"]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}, EMPTY, 1]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}, "6"]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}, "xx"]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}, 61]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}, ""]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}, "5f"]), "invalid: "),
        (json!(["NEG-OPEN", "s", {}, "61000001"]), "invalid: "),
        (json!(["NEG-OPEN", "s", [], EMPTY]), "invalid: "),
        (json!(["NEG-OPEN", "s", {"ids": ["x"]}, EMPTY]), "invalid: "),
        (json!(["NEG-OPEN", "s", {"x": 1}, EMPTY]), "unsupported: "),
        (
            json!(["NEG-OPEN", "s", {"kinds": [4]}, EMPTY]),
            "restricted: ",
        ),
        (json!(["NEG-MSG", "s", EMPTY]), "closed: "),
    ] {
        let told = client.neg_refused(&parts);
        assert!(told.starts_with(prefix), "{told} for {parts}");
    }
    for wrong in ["zz", "6", "61000003"] {
        client.say(&json!(["NEG-OPEN", "s", {}, EMPTY]));
        client.neg("s");
        let told = client.neg_refused(&json!(["NEG-MSG", "s", wrong]));
        assert!(told.starts_with("invalid: "), "{told}");
        let told = client.neg_refused(&json!(["NEG-MSG", "s", EMPTY]));
        assert!(told.starts_with("closed: "), "{told}");
    }
    assert_eq!(
        client.refused(&json!(["NEG-OPEN", "", {}, EMPTY]))[0],
        "NOTICE"
    );
    client.say(&json!(["NEG-OPEN", "😀\"", {}, "62"]));
    assert_eq!(client.neg("😀\""), [0x61]);
    client.say(&json!(["NEG-MSG", "😀\"", EMPTY]));
    client.neg("😀\"");
}

#[test]
fn private_and_expired_events_are_left_out() {
    const URL: &str = "wss://relay.example/nostr";
    let relay = Relay::with(1, |settings| {
        settings.urls = RelayUrls::new(vec![URL.to_owned()]);
    });
    let mut writer = relay.open();
    let wrap = event(1, 1_059, 3, &[&["p", &key(2)]]);
    let end = (now() + 2).to_string();
    let expiring = event(1, 1, 2, &[&["expiration", &end]]);
    let note = event(1, 1, 1, &[]);
    [&wrap, &expiring, &note]
        .iter()
        .for_each(|event| writer.expect_taken(event));
    let mut client = relay.open();
    let challenge = client.refused(&json!(["NEG-OPEN", "s", {"kinds": [1059]}, EMPTY]));
    assert_eq!(challenge[0], "AUTH", "{challenge}");
    let refused = client.hear();
    assert_eq!((&refused[0], &refused[1]), (&json!("NEG-ERR"), &json!("s")));
    let told = refused[2].as_str().expect("a reason");
    assert!(told.starts_with("auth-required: "), "{told}");
    let without = ids([&note]);
    eventually("the event expires", || {
        client.neg_ids("s", &json!({})) == without
    });
    let proof = signer(2).sign(Draft {
        created_at: now(),
        kind: 22_242,
        tags: crate::tags(&[
            &["relay", URL],
            &["challenge", challenge[1].as_str().expect("text")],
        ]),
        content: String::new(),
    });
    let proof: Value = serde_json::from_str(proof.json()).expect("JSON");
    assert_eq!(client.refused(&json!(["AUTH", proof]))[2], true);
    assert_eq!(client.neg_ids("s", &json!({})), ids([&note, &wrap]));
    assert_eq!(writer.neg_ids("s", &json!({})), without);
}

#[test]
fn reading_can_need_a_key_and_synchronizing_can_be_off() {
    let relay = Relay::with(1, |settings| {
        settings.urls = RelayUrls::new(vec!["wss://relay.example".to_owned()]);
        settings.auth_read = true;
    });
    let mut client = relay.open();
    let open = json!(["NEG-OPEN", "s", {}, EMPTY]);
    assert_eq!(client.refused(&open)[0], "AUTH");
    let told = client.hear()[2].as_str().expect("a reason").to_owned();
    assert!(told.starts_with("auth-required: "), "{told}");
    let relay = Relay::with(1, |settings| settings.sync.events_max = None);
    let mut client = relay.open();
    let told = client.neg_refused(&open);
    assert_eq!(told, "blocked: this relay does not synchronize");
    client.expect_nothing();
}

/// A client that does not wait for an answer gets an error instead of a queue without bound.
#[test]
fn one_message_at_a_time_is_answered() {
    let relay = Relay::start();
    let mut client = relay.open();
    publish_all(&mut client, &notes(&signer(1), 2_000, 1_000));
    client.say(&json!(["NEG-OPEN", "s", {}, EMPTY]));
    client.say(&json!(["NEG-MSG", "s", EMPTY]));
    let answer = client.hear();
    // The first answer may be faster than the second message.
    if answer[0] == "NEG-ERR" {
        let told = answer[2].as_str().expect("a reason");
        assert!(told.starts_with("invalid: the last message"), "{told}");
    } else {
        client.neg("s");
        client.say(&json!(["NEG-CLOSE", "s"]));
    }
    client.expect_nothing();
    assert_eq!(client.neg_ids("s", &json!({"limit": 3})).len(), 3);
}
