//! NIP-70: protected events.

use serde_json::json;

use crate::context::{Context, Stage};
use crate::event::{Draft, Event, Key, random_hex};
use crate::rules::{Check, Rule, same_order};

const PROTECTED: &str = "Protected Events";
const TAG: &str = "The tag";
const FLOW: &str = "Example flow";

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "nip70/no-key",
        &[70],
        PROTECTED,
        "a protected event from a connection without a key is refused, not stored, not sent",
        no_key,
    ),
    Rule::new(
        "nip70/auth-required",
        &[70, 42],
        FLOW,
        "a challenge comes before the refusal, which is `auth-required:`",
        |context| {
            let mut client = context.open_bare()?;
            let event = context.sign(&Key::random(), protected());
            client.refuse(&event, "auth-required")?;
            match client.challenge {
                Some(_) => Ok(()),
                None => Err("no AUTH came before it".to_owned().into()),
            }
        },
    ),
    Rule::new(
        "nip70/other-key",
        &[70, 42],
        PROTECTED,
        "a protected event of another key is refused `restricted:`",
        |context| {
            let mut client = context.authenticated(&[&Key::random()])?;
            let event = context.sign(&Key::random(), protected());
            client.refuse(&event, "restricted")?;
            let found = client.found(&[json!({"ids": [event.id]})])?;
            Ok(same_order("what was refused", &found, &[])?)
        },
    ),
    Rule::new(
        "nip70/own-key",
        &[70, 42],
        PROTECTED,
        "a protected event of the connection's key is taken and served to all",
        own_key,
    ),
    Rule::new(
        "nip70/tag-exact",
        &[70],
        TAG,
        "a tag of another name, and a value, protect nothing",
        |context| {
            let mut stage = context.stage()?;
            stage.publish(Draft::new(1, "-").tag(&["--"]).tag(&["t", "-"]))?;
            Ok(())
        },
    ),
    Rule::new(
        "nip70/repost",
        &[70],
        PROTECTED,
        "a repost (kinds 6 and 16) that embeds a protected event is refused",
        |context| {
            let mut stage = context.stage()?;
            for kind in [6, 16] {
                let protected = context.sign(&Key::random(), protected());
                let event = repost(&stage, kind, &protected, true);
                stage.publisher.refuse(&event, "blocked")?;
            }
            Ok(())
        },
    ),
    Rule::new(
        "nip70/repost-without",
        &[70],
        PROTECTED,
        "a repost that does not embed it, or embeds another, is taken",
        |context| {
            let mut stage = context.stage()?;
            for kind in [6, 16] {
                let protected = context.sign(&Key::random(), protected());
                let event = repost(&stage, kind, &protected, false);
                stage.publisher.accept(&event)?;
                let plain = context.sign(&Key::random(), Draft::new(1, "-").tag(&["t", "-"]));
                let event = repost(&stage, kind, &plain, true);
                stage.publisher.accept(&event)?;
            }
            Ok(())
        },
    ),
];

fn protected() -> Draft {
    Draft::new(1, &random_hex()).tag(&["t", "x"]).tag(&["-"])
}

fn repost(stage: &Stage<'_>, kind: u32, event: &Event, is_embedded: bool) -> Event {
    let content = if is_embedded {
        event.json().to_string()
    } else {
        String::new()
    };
    let draft = Draft::new(kind, &content).tag(&["e", &event.id, "wss://relay.example"]);
    stage.sign(draft.tag(&["p", &event.pubkey]).tag(&["k", "1"]))
}

fn no_key(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    let event = stage.sign(protected());
    let mut client = context.open_bare()?;
    client.refuse(&event, "auth-required")?;
    stage.nothing_before_a_note("live")?;
    let found = stage.publisher.found(&[json!({"ids": [event.id]})])?;
    Ok(same_order("what was refused", &found, &[])?)
}

fn own_key(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    let mut client = context.authenticated(&[&Key::random(), &stage.key])?;
    let event = stage.sign(protected());
    client.accept(&event)?;
    stage.reader.expect_live("live", &event)?;
    let found = stage.publisher.found(&[json!({"ids": [event.id]})])?;
    Ok(same_order("stored", &found, &[&event])?)
}
