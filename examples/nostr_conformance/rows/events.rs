//! EVENT and its OK.

use serde_json::json;

use super::{EVENTS, TO_CLIENT, TO_RELAY};
use crate::context::Context;
use crate::event::{Draft, Event, Key, random_hex};
use crate::rules::{Check, Rule, ensure, same_order};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "nip01/ok-true",
        TO_CLIENT,
        "a valid event is answered OK true, once",
        ok_true,
    ),
    Rule::basic(
        "nip01/ok-duplicate",
        TO_CLIENT,
        "an event that is known is answered OK true `duplicate:`",
        ok_duplicate,
    ),
    Rule::basic(
        "nip01/duplicate-not-sent",
        TO_RELAY,
        "an event that is known is not sent to subscriptions again",
        duplicate_not_sent,
    ),
    Rule::basic(
        "nip01/read-after-ok",
        TO_CLIENT,
        "what was answered OK true is found by others, each field as it was",
        read_after_ok,
    ),
    Rule::basic(
        "nip01/wrong-id",
        EVENTS,
        "an id that is not the event's SHA-256 is refused",
        |context| refused(context, wrong_id),
    ),
    Rule::basic(
        "nip01/wrong-signature",
        EVENTS,
        "a signature with one wrong digit is refused",
        |context| refused(context, wrong_signature),
    ),
    Rule::basic(
        "nip01/foreign-signature",
        EVENTS,
        "a signature of another key is refused",
        |context| refused(context, foreign_signature),
    ),
    Rule::basic(
        "nip01/no-point",
        EVENTS,
        "a pubkey that is not on the curve is refused",
        |context| refused(context, no_point),
    ),
    Rule::basic(
        "nip01/forged-duplicate",
        EVENTS,
        "the id of a known event with a wrong signature changes nothing",
        forged_duplicate,
    ),
    Rule::basic(
        "nip01/pipelined",
        TO_CLIENT,
        "events that are sent without waiting are each answered once",
        pipelined,
    ),
    Rule::basic(
        "corecast/ok-empty",
        TO_CLIENT,
        "the reason of OK true is empty",
        ok_empty,
    ),
];

fn ok_true(context: &Context) -> Check {
    let mut stage = context.stage()?;
    stage.note(0)?;
    stage.publisher.expect_nothing()?;
    Ok(())
}

fn ok_empty(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for kind in [1, 20_001] {
        let event = stage.sign(Draft::new(kind, &random_hex()));
        let reason = stage.publisher.accept(&event)?;
        ensure(reason.is_empty(), || format!("kind {kind}: {reason:?}"))?;
    }
    Ok(())
}

fn ok_duplicate(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let event = stage.note(0)?;
    for _ in 0..2 {
        let receipt = stage.publisher.publish(&event)?;
        ensure(receipt.is_accepted, || format!("OK false: {receipt:?}"))?;
        if !receipt.reason.is_empty() || !context.target.nips_only {
            stage.publisher.check_reason(&receipt.reason, "duplicate")?;
        }
    }
    stage.publisher.expect_nothing()?;
    Ok(())
}

fn duplicate_not_sent(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("dup", &[mine])?;
    let event = stage.note(0)?;
    stage.reader.expect_live("dup", &event)?;
    stage.publisher.publish(&event)?;
    stage.nothing_before_a_note("dup")?;
    Ok(())
}

fn read_after_ok(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let draft = Draft::new(1, "all \"fields\" as they were")
        .tag(&["t", "a", "second value", ""])
        .tag(&["custom", "x"]);
    let event = stage.publish(draft)?;
    let found = stage.reader.query(&[json!({"ids": [event.id]})])?.events;
    ensure(found == [event.json()], || format!("found {found:?}"))?;
    Ok(())
}

/// A key's event with a flaw.
fn refused(context: &Context, spoil: fn(Event) -> Event) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("refused", &[mine])?;
    let draft = Draft::new(1, &random_hex()).at(stage.ago(10));
    let wrong = spoil(stage.sign(draft));
    stage.publisher.refuse(&wrong, "invalid")?;
    stage.publisher.expect_nothing()?;
    stage.nothing_before_a_note("refused")?;
    let found = stage.reader.found(&[json!({"ids": [wrong.id]})])?;
    Ok(same_order("what was refused", &found, &[])?)
}

fn other_digit(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

fn wrong_id(event: Event) -> Event {
    Event {
        id: other_digit(&event.id),
        ..event
    }
}

fn wrong_signature(event: Event) -> Event {
    Event {
        sig: other_digit(&event.sig),
        ..event
    }
}

/// The key's event with the right id, but another key's signature of it.
fn foreign_signature(event: Event) -> Event {
    event.signed_by(&Key::random())
}

fn no_point(event: Event) -> Event {
    event.claimed_by(&"f".repeat(64))
}

fn forged_duplicate(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let event = stage.note(10)?;
    let forged = wrong_signature(event.clone());
    stage.publisher.publish(&forged)?;
    let found = stage.reader.query(&[json!({"ids": [event.id]})])?.events;
    ensure(found == [event.json()], || format!("found {found:?}"))?;
    Ok(())
}

fn pipelined(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let drafts = (0..20).map(|number| Draft::new(1, &format!("pipelined {number}")));
    let events: Vec<Event> = drafts.map(|draft| stage.sign(draft)).collect();
    for event in &events {
        stage.publisher.send(&json!(["EVENT", event.json()]))?;
    }
    // The relay may answer them in any order.
    let mut left: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    while !left.is_empty() {
        let answer = stage.publisher.next()?;
        let before = left.len();
        left.retain(|&id| id != answer.string(1));
        let is_ok = answer.verb() == "OK" && answer.parts.get(2) == Some(&json!(true));
        ensure(is_ok && left.len() + 1 == before, || {
            format!("no OK true that is due: {}", answer.text)
        })?;
    }
    stage.publisher.expect_nothing()?;
    Ok(())
}
