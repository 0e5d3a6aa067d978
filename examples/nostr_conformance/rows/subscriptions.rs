//! Subscriptions: their names, what they receive after EOSE, and how they end.

use std::collections::BTreeSet;

use serde_json::json;

use super::TO_RELAY;
use crate::context::Context;
use crate::event::{Draft, Event, Key, random_hex};
use crate::rules::{Check, Rule, ensure, same_order};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "nip01/live",
        TO_RELAY,
        "a new event is sent to subscriptions that match, of all connections",
        live,
    ),
    Rule::basic(
        "nip01/live-not-matching",
        TO_RELAY,
        "a new event is not sent to subscriptions that do not match",
        not_matching,
    ),
    Rule::basic(
        "nip01/live-once",
        TO_RELAY,
        "an event comes once for each subscription, however many filters match",
        live_once,
    ),
    Rule::basic(
        "nip01/live-time",
        TO_RELAY,
        "since and until hold for new events, inclusively",
        live_times,
    ),
    Rule::basic(
        "nip01/live-no-limit",
        TO_RELAY,
        "limit does not hold for new events",
        live_ignores_limit,
    ),
    Rule::basic(
        "nip01/hand-over",
        TO_RELAY,
        "nothing is lost or doubled between stored events and new ones",
        hand_over,
    ),
    Rule::basic(
        "nip01/req-replaces",
        TO_RELAY,
        "REQ of the same name takes the place of the old one",
        replaces,
    ),
    Rule::basic(
        "nip01/close",
        TO_RELAY,
        "CLOSE ends a subscription, and no other",
        close,
    ),
    Rule::basic(
        "nip01/close-unknown",
        TO_RELAY,
        "CLOSE of a name that is not there is no error",
        close_unknown,
    ),
    Rule::basic(
        "nip01/names-by-connection",
        TO_RELAY,
        "each connection has its own names",
        names_by_connection,
    ),
    Rule::basic(
        "nip01/name-64",
        TO_RELAY,
        "a name may have 64 characters",
        |context| echoes(context, &["x".repeat(64), "1".to_owned(), " ".to_owned()]),
    ),
    Rule::basic(
        "nip01/name-echoed",
        TO_RELAY,
        "a name comes back as it was: quotes, escapes, control characters, emoji",
        |context| {
            let names = [
                "a\"b",
                "\\",
                "\\\"",
                "a\nb\t\r",
                "\u{1}\u{7f}",
                "😀 é",
                "</x>",
                "\u{2028}",
            ];
            echoes(context, &names.map(str::to_owned))
        },
    ),
    Rule::basic(
        "corecast/name-64-characters",
        TO_RELAY,
        "the 64 are characters, not bytes",
        |context| echoes(context, &["😀".repeat(64), "é".repeat(64), "\"".repeat(64)]),
    ),
    Rule::basic(
        "nip01/name-bounds",
        TO_RELAY,
        "an empty name and one of 65 characters are refused",
        name_bounds,
    ),
];

fn live(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut third = context.open()?;
    let mine = [stage.mine(json!({}))];
    for (client, name) in [
        (&mut stage.publisher, "own"),
        (&mut stage.reader, "other"),
        (&mut third, "third"),
    ] {
        let stored = client.subscribe(name, &mine)?;
        same_order("before", &stored.ids(), &[])?;
    }
    let event = stage.sign(Draft::new(1, &random_hex()));
    third.expect_nothing()?;
    stage.publisher.send(&json!(["EVENT", event.json()]))?;
    // The publisher's own copy may come before the OK or after it.
    let mut verbs = [stage.publisher.next()?, stage.publisher.next()?]
        .map(|answer| (answer.verb().to_owned(), answer.string(1).to_owned()));
    verbs.sort();
    let due = [("EVENT", "own"), ("OK", event.id.as_str())];
    let due = due.map(|(verb, second)| (verb.to_owned(), second.to_owned()));
    ensure(verbs == due, || format!("the publisher received {verbs:?}"))?;
    stage.reader.expect_live("other", &event)?;
    third.expect_live("third", &event)?;
    Ok(())
}

fn not_matching(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let tag = random_hex();
    let filters = [
        stage.mine(json!({"kinds": [7]})),
        stage.mine(json!({"#t": [tag]})),
        json!({"ids": [random_hex()]}),
        json!({"authors": [random_hex()]}),
    ];
    stage.reader.subscribe("none", &filters)?;
    stage.note(0)?;
    stage.publish(Draft::new(8, "").tag(&["t", "x"]).tag(&["r", &tag]))?;
    stage.publish(Draft::new(8, "").tag(&["t", "x", &tag]))?;
    let other = context.sign(&Key::random(), Draft::new(7, "").tag(&["t", &tag]));
    stage.publisher.accept(&other)?;
    let due = stage.publish(Draft::new(8, "").tag(&["t", &tag]))?;
    stage.reader.expect_live("none", &due)?;
    let due = stage.publish(Draft::new(7, ""))?;
    stage.reader.expect_live("none", &due)?;
    Ok(())
}

fn live_once(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let tag = random_hex();
    let mine = stage.mine(json!({}));
    let filters = [
        mine.clone(),
        stage.mine(json!({"kinds": [1, 7]})),
        json!({"#t": [tag, "x"]}),
        mine,
    ];
    stage.reader.subscribe("one", &filters)?;
    stage.reader.subscribe("two", &filters)?;
    let event = stage.publish(Draft::new(7, "").tag(&["t", &tag]).tag(&["t", "x"]))?;
    let end = stage.note(0)?;
    let mut came = Vec::new();
    for _ in 0..4 {
        let answer = stage.reader.next()?;
        let id = answer.parts.get(2).map(|event| event["id"].clone());
        came.push((answer.string(1).to_owned(), id));
    }
    came.sort_by_key(|(sub, _)| sub.clone());
    let due = [
        ("one", &event),
        ("one", &end),
        ("two", &event),
        ("two", &end),
    ];
    let due = due.map(|(sub, event)| (sub.to_owned(), Some(json!(event.id))));
    ensure(came == due, || format!("due {due:?}, came {came:?}"))?;
    stage.reader.expect_nothing()?;
    Ok(())
}

fn live_times(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let (since, until) = (stage.ago(30), stage.ago(20));
    let window = stage.mine(json!({"since": since, "until": until}));
    stage.reader.subscribe("window", &[window])?;
    for age in [31, 19, 0, 1_000] {
        stage.note(age)?;
    }
    for age in [30, 25, 20] {
        let due = stage.note(age)?;
        stage.reader.expect_live("window", &due)?;
    }
    Ok(())
}

fn live_ignores_limit(context: &Context) -> Check {
    // The NIP does not say what limit 0 means.
    let limits: &[usize] = if context.target.nips_only {
        &[1]
    } else {
        &[1, 0]
    };
    for &limit in limits {
        let mut stage = context.stage()?;
        let stored = [stage.note(30)?, stage.note(20)?];
        let filter = stage.mine(json!({"limit": limit}));
        let found = stage.reader.subscribe("limit", &[filter])?.ids();
        same_order("stored", &found, &[&stored[1]][..limit])?;
        for _ in 0..3 {
            stage.nothing_before_a_note("limit")?;
        }
    }
    Ok(())
}

fn hand_over(context: &Context) -> Check {
    const EVENTS: usize = 60;
    let mut stage = context.stage()?;
    let drafts = (0..EVENTS).map(|_| Draft::new(1, &random_hex()).at(stage.ago(5)));
    let events: Vec<Event> = drafts.map(|draft| stage.sign(draft)).collect();
    let (first, second) = events.split_at(EVENTS / 2);
    for event in first {
        stage.publisher.send(&json!(["EVENT", event.json()]))?;
    }
    let mine = stage.mine(json!({}));
    stage.reader.send_request("over", &[mine])?;
    for event in second {
        stage.publisher.send(&json!(["EVENT", event.json()]))?;
    }
    let mut came: Vec<String> = stage.reader.stored("over")?.ids();
    while came.len() < EVENTS {
        let event = stage.reader.live("over")?;
        came.push(event["id"].as_str().unwrap_or_default().to_owned());
    }
    let different: BTreeSet<&String> = came.iter().collect();
    let doubled = came.len() - different.len();
    ensure(doubled == 0, || format!("{doubled} events came twice"))?;
    for event in &events {
        stage.publisher.receipt(&event.id)?;
    }
    stage.nothing_before_a_note("over")?;
    Ok(())
}

fn replaces(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let reaction = stage.publish(Draft::new(7, "+"))?;
    let notes = stage.mine(json!({"kinds": [1]}));
    let reactions = stage.mine(json!({"kinds": [7]}));
    stage.reader.subscribe("same", &[notes])?;
    let found = stage.reader.subscribe("same", &[reactions])?.ids();
    same_order("stored for the new filter", &found, &[&reaction])?;
    stage.note(0)?;
    let due = stage.publish(Draft::new(7, "-"))?;
    stage.reader.expect_live("same", &due)?;
    let end = stage.mine(json!({"kinds": [8]}));
    stage.reader.subscribe("end", &[end])?;
    stage.reader.close("same")?;
    stage.reader.expect_nothing()?;
    stage.publish(Draft::new(7, "after"))?;
    stage.note(0)?;
    let due = stage.publish(Draft::new(8, "end"))?;
    stage.reader.expect_live("end", &due)?;
    Ok(())
}

fn close(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = [stage.mine(json!({}))];
    stage.reader.subscribe("stays", &mine)?;
    stage.reader.subscribe("goes", &mine)?;
    stage.reader.close("goes")?;
    stage.reader.expect_nothing()?;
    for _ in 0..3 {
        stage.nothing_before_a_note("stays")?;
    }
    // The name is free again.
    let stored = stage.reader.subscribe("goes", &mine)?;
    ensure(stored.events.len() == 3, || format!("{stored:?}"))?;
    Ok(())
}

fn close_unknown(context: &Context) -> Check {
    let mut client = context.open()?;
    client.close("never")?;
    client.subscribe("once", &[json!({"ids": [random_hex()]})])?;
    client.close("once")?;
    client.close("once")?;
    client.expect_nothing()?;
    Ok(())
}

fn names_by_connection(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = [stage.mine(json!({}))];
    stage.reader.subscribe("name", &mine)?;
    stage
        .publisher
        .subscribe("name", &[json!({"ids": [random_hex()]})])?;
    stage.nothing_before_a_note("name")?;
    stage.publisher.close("name")?;
    stage.publisher.expect_nothing()?;
    stage.nothing_before_a_note("name")?;
    Ok(())
}

/// EVENT, stored and live, and EOSE carry the name.
fn echoes(context: &Context, names: &[String]) -> Check {
    let mut stage = context.stage()?;
    let first = stage.note(10)?;
    for name in names {
        let mine = stage.mine(json!({"limit": 1, "until": stage.ago(10)}));
        let live = stage.mine(json!({"kinds": [7]}));
        let stored = stage.reader.subscribe(name, &[mine, live]);
        let stored = stored.map_err(|error| format!("{name:?}: {error}"))?;
        ensure(stored.ids().contains(&first.id), || format!("{stored:?}"))?;
        let event = stage.publish(Draft::new(7, &random_hex()))?;
        stage.reader.expect_live(name, &event)?;
        stage.reader.close(name)?;
        stage.reader.expect_nothing()?;
    }
    Ok(())
}

fn name_bounds(context: &Context) -> Check {
    for name in [String::new(), "x".repeat(65), "é".repeat(65)] {
        let mut client = context.open()?;
        client.send_request(&name, &[json!({"ids": [random_hex()]})])?;
        let answer = client.next()?;
        let is_refusal = match answer.verb() {
            "CLOSED" => answer.string(1) == name,
            "NOTICE" => true,
            _ => false,
        };
        let length = name.chars().count();
        ensure(is_refusal, || {
            format!("{length} characters: {}", answer.text)
        })?;
        let reason = answer.parts.last().and_then(|reason| reason.as_str());
        if answer.verb() == "CLOSED" || !context.target.nips_only {
            client.check_reason(reason.unwrap_or_default(), "invalid")?;
        }
        client.expect_nothing()?;
    }
    Ok(())
}
