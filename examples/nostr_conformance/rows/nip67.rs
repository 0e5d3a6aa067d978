//! NIP-67: the hint of EOSE.

use serde_json::{Value, json};

use crate::context::{Context, Stage};
use crate::event::{Draft, Event, random_hex};
use crate::rules::{Check, Rule, ensure, same_set, skipped};

const SPECIFICATION: &str = "Specification";
const TIES: &str = "Semantics around `created_at` ties";

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[67], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip67/shape",
        SPECIFICATION,
        "the third element of EOSE, if there is one, is an array of strings",
        |context| {
            let mut stage = context.stage()?;
            stage.note(0)?;
            for filter in [stage.mine(json!({})), json!({"ids": [random_hex()]})] {
                let hint = stage.reader.query(&[filter])?.hint;
                let items = hint.as_ref().map(Value::as_array);
                let is_right = match items {
                    None => true,
                    Some(items) => items.is_some_and(|items| items.iter().all(Value::is_string)),
                };
                ensure(is_right, || format!("{hint:?}"))?;
            }
            Ok(())
        },
    ),
    rule(
        "nip67/no-false-finish",
        SPECIFICATION,
        "`finish` is not said while more is stored, `more` is not said if all was sent",
        |context| hints(context, false),
    ),
    rule(
        "corecast/hint",
        SPECIFICATION,
        "EOSE has [\"more\"] if there is a further event, else [\"finish\"]",
        |context| hints(context, true),
    ),
    rule(
        "corecast/hint-second",
        TIES,
        "if the relay's own default limit cuts a second, that second is sent whole",
        whole_second,
    ),
];

/// Checks the hint of EOSE after each of these requests.
fn hints(context: &Context, is_required: bool) -> Check {
    let mut stage = context.stage()?;
    for age in [40, 30, 20, 20] {
        stage.note(age)?;
    }
    for (age, name) in [(50, "older"), (45, "newer")] {
        stage.publish(Draft::new(10_002, name).at(stage.ago(age)))?;
    }
    let notes = |more: Value, stage: &Stage<'_>| {
        let mut filter = stage.mine(more);
        filter["kinds"] = json!([1]);
        filter
    };
    let rows = [
        (vec![notes(json!({}), &stage)], true),
        (vec![notes(json!({"limit": 5}), &stage)], true),
        (vec![notes(json!({"limit": 4}), &stage)], true),
        (vec![notes(json!({"limit": 3}), &stage)], false),
        (vec![notes(json!({"limit": 1}), &stage)], false),
        (
            vec![notes(json!({"limit": 2, "until": stage.ago(30)}), &stage)],
            true,
        ),
        (
            vec![notes(json!({"limit": 1, "since": stage.ago(35)}), &stage)],
            false,
        ),
        (
            vec![stage.mine(json!({"kinds": [10_002], "limit": 1}))],
            true,
        ),
        (vec![json!({"ids": [random_hex()], "limit": 1})], true),
        (
            vec![
                json!({"ids": [random_hex()]}),
                notes(json!({"limit": 2}), &stage),
            ],
            false,
        ),
    ];
    for (filters, is_all) in rows {
        let hint = stage.reader.query(&filters)?.hint;
        let says = |word: &str| {
            let items = hint.as_ref().and_then(Value::as_array);
            items.is_some_and(|items| items.contains(&json!(word)))
        };
        let (due, other) = if is_all {
            ("finish", "more")
        } else {
            ("more", "finish")
        };
        ensure(!says(other), || format!("{filters:?}: {hint:?}"))?;
        let is_exact = hint == Some(json!([due]));
        ensure(is_exact || !is_required, || {
            format!("{filters:?}: {hint:?}")
        })?;
    }
    Ok(())
}

/// Twenty events more than the default limit, the last of them in one second, and one that is
/// older.
fn whole_second(context: &Context) -> Check {
    let limit = context.limit("default_limit")?;
    if limit > 1_000 {
        return Err(skipped(format!("{limit} are many")));
    }
    let mut stage = context.stage()?;
    let ages = (0..limit + 20).map(|number| if number < limit - 5 { 10 } else { 20 });
    let ages: Vec<u64> = ages.chain([30]).collect();
    let drafts = ages
        .iter()
        .map(|&age| Draft::new(1, &random_hex()).at(stage.ago(age)));
    let events: Vec<Event> = drafts.map(|draft| stage.sign(draft)).collect();
    for some in events.chunks(50) {
        for event in some {
            stage.publisher.send(&json!(["EVENT", event.json()]))?;
        }
        for event in some {
            stage.publisher.receipt(&event.id)?;
        }
    }
    let mine = stage.mine(json!({}));
    let stored = stage.reader.query(&[mine])?;
    let due: Vec<&Event> = events[..events.len() - 1].iter().collect();
    ensure(stored.events.len() == due.len(), || {
        format!("due {}, came {}", due.len(), stored.events.len())
    })?;
    same_set(
        "the newest and all of their last second",
        &stored.ids(),
        &due,
    )?;
    let is_more = stored.hint == Some(json!(["more"]));
    ensure(is_more, || format!("the hint: {:?}", stored.hint))?;
    Ok(())
}
