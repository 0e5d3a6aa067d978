//! Management over HTTP (NIP-86).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use corecast::engine::EndpointSettings;
use corecast::relay::nostr::{Caller, Management, Nostr, NostrSettings};
use corecast_nostr::{
    DeletionRule, DiskOptions, DiskStore, Draft, Event, MemoryStore, Numbered, Outcome, Page,
    Query, RelayUrls, Seq, Signer, Store, StoreError, to_hex,
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::{DEADLINE, eventually};
use crate::{Relay, event, id, key, now, signer, tags};

/// The configured admin, another key that gets rights, and authors.
const ADMIN: u8 = 7;
const HELPER: u8 = 8;
const AUTHOR: u8 = 1;
const OTHER: u8 = 2;

pub(crate) const RPC: &str = "Content-Type: application/nostr+json+rpc\r\n";
const URL: &str = "https://relay.example/nostr";

fn managed(settings: &mut NostrSettings) {
    settings.urls = RelayUrls::new(vec!["wss://relay.example/nostr".to_owned()]);
    settings.admins = vec![signer(ADMIN).public_key()];
}

fn relay() -> Relay {
    Relay::with(1, managed)
}

/// The draft of an authorization for this body.
fn draft(body: &str) -> Draft {
    let payload = to_hex(digest(&SHA256, body.as_bytes()).as_ref());
    Draft {
        created_at: now(),
        kind: 27_235,
        tags: tags(&[&["u", URL], &["method", "POST"], &["payload", &payload]]),
        // Two calls in a second differ.
        content: random(),
    }
}

fn random() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

pub(crate) fn authorization(signer: &Signer, draft: Draft) -> String {
    let event = signer.sign(draft);
    let encoded = BASE64_STANDARD.encode(event.json());
    format!("Authorization: Nostr {encoded}\r\n")
}

fn post(relay: &Relay, headers: &str, body: &str) -> Answer {
    let mut client = Client::connect(relay.server.address);
    let length = body.len();
    let request = format!(
        "POST /nostr HTTP/1.1\r\nHost: relay\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    client.send(request.as_bytes());
    client.answer()
}

fn body(method: &str, params: &Value) -> String {
    json!({"method": method, "params": params}).to_string()
}

/// A call signed by a key: the status and the answer.
fn call_by(relay: &Relay, secret: u8, method: &str, params: &Value) -> (u16, Value) {
    let body = body(method, params);
    let signed = authorization(&signer(secret), draft(&body));
    let answer = post(relay, &format!("{RPC}{signed}"), &body);
    assert_eq!(
        (
            answer.header("content-type"),
            answer.header("access-control-allow-origin")
        ),
        (Some("application/nostr+json+rpc"), Some("*"))
    );
    let told = serde_json::from_slice(&answer.body).expect("JSON");
    (answer.status, told)
}

/// The result of a call by the admin.
fn result(relay: &Relay, method: &str, params: &Value) -> Value {
    let (status, answer) = call_by(relay, ADMIN, method, params);
    assert_eq!(status, 200, "{method}: {answer}");
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

fn done(relay: &Relay, method: &str, params: &Value) {
    assert_eq!(result(relay, method, params), json!(true), "{method}");
}

/// The error of a call by the admin.
fn error(relay: &Relay, method: &str, params: &Value) -> String {
    let (status, answer) = call_by(relay, ADMIN, method, params);
    assert_eq!(status, 200, "{method}: {answer}");
    answer["error"].as_str().expect("an error").to_owned()
}

fn document(relay: &Relay) -> Value {
    let mut client = Client::connect(relay.server.address);
    client.send(b"GET /nostr HTTP/1.1\r\nHost: relay\r\nAccept: application/nostr+json\r\n\r\n");
    serde_json::from_slice(&client.answer().body).expect("JSON")
}

fn count(relay: &Relay, filter: &Value) -> u64 {
    let mut client = relay.open();
    client.say(&json!(["COUNT", "c", filter]));
    client.hear()[2]["count"].as_u64().expect("a count")
}

/// The reason in the answer to an event.
fn reason(relay: &Relay, event: &Event) -> String {
    relay.open().publish(event).1
}

#[test]
fn a_call_that_is_not_rightly_authorized_is_told_why() {
    let relay = relay();
    let call = body("stats", &json!([]));
    let with = |change: fn(&mut Draft)| {
        let mut draft = draft(&call);
        change(&mut draft);
        authorization(&signer(ADMIN), draft)
    };
    let of_other_body = authorization(&signer(ADMIN), draft("{}"));
    // The last digit of the signature differs.
    let mut forged = signer(ADMIN).sign(draft(&call)).json().to_owned();
    let last = forged.len() - 3;
    let digit = if &forged[last..=last] == "0" {
        "1"
    } else {
        "0"
    };
    forged.replace_range(last..=last, digit);
    let forged = format!(
        "Authorization: Nostr {}\r\n",
        BASE64_STANDARD.encode(forged)
    );
    for (headers, told) in [
        (String::new(), "Authorization is missing"),
        ("Authorization: Bearer abc\r\n".to_owned(), "must be Nostr"),
        ("Authorization: Nostr !!\r\n".to_owned(), "not in base64"),
        ("Authorization: Nostr e30\r\n".to_owned(), "invalid: "),
        (with(|draft| draft.kind = 22_242), "kind 27235"),
        (
            with(|draft| draft.created_at -= 61),
            "more than a minute off",
        ),
        (
            with(|draft| draft.created_at += 600),
            "more than a minute off",
        ),
        (
            with(|draft| draft.tags[0][1] = "https://evil.example/".into()),
            "u must be",
        ),
        (
            with(|draft| draft.tags[1][1] = "GET".into()),
            "method must be POST",
        ),
        (with(|draft| drop(draft.tags.pop())), "payload must be"),
        (of_other_body, "payload must be"),
        (forged, "sig is not the signature"),
    ] {
        let answer = post(&relay, &format!("{RPC}{headers}"), &call);
        let body = String::from_utf8(answer.body.clone()).expect("text");
        assert_eq!(answer.status, 401, "{told}: {body}");
        assert_eq!(answer.header("www-authenticate"), Some("Nostr"));
        assert!(body.contains(told), "{told}: {body}");
    }
}

#[test]
fn an_authorization_is_used_once() {
    let relay = relay();
    let call = body("supportedmethods", &json!([]));
    let headers = format!("{RPC}{}", authorization(&signer(ADMIN), draft(&call)));
    assert_eq!(post(&relay, &headers, &call).status, 200);
    let again = post(&relay, &headers, &call);
    assert_eq!(again.status, 401);
    assert!(String::from_utf8_lossy(&again.body).contains("was used before"));
}

#[test]
fn a_key_that_is_no_admin_is_forbidden() {
    let relay = relay();
    let (status, answer) = call_by(&relay, OTHER, "stats", &json!([]));
    assert_eq!(status, 403);
    let told = answer["error"].as_str().expect("an error");
    assert!(told.contains("not an admin"), "{told}");
}

#[test]
fn guessing_at_authorizations_is_slowed_down() {
    let relay = relay();
    let call = body("stats", &json!([]));
    // The address of a trusted proxy itself is never slowed down.
    let headers = format!("{RPC}Authorization: Nostr e30\r\nX-Forwarded-For: 192.0.2.9\r\n");
    let throttled = (0..2_000).find_map(|_| {
        let answer = post(&relay, &headers, &call);
        (answer.status != 401).then_some(answer)
    });
    let throttled = throttled.expect("an end");
    assert_eq!(throttled.status, 429);
    assert!(throttled.header("retry-after").is_some());
}

#[test]
fn other_posts_are_refused_by_type_size_or_since_it_is_off() {
    let relay = relay();
    let text = post(&relay, "Content-Type: application/json\r\n", "{}");
    assert_eq!(text.status, 415);
    let large = " ".repeat((64 << 10) + 1);
    let answer = post(&relay, &format!("{RPC}Authorization: Nostr x\r\n"), &large);
    assert_eq!(answer.status, 413);
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let mut client = Client::connect(relay.server.address);
    client.send(
        format!(
            "POST /nostr HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: chunked\r\n{RPC}\
             Authorization: Nostr x\r\n\r\n{chunk}"
        )
        .as_bytes(),
    );
    assert_eq!(client.answer().status, 413);
    for off in [
        Relay::start(),
        Relay::with(1, |settings| settings.admins = vec![[1; 32]]),
        Relay::with(1, |settings| {
            managed(settings);
            settings.admins.clear();
        }),
    ] {
        let call = body("stats", &json!([]));
        let headers = format!("{RPC}{}", authorization(&signer(ADMIN), draft(&call)));
        let answer = post(&off, &headers, &call);
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
        let nips = document(&off)["supported_nips"].clone();
        assert!(!nips.as_array().expect("a list").contains(&json!(86)));
    }
    let nips = document(&relay)["supported_nips"].clone();
    assert!(nips.as_array().expect("a list").contains(&json!(86)));
}

#[test]
fn calls_that_make_no_sense_are_errors() {
    let relay = relay();
    for (method, params, told) in [
        ("banpubkey", json!(["xyz"]), "must be a public key"),
        ("allowkind", json!([70_000]), "must be a kind"),
        ("blockip", json!(["here"]), "must be an IP address"),
        ("createrole", json!([]), "is unknown"),
    ] {
        let error = error(&relay, method, &params);
        assert!(error.contains(told), "{error}");
    }
    let body = "{\"method\":";
    let signed = authorization(&signer(ADMIN), draft(body));
    let answer = post(&relay, &format!("{RPC}{signed}"), body);
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(answer.status, 200);
    assert!(
        told["error"]
            .as_str()
            .expect("an error")
            .starts_with("invalid: ")
    );
}

#[test]
fn a_banned_key_disappears_and_comes_back() {
    let relay = Relay::with(2, managed);
    let (kept, mut publisher) = (event(AUTHOR, 1, 10, &[]), relay.open());
    publisher.expect_taken(&kept);
    let mut reader = relay.open();
    reader.req("live", &[json!({"kinds": [1]})]);
    assert_eq!(reader.stored("live").0, [id(&kept)]);
    let banned = json!([key(AUTHOR), "spam\nand more"]);
    done(&relay, "banpubkey", &banned);
    for refused in [
        &kept,
        &event(AUTHOR, 1, 9, &[]),
        &event(AUTHOR, 20_001, 9, &[]),
    ] {
        let told = reason(&relay, refused);
        assert_eq!(told, "blocked: this key is banned from this relay");
    }
    assert_eq!(relay.open().query(&[json!({"kinds": [1]})]), [""; 0]);
    assert_eq!(relay.open().query(&[json!({"ids": [id(&kept)]})]), [""; 0]);
    assert_eq!(count(&relay, &json!({"authors": [key(AUTHOR)]})), 0);
    let listed = json!([{"pubkey": key(AUTHOR), "reason": "spam\nand more"}]);
    assert_eq!(result(&relay, "listbannedpubkeys", &json!([])), listed);
    let other = event(OTHER, 1, 8, &[]);
    publisher.expect_taken(&other);
    assert_eq!(reader.live("live"), id(&other));
    done(&relay, "unbanpubkey", &json!([key(AUTHOR)]));
    let again = event(AUTHOR, 1, 7, &[]);
    publisher.expect_taken(&again);
    assert_eq!(reader.live("live"), id(&again));
    let all = relay.open().query(&[json!({"kinds": [1]})]);
    assert_eq!(all, [id(&again), id(&other), id(&kept)]);
    assert_eq!(count(&relay, &json!({"authors": [key(AUTHOR)]})), 2);
}

#[test]
fn a_banned_event_is_hidden_until_it_is_allowed() {
    let relay = relay();
    let (bad, good) = (event(AUTHOR, 1, 10, &[]), event(AUTHOR, 1, 9, &[]));
    let mut publisher = relay.open();
    publisher.expect_taken(&bad);
    publisher.expect_taken(&good);
    done(&relay, "banevent", &json!([id(&bad), "illegal"]));
    assert_eq!(relay.open().query(&[json!({"kinds": [1]})]), [id(&good)]);
    assert_eq!(
        reason(&relay, &bad),
        "blocked: this event is banned from this relay"
    );
    let banned = json!([{"id": id(&bad), "reason": "illegal"}]);
    assert_eq!(result(&relay, "listbannedevents", &json!([])), banned);
    done(&relay, "allowevent", &json!([id(&bad)]));
    assert_eq!(result(&relay, "listbannedevents", &json!([])), json!([]));
    // It stays an exception when its author is banned.
    done(&relay, "banpubkey", &json!([key(AUTHOR)]));
    assert_eq!(relay.open().query(&[json!({"kinds": [1]})]), [id(&bad)]);
    let allowed = json!([{"id": id(&bad), "reason": ""}]);
    assert_eq!(result(&relay, "listallowedevents", &json!([])), allowed);
}

#[test]
fn once_keys_are_allowed_only_they_may_publish() {
    let relay = relay();
    done(&relay, "allowpubkey", &json!([key(AUTHOR), "a friend"]));
    relay.open().expect_taken(&event(AUTHOR, 1, 10, &[]));
    let told = reason(&relay, &event(OTHER, 1, 10, &[]));
    assert_eq!(
        told,
        "blocked: only keys on the list of this relay may publish"
    );
    assert_eq!(document(&relay)["limitation"]["restricted_writes"], true);
    let listed = json!([{"pubkey": key(AUTHOR), "reason": "a friend"}]);
    assert_eq!(result(&relay, "listallowedpubkeys", &json!([])), listed);
    done(&relay, "unallowpubkey", &json!([key(AUTHOR)]));
    relay.open().expect_taken(&event(OTHER, 1, 10, &[]));
    assert_eq!(document(&relay)["limitation"]["restricted_writes"], false);
}

#[test]
fn kinds_are_refused_and_accepted_beside_the_configured_ones() {
    let relay = Relay::with(1, |settings| {
        managed(settings);
        settings.events.kinds = Some([1, 3].into());
    });
    let kind = |kind, ago| reason(&relay, &event(AUTHOR, kind, ago, &[]));
    assert_eq!(kind(7, 10), "blocked: events of kind 7 are not accepted");
    done(&relay, "allowkind", &json!([7]));
    done(&relay, "disallowkind", &json!([3]));
    assert_eq!(kind(7, 9), "");
    assert_eq!(kind(3, 9), "blocked: events of kind 3 are not accepted");
    assert_eq!(
        result(&relay, "listallowedkinds", &json!([])),
        json!([1, 7])
    );
    assert_eq!(
        result(&relay, "listdisallowedkinds", &json!([])),
        json!([3])
    );
}

#[test]
fn the_relay_describes_itself_with_the_changed_texts() {
    let relay = Relay::with(1, |settings| {
        managed(settings);
        settings.info.name = Some("Old".to_owned());
    });
    done(&relay, "changerelayname", &json!(["New"]));
    done(&relay, "changerelaydescription", &json!(["One.\n\nTwo."]));
    done(
        &relay,
        "changerelayicon",
        &json!(["https://a.example/b.png"]),
    );
    let changed = document(&relay);
    assert_eq!(changed["name"], "New");
    assert_eq!(changed["description"], "One.\n\nTwo.");
    assert_eq!(changed["icon"], "https://a.example/b.png");
    done(&relay, "changerelayname", &json!([""]));
    assert_eq!(document(&relay)["name"], "Old");
}

#[test]
fn reported_events_wait_for_a_decision() {
    let relay = relay();
    let reported: Vec<Event> = (1..4).map(|ago| event(AUTHOR, 1, ago, &[])).collect();
    let mut publisher = relay.open();
    for (number, each) in reported.iter().enumerate() {
        publisher.expect_taken(each);
        let report = signer(OTHER).sign(Draft {
            created_at: now() - number as u64,
            kind: 1_984,
            tags: tags(&[&["e", &id(each), "spam"], &["p", &key(AUTHOR), "spam"]]),
            content: format!("number {number}"),
        });
        publisher.expect_taken(&report);
    }
    let elsewhere = event(OTHER, 1_984, 9, &[&["e", &"ab".repeat(32), "spam"]]);
    publisher.expect_taken(&elsewhere);
    done(&relay, "banevent", &json!([id(&reported[0])]));
    done(&relay, "allowevent", &json!([id(&reported[1])]));
    let waiting = result(&relay, "listeventsneedingmoderation", &json!([]));
    let due = json!([{"id": id(&reported[2]), "reason": "spam: number 2"}]);
    assert_eq!(waiting, due);
}

#[test]
#[cfg(target_os = "linux")]
fn a_blocked_address_loses_its_connections_and_gets_no_other() {
    let relay = Relay::with(2, managed);
    let address = relay.server.address;
    let from = |last| Client::connect_from(last, address);
    let mut silent = from(5).upgraded("/nostr");
    let mut other = from(6).upgraded("/nostr");
    done(&relay, "blockip", &json!(["127.0.0.5", "a scraper"]));
    assert_eq!(
        silent.expect_close(1008),
        "blocked: this address is blocked"
    );
    let mut again = from(5);
    again.send(crate::support::client::upgrade("/nostr").as_bytes());
    assert_eq!(again.answer().status, 403);
    other.text("[\"COUNT\",\"c\",{}]");
    assert_eq!(other.expect_text(), "[\"COUNT\",\"c\",{\"count\":0}]");
    let listed = json!([{"ip": "127.0.0.5", "reason": "a scraper"}]);
    assert_eq!(result(&relay, "listblockedips", &json!([])), listed);
    done(&relay, "unblockip", &json!(["127.0.0.5"]));
    drop(from(5).upgraded("/nostr"));
}

#[test]
fn behind_a_proxy_the_address_that_it_names_is_blocked() {
    let relay = relay();
    let mut blocked = relay.open_from("192.0.2.5");
    let mut other = relay.open_from("192.0.2.6");
    done(&relay, "blockip", &json!(["192.0.2.5"]));
    let told = blocked.0.expect_close(1008);
    assert_eq!(told, "blocked: this address is blocked");
    assert_eq!(relay.ask_from("192.0.2.5").answer().status, 403);
    other.expect_nothing();
}

#[test]
fn admins_are_named_with_all_methods_or_some() {
    let relay = relay();
    let by_helper = |method: &str, params: &Value| call_by(&relay, HELPER, method, params);
    assert_eq!(by_helper("stats", &json!([])).0, 403);
    let some = json!([key(HELPER), ["stats", "grantadmin"]]);
    done(&relay, "grantadmin", &some);
    assert_eq!(by_helper("stats", &json!([])).0, 200);
    let (status, answer) = by_helper("banpubkey", &json!([key(AUTHOR)]));
    assert_eq!(status, 403);
    assert!(
        answer["error"]
            .as_str()
            .expect("an error")
            .contains("may not use banpubkey")
    );
    let own = by_helper("supportedmethods", &json!([])).1;
    assert_eq!(own["result"], json!(["stats", "grantadmin"]));
    // No more than it has itself.
    let more = by_helper("grantadmin", &json!([key(OTHER), ["banpubkey"]])).1;
    assert!(
        more["error"]
            .as_str()
            .expect("an error")
            .contains("methods of its own")
    );
    done(&relay, "revokeadmin", &json!([key(HELPER), []]));
    assert_eq!(by_helper("stats", &json!([])).0, 403);
    let told = error(&relay, "revokeadmin", &json!([key(ADMIN)]));
    assert!(told.contains("in the configuration"), "{told}");
}

#[test]
fn all_methods_work_that_are_said_to() {
    let relay = relay();
    relay.open().expect_taken(&event(OTHER, 1, 10, &[]));
    let methods = result(&relay, "supportedmethods", &json!([]));
    let methods = methods.as_array().expect("a list");
    assert!(methods.len() >= 24 && !methods.contains(&json!("supportedmethods")));
    for method in methods {
        let method = method.as_str().expect("a name");
        let first = match method {
            "allowkind" | "disallowkind" => json!(9_999),
            "blockip" | "unblockip" => json!("192.0.2.1"),
            "changerelayicon" => json!("https://a.example/b.png"),
            _ => json!(key(HELPER)),
        };
        result(&relay, method, &json!([first]));
    }
    let stats = result(&relay, "stats", &json!([]));
    assert_eq!(
        (&stats["events"], &stats["banned_pubkeys"]),
        (&json!(1), &json!(0))
    );
}

/// Makes changes at a relay, and finds them at the next one.
fn changes_last(mut store: impl FnMut() -> Arc<dyn Store>) {
    let mut begin = || {
        let mut settings = NostrSettings::default();
        managed(&mut settings);
        let nostr = Nostr::with_store(settings, store());
        Relay::of(1, EndpointSettings::default(), nostr)
    };
    let lists = [
        "listbannedpubkeys",
        "listbannedevents",
        "listallowedevents",
        "listdisallowedkinds",
        "listblockedips",
    ];
    let before = {
        let relay = begin();
        relay.open().expect_taken(&event(AUTHOR, 1, 10, &[]));
        done(&relay, "banpubkey", &json!([key(AUTHOR), "spam"]));
        done(&relay, "banevent", &json!(["ab".repeat(32), "spam"]));
        done(&relay, "allowevent", &json!(["cd".repeat(32), "fine"]));
        done(&relay, "disallowkind", &json!([7]));
        done(&relay, "blockip", &json!(["192.0.2.1", "spam"]));
        done(&relay, "changerelayname", &json!(["New"]));
        done(&relay, "grantadmin", &json!([key(HELPER), ["stats"]]));
        lists.map(|list| result(&relay, list, &json!([])))
    };
    let relay = begin();
    assert_eq!(lists.map(|list| result(&relay, list, &json!([]))), before);
    assert_eq!(relay.open().query(&[json!({"kinds": [1]})]), [""; 0]);
    assert_eq!(document(&relay)["name"], "New");
    assert_eq!(call_by(&relay, HELPER, "stats", &json!([])).0, 200);
    done(&relay, "unbanpubkey", &json!([key(AUTHOR)]));
    assert_eq!(relay.open().query(&[json!({"kinds": [1]})]).len(), 1);
}

#[test]
fn every_change_outlives_the_endpoint() {
    let store = Arc::new(MemoryStore::new(100));
    changes_last(|| Arc::clone(&store) as Arc<_>);
    assert_eq!(store.notes().expect("notes").len(), 6);
}

#[test]
fn every_change_outlives_the_process_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    changes_last(|| {
        // The threads of the relay before end a little later than its engine.
        let mut opened = None;
        eventually("the store is free", || {
            opened = DiskStore::open(folder.path(), &DiskOptions::default()).ok();
            opened.is_some()
        });
        Arc::new(opened.expect("a store"))
    });
}

struct Roles;

impl Management for Roles {
    fn methods(&self) -> Vec<String> {
        vec!["createrole".to_owned()]
    }

    fn manage(
        &self,
        caller: &Caller,
        method: &str,
        params: &[Value],
    ) -> Option<Result<Value, String>> {
        match method {
            "createrole" if params.is_empty() => Some(Err("no name".to_owned())),
            "createrole" => Some(Ok(json!([to_hex(&caller.key), params[0]]))),
            "deleterole" => panic!("not written yet"),
            _ => None,
        }
    }
}

#[test]
fn an_embedder_adds_methods_of_its_own() {
    let mut settings = NostrSettings::default();
    managed(&mut settings);
    let nostr = Nostr::new(settings).with_management(Arc::new(Roles));
    let relay = Relay::of(1, EndpointSettings::default(), nostr);
    let made = result(&relay, "createrole", &json!(["editor"]));
    assert_eq!(made, json!([key(ADMIN), "editor"]));
    assert_eq!(error(&relay, "createrole", &json!([])), "no name");
    let told = error(&relay, "deleterole", &json!([]));
    assert_eq!(told, "error: the method failed");
    let told = error(&relay, "editrole", &json!([]));
    assert!(told.contains("editrole is unknown"), "{told}");
    let methods = result(&relay, "supportedmethods", &json!([]));
    assert!(
        methods
            .as_array()
            .expect("a list")
            .contains(&json!("createrole"))
    );
}

/// A store that can be full, and whose pages can have one row and wait.
struct Stubborn {
    store: MemoryStore,
    is_full: AtomicBool,
    /// A message for each page; `None`: no page waits.
    gate: Option<Receiver<()>>,
    begun: AtomicUsize,
}

impl Stubborn {
    fn new(gate: Option<Receiver<()>>) -> Arc<Stubborn> {
        Arc::new(Stubborn {
            store: MemoryStore::new(100),
            is_full: AtomicBool::new(false),
            gate,
            begun: AtomicUsize::new(0),
        })
    }

    fn relay(self: &Arc<Stubborn>) -> Relay {
        let mut settings = NostrSettings::default();
        managed(&mut settings);
        let nostr = Nostr::with_store(settings, Arc::clone(self) as Arc<_>);
        Relay::of(1, EndpointSettings::default(), nostr)
    }
}

impl Store for Stubborn {
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
        rows: usize,
        bytes: usize,
        now: u64,
    ) -> Result<Page, StoreError> {
        let Some(gate) = &self.gate else {
            return self.store.page(query, rows, bytes, now);
        };
        self.begun.fetch_add(1, Ordering::SeqCst);
        // A finished test releases all reads.
        let _ = gate.recv_timeout(DEADLINE);
        self.store.page(query, 1, bytes, now)
    }

    fn since(&self, after: Seq, rows: usize) -> Result<(Vec<Numbered>, Seq), StoreError> {
        self.store.since(after, rows)
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
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(StoreError("no space".to_owned())),
            false => self.store.set_note(name, value),
        }
    }
}

#[test]
fn a_change_that_cannot_be_stored_has_no_effect() {
    let store = Stubborn::new(None);
    let relay = store.relay();
    store.is_full.store(true, Ordering::SeqCst);
    let told = error(&relay, "banpubkey", &json!([key(AUTHOR)]));
    assert!(
        told.starts_with("error: the store is unavailable"),
        "{told}"
    );
    assert_eq!(result(&relay, "listbannedpubkeys", &json!([])), json!([]));
    relay.open().expect_taken(&event(AUTHOR, 1, 10, &[]));
    store.is_full.store(false, Ordering::SeqCst);
    done(&relay, "banpubkey", &json!([key(AUTHOR)]));
}

#[test]
fn a_ban_holds_for_the_next_page_of_a_query() {
    let (lets, gate): (Sender<()>, _) = unbounded();
    let store = Stubborn::new(Some(gate));
    let relay = store.relay();
    let made = [(OTHER, 1), (OTHER, 2), (AUTHOR, 3), (OTHER, 4)];
    let made = made.map(|(author, ago)| event(author, 1, ago, &[]));
    let mut client = relay.open();
    made.iter().for_each(|event| client.expect_taken(event));
    client.req("s", &[json!({"kinds": [1]})]);
    lets.send(()).expect("a gate");
    assert_eq!(client.live("s"), id(&made[0]));
    let second = || store.begun.load(Ordering::SeqCst) >= 2;
    eventually("the next page is read", second);
    done(&relay, "banpubkey", &json!([key(AUTHOR)]));
    (0..9).for_each(|_| lets.send(()).expect("a gate"));
    // One page had begun before the ban; the one that would have the event had not.
    assert_eq!(client.stored("s").0, [id(&made[1]), id(&made[3])]);
}

#[test]
fn a_ban_holds_for_live_events_that_are_still_kept() {
    let (lets, gate): (Sender<()>, _) = unbounded();
    let store = Stubborn::new(Some(gate));
    let relay = store.relay();
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("s", &[json!({"kinds": [1]})]);
    let begun = || store.begun.load(Ordering::SeqCst) >= 1;
    eventually("the page is read", begun);
    let kept = event(OTHER, 1, 2, &[]);
    writer.expect_taken(&event(AUTHOR, 1, 3, &[]));
    writer.expect_taken(&kept);
    done(&relay, "banpubkey", &json!([key(AUTHOR)]));
    lets.send(()).expect("a gate");
    assert_eq!(reader.stored("s").0, [""; 0]);
    assert_eq!(reader.live("s"), id(&kept));
}

#[test]
fn a_relay_with_unreadable_bans_does_not_start() {
    let store = Stubborn::new(None);
    let note = store.set_note("manage/banned-key/x", Some(b""));
    assert_eq!(note, Ok(()));
    let start = std::panic::AssertUnwindSafe(|| drop(store.relay()));
    assert!(std::panic::catch_unwind(start).is_err());
}
