//! The meaning of the ranges of kinds: regular, replaceable, ephemeral, addressable.

use serde_json::json;

use super::KINDS;
use crate::context::{Context, Stage};
use crate::event::{Draft, Event, random_hex};
use crate::rules::{Check, Rule, same_order, same_set};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "nip01/regular",
        KINDS,
        "all events of regular kinds are kept",
        regular,
    ),
    Rule::basic(
        "nip01/replaceable-newer",
        KINDS,
        "of kinds 0, 3, 10000 to 19999 a newer event takes the place of the older",
        |context| each_kind(context, &REPLACEABLE, newer_wins),
    ),
    Rule::basic(
        "nip01/replaceable-older",
        KINDS,
        "an older one that comes later is not served",
        |context| each_kind(context, &REPLACEABLE, older_loses),
    ),
    Rule::basic(
        "nip01/replaceable-tie",
        KINDS,
        "of the same second the lower id is kept, in either order of arrival",
        |context| each_kind(context, &REPLACEABLE, lower_id_wins),
    ),
    Rule::basic(
        "nip01/replaceable-apart",
        KINDS,
        "each author and each kind has its own",
        replaceable_apart,
    ),
    Rule::basic(
        "nip01/replaceable-d",
        KINDS,
        "a d tag makes no difference to a replaceable event",
        replaceable_ignores_d,
    ),
    Rule::basic(
        "nip01/replacement-is-live",
        KINDS,
        "a newer version is sent to subscriptions",
        replacement_is_live,
    ),
    Rule::basic(
        "nip01/addressable-newer",
        KINDS,
        "of kinds 30000 to 39999 a newer event of the same d takes the place of the older",
        |context| each_kind(context, &ADDRESSABLE, newer_wins),
    ),
    Rule::basic(
        "nip01/addressable-older",
        KINDS,
        "an older one of the same d that comes later is not served",
        |context| each_kind(context, &ADDRESSABLE, older_loses),
    ),
    Rule::basic(
        "nip01/addressable-tie",
        KINDS,
        "of the same second the lower id is kept, in either order of arrival",
        |context| each_kind(context, &ADDRESSABLE, lower_id_wins),
    ),
    Rule::basic(
        "nip01/addressable-apart",
        KINDS,
        "each value of d has its own",
        addressable_apart,
    ),
    Rule::basic(
        "nip01/ephemeral",
        KINDS,
        "kinds 20000 to 29999 are sent to subscriptions and not stored",
        ephemeral,
    ),
    Rule::basic(
        "corecast/addressable-no-d",
        KINDS,
        "no d tag, one without a value and an empty one are the same; the first d tag counts",
        addressable_no_d,
    ),
    Rule::basic(
        "corecast/older-refused",
        KINDS,
        "an older version is answered OK false `duplicate:` and not sent",
        older_refused,
    ),
    Rule::basic(
        "corecast/replaced-is-gone",
        KINDS,
        "a version that was replaced is not found by its id",
        replaced_is_gone,
    ),
    Rule::basic(
        "corecast/other-kinds",
        KINDS,
        "kinds of no range are regular: 45, 999, 40000, 65535",
        other_kinds,
    ),
    Rule::basic(
        "corecast/kind-27235",
        KINDS,
        "kind 27235, which authorises HTTP requests, is refused",
        |context| {
            let mut stage = context.stage()?;
            let event = stage.sign(Draft::new(27_235, ""));
            stage.publisher.refuse(&event, "invalid")?;
            Ok(())
        },
    ),
];

const REPLACEABLE: [u32; 4] = [0, 3, 10_000, 19_999];
const ADDRESSABLE: [u32; 2] = [30_000, 39_999];

fn each_kind(
    context: &Context,
    kinds: &[u32],
    check: fn(&mut Stage<'_>, u32) -> Result<(), String>,
) -> Check {
    let mut stage = context.stage()?;
    for &kind in kinds {
        check(&mut stage, kind).map_err(|error| format!("kind {kind}: {error}"))?;
    }
    Ok(())
}

/// A version of the same replaceable or addressable event.
fn version(stage: &Stage<'_>, kind: u32, seconds: u64) -> Event {
    let draft = Draft::new(kind, &random_hex()).at(stage.ago(seconds));
    stage.sign(draft.tag(&["d", "name"]))
}

fn is_kept(stage: &mut Stage<'_>, kind: u32, due: &Event) -> Result<(), String> {
    let found = stage.found(json!({"kinds": [kind]}))?;
    same_order("what is served", &found, &[due])
}

fn newer_wins(stage: &mut Stage<'_>, kind: u32) -> Result<(), String> {
    for seconds in [30, 20, 10] {
        let event = version(stage, kind, seconds);
        stage.publisher.accept(&event)?;
        is_kept(stage, kind, &event)?;
    }
    Ok(())
}

fn older_loses(stage: &mut Stage<'_>, kind: u32) -> Result<(), String> {
    let event = version(stage, kind, 10);
    stage.publisher.accept(&event)?;
    let older = version(stage, kind, 20);
    stage.publisher.publish(&older)?;
    is_kept(stage, kind, &event)
}

fn lower_id_wins(stage: &mut Stage<'_>, kind: u32) -> Result<(), String> {
    for (seconds, is_lower_first) in [(20, true), (10, false)] {
        let mut events = [version(stage, kind, seconds), version(stage, kind, seconds)];
        events.sort_by(|one, other| one.id.cmp(&other.id));
        let [lower, higher] = &events;
        let (first, second) = if is_lower_first {
            (lower, higher)
        } else {
            (higher, lower)
        };
        stage.publisher.accept(first)?;
        stage.publisher.publish(second)?;
        is_kept(stage, kind, lower)
            .map_err(|error| format!("lower id first: {is_lower_first}: {error}"))?;
    }
    Ok(())
}

fn regular(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for kind in [1, 2, 4_444, 5_999, 1_000, 9_999, 44] {
        let drafts = [10, 10, 20].map(|age| Draft::new(kind, &random_hex()).at(stage.ago(age)));
        let mut events = Vec::new();
        for draft in drafts {
            events.push(stage.publish(draft.tag(&["d", "name"]))?);
        }
        let found = stage.found(json!({"kinds": [kind]}))?;
        same_set(&format!("kind {kind}"), &found, &Vec::from_iter(&events))?;
    }
    Ok(())
}

fn other_kinds(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for kind in [45, 999, 40_000, 65_535] {
        let first = stage.publish(Draft::new(kind, "first").tag(&["d", "name"]))?;
        let second = stage.publish(Draft::new(kind, "second").tag(&["d", "name"]))?;
        let found = stage.found(json!({"kinds": [kind]}))?;
        same_set(&format!("kind {kind}"), &found, &[&first, &second])?;
    }
    Ok(())
}

fn replaceable_apart(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut one = Vec::new();
    for kind in REPLACEABLE {
        let event = version(&stage, kind, 10);
        stage.publisher.accept(&event)?;
        one.push(event);
    }
    let mut other = context.stage()?;
    for kind in REPLACEABLE {
        let event = version(&other, kind, 5);
        other.publisher.accept(&event)?;
    }
    let found = stage.found(json!({}))?;
    Ok(same_set(
        "of the first author",
        &found,
        &Vec::from_iter(&one),
    )?)
}

fn replaceable_ignores_d(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let old = Draft::new(10_002, "").at(stage.ago(20)).tag(&["d", "a"]);
    stage.publish(old)?;
    let new = Draft::new(10_002, "").at(stage.ago(10)).tag(&["d", "b"]);
    let event = stage.publish(new)?;
    Ok(is_kept(&mut stage, 10_002, &event)?)
}

fn replacement_is_live(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    for (kind, seconds) in [(0, 20), (0, 10), (30_000, 20), (30_000, 10)] {
        let event = version(&stage, kind, seconds);
        stage.publisher.accept(&event)?;
        stage.reader.expect_live("live", &event)?;
    }
    Ok(())
}

fn addressable_apart(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut events = Vec::new();
    for name in ["a", "b", "A", "a ", "ä", ""] {
        let draft = Draft::new(30_023, "").at(stage.ago(10));
        events.push(stage.publish(draft.tag(&["d", name]))?);
    }
    let found = stage.found(json!({}))?;
    same_set("values of d", &found, &Vec::from_iter(&events))?;
    let found = stage.found(json!({"#d": ["b"]}))?;
    Ok(same_order("by its d", &found, &[&events[1]])?)
}

fn addressable_no_d(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut last = None;
    for (age, tag) in [
        (50, None),
        (40, Some(&["d", ""][..])),
        (30, Some(&["d"])),
        (20, None),
    ] {
        let draft = Draft::new(30_023, "").at(stage.ago(age));
        last = Some(stage.publish(match tag {
            Some(tag) => draft.tag(tag),
            None => draft,
        })?);
        let found = stage.found(json!({}))?;
        same_order("no value of d", &found, &Vec::from_iter(&last))?;
    }
    let draft = Draft::new(30_023, "").at(stage.ago(10));
    let two = stage.publish(draft.tag(&["d", "a"]).tag(&["d", ""]))?;
    let found = stage.found(json!({}))?;
    let due: Vec<&Event> = [&two].into_iter().chain(&last).collect();
    Ok(same_order("the first d counts", &found, &due)?)
}

fn ephemeral(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    for kind in [20_000, 25_000, 29_999] {
        let event = stage.publish(Draft::new(kind, &random_hex()))?;
        stage.reader.expect_live("live", &event)?;
        let by_id = stage.publisher.found(&[json!({"ids": [event.id]})])?;
        same_order("by its id", &by_id, &[])?;
    }
    let mine = stage.mine(json!({}));
    let found = stage.publisher.found(&[mine])?;
    Ok(same_order("of the author", &found, &[])?)
}

fn older_refused(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    for kind in [0, 10_000, 30_000] {
        let event = version(&stage, kind, 10);
        stage.publisher.accept(&event)?;
        stage.reader.expect_live("live", &event)?;
        let older = version(&stage, kind, 20);
        stage.publisher.refuse(&older, "duplicate")?;
        stage.nothing_before_a_note("live")?;
    }
    Ok(())
}

fn replaced_is_gone(context: &Context) -> Check {
    let mut stage = context.stage()?;
    for kind in [0, 10_000, 30_000] {
        let old = version(&stage, kind, 20);
        let new = version(&stage, kind, 10);
        stage.publisher.accept(&old)?;
        stage.publisher.accept(&new)?;
        let found = stage.reader.found(&[json!({"ids": [old.id, new.id]})])?;
        same_order(&format!("kind {kind}"), &found, &[&new])?;
    }
    Ok(())
}
