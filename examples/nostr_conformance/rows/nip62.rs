//! NIP-62: requests to vanish.

use serde_json::json;

use crate::context::{Context, Stage};
use crate::event::{Draft, Event, Key, random_hex};
use crate::rules::{Check, Rule, same_order};

const FROM_RELAY: &str = "Request to Vanish from Relay";
const GLOBAL: &str = "Global Request to Vanish";
const VANISH: u32 = 62;
const ALL_RELAYS: &str = "ALL_RELAYS";

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[62], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip62/all-relays",
        GLOBAL,
        "ALL_RELAYS: everything of the key up to created_at is gone, deletions too; later events \
         and those of others stay",
        |context| everything(context, ALL_RELAYS),
    ),
    Rule::new(
        "nip62/relay",
        &[62, 42],
        FROM_RELAY,
        "the relay's own URL: the same",
        |context| everything(context, &context.auth_url),
    ),
    rule(
        "nip62/not-again",
        FROM_RELAY,
        "what has vanished cannot be published again, nor anything else as old",
        not_again,
    ),
    rule(
        "nip62/deletion",
        FROM_RELAY,
        "a deletion of a request to vanish has no effect",
        deletion,
    ),
    rule(
        "corecast/vanish-served",
        FROM_RELAY,
        "the request itself is sent, served and kept",
        served,
    ),
    rule(
        "corecast/vanish-elsewhere",
        FROM_RELAY,
        "a request for other relays, or for none: OK false, `invalid:`, and no effect",
        elsewhere,
    ),
    Rule::new(
        "corecast/vanish-wraps",
        &[62, 59, 42],
        FROM_RELAY,
        "gift wraps for the key are gone too",
        wraps,
    ),
];

fn vanish(stage: &Stage<'_>, ago: u64, relay: &str) -> Draft {
    let draft = Draft::new(VANISH, "").at(stage.ago(ago));
    draft.tag(&["relay", relay])
}

/// A note, a profile and a deletion.
fn history(stage: &mut Stage<'_>, ago: u64) -> Result<[Event; 3], String> {
    let note = stage.note(ago)?;
    let profile = Draft::new(0, &random_hex()).at(stage.ago(ago - 1));
    let profile = stage.publish(profile)?;
    let deletion = Draft::new(5, "").at(stage.ago(ago - 2));
    let deletion = stage.publish(deletion.tag(&["e", &random_hex()]))?;
    Ok([note, profile, deletion])
}

fn everything(context: &Context, relay: &str) -> Check {
    let mut stage = context.stage()?;
    let old = history(&mut stage, 50)?;
    let draft = Draft::new(1, &random_hex()).tag(&["p", &stage.key.public]);
    let other = context.sign(&Key::random(), draft.at(stage.ago(60)));
    stage.publisher.accept(&other)?;
    let later = stage.note(10)?;
    let draft = vanish(&stage, 20, relay);
    stage.publish(draft.tag(&["relay", "wss://other.example"]))?;
    let found = stage.found(json!({"kinds": [0, 1, 5]}))?;
    same_order("what is left", &found, &[&later])?;
    let ids: Vec<&str> = old.iter().map(|event| &*event.id).collect();
    let found = stage.reader.found(&[json!({"ids": ids})])?;
    same_order("by id", &found, &[])?;
    let found = stage.reader.found(&[json!({"ids": [other.id]})])?;
    Ok(same_order("another's", &found, &[&other])?)
}

fn not_again(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let old = history(&mut stage, 50)?;
    let draft = vanish(&stage, 20, ALL_RELAYS);
    stage.publish(draft)?;
    let new = stage.sign(Draft::new(1, &random_hex()).at(stage.ago(20)));
    for event in old.iter().chain([&new]) {
        stage.publisher.refuse(event, "blocked")?;
    }
    let found = stage.found(json!({"kinds": [0, 1, 5]}))?;
    Ok(same_order("what is left", &found, &[])?)
}

fn deletion(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(50)?;
    let draft = vanish(&stage, 20, ALL_RELAYS);
    let request = stage.publish(draft)?;
    let undo = Draft::new(5, "").at(stage.ago(5));
    let undo = stage.sign(undo.tag(&["e", &request.id]));
    stage.publisher.publish(&undo)?;
    stage.publisher.refuse(&note, "blocked")?;
    let found = stage.found(json!({"kinds": [1]}))?;
    Ok(same_order("what is left", &found, &[])?)
}

fn served(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({"limit": 0}));
    stage.reader.subscribe("live", &[mine])?;
    let draft = vanish(&stage, 20, ALL_RELAYS);
    let first = stage.publish(draft)?;
    stage.reader.expect_live("live", &first)?;
    stage.reader.close("live")?;
    let draft = vanish(&stage, 10, ALL_RELAYS);
    let second = stage.publish(draft)?;
    let undo = Draft::new(5, "").at(stage.ago(5));
    stage.publish(undo.tag(&["e", &second.id]))?;
    let found = stage.found(json!({"kinds": [VANISH]}))?;
    Ok(same_order("the requests", &found, &[&second, &first])?)
}

fn elsewhere(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let note = stage.note(50)?;
    let relays = ["wss://other.example", "all_relays", "", "ALL"];
    let mut drafts: Vec<Draft> = relays.map(|relay| vanish(&stage, 20, relay)).into();
    drafts.push(Draft::new(VANISH, ALL_RELAYS).at(stage.ago(20)));
    for draft in drafts {
        let request = stage.sign(draft);
        stage.publisher.refuse(&request, "invalid")?;
    }
    let found = stage.found(json!({}))?;
    Ok(same_order("all", &found, &[&note])?)
}

fn wraps(context: &Context) -> Check {
    const WRAP: u32 = 1059;
    let mut stage = context.stage()?;
    let draft = |ago: u64| Draft::new(WRAP, &random_hex()).at(stage.ago(ago));
    let to = |draft: Draft| draft.tag(&["p", &stage.key.public]);
    let [old, new] = [50, 10].map(|ago| context.sign(&Key::random(), to(draft(ago))));
    stage.publisher.accept(&old)?;
    stage.publisher.accept(&new)?;
    let mut reader = context.authenticated(&[&stage.key])?;
    let for_me = [json!({"kinds": [WRAP], "#p": [stage.key.public]})];
    same_order("before", &reader.found(&for_me)?, &[&new, &old])?;
    let draft = vanish(&stage, 20, ALL_RELAYS);
    stage.publish(draft)?;
    same_order("after", &reader.found(&for_me)?, &[&new])?;
    Ok(stage.publisher.refuse(&old, "blocked")?)
}
