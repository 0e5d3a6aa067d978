//! NIP-59: gift wraps, which only their recipient receives. Kind 4 is treated alike by choice.

use serde_json::{Value, json};

use crate::client::Client;
use crate::context::{Context, Stage};
use crate::event::{Draft, Event, Key, random_hex};
use crate::rules::{Check, Rule, Verdict, same_order, same_set};

const METADATA: &str = "Other Considerations";
const WRAP: u32 = 1059;
const EPHEMERAL_WRAP: u32 = 21059;
const MESSAGE: u32 = 4;

/// The relay must know keys to tell recipients from others.
const fn rule(id: &'static str, text: &'static str, check: fn(&Context) -> Check) -> Rule {
    Rule::new(id, &[59, 42], METADATA, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip59/recipient",
        "a gift wrap is served to the key that its p tag names",
        |context| {
            let mut post = Post::new(context, WRAP)?;
            let mut recipient = context.authenticated(&[&post.recipient])?;
            Ok(post.is_found_by(&mut recipient, true)?)
        },
    ),
    rule(
        "nip59/other-key",
        "a gift wrap is not served to another key, nor to the one that signed it",
        |context| {
            let mut post = Post::new(context, WRAP)?;
            let mut other = context.authenticated(&[&Key::random(), &post.stage.key])?;
            Ok(post.is_found_by(&mut other, false)?)
        },
    ),
    rule(
        "nip59/no-key",
        "a gift wrap is not served to a connection without a key",
        no_key,
    ),
    rule(
        "nip59/live",
        "a new gift wrap is sent to its recipient alone",
        |context| sent_to(context, WRAP, false),
    ),
    rule(
        "corecast/private-ephemeral",
        "an ephemeral gift wrap (21059) is sent to its recipient alone",
        |context| sent_to(context, EPHEMERAL_WRAP, false),
    ),
    rule(
        "corecast/private-closed",
        "a filter for private kinds alone, without a key: AUTH, then CLOSED `auth-required:`",
        closed,
    ),
    rule(
        "corecast/private-left-out",
        "of a filter that finds others too private events are left out",
        left_out,
    ),
    rule(
        "corecast/private-kind-4",
        "a message of kind 4 is served to its author and its recipient alone",
        message,
    ),
    rule(
        "corecast/private-kind-4-live",
        "a new message of kind 4 is sent to its author and its recipient alone",
        |context| sent_to(context, MESSAGE, true),
    ),
];

/// A private event, and a note beside it.
struct Post<'a> {
    stage: Stage<'a>,
    recipient: Key,
    tag: String,
    event: Event,
    note: Event,
}

impl<'a> Post<'a> {
    fn new(context: &'a Context, kind: u32) -> Result<Post<'a>, Verdict> {
        let mut stage = context.stage()?;
        let (recipient, tag) = (Key::random(), random_hex());
        let draft = |kind: u32| {
            let draft = Draft::new(kind, &random_hex()).tag(&["t", &tag]);
            draft
                .tag(&["p", &random_hex()])
                .tag(&["p", &recipient.public])
        };
        let event = stage.publish(draft(kind))?;
        let note = stage.publish(draft(1))?;
        Ok(Post {
            stage,
            recipient,
            tag,
            event,
            note,
        })
    }

    /// Filters that find both events without naming their kinds.
    fn filters(&self) -> [Value; 4] {
        let kind = self.event.json()["kind"].clone();
        [
            json!({"ids": [self.event.id, self.note.id]}),
            json!({"#p": [self.recipient.public]}),
            json!({"#t": [self.tag]}),
            json!({"#t": [self.tag], "kinds": [1, kind]}),
        ]
    }

    /// Whether the private event is found; the note always is.
    fn is_found_by(&mut self, client: &mut Client, is_found: bool) -> Result<(), String> {
        let due: &[&Event] = match is_found {
            true => &[&self.event, &self.note],
            false => &[&self.note],
        };
        for filter in self.filters() {
            let found = client.found(std::slice::from_ref(&filter))?;
            same_set(&filter.to_string(), &found, due)?;
        }
        Ok(())
    }
}

/// EOSE without an event and CLOSED are both allowed.
fn no_key(context: &Context) -> Check {
    let post = Post::new(context, WRAP)?;
    let mut client = context.open_bare()?;
    for filter in [
        json!({"ids": [post.event.id]}),
        json!({"kinds": [WRAP], "#p": [post.recipient.public]}),
    ] {
        client.send_request("no key", &[filter])?;
        let answer = client.next()?;
        if answer.verb() == "CLOSED" {
            client.check_reason(answer.string(2), "auth-required")?;
        } else if answer.verb() != "EOSE" {
            return Err(format!("it was served: {}", answer.text).into());
        }
    }
    Ok(())
}

fn closed(context: &Context) -> Check {
    for kinds in [
        json!([WRAP]),
        json!([MESSAGE]),
        json!([EPHEMERAL_WRAP, WRAP, MESSAGE]),
    ] {
        let mut client = context.open_bare()?;
        let challenge = client.challenge.clone();
        client.refuse_request(&[json!({"kinds": kinds})], "auth-required")?;
        if challenge.is_none() && client.challenge.is_none() {
            return Err(format!("no AUTH came before the CLOSED for kinds {kinds}").into());
        }
        client.expect_nothing()?;
    }
    // With a key it is not an error.
    let mut client = context.authenticated(&[&Key::random()])?;
    let found = client.found(&[json!({"kinds": [WRAP, MESSAGE], "limit": 5})])?;
    Ok(same_order("for a new key", &found, &[])?)
}

fn left_out(context: &Context) -> Check {
    for kind in [WRAP, MESSAGE] {
        let mut post = Post::new(context, kind)?;
        let mut client = context.open_bare()?;
        post.is_found_by(&mut client, false)?;
    }
    Ok(())
}

fn message(context: &Context) -> Check {
    let mut post = Post::new(context, MESSAGE)?;
    let mut other = context.authenticated(&[&Key::random()])?;
    post.is_found_by(&mut other, false)?;
    let mut recipient = context.authenticated(&[&post.recipient])?;
    post.is_found_by(&mut recipient, true)?;
    let mut author = context.authenticated(&[&post.stage.key])?;
    Ok(post.is_found_by(&mut author, true)?)
}

/// New events of this kind reach the recipient, perhaps the author, and nobody else.
fn sent_to(context: &Context, kind: u32, is_for_author: bool) -> Check {
    let mut stage = context.stage()?;
    let key = Key::random();
    let mut none = context.open_bare()?;
    let mut other = context.authenticated(&[&Key::random()])?;
    let mut author = context.authenticated(&[&stage.key])?;
    let mut recipient = context.authenticated(&[&Key::random(), &key])?;
    let filter = [stage.mine(json!({}))];
    for client in [&mut none, &mut other, &mut author, &mut recipient] {
        client.subscribe("live", &filter)?;
    }
    let draft = Draft::new(kind, &random_hex());
    let event = stage.publish(draft.tag(&["p", &key.public]))?;
    // An ephemeral event and a stored one may overtake each other, so the end marker is in the same
    // range.
    let end = if kind == EPHEMERAL_WRAP { 21_060 } else { 1 };
    let end = stage.publish(Draft::new(end, &random_hex()))?;
    recipient.expect_live("live", &event)?;
    if is_for_author {
        author.expect_live("live", &event)?;
    }
    for client in [&mut none, &mut other, &mut author, &mut recipient] {
        client.expect_live("live", &end)?;
    }
    Ok(())
}
