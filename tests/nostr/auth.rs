//! Proofs of keys, and the access that they give.

use corecast_nostr::{Draft, Event, RelayUrls};
use serde_json::{Value, json};

use crate::{Nostrich, Relay, began, event, id, key, now, signer, tags};

pub(crate) const URL: &str = "wss://relay.example/nostr";

fn relay(change: impl FnOnce(&mut corecast::relay::nostr::NostrSettings)) -> Relay {
    Relay::with(1, |settings| {
        settings.urls = RelayUrls::new(vec![URL.to_owned()]);
        change(settings);
    })
}

fn proof(secret: u8, challenge: &str, relay: &str) -> Event {
    signer(secret).sign(Draft {
        created_at: now(),
        kind: 22_242,
        tags: tags(&[&["relay", relay], &["challenge", challenge]]),
        content: String::new(),
    })
}

impl Nostrich {
    pub(crate) fn auth(&mut self, secret: u8, challenge: &str) -> Value {
        let event: Value =
            serde_json::from_str(proof(secret, challenge, URL).json()).expect("JSON");
        self.refused(&json!(["AUTH", event]))
    }

    /// Is refused for lack of a key: returns the challenge and the answer.
    pub(crate) fn challenged(&mut self, message: &Value) -> (String, Value) {
        let challenge = self.refused(message);
        assert_eq!(challenge[0], "AUTH", "{challenge}");
        let answer = self.hear();
        assert!(answer.to_string().contains("auth-required: "), "{answer}");
        (
            challenge[1].as_str().expect("a challenge").to_owned(),
            answer,
        )
    }
}

#[test]
fn a_key_is_proven_once_for_a_connection_and_several_add_up() {
    let relay = relay(|settings| settings.keys_max = 2);
    let mut client = relay.open();
    let req = json!(["REQ", "s", {"kinds": [1059]}]);
    let (challenge, answer) = client.challenged(&req);
    assert_eq!((&answer[0], &answer[1]), (&json!("CLOSED"), &json!("s")));
    for secret in [1, 2, 1] {
        let answer = client.auth(secret, &challenge);
        assert_eq!(
            (&answer[0], &answer[2], &answer[3]),
            (&json!("OK"), &json!(true), &json!(""))
        );
    }
    let answer = client.auth(3, &challenge);
    assert_eq!(answer[3], "restricted: a connection has at most 2 keys");
    client.say(&req);
    assert_eq!(client.stored("s").0.len(), 0);
    // Another connection has another challenge.
    let mut other = relay.open();
    let answer = other.auth(1, &challenge);
    assert_eq!(answer[3], "invalid: this connection has no challenge");
    let (another, _) = other.challenged(&req);
    assert_ne!(another, challenge);
    let answer = other.auth(1, &challenge);
    assert_eq!(answer[3], "invalid: the challenge is not this connection's");
    let elsewhere: Value =
        serde_json::from_str(proof(1, &another, "wss://evil.example").json()).expect("JSON");
    let answer = other.refused(&json!(["AUTH", elsewhere]));
    assert_eq!(
        answer[3],
        format!("invalid: the event is for another relay than {URL}")
    );
}

#[test]
fn the_challenge_can_come_first() {
    let relay = relay(|settings| settings.challenges_all = true);
    let mut client = relay.open();
    let challenge = client.hear();
    assert_eq!(challenge[0], "AUTH");
    let answer = client.auth(1, challenge[1].as_str().expect("text"));
    assert_eq!(answer[2], true);
}

/// A client with this key gets the live events for it, including ephemeral ones.
fn expect_live(client: &mut Nostrich, writer: &mut Nostrich, secret: Option<u8>) {
    let (author, recipient) = (1, 2);
    client.req(
        "live",
        &[json!({"since": began(), "kinds": [1, 4, 1059, 21059]})],
    );
    client.stored("live");
    let live = [
        event(
            author,
            21_059,
            0,
            &[&["p", &key(recipient)], &["x", &format!("{secret:?}")]],
        ),
        event(
            author,
            4,
            0,
            &[&["p", &key(recipient)], &["x", &format!("{secret:?}")]],
        ),
        event(author, 1, 0, &[&["x", &format!("{secret:?}")]]),
    ];
    live.iter().for_each(|event| writer.expect_taken(event));
    if secret == Some(recipient) {
        assert_eq!(client.live("live"), id(&live[0]));
    }
    if secret.is_some_and(|secret| secret < 3) {
        assert_eq!(client.live("live"), id(&live[1]));
    }
    assert_eq!(client.live("live"), id(&live[2]));
    client.expect_nothing();
}

#[test]
fn private_events_are_for_whom_they_name() {
    let relay = relay(|_| {});
    let (author, recipient) = (1, 2);
    let wrap = event(
        author,
        1_059,
        3,
        &[&["p", &key(recipient)], &["x", "first"]],
    );
    let message = event(author, 4, 2, &[&["p", &key(recipient)], &["x", "first"]]);
    let note = event(author, 1, 1, &[&["x", "first"]]);
    let mut writer = relay.open();
    [&wrap, &message, &note]
        .iter()
        .for_each(|event| writer.expect_taken(event));
    let kinds = json!({"kinds": [1, 4, 1059], "#x": ["first"]});
    let open = |secret: Option<u8>| {
        let mut client = relay.open();
        if let Some(secret) = secret {
            let (challenge, _) = client.challenged(&json!(["REQ", "s", {"kinds": [4]}]));
            assert_eq!(client.auth(secret, &challenge)[2], true);
        }
        client
    };
    let all = [id(&note), id(&message), id(&wrap)];
    for (secret, wanted) in [
        (None, &all[..1]),
        (Some(3), &all[..1]),
        (Some(author), &all[..2]),
        (Some(recipient), &all),
    ] {
        let mut client = open(secret);
        assert_eq!(client.query(std::slice::from_ref(&kinds)), wanted);
        client.say(&json!(["COUNT", "c", kinds]));
        assert_eq!(client.hear()[2]["count"], wanted.len());
        expect_live(&mut client, &mut writer, secret);
        let everything = json!({"authors": [key(author)], "since": began() - 60});
        assert!(!client.query(&[everything]).is_empty());
    }
}

#[test]
fn protected_events_are_taken_from_their_author() {
    let relay = relay(|_| {});
    let mut client = relay.open();
    let protected = event(1, 1, 0, &[&["-"]]);
    let message: Value = serde_json::from_str(protected.json()).expect("JSON");
    let (challenge, answer) = client.challenged(&json!(["EVENT", message]));
    assert_eq!((&answer[0], &answer[2]), (&json!("OK"), &json!(false)));
    assert_eq!(client.auth(2, &challenge)[2], true);
    let (is_taken, told) = client.publish(&protected);
    assert!(!is_taken && told.starts_with("restricted: "), "{told}");
    assert_eq!(client.auth(1, &challenge)[2], true);
    client.expect_taken(&protected);
    let repost = signer(2).sign(Draft {
        created_at: now(),
        kind: 6,
        content: protected.json().to_owned(),
        ..Draft::default()
    });
    let (is_taken, told) = client.publish(&repost);
    assert!(!is_taken && told.starts_with("blocked: "), "{told}");
}

#[test]
fn reading_and_writing_can_need_a_key() {
    let relay = relay(|settings| {
        settings.auth_read = true;
        settings.auth_write = true;
    });
    let mut client = relay.open();
    let note: Value = serde_json::from_str(event(1, 1, 0, &[]).json()).expect("JSON");
    let (challenge, _) = client.challenged(&json!(["REQ", "s", {}]));
    client.challenged(&json!(["COUNT", "s", {}]));
    let (again, answer) = client.challenged(&json!(["EVENT", note]));
    assert_eq!((&challenge, &answer[2]), (&again, &json!(false)));
    assert_eq!(client.auth(1, &challenge)[2], true);
    assert_eq!(client.refused(&json!(["EVENT", note]))[2], true);
    assert_eq!(client.query(&[json!({})]).len(), 1);
}

/// Without configured URLs no client can authenticate: requests that need a key are refused, not
/// ignored.
#[test]
fn without_urls_what_needs_a_key_is_refused() {
    let relay = Relay::start();
    let mut client = relay.open();
    for made in [
        event(1, 1_059, 0, &[&["p", &key(2)]]),
        event(1, 1, 0, &[&["-"]]),
    ] {
        let (is_taken, told) = client.publish(&made);
        assert!(!is_taken && told.starts_with("blocked: "), "{told}");
    }
    let answer = client.refused(&json!(["REQ", "s", {"kinds": [4]}]));
    assert!(
        answer[2]
            .as_str()
            .is_some_and(|told| told.starts_with("restricted: ")),
        "{answer}"
    );
    let answer = client.auth(1, "x");
    assert_eq!(
        (&answer[2], &answer[3]),
        (
            &json!(false),
            &json!("restricted: this relay cannot authenticate clients")
        )
    );
}
