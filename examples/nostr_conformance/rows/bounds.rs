//! Limits: those named by the NIP-11 document, and Corecast's own.

use serde_json::{Value, json};

use super::{TO_CLIENT, TO_RELAY};
use crate::client::Client;
use crate::context::Context;
use crate::event::{Draft, Event, now, random_hex};
use crate::rules::{Check, Rule, ensure, same_order, skipped};

const LIMITATIONS: &str = "Server Limitations";

/// The largest probe for a limit.
const PROBE_BYTES_MAX: u64 = 2 << 20;

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "nip11/max-subscriptions",
        &[11],
        LIMITATIONS,
        "max_subscriptions can be open at once, and no more; to replace one is no more",
        subscriptions,
    ),
    Rule::new(
        "nip11/max-event-tags",
        &[11],
        LIMITATIONS,
        "max_event_tags tags are taken, one more is not",
        event_tags,
    ),
    Rule::new(
        "nip11/max-content-length",
        &[11],
        LIMITATIONS,
        "a content of more than max_content_length characters is refused",
        content_length,
    ),
    Rule::new(
        "nip11/created-at-upper-limit",
        &[11],
        LIMITATIONS,
        "an event from farther ahead than created_at_upper_limit is refused",
        |context| {
            let seconds = context.limit("created_at_upper_limit")?;
            refused_at(context, now() + seconds + 60)
        },
    ),
    Rule::new(
        "nip11/created-at-lower-limit",
        &[11],
        LIMITATIONS,
        "an event older than created_at_lower_limit is refused",
        |context| {
            let seconds = context.limit("created_at_lower_limit")?;
            refused_at(context, now().saturating_sub(seconds + 60))
        },
    ),
    Rule::new(
        "nip11/default-limit",
        &[11],
        LIMITATIONS,
        "a filter without limit gets default_limit events, the newest",
        default_limit,
    ),
    Rule::new(
        "nip11/max-message-length",
        &[11],
        LIMITATIONS,
        "a message of more than max_message_length bytes is not acted upon",
        message_length,
    ),
    Rule::basic(
        "corecast/event-bytes",
        TO_CLIENT,
        "an event of more than 256 KiB is answered OK false `invalid:`",
        |context| {
            let mut stage = context.stage()?;
            let event = stage.sign(Draft::new(1, &"x".repeat(300_000)));
            stage.publisher.refuse(&event, "invalid")?;
            stage.publisher.expect_nothing()?;
            Ok(())
        },
    ),
    Rule::basic(
        "corecast/filters-bound",
        TO_RELAY,
        "a REQ of more than 100 filters is answered CLOSED `blocked:`",
        |context| {
            let mut client = context.open()?;
            let filters = vec![json!({"ids": [random_hex()]}); 101];
            client.subscribe("most", &filters[1..])?;
            client.refuse_request(&filters, "blocked")?;
            client.expect_nothing()?;
            Ok(())
        },
    ),
    Rule::basic(
        "corecast/values-bound",
        TO_RELAY,
        "a REQ of more than 10,000 list items is answered CLOSED `blocked:`",
        |context| {
            let mut client = context.open()?;
            let kinds: Vec<u32> = (30_000..40_000).collect();
            let ids = [random_hex()];
            client.refuse_request(&[json!({"kinds": kinds, "ids": ids})], "blocked")?;
            client.expect_nothing()?;
            Ok(())
        },
    ),
];

/// A subscription that finds nothing.
fn open_idle(client: &mut Client, number: u64) -> Result<(), String> {
    let filter = json!({"ids": [random_hex()]});
    client.subscribe(&format!("idle {number}"), &[filter])?;
    Ok(())
}

fn subscriptions(context: &Context) -> Check {
    let most = context.limit("max_subscriptions")?;
    if most > 5_000 {
        return Err(skipped(format!("{most} are many")));
    }
    let mut client = context.open()?;
    for number in 0..most {
        let opened = open_idle(&mut client, number);
        opened.map_err(|error| format!("the {number}th of {most}: {error}"))?;
    }
    client.refuse_request(&[json!({"ids": [random_hex()]})], "blocked")?;
    open_idle(&mut client, 0)?;
    client.close("idle 1")?;
    open_idle(&mut client, most)?;
    client.refuse_request(&[json!({"ids": [random_hex()]})], "blocked")?;
    Ok(())
}

fn event_tags(context: &Context) -> Check {
    let most = context.limit("max_event_tags")?;
    if most > 50_000 {
        return Err(skipped(format!("{most} are many")));
    }
    let mut stage = context.stage()?;
    let own = u64::from(context.pow_bits() > 0);
    let tagged = |count: u64| (0..count).fold(Draft::new(1, ""), |draft, _| draft.tag(&["t", "x"]));
    stage.publish(tagged(most - own))?;
    let event = stage.sign(tagged(most + 1 - own));
    stage.publisher.refuse(&event, "invalid")?;
    Ok(())
}

fn content_length(context: &Context) -> Check {
    let most = context.limit("max_content_length")?;
    if most > PROBE_BYTES_MAX {
        return Err(skipped(format!("{most} are many")));
    }
    let mut stage = context.stage()?;
    let event = stage.sign(Draft::new(1, &"x".repeat(most as usize + 1)));
    stage.publisher.refuse(&event, "invalid")?;
    Ok(())
}

fn refused_at(context: &Context, time: u64) -> Check {
    let mut stage = context.stage()?;
    let event = stage.sign(Draft::new(1, "").at(time));
    stage.publisher.refuse(&event, "invalid")?;
    let found = stage.reader.found(&[json!({"ids": [event.id]})])?;
    Ok(same_order("what was refused", &found, &[])?)
}

fn default_limit(context: &Context) -> Check {
    let limit = context.limit("default_limit")?;
    if limit > 1_000 {
        return Err(skipped(format!("{limit} are many")));
    }
    let mut stage = context.stage()?;
    let drafts = (0..limit + 5).map(|age| Draft::new(1, "").at(stage.ago(10 + age)));
    let events: Vec<Event> = drafts.map(|draft| stage.sign(draft)).collect();
    for some in events.chunks(50) {
        for event in some {
            stage.publisher.send(&json!(["EVENT", event.json()]))?;
        }
        for event in some {
            stage.publisher.receipt(&event.id)?;
        }
    }
    let found = stage.found(json!({}))?;
    let due: Vec<&Event> = events.iter().take(limit as usize).collect();
    Ok(same_order("without limit", &found, &due)?)
}

fn message_length(context: &Context) -> Check {
    let most = context.limit("max_message_length")?;
    if most > PROBE_BYTES_MAX {
        return Err(skipped(format!("{most} are many")));
    }
    let mut stage = context.stage()?;
    let event = stage.sign(Draft::new(1, &"x".repeat(most as usize)));
    // It may be refused, or the connection may end, even while this is still being written.
    let sent = stage.publisher.send(&json!(["EVENT", event.json()]));
    if sent.is_ok()
        && let Ok(answer) = stage.publisher.next()
    {
        let is_taken = answer.parts.get(2).and_then(Value::as_bool) == Some(true);
        ensure(!is_taken, || format!("it was taken: {}", answer.text))?;
    }
    let found = stage.reader.found(&[json!({"ids": [event.id]})])?;
    Ok(same_order("what is too long", &found, &[])?)
}
