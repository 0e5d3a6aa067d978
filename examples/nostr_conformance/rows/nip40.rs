//! NIP-40: expiration.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::context::Context;
use crate::event::{Draft, now, random_hex};
use crate::rules::{Check, Rule, ensure, same_order};

const RELAY: &str = "Relay Behavior";

/// An expired event must be gone within this time.
const GONE_WITHIN: Duration = Duration::from_secs(10);

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "nip40/expired",
        &[40],
        RELAY,
        "an event that has expired is refused, and not sent",
        expired,
    ),
    Rule::new(
        "nip40/later",
        &[40],
        RELAY,
        "an event that expires later is stored, served and sent",
        later,
    ),
    Rule::new(
        "nip40/gone",
        &[40],
        RELAY,
        "an event is not served any more once it has expired",
        gone,
    ),
];

fn expiring(at: u64) -> Draft {
    Draft::new(1, &random_hex()).tag(&["expiration", &at.to_string()])
}

fn expired(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    for at in [stage.ago(1), stage.ago(100_000), 1] {
        let event = stage.sign(expiring(at).at(stage.ago(20)));
        stage.publisher.refuse(&event, "invalid")?;
        let found = stage.publisher.found(&[json!({"ids": [event.id]})])?;
        same_order("what has expired", &found, &[])?;
    }
    stage.nothing_before_a_note("live")?;
    Ok(())
}

fn later(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    let event = stage.publish(expiring(now() + 3_600))?;
    stage.reader.expect_live("live", &event)?;
    let found = stage.found(json!({}))?;
    Ok(same_order("what expires in an hour", &found, &[&event])?)
}

fn gone(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let ends = now() + 3;
    let event = stage.publish(expiring(ends))?;
    let by_id = [json!({"ids": [event.id]})];
    let began = Instant::now();
    let mut was_there = false;
    loop {
        let asked_at = now();
        let found = stage.reader.found(&by_id)?;
        was_there |= found == [event.id.clone()];
        if found.is_empty() {
            ensure(now() >= ends, || "it is gone before its time".to_owned())?;
            ensure(was_there, || "it was never there".to_owned())?;
            break;
        }
        ensure(began.elapsed() < GONE_WITHIN, || {
            format!(
                "still served {} s after it expired",
                asked_at.saturating_sub(ends)
            )
        })?;
        // Nothing is due in this time: any message would end the wait.
        if let Some(answer) = stage.reader.next_within(Duration::from_millis(100))? {
            return Err(format!("nothing is due, and came: {}", answer.text).into());
        }
    }
    let found = stage.found(json!({}))?;
    Ok(same_order("by its author", &found, &[])?)
}
