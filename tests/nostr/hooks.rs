//! Hooks of the relay's owner: each does what it says, and a failure of one harms nobody else.

use std::sync::{Arc, Mutex};

use corecast::engine::{EndpointSettings, Refused};
use corecast::relay::nostr::{
    Context, HookList, Nostr, NostrHooks, NostrSettings, Operation, Prefix, Rejection, Router,
};
use corecast_nostr::{Draft, Event, Filter};
use serde_json::{Value, json};

use crate::hand_over::Stage;
use crate::http::ask;
use crate::support::eventually;
use crate::{Relay, event, id, key, now, signer};

/// Notes what hooks were called with.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.lock().expect("a log").push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("a log").clone()
    }
}

fn document(relay: &Relay) -> Value {
    let answer = ask(relay, "GET", "/nostr", "Accept: application/nostr+json\r\n");
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn the_first_hook_that_rejects_an_event_decides() {
    let log = Log::default();
    let (first, second) = (log.clone(), log.clone());
    let hooks = HookList::new()
        .reject_event(move |_, event| {
            first.add(format!("first {}", event.kind()));
            match event.kind() {
                7 => Err("no sevens".into()),
                8 => Err("rate-limited: slow down".into()),
                9 => Err(Rejection::new(Prefix::Mute, "nobody cares")),
                _ => Ok(()),
            }
        })
        .reject_event(move |_, event| {
            second.add(format!("second {}", event.kind()));
            match event.kind() {
                20_001 => Err("no such news".into()),
                _ => Ok(()),
            }
        });
    let relay = Relay::hooked(hooks);
    let mut client = relay.open();
    client.req("all", &[json!({})]);
    client.stored("all");
    for (kind, told) in [
        (7, "blocked: no sevens"),
        (8, "rate-limited: slow down"),
        (9, "mute: nobody cares"),
        (20_001, "blocked: no such news"),
    ] {
        let answer = client.publish(&event(1, kind, 0, &[]));
        assert_eq!(answer, (false, told.to_owned()));
    }
    client.expect_nothing();
    assert_eq!(client.query(&[json!({})]).len(), 0);
    let seen = [
        "first 7",
        "first 8",
        "first 9",
        "first 20001",
        "second 20001",
    ];
    assert_eq!(log.lines(), seen);
}

#[test]
fn a_hook_can_ask_for_a_key_and_send_notices() {
    let hooks = HookList::new()
        .reject_event(|context, event| {
            if event.kind() != 1 {
                return Ok(());
            }
            context.send_notice("one moment");
            match context.has_key(event.pubkey()) {
                true => Ok(()),
                false => Err(Rejection::new(Prefix::AuthRequired, "who are you?")),
            }
        })
        .reject_filter(|context, _, _| {
            if context.keys().is_empty() {
                context.request_auth();
            }
            Ok(())
        })
        .on_event_saved(|context, event| context.send_notice(format!("kept {}", event.kind())));
    let relay = Relay::hooked(hooks);
    let mut client = relay.open();
    let note = event(1, 1, 0, &[]);
    let body: Value = serde_json::from_str(note.json()).expect("JSON");
    assert_eq!(
        client.refused(&json!(["EVENT", body])),
        json!(["NOTICE", "one moment"])
    );
    let challenge = client.hear();
    assert_eq!(challenge[0], "AUTH");
    assert_eq!(
        client.hear(),
        json!(["OK", id(&note), false, "auth-required: who are you?"])
    );
    client.req("s", &[json!({"ids": [id(&note)]})]);
    assert_eq!(
        client.hear(),
        challenge,
        "the filter's hook asks for a key too"
    );
    client.stored("s");
    let challenge = challenge[1].as_str().expect("a challenge").to_owned();
    assert_eq!(client.auth(1, &challenge)[2], true);
    client.say(&json!(["EVENT", body]));
    let mut answers: Vec<Value> = (0..4).map(|_| client.hear()).collect();
    answers.sort_by_key(Value::to_string);
    assert_eq!(
        answers,
        [
            json!(["EVENT", "s", body]),
            json!(["NOTICE", "kept 1"]),
            json!(["NOTICE", "one moment"]),
            json!(["OK", id(&note), true, ""]),
        ]
    );
}

#[test]
fn a_hook_rejects_filters_by_operation_even_at_limit_zero() {
    let log = Log::default();
    let seen = log.clone();
    let hooks = HookList::new().reject_filter(move |context, operation, filter| {
        let name = context.subscription().unwrap_or("none");
        seen.add(format!("{operation:?} {name} {:?}", filter.limit));
        match (operation, filter.kinds.as_deref()) {
            (_, Some([7])) => Err("no sevens".into()),
            (Operation::Count, _) => Err("restricted: no counting".into()),
            _ => Ok(()),
        }
    });
    let relay = Relay::hooked(hooks);
    let mut client = relay.open();
    for (message, answer) in [
        (
            json!(["REQ", "a", {"kinds": [1]}, {"kinds": [7], "limit": 0}]),
            json!(["CLOSED", "a", "blocked: no sevens"]),
        ),
        (
            json!(["COUNT", "b", {"kinds": [1]}]),
            json!(["CLOSED", "b", "restricted: no counting"]),
        ),
        (
            json!(["NEG-OPEN", "n", {"kinds": [7]}, "6100000200"]),
            json!(["NEG-ERR", "n", "blocked: no sevens"]),
        ),
    ] {
        assert_eq!(client.refused(&message), answer);
    }
    client.req("c", &[json!({"kinds": [1]})]);
    client.stored("c");
    client.expect_taken(&event(1, 7, 0, &[]));
    client.expect_nothing();
    let seen = [
        "Req a None",
        "Req a Some(0)",
        "Count b None",
        "Sync n None",
        "Req c None",
    ];
    assert_eq!(log.lines()[..5], seen);
}

#[test]
fn a_changed_filter_is_used_for_stored_and_new_events() {
    let hooks = HookList::new()
        .overwrite_filter(|_, filter| {
            if filter.kinds.is_some() {
                filter.kinds = Some([9, 2, 9, 1].into());
                filter.limit = None;
            }
        })
        .reject_filter(|_, _, filter| {
            let is_sorted = filter.kinds.as_deref() == Some(&[1, 2, 9]);
            match is_sorted || filter.kinds.is_none() {
                true => Ok(()),
                false => Err("error: not the changed filter".into()),
            }
        });
    let relay = Relay::hooked(hooks);
    let (mut reader, mut writer) = (relay.open(), relay.open());
    let stored: Vec<Event> = (1..=3).map(|kind| event(1, kind, 0, &[])).collect();
    stored.iter().for_each(|event| writer.expect_taken(event));
    reader.req("s", &[json!({"kinds": [3], "limit": 0})]);
    let (mut found, _) = reader.stored("s");
    let mut wanted = [id(&stored[0]), id(&stored[1])];
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    let count = reader.refused(&json!(["COUNT", "c", {"kinds": [3]}]));
    assert_eq!(count, json!(["COUNT", "c", {"count": 2}]));
    writer.expect_taken(&event(2, 3, 0, &[]));
    let live = event(2, 9, 0, &[]);
    writer.expect_taken(&live);
    assert_eq!(reader.live("s"), id(&live));
    reader.expect_nothing();
}

#[test]
fn a_hook_decides_about_deletions() {
    let hooks = HookList::new().overwrite_deletion_outcome(|target, deletion, is_due| {
        let is_moderator = deletion.pubkey() == &signer(9).public_key();
        assert!(!is_marked(target, "bug"), "a bug");
        is_moderator || is_due && target.kind() != 7
    });
    let relay = Relay::hooked(hooks);
    let mut client = relay.open();
    let note = event(1, 1, 9, &[]);
    let reaction = event(1, 7, 9, &[]);
    let others = event(2, 1, 9, &[]);
    let buggy = event(1, 1, 9, &[&["mark", "bug"]]);
    let targets = [&note, &reaction, &others, &buggy];
    targets.iter().for_each(|event| client.expect_taken(event));
    let delete = |secret, targets: &[&Event]| {
        let ids: Vec<String> = targets.iter().map(|event| id(event)).collect();
        let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
        let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
        event(secret, 5, 0, &tags)
    };
    let kept = |client: &mut crate::Nostrich| {
        let mut ids = client.query(&[json!({"kinds": [1, 7]})]);
        ids.sort();
        ids
    };
    let sorted = |events: &[&Event]| {
        let mut ids: Vec<String> = events.iter().map(|event| id(event)).collect();
        ids.sort();
        ids
    };
    client.expect_taken(&delete(1, &targets));
    let left = sorted(&[&reaction, &others, &buggy]);
    assert_eq!(kept(&mut client), left, "a panic deletes nothing");
    assert_eq!(relay.stats.hook_failures(), 1);
    client.expect_taken(&delete(9, &[&reaction, &others]));
    assert_eq!(kept(&mut client), sorted(&[&buggy]));
    // The deletion was stored before its target comes again.
    assert_eq!(client.publish(&others).1, "blocked: this event was deleted");
}

#[test]
fn hooks_are_told_once_of_saved_and_of_ephemeral_events() {
    let log = Log::default();
    let (saved, ephemeral) = (log.clone(), log.clone());
    let told = |what: &'static str, log: Log| {
        move |context: &Context<'_>, event: &Event| {
            let ip = context
                .ip()
                .map_or("nowhere".to_owned(), |ip| ip.to_string());
            log.add(format!("{what} {} from {ip}", event.kind()));
        }
    };
    let hooks = HookList::new()
        .on_event_saved(told("saved", saved))
        .on_ephemeral_event(told("ephemeral", ephemeral));
    let relay = Relay::hooked(hooks);
    let mut client = relay.open_from("192.0.2.7");
    let profiles = [event(1, 0, 9, &[]), event(1, 0, 5, &[])];
    client.expect_taken(&profiles[1]);
    assert_eq!(
        client.publish(&profiles[1]).1,
        "duplicate: already have this event"
    );
    assert!(!client.publish(&profiles[0]).0, "a newer one is here");
    client.expect_taken(&event(1, 20_001, 0, &[]));
    let seen = ["saved 0 from 192.0.2.7", "ephemeral 20001 from 192.0.2.7"];
    assert_eq!(log.lines(), seen);
}

/// Hides the content of notes from clients without a key, and sevens from all.
fn veiled() -> HookList {
    HookList::new()
        .overwrite_response_event(|context, event| {
            let is_veiled = event.kind() == 1 && context.keys().is_empty();
            let mut json: Value = serde_json::from_str(event.json()).expect("JSON");
            json["content"] = json!("log in to read");
            is_veiled.then(|| json.to_string().into())
        })
        .prevent_broadcast(|subscriber, filter, event| {
            let is_asked_for = filter.kinds.is_some();
            event.kind() == 7 && !is_asked_for && subscriber.keys().is_empty()
        })
}

#[test]
fn a_hook_replaces_events_for_some_subscribers() {
    let relay = Relay::hooked(veiled());
    let (mut member, mut guest, mut writer) = (relay.open(), relay.open(), relay.open());
    let (challenge, _) = member.challenged(&json!(["REQ", "x", {"kinds": [1059]}]));
    assert_eq!(member.auth(2, &challenge)[2], true);
    let read = |client: &mut crate::Nostrich| {
        let message = client.hear();
        assert_eq!((&message[0], &message[1]), (&json!("EVENT"), &json!("s")));
        let content = message[2]["content"].as_str().expect("a text").to_owned();
        (
            message[2]["id"].as_str().expect("an id").to_owned(),
            content,
        )
    };
    let (before, after) = (event(1, 1, 4, &[]), event(1, 1, 3, &[]));
    let kept = [("1 4", &before), ("1 3", &after)];
    writer.expect_taken(&before);
    for reader in [&mut member, &mut guest] {
        reader.req("s", &[json!({"kinds": [1]})]);
    }
    for (number, (content, event)) in kept.into_iter().enumerate() {
        if number == 1 {
            assert_eq!(member.hear()[0], "EOSE");
            assert_eq!(guest.hear()[0], "EOSE");
            writer.expect_taken(event);
        }
        assert_eq!(read(&mut member), (id(event), content.to_owned()));
        assert_eq!(read(&mut guest), (id(event), "log in to read".to_owned()));
    }
}

#[test]
fn a_hook_prevents_a_broadcast_filter_by_filter() {
    let relay = Relay::hooked(veiled());
    let (mut reader, mut writer) = (relay.open(), relay.open());
    let stored = event(1, 7, 9, &[]);
    writer.expect_taken(&stored);
    reader.req("all", &[json!({"authors": [key(1)]})]);
    assert_eq!(
        reader.stored("all").0,
        [id(&stored)],
        "stored events are not concerned"
    );
    reader.req("either", &[json!({}), json!({"kinds": [7]})]);
    assert_eq!(reader.stored("either").0.len(), 1);
    let live = event(1, 7, 8, &[]);
    writer.expect_taken(&live);
    assert_eq!(reader.live("either"), id(&live));
    reader.expect_nothing();
}

#[test]
fn hooks_apply_to_events_that_wait_for_the_stored_ones() {
    let stage = Stage::of(NostrSettings {
        hooks: veiled(),
        ..NostrSettings::default()
    });
    let (mut reader, mut writer) = (stage.relay.open(), stage.relay.open());
    reader.req("few", &[json!({"authors": [key(1)]})]);
    reader.req("many", &[json!({"authors": [key(1), key(2)]})]);
    stage.await_reads(2);
    // The first events are kept for both subscriptions; then both have too many.
    let publish = |writer: &mut crate::Nostrich, secret, from: u64, count: u64| {
        (from..from + count).for_each(|ago| writer.expect_taken(&event(secret, 1, ago, &[])));
        writer.expect_taken(&event(secret, 7, from, &[]));
    };
    publish(&mut writer, 1, 0, 3);
    publish(&mut writer, 2, 0, 300);
    eventually("one overflows", || stage.relay.stats.overflows() == 1);
    (0..1_000).for_each(|_| stage.lets.send(()).expect("a gate"));
    let mut contents = [Vec::new(), Vec::new()];
    while contents[0].len() < 3 || contents[1].len() < 303 {
        let message = reader.hear();
        if message[0] == "EVENT" {
            assert_eq!(message[2]["kind"], 1, "{message}");
            let content = message[2]["content"].clone();
            contents[usize::from(message[1] == "many")].push(content);
        }
    }
    let is_veiled = |content: &Value| content == "log in to read";
    assert!(contents.iter().flatten().all(is_veiled), "{contents:?}");
    reader.expect_nothing();
}

#[test]
fn a_hook_changes_the_information_document_for_each_request() {
    let hooks = HookList::new().overwrite_relay_information(|request, document| {
        let host = request.head.header("host").unwrap_or_default();
        document.insert("name".to_owned(), json!(format!("at {host}")));
        document.remove("version");
    });
    let relay = Relay::hooked(hooks);
    let document = document(&relay);
    assert_eq!(document["name"], "at relay");
    assert!(document.get("version").is_none());
    assert!(document["supported_nips"].is_array());
}

#[test]
fn a_hook_rejects_connections_before_they_are_open() {
    let hooks = HookList::new().reject_connection(|request| {
        match request
            .peer
            .ip()
            .is_some_and(|ip| ip.to_string() == "192.0.2.66")
        {
            true => Err(corecast::hooks::rejection("Not from there.")),
            false => Ok(()),
        }
    });
    let relay = Relay::hooked(hooks);
    let answer = relay.ask_from("192.0.2.66").answer();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("1"))
    );
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    relay.open_from("192.0.2.67").expect_nothing();
}

/// Hooks that note their calls, under this name.
fn noting(log: &Log, name: &'static str) -> HookList {
    let (events, filters, saved) = (log.clone(), log.clone(), log.clone());
    HookList::new()
        .reject_event(move |_, event| {
            events.add(format!("{name} event {}", event.kind()));
            match event.content() == name {
                true => Err(format!("not in {name}").into()),
                false => Ok(()),
            }
        })
        .overwrite_filter(|_, filter| filter.limit = Some(9))
        .reject_filter(move |_, _, filter| {
            filters.add(format!("{name} filter {:?}", filter.limit));
            Ok(())
        })
        .on_event_saved(move |_, event| saved.add(format!("{name} saved {}", event.kind())))
        .prevent_broadcast(move |_, _, event| name == "b" && event.kind() == 8)
}

#[test]
fn a_router_calls_only_the_hooks_of_the_right_route() {
    let log = Log::default();
    let has = |filter: &Filter, kind| filter.kinds.iter().flatten().any(|each| *each == kind);
    let router = Router::new()
        .route(
            |event| event.kind() == 7,
            move |filter| has(filter, 7),
            noting(&log, "a"),
        )
        .route(
            |event| event.kind() < 9,
            move |filter| has(filter, 8),
            noting(&log, "b"),
        );
    let relay = Relay::hooked(HookList::new().with(router));
    let mut client = relay.open();
    client.req("s", &[json!({"kinds": [7, 8, 9]}), json!({"kinds": [1]})]);
    client.stored("s");
    let sent: Vec<Event> = [7, 8, 9].map(|kind| event(1, kind, 0, &[])).into();
    for event in &sent {
        client.0.text(&format!("[\"EVENT\",{}]", event.json()));
    }
    let mut live = Vec::new();
    let mut answered = 0;
    while answered < 3 {
        let message = client.hear();
        match message[0].as_str() {
            Some("OK") => answered += 1,
            _ => live.push(message[2]["kind"].clone()),
        }
    }
    while live.len() < 2 {
        live.push(client.hear()[2]["kind"].clone());
    }
    live.sort_by_key(Value::to_string);
    assert_eq!(
        live,
        [json!(7), json!(9)],
        "a route's hook prevents only its own events"
    );
    assert_eq!(client.query(&[json!({"ids": [id(&sent[1])]})]).len(), 1);
    let mut lines = log.lines();
    lines.sort();
    let wanted = [
        "a event 7",
        "a filter Some(9)",
        "a saved 7",
        "b event 8",
        "b filter Some(9)",
        "b saved 8",
    ];
    assert_eq!(lines, wanted);
}

/// Panics in each method, for some events and filters.
struct Fragile;

fn is_marked(event: &Event, mark: &str) -> bool {
    event.tags().iter().any(|tag| tag == &["mark", mark])
}

impl NostrHooks for Fragile {
    fn reject_connection(&self, request: &corecast::engine::Request<'_>) -> Result<(), Refused> {
        let is_bad = request
            .peer
            .ip()
            .is_some_and(|ip| ip.to_string() == "192.0.2.66");
        assert!(!is_bad, "a bug");
        Ok(())
    }

    fn reject_event(&self, _: &Context<'_>, event: &Event) -> Result<(), Rejection> {
        assert!(!is_marked(event, "reject"), "a bug");
        Ok(())
    }

    fn reject_filter(
        &self,
        _: &Context<'_>,
        _: Operation,
        filter: &Filter,
    ) -> Result<(), Rejection> {
        assert!(filter.kinds.as_deref() != Some(&[100]), "a bug");
        Ok(())
    }

    fn overwrite_filter(&self, _: &Context<'_>, filter: &mut Filter) {
        assert!(filter.kinds.as_deref() != Some(&[101]), "a bug");
    }

    fn on_event_saved(&self, _: &Context<'_>, event: &Event) {
        assert!(!is_marked(event, "saved"), "a bug");
    }

    fn on_ephemeral_event(&self, _: &Context<'_>, _: &Event) {
        panic!("a bug");
    }

    fn overwrite_response_event(&self, _: &Context<'_>, event: &Event) -> Option<bytes::Bytes> {
        assert!(!is_marked(event, "response"), "a bug");
        is_marked(event, "no JSON").then(|| bytes::Bytes::from_static(b"[1]"))
    }

    fn prevent_broadcast(
        &self,
        _: &corecast::relay::nostr::Subscriber<'_>,
        _: &Filter,
        event: &Event,
    ) -> bool {
        assert!(!is_marked(event, "broadcast"), "a bug");
        false
    }

    fn overwrite_relay_information(
        &self,
        _: &corecast::engine::Request<'_>,
        document: &mut serde_json::Map<String, Value>,
    ) {
        document.clear();
        panic!("a bug");
    }
}

#[test]
fn a_panic_in_a_hook_harms_only_what_it_was_called_for() {
    let relay = Relay::hooked(HookList::new().with(Fragile));
    let (mut client, mut other) = (relay.open(), relay.open());
    other.req("all", &[json!({})]);
    other.stored("all");
    let failed = "error: a hook of this relay has failed";
    let failures = || relay.stats.hook_failures();
    let marked = |mark, ago| event(1, 1, ago, &[&["mark", mark]]);
    assert_eq!(
        client.publish(&marked("reject", 1)),
        (false, failed.to_owned())
    );
    for kind in [100, 101] {
        let answer = client.refused(&json!(["REQ", "s", {"kinds": [kind]}]));
        assert_eq!(answer, json!(["CLOSED", "s", failed]));
    }
    assert_eq!(failures(), 3);
    let saved = marked("saved", 2);
    client.expect_taken(&saved);
    assert_eq!(other.live("all"), id(&saved));
    let ephemeral = event(1, 20_001, 3, &[]);
    client.expect_taken(&ephemeral);
    assert_eq!(other.live("all"), id(&ephemeral));
    assert_eq!(failures(), 5);
    for mark in ["response", "no JSON", "broadcast"] {
        client.expect_taken(&marked(mark, 4));
    }
    eventually("three deliveries failed", || failures() == 8);
    let last = event(1, 1, 5, &[]);
    client.expect_taken(&last);
    assert_eq!(other.live("all"), id(&last), "the failed ones are left out");
    let document = document(&relay);
    assert!(document["supported_nips"].is_array(), "{document}");
    let answer = relay.ask_from("192.0.2.66").answer();
    assert_eq!(answer.status, 500);
    assert_eq!(failures(), 10);
    other.expect_nothing();
}

/// Two relays, one with hooks, agree on all messages that no hook concerns.
#[test]
fn hooks_that_do_nothing_change_nothing() {
    struct Idle;
    impl NostrHooks for Idle {}
    let settings = NostrSettings {
        hooks: HookList::new().with(Idle).with_all(HookList::new()),
        ..NostrSettings::default()
    };
    let hooked = Relay::of(1, EndpointSettings::default(), Nostr::new(settings));
    let answers = |relay: &Relay| {
        let (mut reader, mut writer) = (relay.open(), relay.open());
        let note = |content: &str| {
            signer(1).sign(Draft {
                created_at: now() / 1_000 * 1_000,
                kind: 1,
                content: content.to_owned(),
                ..Draft::default()
            })
        };
        writer.expect_taken(&note("a"));
        reader.req("s", &[json!({"kinds": [1]})]);
        let mut told = vec![reader.hear(), reader.hear()];
        writer.expect_taken(&note("b"));
        told.push(reader.hear());
        told.push(reader.refused(&json!(["COUNT", "c", {}])));
        told
    };
    assert_eq!(answers(&hooked), answers(&Relay::start()));
    assert_eq!(hooked.stats.hook_failures(), 0);
}
