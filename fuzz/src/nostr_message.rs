//! Messages of Nostr clients, and the events in them (NIP-01, NIP-42).

use std::collections::HashSet;
use std::fmt::Write as _;

use corecast_nostr::{
    ClientMessage, EventLimits, Filter, MessageError, ParsedEvent, SubscriptionId, claimed_id,
    reply, to_hex,
};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

const NOW: u64 = 1_700_000_000;
const FIELDS: [&str; 7] = [
    "id",
    "pubkey",
    "created_at",
    "kind",
    "tags",
    "content",
    "sig",
];

/// The target: another JSON reader reads the same, every answer is JSON, and an event is the same
/// in any spelling.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn nostr_message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match ClientMessage::parse(text) {
        Ok(None) => assert!(text.trim().is_empty(), "it says something"),
        Ok(Some(message)) => check_message(text, message),
        Err(error) => check_refusal(text, &error),
    }
}

fn check_message(text: &str, message: ClientMessage<'_>) {
    let (verb, id) = match &message {
        ClientMessage::Event(_) => ("EVENT", None),
        ClientMessage::Auth(_) => ("AUTH", None),
        ClientMessage::Req(id, _) => ("REQ", Some(id)),
        ClientMessage::Count(id, _) => ("COUNT", Some(id)),
        ClientMessage::Close(id) => ("CLOSE", Some(id)),
        ClientMessage::NegOpen(id, _) => ("NEG-OPEN", Some(id)),
        ClientMessage::NegMsg(id, _) => ("NEG-MSG", Some(id)),
        ClientMessage::NegClose(id) => ("NEG-CLOSE", Some(id)),
    };
    // It parses the whole message, including numbers and nesting that the relay ignores.
    let theirs: Option<Value> = serde_json::from_str(text).ok();
    if let Some(theirs) = &theirs {
        assert_eq!(theirs[0], verb);
        assert!(id.is_none_or(|id| theirs[1] == id.as_str()));
    }
    if let Some(id) = id {
        check_name(id);
    }
    match message {
        ClientMessage::Event(json) | ClientMessage::Auth(json) => check_event(json),
        ClientMessage::NegOpen(_, given) | ClientMessage::NegMsg(_, given) => {
            let parts = theirs.as_ref().and_then(Value::as_array);
            assert!(parts.is_none_or(|parts| parts.len() == given.len() + 2));
        }
        ClientMessage::Req(_, filters) | ClientMessage::Count(_, filters) => {
            let parts = theirs.as_ref().and_then(Value::as_array);
            assert!(parts.is_none_or(|parts| parts.len() == filters.len() + 2));
            for filter in filters {
                if let Err(error) = Filter::parse(filter) {
                    check_answer(&reply::closed("s", &error.to_string()));
                }
            }
        }
        _ => {}
    }
}

fn check_refusal(text: &str, error: &MessageError) {
    let is_array = matches!(serde_json::from_str(text), Ok(Value::Array(_)));
    assert!(!is_array || *error != MessageError::NoArray, "{text}");
    let told = error.to_string();
    assert!(told.starts_with("invalid: "), "{told}");
    assert_eq!(check_answer(&reply::notice(&told)), json!(["NOTICE", told]));
    if let MessageError::SubscriptionId(Some(name)) = error {
        let closed = check_answer(&reply::closed(name, &told));
        assert_eq!(closed, json!(["CLOSED", name, told]));
    }
}

fn check_name(id: &SubscriptionId) {
    let name = id.as_str();
    assert!((1..=64).contains(&name.chars().count()), "{name:?}");
    let json = id.json();
    for (answer, expected) in [
        (reply::closed_json(&json, ""), json!(["CLOSED", name, ""])),
        (
            reply::neg_err(id, "\0", Some(7)),
            json!(["NEG-ERR", name, "\0", 7]),
        ),
        (reply::neg_msg(id, "61"), json!(["NEG-MSG", name, "61"])),
        (reply::eose(&json, true), json!(["EOSE", name, ["more"]])),
        (
            reply::count(&json, u64::MAX, false, None),
            json!(["COUNT", name, { "count": u64::MAX }]),
        ),
        (reply::event_head(&json) + "{}]", json!(["EVENT", name, {}])),
    ] {
        assert_eq!(check_answer(&answer), expected);
    }
}

/// An answer is JSON and contains nothing that moves a cursor.
fn check_answer(answer: &str) -> Value {
    assert!(answer.bytes().all(|byte| byte >= b' '), "{answer:?}");
    serde_json::from_str(answer).expect("an answer in JSON")
}

fn check_event(json: &str) {
    let parsed = match ParsedEvent::parse(json) {
        Ok(parsed) => parsed,
        Err(error) => {
            let told = error.to_string();
            assert!(told.starts_with("invalid: "), "{told}");
            let id = claimed_id(json).unwrap_or_default();
            let answer = check_answer(&reply::ok(&id, false, &told));
            assert_eq!(answer, json!(["OK", id, false, told]));
            return;
        }
    };
    assert_eq!(claimed_id(json), Some(to_hex(&parsed.id)));
    check_verdicts(&parsed);
    let is_right = parsed.check_id().is_ok();
    let unverified = parsed.into_unverified();
    let sent = unverified.event().json().to_owned();
    assert_eq!(
        unverified.event().body()[..],
        *[&sent, "]"].concat().as_bytes()
    );
    let event: Value = serde_json::from_str(&sent).expect("what is sent is JSON");
    assert_eq!(event.as_object().map(Map::len), Some(FIELDS.len()));
    if let Ok(theirs) = serde_json::from_str::<Value>(json) {
        for field in FIELDS {
            assert_eq!(event[field], theirs[field], "{field}");
        }
    }
    check_spellings(&event, &sent, is_right);
    check_ids(&event);
    if is_right && let Ok(event) = unverified.verify() {
        assert_eq!(event.json(), sent);
    }
}

fn check_verdicts(event: &ParsedEvent<'_>) {
    let limits = EventLimits {
        bytes: 4_096,
        tags: 8,
        content_chars: Some(64),
        future_s: 900,
        past_s: Some(3_600),
        pow: 1,
        kinds: Some(HashSet::from([1, 6, 16, 22_242])),
    };
    let verdicts = [event.check(&limits, NOW), event.check_further(&limits, NOW)];
    for told in verdicts.iter().filter_map(|verdict| verdict.as_ref().err()) {
        let told = told.to_string();
        let prefixes = ["invalid: ", "blocked: ", "pow: "];
        assert!(
            prefixes.iter().any(|prefix| told.starts_with(prefix)),
            "{told}"
        );
        check_answer(&reply::ok(&to_hex(&event.id), false, &told));
    }
}

/// An event is sent in one form, no matter how it was spelled, and its id holds in each.
fn check_spellings(event: &Value, sent: &str, is_right: bool) {
    let pretty = serde_json::to_string_pretty(event).expect("JSON");
    let mut escaped = String::new();
    spell(event, &mut escaped);
    for spelling in [sent, &pretty, &escaped] {
        let again = ParsedEvent::parse(spelling).expect("the same event");
        assert_eq!(again.check_id().is_ok(), is_right, "{spelling}");
        assert_eq!(again.into_unverified().event().json(), sent);
    }
}

/// Writes JSON with every character of its strings escaped, and blanks wherever they are allowed.
fn spell(value: &Value, to: &mut String) {
    match value {
        Value::String(text) => {
            to.push('"');
            for unit in text.encode_utf16() {
                let _ = write!(to, "\\u{unit:04X}");
            }
            to.push('"');
        }
        Value::Array(items) => {
            to.push_str("[\t");
            for (index, item) in items.iter().enumerate() {
                to.push_str(if index == 0 { "" } else { " ,\n" });
                spell(item, to);
            }
            to.push_str(" ]");
        }
        Value::Object(fields) => {
            to.push_str("{ ");
            for (index, (key, field)) in fields.iter().enumerate() {
                to.push_str(if index == 0 { "" } else { " ,\r\n" });
                spell(&json!(key), to);
                to.push_str(" : ");
                spell(field, to);
            }
            to.push_str(" }");
        }
        other => to.push_str(&other.to_string()),
    }
}

/// The event is right with the id of NIP-01 and with the one that most clients compute; any other
/// id is wrong.
fn check_ids(event: &Value) {
    let array = json!([
        0,
        event["pubkey"],
        event["created_at"],
        event["kind"],
        event["tags"],
        event["content"]
    ]);
    let as_json = array.to_string();
    let mut verbatim = as_json.clone();
    for control in (0..0x20).map(char::from) {
        verbatim = replace_escape(&verbatim, control);
    }
    for text in [&as_json, &verbatim] {
        let mut right = event.clone();
        right["id"] = json!(to_hex(digest(&SHA256, text.as_bytes()).as_ref()));
        let right = right.to_string();
        let parsed = ParsedEvent::parse(&right).expect("the same event");
        assert_eq!(parsed.check_id(), Ok(()), "{right}");
    }
    let mut wrong = event.clone();
    wrong["id"] = json!("0".repeat(64));
    let wrong = wrong.to_string();
    let parsed = ParsedEvent::parse(&wrong).expect("the same event");
    assert!(parsed.check_id().is_err(), "{wrong}");
}

/// Replaces a character's escape by the character, but not the same letters after an escaped
/// backslash.
fn replace_escape(json: &str, by: char) -> String {
    let escape = format!("\\u{:04x}", u32::from(by));
    let mut replaced = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        replaced.push_str(&rest[..at]);
        rest = &rest[at..];
        // All escapes of serde_json are of two bytes or six.
        let len = if rest.starts_with("\\u") { 6 } else { 2 };
        match rest[..len] == escape {
            true => replaced.push(by),
            false => replaced.push_str(&rest[..len]),
        }
        rest = &rest[len..];
    }
    replaced + rest
}
