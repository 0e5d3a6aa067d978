//! The events that filters of REQ match.

use serde_json::{Value, json};

use super::{TAGS, TO_CLIENT, TO_RELAY};
use crate::context::Context;
use crate::event::{Draft, Key, random_hex};
use crate::rules::{Check, Rule, ensure, same_order, same_set};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "nip01/filter-ids",
        TO_RELAY,
        "ids finds these events alone",
        ids,
    ),
    Rule::basic(
        "nip01/filter-authors",
        TO_RELAY,
        "authors finds the events of these keys alone",
        authors,
    ),
    Rule::basic(
        "nip01/filter-kinds",
        TO_RELAY,
        "kinds finds the events of these kinds alone",
        kinds,
    ),
    Rule::basic(
        "nip01/filter-e-p",
        TAGS,
        "#e and #p find the events that name an event or a key",
        references,
    ),
    Rule::basic(
        "nip01/filter-letters",
        TAGS,
        "every letter from a to z and A to Z is a filter, and case matters",
        letters,
    ),
    Rule::basic(
        "nip01/filter-first-value",
        TAGS,
        "the first value of a tag is indexed, and no other",
        first_value,
    ),
    Rule::basic(
        "nip01/filter-value-exact",
        TAGS,
        "values of tags match exactly: case, blanks, prefixes, empty ones",
        exact_values,
    ),
    Rule::basic(
        "nip01/filter-time",
        TO_RELAY,
        "since and until are inclusive",
        times,
    ),
    Rule::basic(
        "nip01/filter-and",
        TO_RELAY,
        "all conditions of a filter must hold",
        all_conditions,
    ),
    Rule::basic(
        "nip01/filter-or",
        TO_RELAY,
        "several filters find what any of them matches",
        any_filter,
    ),
    Rule::basic(
        "nip01/filter-or-once",
        TO_RELAY,
        "an event that several filters match is sent once",
        once,
    ),
    Rule::basic(
        "nip01/filter-empty",
        TO_RELAY,
        "a filter without conditions matches every event",
        no_conditions,
    ),
    Rule::basic(
        "corecast/filter-empty-list",
        TO_RELAY,
        "an empty list matches nothing",
        empty_lists,
    ),
    Rule::basic(
        "corecast/filter-unknown",
        TO_CLIENT,
        "a filter with an unknown key is answered CLOSED `unsupported:`",
        |context| {
            let filters = [
                json!({"foo": 1}),
                json!({"kinds": [1], "Authors": []}),
                json!({"#emoji": ["x"]}),
                json!({"#": ["x"]}),
                json!({"#1": ["x"]}),
                json!({"#é": ["x"]}),
                json!({"tags": []}),
            ];
            refused(context, &filters, "unsupported")
        },
    ),
    Rule::basic(
        "corecast/filter-hex",
        TO_RELAY,
        "ids, authors, #e and #p that are not 64 lower-case hex digits: CLOSED `invalid:`",
        |context| {
            let right = random_hex();
            let wrong = [
                &right[..63],
                &format!("{right}0"),
                &format!("A{}", &right[1..]),
                "",
                "g",
            ];
            let names = ["ids", "authors", "#e", "#p"];
            let filters = names.map(|name| wrong.map(|each| json!({name: [right, each]})));
            refused(context, filters.as_flattened(), "invalid")
        },
    ),
    Rule::basic(
        "corecast/filter-shape",
        TO_RELAY,
        "a filter of a wrong shape is answered CLOSED `invalid:`",
        |context| {
            let filters = [
                json!(5),
                json!(null),
                json!("x"),
                json!([]),
                json!({"kinds": 1}),
                json!({"kinds": ["1"]}),
                json!({"kinds": [-1]}),
                json!({"kinds": [1.5]}),
                json!({"ids": random_hex()}),
                json!({"authors": [1]}),
                json!({"authors": null}),
                json!({"#t": "x"}),
                json!({"#t": [1]}),
                json!({"since": "1"}),
                json!({"until": 1.5}),
                json!({"limit": -1}),
                json!({"limit": "1"}),
            ];
            refused(context, &filters, "invalid")
        },
    ),
    Rule::basic(
        "corecast/filter-duplicate-keys",
        TO_RELAY,
        "a filter that has a key twice is answered CLOSED `invalid:`",
        duplicate_keys,
    ),
    Rule::basic(
        "corecast/filter-all-refused",
        TO_RELAY,
        "one bad filter among good ones refuses the REQ",
        |context| {
            let mut client = context.open()?;
            client.refuse_request(&[json!({"limit": 0}), json!({"kinds": 1})], "invalid")?;
            client.expect_nothing()?;
            Ok(())
        },
    ),
];

fn refused(context: &Context, filters: &[Value], prefix: &str) -> Check {
    let mut client = context.open()?;
    for filter in filters {
        let refused = client.refuse_request(std::slice::from_ref(filter), prefix);
        refused.map_err(|error| format!("{filter}: {error}"))?;
    }
    client.expect_nothing()?;
    Ok(())
}

fn duplicate_keys(context: &Context) -> Check {
    let mut client = context.open()?;
    for filter in ["{\"kinds\":[1],\"kinds\":[1]}", "{\"limit\":1,\"limit\":2}"] {
        client.send_text(&format!("[\"REQ\",\"twice\",{filter}]"))?;
        client.expect_closed("twice", "invalid")?;
    }
    Ok(())
}

fn ids(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let events = [stage.note(30)?, stage.note(20)?, stage.note(10)?];
    let filter = json!({"ids": [events[0].id, random_hex(), events[2].id, events[0].id]});
    let found = stage.reader.found(&[filter])?;
    Ok(same_order("ids", &found, &[&events[2], &events[0]])?)
}

fn authors(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut other = context.stage()?;
    let mine = stage.note(20)?;
    let theirs = other.note(10)?;
    let found = stage.found(json!({}))?;
    same_order("one author", &found, &[&mine])?;
    let both = json!({"authors": [random_hex(), other.key.public, stage.key.public]});
    let found = stage.reader.found(&[both])?;
    Ok(same_order("two authors", &found, &[&theirs, &mine])?)
}

fn kinds(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let one = stage.note(30)?;
    let seven = stage.publish(Draft::new(7, "+").at(stage.ago(20)))?;
    let ten = stage.publish(Draft::new(10_003, "").at(stage.ago(10)))?;
    let found = stage.found(json!({"kinds": [7]}))?;
    same_order("kind 7", &found, &[&seven])?;
    let found = stage.found(json!({"kinds": [10_003, 8, 1]}))?;
    Ok(same_order("kinds 1, 8 and 10003", &found, &[&ten, &one])?)
}

fn references(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let (event, key) = (random_hex(), random_hex());
    let draft = Draft::new(1, "e").at(stage.ago(30));
    let e = stage.publish(draft.tag(&["e", &event, "wss://relay.example"]))?;
    let draft = Draft::new(1, "p").at(stage.ago(20));
    let p = stage.publish(draft.tag(&["p", &random_hex()]).tag(&["p", &key]))?;
    let found = stage.reader.found(&[json!({"#e": [event]})])?;
    same_order("#e", &found, &[&e])?;
    let found = stage.reader.found(&[json!({"#p": [random_hex(), key]})])?;
    same_order("#p", &found, &[&p])?;
    let found = stage.reader.found(&[json!({"#e": [event], "#p": [key]})])?;
    same_order("#e and #p", &found, &[])?;
    let found = stage
        .reader
        .found(&[json!({"#e": [key]}), json!({"#p": [event]})])?;
    Ok(same_order("the other way round", &found, &[])?)
}

fn letters(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for letter in ('a'..='z').chain('A'..='Z') {
        let value = random_hex();
        let (name, other_case) = match letter.is_ascii_lowercase() {
            true => (letter.to_string(), letter.to_ascii_uppercase()),
            false => (letter.to_string(), letter.to_ascii_lowercase()),
        };
        let event = stage.publish(Draft::new(1, "").tag(&[&name, &value]))?;
        let found = stage
            .reader
            .found(&[json!({format!("#{name}"): [value]})])?;
        same_order(&format!("#{name}"), &found, &[&event])?;
        let found = stage
            .reader
            .found(&[json!({format!("#{other_case}"): [value]})])?;
        same_order(&format!("#{other_case} for a tag {name}"), &found, &[])?;
    }
    Ok(())
}

fn first_value(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let (first, second) = (random_hex(), random_hex());
    let event = stage.publish(Draft::new(1, "").tag(&["t", &first, &second]).tag(&["t"]))?;
    let found = stage.reader.found(&[json!({"#t": [first]})])?;
    same_order("the first value", &found, &[&event])?;
    let found = stage.reader.found(&[json!({"#t": [second]})])?;
    Ok(same_order("the second value", &found, &[])?)
}

fn exact_values(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let values = [
        "Nostr",
        "nostr",
        " nostr",
        "nostr\n",
        "\"no\\str\"",
        "nöstr😀",
        "",
    ];
    let mut events = Vec::new();
    for value in values {
        events.push(stage.publish(Draft::new(1, value).tag(&["t", value]))?);
    }
    for (value, event) in values.iter().zip(&events) {
        let found = stage.found(json!({"#t": [value]}))?;
        same_order(&format!("{value:?}"), &found, &[event])?;
    }
    let found = stage.found(json!({"#t": ["nost"]}))?;
    Ok(same_order("a prefix", &found, &[])?)
}

fn times(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let ages = [40, 30, 20];
    let [old, middle, new] = [
        stage.note(ages[0])?,
        stage.note(ages[1])?,
        stage.note(ages[2])?,
    ];
    let [first, second, third] = ages.map(|age| stage.ago(age));
    let rows = [
        (json!({"since": second}), vec![&new, &middle]),
        (json!({"since": second + 1}), vec![&new]),
        (json!({"until": second}), vec![&middle, &old]),
        (json!({"until": second - 1}), vec![&old]),
        (json!({"since": second, "until": second}), vec![&middle]),
        (
            json!({"since": first, "until": third}),
            vec![&new, &middle, &old],
        ),
        (json!({"since": third, "until": first}), vec![]),
    ];
    for (filter, due) in rows {
        let found = stage.found(filter.clone())?;
        same_order(&filter.to_string(), &found, &due)?;
    }
    Ok(())
}

fn all_conditions(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let tag = random_hex();
    let at = stage.ago(20);
    let due = stage.publish(Draft::new(7, "").at(at).tag(&["t", &tag]).tag(&["r", &tag]))?;
    stage.publish(Draft::new(7, "no r").at(at).tag(&["t", &tag]))?;
    stage.publish(
        Draft::new(1, "kind")
            .at(at)
            .tag(&["t", &tag])
            .tag(&["r", &tag]),
    )?;
    stage.publish(
        Draft::new(7, "time")
            .at(at - 5)
            .tag(&["t", &tag])
            .tag(&["r", &tag]),
    )?;
    let other = Key::random();
    let draft = Draft::new(7, "author")
        .at(at)
        .tag(&["t", &tag])
        .tag(&["r", &tag]);
    stage.publisher.accept(&context.sign(&other, draft))?;
    let filter = json!({
        "authors": [stage.key.public], "kinds": [7], "#t": [tag, "x"], "#r": ["y", tag],
        "since": at, "until": at,
    });
    let found = stage.reader.found(std::slice::from_ref(&filter))?;
    same_order("all conditions", &found, &[&due])?;
    let mut with_ids = filter;
    with_ids["ids"] = json!([random_hex()]);
    let found = stage.reader.found(&[with_ids])?;
    Ok(same_order("and another id", &found, &[])?)
}

fn any_filter(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let tag = random_hex();
    let note = stage.note(30)?;
    let tagged = stage.publish(Draft::new(7, "").at(stage.ago(20)).tag(&["t", &tag]))?;
    stage.publish(Draft::new(8, "").at(stage.ago(10)))?;
    let filters = [
        json!({"ids": [note.id]}),
        json!({"#t": [tag]}),
        json!({"ids": [random_hex()]}),
    ];
    let found = stage.reader.found(&filters)?;
    Ok(same_set("any of three filters", &found, &[&note, &tagged])?)
}

fn once(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let tag = random_hex();
    let draft = Draft::new(1, "")
        .tag(&["t", &tag])
        .tag(&["t", "x"])
        .tag(&["t", &tag]);
    let event = stage.publish(draft)?;
    let mine = stage.mine(json!({}));
    let by_id = json!({"ids": [event.id]});
    let filters = [
        mine.clone(),
        by_id,
        json!({"#t": [tag, "x"], "limit": 9}),
        mine,
    ];
    let found = stage.reader.query(&filters)?.ids();
    let times = found.iter().filter(|id| **id == event.id).count();
    ensure(times == 1, || format!("it came {times} times"))?;
    Ok(())
}

fn no_conditions(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let event = stage.note(0)?;
    let stored = stage.reader.query(&[json!({"limit": 1})])?;
    ensure(stored.events.len() == 1, || {
        format!("{{\"limit\":1}} after {} was stored: {stored:?}", event.id)
    })?;
    stage.reader.subscribe("all", &[json!({"limit": 0})])?;
    let event = stage.note(0)?;
    // Other clients may publish too.
    while stage.reader.live("all")?["id"] != json!(event.id) {}
    Ok(())
}

fn empty_lists(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let tagged = Draft::new(1, "").tag(&["t", ""]).tag(&["e", &random_hex()]);
    stage.publish(tagged)?;
    for name in ["ids", "kinds", "#t", "#e", "#p"] {
        let found = stage.found(json!({name: []}))?;
        same_order(name, &found, &[]).map_err(|error| format!("{name}: {error}"))?;
    }
    let found = stage.reader.found(&[json!({"authors": []})])?;
    same_order("authors", &found, &[])?;
    let note = stage.note(0)?;
    let filters = [json!({"kinds": []}), json!({"ids": [note.id]})];
    let found = stage.reader.found(&filters)?;
    Ok(same_order("beside another filter", &found, &[&note])?)
}
