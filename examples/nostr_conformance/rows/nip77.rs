//! NIP-77: synchronization by negentropy, whose own crate is the client here.

use std::collections::BTreeSet;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::context::Context;
use crate::event::{Draft, Event, Key, random_hex};
use crate::rules::{Check, Rule, ensure, skipped};

const OPEN: &str = "Initial message (client to relay)";
const ERROR: &str = "Error message (relay to client)";
const MESSAGES: &str = "Subsequent messages (bidirectional, alternating between client and relay)";
const CLOSE: &str = "Close message (client to relay)";
const PROTOCOL: &str = "Appendix: Negentropy Protocol V1";

/// The message of a client without events: one range with an empty list of ids.
const EMPTY: &str = "6100000200";

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[77], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip77/difference",
        MESSAGES,
        "the client learns exactly which events only it has, and which only the relay has",
        difference,
    ),
    rule(
        "nip77/filter",
        OPEN,
        "the set is that of the filter",
        |context| {
            let mut stage = context.stage()?;
            let events = [stage.note(30)?, stage.note(20)?, stage.note(10)?];
            let since = stage.mine(json!({"since": stage.ago(20)}));
            for (filter, due) in [
                (json!({"ids": [events[0].id, random_hex()]}), &events[..1]),
                (since, &events[1..]),
                (stage.mine(json!({"kinds": [7]})), &[]),
            ] {
                let (_, theirs) = sync(&mut stage.reader, &filter, &[])?;
                ensure(theirs == ids(due), || format!("{filter}: {theirs:?}"))?;
            }
            Ok(())
        },
    ),
    rule(
        "nip77/open-replaces",
        OPEN,
        "a NEG-OPEN with a name in use replaces the earlier one",
        |context| {
            let mut stage = context.stage()?;
            stage.note(10)?;
            let (all, none) = (stage.mine(json!({})), json!({"ids": [random_hex()]}));
            let first = opened(&mut stage.reader, "n", &all)?;
            let second = opened(&mut stage.reader, "n", &none)?;
            let again = next(&mut stage.reader, "n", EMPTY)?;
            ensure(first != second && second == again, || {
                format!("{first}, then {second}, then {again}")
            })?;
            Ok(stage.reader.expect_nothing()?)
        },
    ),
    rule(
        "nip77/names-apart",
        OPEN,
        "its names are apart from those of REQ",
        |context| {
            let mut stage = context.stage()?;
            let mine = stage.mine(json!({}));
            stage.reader.subscribe("n", std::slice::from_ref(&mine))?;
            opened(&mut stage.reader, "n", &mine)?;
            stage.reader.send(&json!(["NEG-CLOSE", "n"]))?;
            stage.reader.expect_nothing()?;
            let note = stage.note(0)?;
            stage.reader.expect_live("n", &note)?;
            opened(&mut stage.reader, "n", &mine)?;
            stage.reader.close("n")?;
            next(&mut stage.reader, "n", EMPTY)?;
            Ok(())
        },
    ),
    rule(
        "nip77/close",
        CLOSE,
        "NEG-CLOSE has no answer, and ends it",
        |context| {
            let mut client = context.open()?;
            let filter = json!({"ids": [random_hex()]});
            opened(&mut client, "n", &filter)?;
            client.send(&json!(["NEG-CLOSE", "n"]))?;
            client.send(&json!(["NEG-CLOSE", "n"]))?;
            client.expect_nothing()?;
            client.send(&json!(["NEG-MSG", "n", EMPTY]))?;
            refused(&mut client, "n", "closed")?;
            Ok(())
        },
    ),
    rule(
        "nip77/version",
        PROTOCOL,
        "a message of another version gets the version that the relay supports, one byte",
        |context| {
            let mut client = context.open()?;
            client.send(&json!(["NEG-OPEN", "n", {"ids": [random_hex()]}, "62"]))?;
            let version = message(&client.next()?, "n")?;
            ensure(version == "61", || version)?;
            Ok(())
        },
    ),
    rule(
        "corecast/neg-invalid",
        ERROR,
        "what is not the protocol gets NEG-ERR `invalid:`, and ends that session alone",
        invalid,
    ),
    Rule::new(
        "corecast/neg-private",
        &[77, 59, 42],
        OPEN,
        "private events are in the sets of their recipients alone",
        private,
    ),
];

fn ids(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.clone()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        u8::from_str_radix(pair, 16).map_err(|_| format!("not hexadecimal: {pair:?}"))
    });
    pairs.collect()
}

/// The digits of a NEG-MSG of that name.
fn message(answer: &Answer, name: &str) -> Result<String, String> {
    let is_due = answer.verb() == "NEG-MSG" && answer.parts.len() == 3 && answer.string(1) == name;
    ensure(is_due, || {
        format!("a NEG-MSG is due, and came: {}", answer.text)
    })?;
    Ok(answer.string(2).to_owned())
}

/// Begins with an empty set.
fn opened(client: &mut Client, name: &str, filter: &Value) -> Result<String, String> {
    client.send(&json!(["NEG-OPEN", name, filter, EMPTY]))?;
    message(&client.next()?, name)
}

fn next(client: &mut Client, name: &str, hex: &str) -> Result<String, String> {
    client.send(&json!(["NEG-MSG", name, hex]))?;
    message(&client.next()?, name)
}

fn refused(client: &mut Client, name: &str, prefix: &str) -> Result<(), String> {
    let answer = client.next()?;
    let is_due = answer.verb() == "NEG-ERR" && answer.parts.len() >= 3 && answer.string(1) == name;
    ensure(is_due, || {
        format!("a NEG-ERR is due, and came: {}", answer.text)
    })?;
    client.check_reason(answer.string(2), prefix)
}

/// The ids that only the client has, and those that only the relay has.
type Differences = (BTreeSet<String>, BTreeSet<String>);

fn sync(client: &mut Client, filter: &Value, own: &[&Event]) -> Result<Differences, String> {
    let told = |error: negentropy::Error| error.to_string();
    let mut storage = NegentropyStorageVector::new();
    for event in own {
        let id = Id::from_slice(&bytes(&event.id)?).map_err(told)?;
        storage.insert(event.draft.created_at, id).map_err(told)?;
    }
    storage.seal().map_err(told)?;
    let mut reconciler = Negentropy::borrowed(&storage, 0).map_err(told)?;
    let name = client.name();
    let first = hex(&reconciler.initiate().map_err(told)?);
    client.send(&json!(["NEG-OPEN", name, filter, first]))?;
    let (mut have, mut need) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let answer = bytes(&message(&client.next()?, &name)?)?;
        let reconciled = reconciler.reconcile_with_ids(&answer, &mut have, &mut need);
        let Some(next) = reconciled.map_err(told)? else {
            client.send(&json!(["NEG-CLOSE", name]))?;
            let set = |ids: Vec<Id>| ids.iter().map(|id| hex(&id[..])).collect();
            return Ok((set(have), set(need)));
        };
        client.send(&json!(["NEG-MSG", name, hex(&next)]))?;
    }
    Err("it does not end in 100 rounds".to_owned())
}

fn difference(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut theirs = Vec::new();
    // Several of one second, and enough that ranges are compared by their fingerprints.
    for number in 0..80 {
        theirs.push(stage.note(10 + number / 3)?);
    }
    let draft = |number: u64| Draft::new(1, &random_hex()).at(stage.ago(5 + 2 * number));
    let only_mine: Vec<Event> = (0..9).map(|number| stage.sign(draft(number))).collect();
    let known = theirs.iter().enumerate();
    let known = known.filter(|(number, _)| number % 11 != 0);
    let own: Vec<&Event> = known.map(|(_, event)| event).chain(&only_mine).collect();
    let missing: BTreeSet<String> = ids(&theirs)
        .into_iter()
        .filter(|id| own.iter().all(|event| event.id != *id))
        .collect();
    let filter = stage.mine(json!({}));
    let (have, need) = sync(&mut stage.reader, &filter, &own)?;
    ensure(have == ids(&only_mine), || {
        format!("only the client: {have:?}")
    })?;
    ensure(need == missing, || format!("only the relay: {need:?}"))?;
    Ok(())
}

fn invalid(context: &Context) -> Check {
    let mut client = context.open()?;
    let filter = json!({"ids": [random_hex()]});
    opened(&mut client, "other", &filter)?;
    for wrong in [
        json!("6"),
        json!("zz"),
        json!(61),
        json!(""),
        json!("61000003"),
    ] {
        client.send(&json!(["NEG-OPEN", "n", filter, wrong]))?;
        refused(&mut client, "n", "invalid")?;
        opened(&mut client, "n", &filter)?;
        client.send(&json!(["NEG-MSG", "n", wrong]))?;
        refused(&mut client, "n", "invalid")?;
        client.send(&json!(["NEG-MSG", "n", EMPTY]))?;
        refused(&mut client, "n", "closed")?;
    }
    for (filter, prefix) in [
        (json!([]), "invalid"),
        (json!({"ids": ["x"]}), "invalid"),
        (json!({"unknown": 1}), "unsupported"),
    ] {
        client.send(&json!(["NEG-OPEN", "n", filter, EMPTY]))?;
        refused(&mut client, "n", prefix)?;
    }
    next(&mut client, "other", EMPTY)?;
    Ok(client.expect_nothing()?)
}

fn private(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let recipient = Key::random();
    let draft = Draft::new(1_059, &random_hex()).at(stage.ago(10));
    let wrap = stage.publish(draft.tag(&["p", &recipient.public]))?;
    let note = stage.note(5)?;
    let filter = stage.mine(json!({}));
    let (_, theirs) = sync(&mut stage.reader, &filter, &[])?;
    ensure(theirs == ids(&[note]), || format!("a stranger: {theirs:?}"))?;
    let mut client = context.authenticated(&[&recipient])?;
    let (_, theirs) = sync(&mut client, &filter, &[])?;
    ensure(theirs.contains(&wrap.id), || {
        format!("the recipient: {theirs:?}")
    })?;
    let mut stranger = context.open_bare()?;
    if stranger.challenge.is_some() {
        return Err(skipped("the relay sends a challenge to everybody"));
    }
    stranger.send(&json!(["NEG-OPEN", "n", {"kinds": [1059]}, EMPTY]))?;
    refused(&mut stranger, "n", "auth-required")?;
    ensure(stranger.challenge.is_some(), || {
        "no AUTH came before it".to_owned()
    })?;
    Ok(())
}
