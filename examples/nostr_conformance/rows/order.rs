//! The order of stored events, and `limit`.

use serde_json::json;

use super::TO_RELAY;
use crate::context::{Context, Stage};
use crate::event::{Draft, Event, random_hex};
use crate::rules::{Check, Rule, same_order, same_set};

pub(super) const RULES: &[Rule] = &[
    Rule::basic(
        "nip01/newest-first",
        TO_RELAY,
        "newer events come first, whatever order they arrived in",
        newest_first,
    ),
    Rule::basic(
        "nip01/ties-by-id",
        TO_RELAY,
        "of events of the same second the lower id comes first",
        ties_by_id,
    ),
    Rule::basic(
        "nip01/limit-newest",
        TO_RELAY,
        "limit n gives the newest n",
        limit_newest,
    ),
    Rule::basic(
        "nip01/limit-ties",
        TO_RELAY,
        "limit inside a second gives its lowest ids",
        limit_ties,
    ),
    Rule::basic(
        "nip01/limit-by-filter",
        TO_RELAY,
        "each filter has its own limit",
        limit_by_filter,
    ),
    Rule::basic(
        "nip01/limit-high",
        TO_RELAY,
        "a limit above what the relay allows is no error",
        limit_high,
    ),
    Rule::basic(
        "corecast/limit-zero",
        TO_RELAY,
        "limit 0 gives nothing stored, and EOSE",
        limit_zero,
    ),
    Rule::basic(
        "corecast/order-over-filters",
        TO_RELAY,
        "what several filters find is one list, newest first",
        over_filters,
    ),
];

/// Events of these ages in seconds, published in this order.
fn aged(stage: &mut Stage<'_>, ages: &[u64]) -> Result<Vec<Event>, String> {
    ages.iter().map(|&age| stage.note(age)).collect()
}

/// Events of one second, published by descending id, so that their order of arrival is wrong.
fn tied(stage: &mut Stage<'_>, count: usize, age: u64) -> Result<Vec<Event>, String> {
    let drafts = (0..count).map(|_| Draft::new(1, &random_hex()).at(stage.ago(age)));
    let mut events: Vec<Event> = drafts.map(|draft| stage.sign(draft)).collect();
    events.sort_by(|one, other| other.id.cmp(&one.id));
    for event in &events {
        stage.publisher.accept(event)?;
    }
    events.reverse();
    Ok(events)
}

fn newest_first(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let events = aged(&mut stage, &[20, 50, 10, 40, 30])?;
    let due = [2, 0, 4, 3, 1].map(|at: usize| &events[at]);
    let found = stage.found(json!({}))?;
    Ok(same_order("by age", &found, &due)?)
}

fn ties_by_id(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let events = tied(&mut stage, 8, 10)?;
    let due: Vec<&Event> = events.iter().collect();
    let found = stage.found(json!({}))?;
    same_order("by author", &found, &due)?;
    let found = stage.found(json!({"kinds": [1], "limit": 100}))?;
    same_order("by author and kind", &found, &due)?;
    let ids: Vec<&str> = due.iter().map(|event| event.id.as_str()).collect();
    let found = stage.reader.found(&[json!({"ids": ids})])?;
    Ok(same_order("by ids", &found, &due)?)
}

fn limit_newest(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let events = aged(&mut stage, &[50, 10, 40, 20, 30])?;
    let due = [1, 3, 4, 2, 0].map(|at: usize| &events[at]);
    for limit in 1..=6 {
        let found = stage.found(json!({"limit": limit}))?;
        same_order(&format!("limit {limit}"), &found, &due[..limit.min(5)])?;
    }
    Ok(())
}

fn limit_ties(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let events = tied(&mut stage, 6, 10)?;
    let newest = stage.note(5)?;
    for limit in 1..=6 {
        let found = stage.found(json!({"limit": limit}))?;
        let due: Vec<&Event> = [&newest].into_iter().chain(&events).take(limit).collect();
        same_order(&format!("limit {limit}"), &found, &due)?;
    }
    Ok(())
}

fn limit_by_filter(context: &Context) -> Check {
    let mut stage = context.stage()?;
    aged(&mut stage, &[50, 40])?;
    let note = stage.note(30)?;
    stage.publish(Draft::new(7, "older").at(stage.ago(80)))?;
    let reaction = stage.publish(Draft::new(7, "newer").at(stage.ago(60)))?;
    let notes = stage.mine(json!({"kinds": [1], "limit": 1}));
    let reactions = stage.mine(json!({"kinds": [7], "limit": 1}));
    let found = stage.reader.found(&[notes, reactions])?;
    Ok(same_set("limit 1 twice", &found, &[&note, &reaction])?)
}

fn limit_high(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(10)?;
    for limit in [5_001_u64, 1_000_000, u64::from(u32::MAX)] {
        let found = stage.found(json!({"limit": limit}))?;
        same_order(&format!("limit {limit}"), &found, &[&note])?;
    }
    Ok(())
}

fn limit_zero(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(10)?;
    let found = stage.found(json!({"limit": 0}))?;
    same_order("limit 0", &found, &[])?;
    let none = stage.mine(json!({"limit": 0}));
    let all = stage.mine(json!({}));
    let found = stage.reader.found(&[none, all])?;
    Ok(same_order("beside another filter", &found, &[&note])?)
}

fn over_filters(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mut events = Vec::new();
    for (kind, age) in [(1, 10), (7, 20), (1, 30), (7, 40), (1, 50)] {
        events.push(stage.publish(Draft::new(kind, "").at(stage.ago(age)))?);
    }
    let due: Vec<&Event> = events.iter().collect();
    let filters = [7, 1].map(|kind| stage.mine(json!({"kinds": [kind]})));
    let found = stage.reader.found(&filters)?;
    Ok(same_order("two filters", &found, &due)?)
}
