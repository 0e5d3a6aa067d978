//! Malformed events: those with an id are answered OK false.

use super::{EVENTS, TO_CLIENT};
use crate::context::{Context, Stage};
use crate::event::{Draft, Fields};
use crate::rules::{Check, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "nip01/shape-id",
        EVENTS,
        "an id that is not 64 lower-case hex digits is refused",
        |context| spoiled(context, "id", &HEX_FLAWS),
    ),
    Rule::basic(
        "nip01/shape-pubkey",
        EVENTS,
        "a pubkey that is not 64 lower-case hex digits is refused",
        |context| spoiled(context, "pubkey", &HEX_FLAWS),
    ),
    Rule::basic(
        "nip01/shape-sig",
        EVENTS,
        "a sig that is not 128 lower-case hex digits is refused",
        |context| spoiled(context, "sig", &HEX_FLAWS),
    ),
    Rule::basic(
        "nip01/shape-kind",
        EVENTS,
        "a kind that is no integer from 0 to 65535 is refused",
        |context| {
            let wrong = [
                "65536",
                "-1",
                "1.5",
                "\"1\"",
                "null",
                "[1]",
                "true",
                "18446744073709551617",
            ];
            signed(
                context,
                |stage, kind| Fields::signed(&stage.key, &now(stage), kind, "[]", "\"\""),
                &wrong,
            )
        },
    ),
    Rule::basic(
        "nip01/shape-created-at",
        EVENTS,
        "a created_at that is no unix time in seconds is refused",
        |context| {
            let wrong = [
                "-1",
                "1.5",
                "\"1700000000\"",
                "null",
                "[]",
                "18446744073709551616",
            ];
            signed(context, created_at, &wrong)
        },
    ),
    Rule::basic(
        "nip01/shape-tags",
        EVENTS,
        "tags that are not arrays of strings are refused",
        |context| {
            let wrong = [
                "{}",
                "null",
                "\"\"",
                "[\"t\"]",
                "[[\"t\",1]]",
                "[[\"t\",null]]",
                "[[[\"t\"]]]",
                "[{\"t\":\"x\"}]",
                "[[\"t\",true]]",
                "[[\"t\",\"x\"],null]",
            ];
            signed(
                context,
                |stage, tags| Fields::signed(&stage.key, &now(stage), "1", tags, "\"\""),
                &wrong,
            )
        },
    ),
    Rule::basic(
        "nip01/shape-content",
        EVENTS,
        "a content that is no string is refused",
        |context| {
            signed(
                context,
                |stage, content| Fields::signed(&stage.key, &now(stage), "1", "[]", content),
                &["1", "null", "{}", "[\"x\"]", "false"],
            )
        },
    ),
    Rule::basic(
        "nip01/shape-missing",
        EVENTS,
        "an event that lacks a field is refused",
        missing,
    ),
    Rule::basic(
        "corecast/created-at-exact",
        EVENTS,
        "created_at has no fraction and no exponent, and is below 2^40",
        |context| {
            let wrong = [
                "1700000000.0",
                "1.7e9",
                "17e8",
                "1099511627776",
                "9223372036854775807",
            ];
            signed(context, created_at, &wrong)
        },
    ),
    Rule::basic(
        "corecast/duplicate-keys",
        EVENTS,
        "an event that has a key twice is refused",
        duplicate_keys,
    ),
    Rule::basic(
        "corecast/no-id",
        TO_CLIENT,
        "an event without an id that is a string is answered NOTICE `invalid:`",
        no_id,
    ),
];

fn now(stage: &Stage<'_>) -> String {
    stage.ago(0).to_string()
}

fn created_at(stage: &Stage<'_>, time: &str) -> Fields {
    Fields::signed(&stage.key, time, "1", "[]", "\"\"")
}

/// Flaws of a string of hex digits.
const HEX_FLAWS: [fn(&str) -> String; 5] = [
    |right| format!("\"A{}\"", &right[1..]),
    |right| format!("\"{}\"", &right[1..]),
    |right| format!("\"0{right}\""),
    |right| format!("\"g{}\"", &right[1..]),
    |_| "\"\"".to_owned(),
];

/// A valid event except for one field.
fn spoiled(context: &Context, name: &str, flaws: &[fn(&str) -> String]) -> Check {
    let mut stage = context.stage()?;
    for flaw in flaws {
        let fields = stage.sign(Draft::new(1, "")).fields();
        let wrong = flaw(fields.get(name).trim_matches('"'));
        let refused = (stage.publisher).refuse_fields(&fields.with(name, &wrong), "invalid");
        refused.map_err(|error| format!("{name} {wrong}: {error}"))?;
    }
    stage.publisher.expect_nothing()?;
    Ok(())
}

/// Events with an invalid part, but with the right id and signature for it.
fn signed(context: &Context, event: fn(&Stage<'_>, &str) -> Fields, wrong: &[&str]) -> Check {
    let mut stage = context.stage()?;
    for part in wrong {
        let fields = event(&stage, part);
        let refused = stage.publisher.refuse_fields(&fields, "invalid");
        refused.map_err(|error| format!("{part}: {error}"))?;
    }
    stage.publisher.expect_nothing()?;
    Ok(())
}

fn missing(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for name in ["pubkey", "created_at", "kind", "tags", "content", "sig"] {
        let fields = stage.sign(Draft::new(1, "")).fields().without(name);
        let refused = stage.publisher.refuse_fields(&fields, "invalid");
        refused.map_err(|error| format!("without {name}: {error}"))?;
    }
    stage.publisher.expect_nothing()?;
    Ok(())
}

fn duplicate_keys(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for name in ["pubkey", "created_at", "kind", "tags", "content", "sig"] {
        let fields = stage.sign(Draft::new(1, "")).fields();
        let again = fields.get(name).to_owned();
        let refused = (stage.publisher).refuse_fields(&fields.and(name, &again), "invalid");
        refused.map_err(|error| format!("{name} twice: {error}"))?;
    }
    stage.publisher.expect_nothing()?;
    Ok(())
}

fn no_id(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let fields = stage.sign(Draft::new(1, "")).fields();
    let without = fields.clone().without("id").text("");
    let of_number = fields.with("id", "5").text("");
    for event in [&without, &of_number, "5", "null", "[]", "\"x\""] {
        stage.publisher.send_text(&format!("[\"EVENT\",{event}]"))?;
        let notice = stage.publisher.expect_notice("invalid");
        notice.map_err(|error| format!("{event}: {error}"))?;
    }
    stage.publisher.send_text("[\"EVENT\"]")?;
    stage.publisher.expect_notice("invalid")?;
    stage.publisher.expect_nothing()?;
    Ok(())
}
