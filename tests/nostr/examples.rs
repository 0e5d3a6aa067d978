//! The examples of hooks and policies, run with a client.

use std::net::SocketAddr;
use std::sync::Arc;

use corecast::engine::Engine;
use corecast::relay::nostr::Added;
use corecast_nostr::{Draft, Event, to_hex};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::manage::{RPC, authorization};
use crate::support::client::{Client, upgrade_with};
use crate::{Nostrich, event, id, key, now, signer, tags};

macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(
            dead_code,
            unreachable_pub,
            reason = "the example's own main runs outside of a test"
        )]
        mod $name;
    };
}

example!(nostr_hooks, "../../examples/nostr_hooks.rs");
example!(nostr_policies, "../../examples/nostr_policies.rs");

const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn open(engine: &Engine) -> Nostrich {
    Nostrich(Client::open(engine.addresses()[0], "/"))
}

fn with_content(secret: u8, kind: u16, content: &str) -> Event {
    signer(secret).sign(Draft {
        created_at: now(),
        kind,
        content: content.to_owned(),
        ..Draft::default()
    })
}

fn description(engine: &Engine) -> Value {
    let mut client = Client::connect(engine.addresses()[0]);
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: application/nostr+json\r\n\r\n");
    let document: Value = serde_json::from_slice(&client.answer().body).expect("JSON");
    document["description"].clone()
}

#[test]
fn the_example_of_policies_keeps_its_policies() {
    let engine = nostr_policies::start(SocketAddr::from(LISTEN)).expect("a free port");
    let mut client = open(&engine);
    client.expect_taken(&with_content(1, 0, r#"{"name":"Ada"}"#));
    client.expect_taken(&with_content(1, 1, "hello"));
    client.expect_taken(&event(1, 20_001, 0, &[]));
    let many: Vec<Vec<&str>> = (0..11).map(|_| vec!["t", "x"]).collect();
    let many: Vec<&[&str]> = many.iter().map(Vec::as_slice).collect();
    for (event, told) in [
        (with_content(1, 6, ""), "events of kind 6 are not accepted"),
        (with_content(1, 0, "{}"), "a profile needs a name"),
        (
            with_content(1, 1, "data:image/png;base64,"),
            "the content has media in base64",
        ),
        (with_content(1, 1, "so buy now!"), "no advertising here"),
        (
            with_content(1, 1, &"x".repeat(16_385)),
            "the content has more than 16384 bytes",
        ),
        (
            event(1, 1, 0, &many),
            "the event has more than 10 indexable tags",
        ),
        (event(1, 1, 366 * 86_400, &[]), "the event is too old"),
    ] {
        let (is_taken, reason) = client.publish(&event);
        assert!(!is_taken && reason.contains(told), "{reason}");
    }
    for (filter, told) in [
        (
            json!({"limit": 0}),
            "the filter needs an id, an author, a kind or a tag",
        ),
        (json!({"kinds": [1]}), "needs an author"),
        (
            json!({"#t": ["a"], "#d": ["b"], "#x": ["c"], "#a": ["d"], "authors": [key(1)],
            "kinds": [1, 2]}),
            "too many tags and kinds",
        ),
    ] {
        let answer = client.refused(&json!(["REQ", "s", filter]));
        assert!(
            answer[2]
                .as_str()
                .is_some_and(|reason| reason.contains(told)),
            "{answer}"
        );
    }
    assert_eq!(client.query(&[json!({"authors": [key(1)]})]).len(), 2);
    engine.stop();
}

#[test]
fn the_example_of_hooks_uses_each_of_them() {
    let admins = vec![signer(7).public_key()];
    let (engine, handle) =
        nostr_hooks::start(SocketAddr::from(LISTEN), admins).expect("a free port");
    let mut bot = Client::connect(engine.addresses()[0]);
    bot.send(upgrade_with("/", "X-Bot: yes\r\n").as_bytes());
    assert_eq!(bot.answer().status, 429);
    let (mut guest, mut member) = (open(&engine), open(&engine));
    let note = with_content(1, 1, "for members");
    become_member(&mut member, &note);
    for reader in [&mut guest, &mut member] {
        reader.req("s", &[json!({"authors": [key(1)]})]);
        reader.stored("s");
    }
    cannot_count(&mut guest);
    let secret = with_content(1, 7, "my password");
    assert_eq!(
        member.publish(&secret).1,
        "blocked: passwords do not belong here"
    );
    member.0.text(&format!("[\"EVENT\",{}]", note.json()));
    let answers = [member.hear(), member.hear()];
    assert!(
        answers
            .iter()
            .any(|answer| answer[0] == "OK" && answer[2] == true)
    );
    assert!(answers.iter().any(|answer| answer[0] == "EVENT"));
    let reaction = with_content(1, 7, "+");
    let delete = |event: &Event| crate::event(1, 5, 0, &[&["e", &id(event)]]);
    let (of_note, of_reaction) = (delete(&note), delete(&reaction));
    let added = handle.add_event(Arc::new(reaction)).expect("a relay");
    assert_eq!(added.wait(), Ok(Added::Stored));
    // The guest got no note, and a reaction without content.
    let got = guest.hear();
    assert_eq!(
        (&got[2]["kind"], &got[2]["content"]),
        (&json!(7), &json!(""))
    );
    assert_eq!(member.hear()[2]["content"], "+");
    assert_eq!(guest.query(&[json!({"kinds": [1]})]), [id(&note)]);
    guest.expect_taken(&event(2, 20_001, 0, &[]));
    assert_eq!(description(&engine), "2 present, 2 saved, 1 ephemeral");
    for deletion in [of_note, of_reaction] {
        let added = handle.add_event(Arc::new(deletion)).expect("a relay");
        assert_eq!(added.wait(), Ok(Added::Stored));
    }
    assert_eq!(count_members(&engine), json!(2));
    let mut late = open(&engine);
    assert_eq!(
        late.query(&[json!({"kinds": [1, 7]})]).len(),
        1,
        "the reaction stays"
    );
    engine.stop();
}

/// Proves the key of the author of a note, which is refused before that.
fn become_member(client: &mut Nostrich, note: &Event) {
    let json: Value = serde_json::from_str(note.json()).expect("JSON");
    let (challenge, answer) = client.challenged(&json!(["EVENT", json]));
    assert_eq!(answer[3], "auth-required: notes are for members");
    let proof = signer(1).sign(Draft {
        created_at: now(),
        kind: 22_242,
        tags: tags(&[
            &["relay", "ws://127.0.0.1:8080/"],
            &["challenge", &challenge],
        ]),
        content: String::new(),
    });
    let proof: Value = serde_json::from_str(proof.json()).expect("JSON");
    assert_eq!(client.refused(&json!(["AUTH", proof]))[2], true);
}

fn cannot_count(guest: &mut Nostrich) {
    let told = guest.refused(&json!(["COUNT", "c", {}]));
    assert_eq!(told, json!(["NOTICE", "members can count"]));
    assert_eq!(guest.hear()[0], "AUTH");
    let closed = json!(["CLOSED", "c", "restricted: for members only"]);
    assert_eq!(guest.hear(), closed);
}

/// Calls the method of the management API that the example adds.
fn count_members(engine: &Engine) -> Value {
    let body = r#"{"method":"countmembers","params":[]}"#;
    let payload = to_hex(digest(&SHA256, body.as_bytes()).as_ref());
    let signed = authorization(
        &signer(7),
        Draft {
            created_at: now(),
            kind: 27_235,
            tags: tags(&[
                &["u", "http://127.0.0.1:8080/"],
                &["method", "POST"],
                &["payload", &payload],
            ]),
            ..Draft::default()
        },
    );
    let mut client = Client::connect(engine.addresses()[0]);
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{RPC}{signed}\r\n{body}"
    );
    client.send(request.as_bytes());
    let answer: Value = serde_json::from_slice(&client.answer().body).expect("JSON");
    answer["result"].clone()
}
