//! Filters of Nostr clients (NIP-01, "Communication between clients and relays").

use std::fmt;
use std::sync::OnceLock;

use corecast_nostr::{
    Draft, Event, Filter, FilterError, FilterSyntax, LiveIndex, Signer, reply, to_hex,
};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object as written, including repeated keys.
struct Pairs(Vec<(String, Value)>);

/// The target: a filter is accepted if and only if another JSON reader finds one, and it matches
/// exactly the events that ten lines of JSON code select, both directly and in the index.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn nostr_filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for and_tags in [false, true] {
        check(text, FilterSyntax { and_tags });
    }
}

fn check(text: &str, syntax: FilterSyntax) {
    let parsed = Filter::parse_with(text, syntax);
    if let Err(error) = &parsed {
        check_told(error);
    }
    let Ok(Pairs(pairs)) = serde_json::from_str(text) else {
        // Numbers and nesting in the value of an unknown key do not matter.
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        let is_unsupported = matches!(parsed, Err(FilterError::Unsupported(_)));
        assert!(is_json && is_unsupported || matches!(parsed, Err(FilterError::Invalid(_))));
        return;
    };
    match (parsed, expected(&pairs, syntax)) {
        (Ok(filter), Verdict::Taken) => check_matches(&filter, &pairs),
        (Err(FilterError::Invalid(_)), Verdict::Invalid)
        | (Err(FilterError::Unsupported(_)), Verdict::Unsupported) => {}
        (parsed, expected) => panic!("{parsed:?}, and not {expected:?}: {text}"),
    }
}

fn check_told(error: &FilterError) {
    let told = error.to_string();
    let prefix = match error {
        FilterError::Invalid(_) => "invalid: ",
        FilterError::Unsupported(_) => "unsupported: ",
    };
    assert!(told.starts_with(prefix), "{told}");
    let answer: Value = serde_json::from_str(&reply::closed("s", &told)).expect("JSON");
    assert_eq!(answer[2], told);
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Reader)
    }
}

#[derive(Debug)]
enum Verdict {
    Taken,
    Invalid,
    Unsupported,
}

fn expected(pairs: &[(String, Value)], syntax: FilterSyntax) -> Verdict {
    let is_known = |key: &str| {
        let is_letter =
            |rest: &str| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_alphabetic());
        ["ids", "authors", "kinds", "since", "until", "limit"].contains(&key)
            || key.strip_prefix('#').is_some_and(is_letter)
            || syntax.and_tags && key.strip_prefix('&').is_some_and(is_letter)
    };
    let is_hex = |value: &Value| {
        let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let text = value.as_str();
        text.is_some_and(|text| text.len() == 64 && text.bytes().all(is_digit))
    };
    let all = |value: &Value, is_one: &dyn Fn(&Value) -> bool| {
        value
            .as_array()
            .is_some_and(|values| values.iter().all(is_one))
    };
    let is_good = |key: &str, value: &Value| match key {
        "ids" | "authors" | "#e" | "#p" | "&e" | "&p" => all(value, &is_hex),
        "kinds" => all(value, &|kind| {
            kind.as_u64().is_some_and(|kind| kind < 65_536)
        }),
        "since" | "until" | "limit" => value.is_u64(),
        _ => all(value, &Value::is_string),
    };
    let known = || pairs.iter().filter(|(key, _)| is_known(key));
    let is_single = |key: &str| known().filter(|(other, _)| other == key).count() == 1;
    match known().all(|(key, value)| is_good(key, value) && is_single(key)) {
        false => Verdict::Invalid,
        true if known().count() < pairs.len() => Verdict::Unsupported,
        true => Verdict::Taken,
    }
}

/// The rules of NIP-01 and NIP-91, on JSON.
fn is_for(pairs: &[(String, Value)], event: &Value) -> bool {
    let has =
        |list: &Value, value: &Value| list.as_array().is_some_and(|list| list.contains(value));
    pairs.iter().all(|(key, wanted)| match &**key {
        "ids" => has(wanted, &event["id"]),
        "authors" => has(wanted, &event["pubkey"]),
        "kinds" => has(wanted, &event["kind"]),
        "since" => event["created_at"].as_u64() >= wanted.as_u64(),
        "until" => event["created_at"].as_u64() <= wanted.as_u64(),
        "limit" => true,
        tag => {
            let is_there = |value: &Value| {
                let mut tags = event["tags"].as_array().into_iter().flatten();
                tags.any(|each| each[0] == tag[1..] && each.get(1) == Some(value))
            };
            let wanted = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
            if tag.starts_with('&') {
                return !wanted.is_empty() && wanted.iter().all(is_there);
            }
            let and = pairs
                .iter()
                .find(|(key, _)| key.strip_prefix('&') == Some(&tag[1..]));
            let is_free = |value: &&Value| !and.is_some_and(|(_, and)| has(and, value));
            let free: Vec<&Value> = wanted.iter().filter(is_free).collect();
            !wanted.is_empty() && free.is_empty() || free.into_iter().any(is_there)
        }
    })
}

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new([7; 32]).expect("a key"))
}

/// Events that the seeds name.
fn fixed() -> &'static [Event] {
    static EVENTS: OnceLock<Vec<Event>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let key = to_hex(&signer().public_key());
        let tag = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let draft = |kind, created_at, tags: &[&[&str]]| Draft {
            created_at,
            kind,
            tags: tags.iter().map(|items| tag(items)).collect(),
            content: String::new(),
        };
        let drafts = [
            draft(1, 1_700_000_000, &[]),
            draft(
                7,
                10,
                &[
                    &["t", "a", "x"],
                    &["t"],
                    &["tt", "b"],
                    &["E", ""],
                    &["p", &key],
                ],
            ),
            draft(
                30_023,
                0,
                &[
                    &["d", ""],
                    &["d", "x"],
                    &["t", "\0\u{e9}"],
                    &["p", "nobody"],
                ],
            ),
        ];
        drafts.map(|draft| signer().sign(draft)).into()
    })
}

/// An event with the first value of each field of the filter, except for ids and authors.
fn wanted(filter: &Filter) -> Event {
    let tag = |letter: &u8, value: &str| vec![char::from(*letter).to_string(), value.to_owned()];
    let one = filter
        .tags
        .iter()
        .filter_map(|(letter, values)| Some(tag(letter, values.first()?)));
    let all = filter.all_tags.iter().flat_map(|(letter, values)| {
        values
            .iter()
            .map(|value| tag(letter, value))
            .collect::<Vec<_>>()
    });
    let tags = one.chain(all);
    signer().sign(Draft {
        created_at: filter.since.or(filter.until).unwrap_or_default(),
        kind: filter.kinds.iter().flatten().next().copied().unwrap_or(1),
        tags: tags.collect(),
        content: String::new(),
    })
}

fn check_matches(filter: &Filter, pairs: &[(String, Value)]) {
    let all = Filter::default();
    let mut index = LiveIndex::default();
    index.insert(0, [filter]);
    // The subscription matches twice, but gets the event once.
    index.insert(1, [filter, &all]);
    index.insert(2, [&all, &all]);
    index.insert(3, [filter]);
    index.remove(3);
    let own = wanted(filter);
    for event in fixed().iter().chain([&own]) {
        let json: Value = serde_json::from_str(event.json()).expect("an event in JSON");
        let is_match = is_for(pairs, &json);
        assert_eq!(filter.matches(event), is_match, "{json}");
        assert!(!is_match || !filter.is_empty(), "nothing is one of those");
        let mut found = Vec::new();
        index.find(event, |subscription| found.push(subscription));
        found.sort_unstable();
        assert_eq!(
            found,
            if is_match { vec![0, 1, 2] } else { vec![1, 2] },
            "{json}"
        );
    }
    for subscription in 0..3 {
        index.remove(subscription);
    }
    assert!(index.is_empty());
    assert_eq!(index.find(&own, |_| panic!("nobody is left")), 0);
}
