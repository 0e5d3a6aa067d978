//! Deletions (NIP-09) and requests to vanish (NIP-62).

use corecast_nostr::{Event, RelayUrls};
use serde_json::json;

use crate::hand_over::Stage;
use crate::support::eventually;
use crate::{Nostrich, Relay, event, id, key};

const DELETED: &str = "blocked: this event was deleted";
const VANISHED: &str = "blocked: the author of this event has asked to vanish";

fn refusal(told: &str) -> (bool, String) {
    (false, told.to_owned())
}

/// The ids of all stored events, newest first.
fn all(client: &mut Nostrich) -> Vec<String> {
    let ids = client.query(&[json!({})]);
    client.say(&json!(["COUNT", "all", {}]));
    assert_eq!(client.hear()[2]["count"], ids.len());
    ids
}

fn deletion(secret: u8, ago: u64, tags: &[[&str; 2]]) -> Event {
    let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
    event(secret, 5, ago, &tags)
}

fn vanish(secret: u8, ago: u64, relay: &str) -> Event {
    event(secret, 62, ago, &[&["relay", relay]])
}

#[test]
fn a_deletion_is_stored_and_sent_and_its_targets_are_gone() {
    let relay = Relay::with(2, |_| {});
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("s", &[json!({})]);
    reader.stored("s");
    let note = event(1, 1, 50, &[]);
    let article = event(1, 30_023, 40, &[&["d", "x"]]);
    let other = event(2, 1, 30, &[]);
    let address = format!("30023:{}:x", key(1));
    let deletes = deletion(
        1,
        20,
        &[
            ["e", &id(&note)],
            ["e", &id(&other)],
            ["a", &address],
            ["e", "x"],
            ["a", "::"],
        ],
    );
    for event in [&note, &article, &other, &deletes] {
        writer.expect_taken(event);
        assert_eq!(reader.live("s"), id(event));
    }
    assert_eq!(all(&mut writer), [id(&deletes), id(&other)]);
    // Neither they nor an older version come back; a newer one does.
    let older = event(1, 30_023, 41, &[&["d", "x"]]);
    for gone in [&note, &article, &older] {
        for client in [&mut writer, &mut relay.open()] {
            assert_eq!(client.publish(gone), refusal(DELETED));
        }
    }
    let newer = event(1, 30_023, 10, &[&["d", "x"]]);
    writer.expect_taken(&newer);
    assert_eq!(reader.live("s"), id(&newer));
    reader.expect_nothing();
    // A deletion of the deletion has no effect.
    let undo = deletion(1, 5, &[["e", &id(&deletes)]]);
    writer.expect_taken(&undo);
    assert_eq!(writer.publish(&note), refusal(DELETED));
    let left = [&undo, &newer, &deletes, &other].map(id);
    assert_eq!(all(&mut writer), left);
}

#[test]
fn a_target_that_comes_after_its_deletion_is_refused() {
    let relay = Relay::start();
    let mut client = relay.open();
    let note = event(1, 1, 50, &[]);
    let deletes = deletion(1, 60, &[["e", &id(&note)]]);
    let by_another = deletion(2, 10, &[["e", &id(&note)]]);
    client.expect_taken(&by_another);
    client.expect_taken(&note);
    let article = event(1, 30_023, 40, &[]);
    client.expect_taken(&deletion(1, 30, &[["a", &format!("30023:{}:", key(1))]]));
    assert_eq!(client.publish(&article), refusal(DELETED));
    client.expect_taken(&deletes);
    assert_eq!(client.publish(&note), refusal(DELETED));
}

/// In one turn, before any of them is stored.
#[test]
fn a_target_and_its_deletion_may_come_at_once_in_any_order() {
    for is_first in [true, false] {
        let relay = Relay::start();
        let mut client = relay.open();
        let note = event(1, 1, 50, &[]);
        let deletes = deletion(1, 60, &[["e", &id(&note)]]);
        let mut both = [&note, &deletes];
        if is_first {
            both.reverse();
        }
        let text: Vec<String> = both
            .iter()
            .map(|event| format!("[\"EVENT\",{}]", event.json()))
            .collect();
        let frames = text
            .iter()
            .flat_map(|text| crate::support::client::frame(1, text.as_bytes()));
        client.0.send(&frames.collect::<Vec<u8>>());
        let answers = [client.hear(), client.hear()];
        let is_taken = |event: &Event| {
            let mut answers = answers.iter();
            let answer = answers.find(|answer| answer[1] == id(event));
            answer.expect("an answer")[2] == true
        };
        assert!(is_taken(&deletes));
        assert_eq!(is_taken(&note), !is_first);
        assert_eq!(all(&mut client), [id(&deletes)]);
    }
}

/// A shard remembers the ids that it accepted. A deletion, even by another shard, ends that.
#[test]
fn an_event_deleted_since_is_no_longer_a_duplicate() {
    let relay = Relay::with(2, |_| {});
    let mut clients = [(); 6].map(|()| relay.open());
    let note = event(1, 1, 50, &[]);
    let kept = event(1, 1, 51, &[]);
    clients[0].expect_taken(&note);
    clients[0].expect_taken(&kept);
    let duplicate = (true, "duplicate: already have this event".to_owned());
    for client in &mut clients {
        assert_eq!(client.publish(&note), duplicate);
    }
    clients[5].expect_taken(&deletion(1, 20, &[["e", &id(&note)]]));
    for client in &mut clients {
        assert_eq!(client.publish(&note), refusal(DELETED));
        assert_eq!(client.publish(&kept), duplicate);
    }
    clients[4].expect_taken(&vanish(1, 10, "ALL_RELAYS"));
    for client in &mut clients {
        assert_eq!(client.publish(&kept), refusal(VANISHED));
    }
}

#[test]
fn a_recipient_may_delete_what_is_wrapped_for_it() {
    let relay = Relay::with(1, |settings| settings.private = Default::default());
    let mut client = relay.open();
    let wraps = [30, 40].map(|ago| event(9, 1_059, ago, &[&["p", &key(1)]]));
    let mention = event(9, 1, 50, &[&["p", &key(1)]]);
    for event in wraps.iter().chain([&mention]) {
        client.expect_taken(event);
    }
    let ids = [&wraps[0], &wraps[1], &mention].map(id);
    let by_another = deletion(2, 20, &[["e", &ids[0]]]);
    let deletes = deletion(1, 10, &[["e", &ids[0]], ["e", &ids[2]]]);
    client.expect_taken(&by_another);
    client.expect_taken(&deletes);
    let left = [&deletes, &by_another, &wraps[1], &mention].map(id);
    assert_eq!(all(&mut client), left);
    assert_eq!(client.publish(&wraps[0]), refusal(DELETED));
    let vanish = vanish(1, 5, "ALL_RELAYS");
    client.expect_taken(&vanish);
    assert_eq!(all(&mut client), [&vanish, &by_another, &mention].map(id));
    let told = refusal("blocked: the author of this event has asked to vanish");
    assert_eq!(client.publish(&wraps[1]), told);
}

#[test]
fn all_of_a_key_vanishes_and_nothing_that_old_comes_in_again() {
    let relay = Relay::with(2, |settings| {
        settings.urls = RelayUrls::new(vec!["wss://relay.example/nostr".to_owned()]);
        settings.private = Default::default();
    });
    let (mut reader, mut writer) = (relay.open(), relay.open());
    let note = event(1, 1, 50, &[]);
    let deletes = deletion(1, 40, &[["e", &key(7)]]);
    let profile = event(1, 0, 45, &[]);
    let later = event(1, 1, 10, &[]);
    let other = event(2, 1, 60, &[&["p", &key(1)]]);
    for event in [&note, &deletes, &profile, &later, &other] {
        writer.expect_taken(event);
    }
    reader.req("s", &[json!({"limit": 0})]);
    reader.stored("s");
    for elsewhere in [
        "wss://other.example",
        "all_relays",
        "",
        "wss://relay.example",
    ] {
        let told = "invalid: this request to vanish names neither this relay nor ALL_RELAYS";
        assert_eq!(writer.publish(&vanish(1, 20, elsewhere)), refusal(told));
    }
    assert_eq!(all(&mut writer).len(), 5);
    let vanish = event(
        1,
        62,
        20,
        &[
            &["relay", "wss://other.example"],
            &["relay", "wss://RELAY.example:443/nostr/"],
        ],
    );
    writer.expect_taken(&vanish);
    assert_eq!(reader.live("s"), id(&vanish));
    let left = [&later, &vanish, &other].map(id);
    assert_eq!(all(&mut writer), left);
    for gone in [&note, &deletes, &profile, &event(1, 7, 20, &[])] {
        assert_eq!(writer.publish(gone), refusal(VANISHED));
    }
    // The request itself stays.
    writer.expect_taken(&deletion(1, 5, &[["e", &id(&vanish)]]));
    assert_eq!(all(&mut writer)[1..], left);
    let duplicate = (true, "duplicate: already have this event".to_owned());
    assert_eq!(writer.publish(&vanish), duplicate);
}

#[test]
fn without_urls_a_request_to_vanish_is_for_all_relays() {
    let relay = Relay::start();
    let mut client = relay.open();
    client.expect_taken(&event(1, 1, 50, &[]));
    let at_host = format!("ws://{}/nostr", relay.server.address);
    for elsewhere in [&*at_host, ""] {
        let (is_taken, told) = client.publish(&vanish(1, 20, elsewhere));
        assert!(!is_taken && told.starts_with("invalid: "), "{told}");
    }
    let vanish = vanish(1, 20, "ALL_RELAYS");
    client.expect_taken(&vanish);
    assert_eq!(all(&mut client), [id(&vanish)]);
}

/// More events come than are kept for a subscription, so it gets them from the store.
#[test]
fn a_subscription_that_catches_up_does_not_get_what_is_deleted() {
    let stage = Stage::with(|_| {});
    let (mut reader, mut writer) = (stage.relay.open(), stage.relay.open());
    writer.expect_taken(&event(1, 1, 800, &[]));
    reader.req("s", &[json!({"authors": [key(1), key(2)]})]);
    stage.await_reads(1);
    let notes: Vec<Event> = (0..300).map(|ago| event(1, 1, 400 + ago, &[])).collect();
    let other = event(2, 1, 400, &[]);
    notes.iter().for_each(|note| writer.expect_taken(note));
    writer.expect_taken(&other);
    eventually("it overflows", || stage.relay.stats.overflows() == 1);
    let deletes = deletion(1, 20, &[["e", &id(&notes[0])], ["e", &id(&notes[299])]]);
    let vanish = vanish(2, 10, "ALL_RELAYS");
    writer.expect_taken(&deletes);
    writer.expect_taken(&vanish);
    stage.let_read(100);
    assert_eq!(reader.stored("s").0.len(), 1);
    let due = notes[1..299].iter().chain([&deletes, &vanish]).map(id);
    let got: Vec<String> = (0..300).map(|_| reader.live("s")).collect();
    assert_eq!(got, due.collect::<Vec<_>>());
    reader.expect_nothing();
}

/// Hidden events leave the store in batches, by the writing thread.
#[test]
fn events_of_a_key_that_vanished_are_removed() {
    let relay = Relay::start();
    let mut client = relay.open();
    (0..20).for_each(|ago| client.expect_taken(&event(1, 1, 50 + ago, &[])));
    client.expect_taken(&vanish(1, 20, "ALL_RELAYS"));
    eventually("they are removed", || relay.stats.store_size().0 == 1);
}
