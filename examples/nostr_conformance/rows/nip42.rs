//! NIP-42: authentication of clients.

use serde_json::json;

use crate::client::Client;
use crate::context::{AUTH_KIND, Context};
use crate::event::{Draft, Event, Key, now, random_hex};
use crate::rules::{Check, Rule, ensure, same_order, skipped};

const MESSAGES: &str = "New client-relay protocol messages";
const EVENT: &str = "Canonical authentication event";
const VERIFICATION: &str = "Signed Event Verification";

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[42], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip42/auth",
        MESSAGES,
        "an AUTH that is right is answered OK true",
        |context| {
            context.authenticated(&[&Key::random()])?;
            Ok(())
        },
    ),
    rule(
        "nip42/several-keys",
        MESSAGES,
        "all keys of several AUTH messages are authenticated",
        several_keys,
    ),
    rule(
        "nip42/challenge-by-connection",
        VERIFICATION,
        "the challenge of another connection is refused",
        challenge_by_connection,
    ),
    rule(
        "nip42/wrong-challenge",
        VERIFICATION,
        "a challenge that is wrong, empty or missing is refused",
        wrong_challenge,
    ),
    rule(
        "nip42/wrong-relay",
        VERIFICATION,
        "the URL of another relay, or none, is refused",
        wrong_relay,
    ),
    rule(
        "nip42/wrong-kind",
        VERIFICATION,
        "an event of another kind is refused",
        |context| {
            for kind in [1, 22_241, 27_235] {
                refused(context, |context, client, key| {
                    auth_of_kind(context, client, kind).signed(key)
                })?;
            }
            Ok(())
        },
    ),
    rule(
        "nip42/wrong-time",
        VERIFICATION,
        "an event from 20 minutes ago or ahead is refused",
        |context| {
            for time in [now() - 1_200, now() + 1_200, 0] {
                refused(context, |context, client, key| {
                    context.auth_draft(client).at(time).signed(key)
                })?;
            }
            Ok(())
        },
    ),
    rule(
        "nip42/time-close",
        VERIFICATION,
        "an event from 5 minutes ago or ahead is taken",
        |context| {
            let mut client = context.challenged()?;
            for time in [now() - 300, now() + 300] {
                let event = context.auth_draft(&client).at(time).signed(&Key::random());
                let reason = authenticate(&mut client, &event)?;
                ensure(reason.is_none(), || format!("{reason:?}"))?;
            }
            Ok(())
        },
    ),
    rule(
        "nip42/wrong-signature",
        VERIFICATION,
        "an event with another's signature, or with another id, is refused",
        |context| {
            refused(context, |context, client, key| {
                context.auth_event(client, key).signed_by(&Key::random())
            })?;
            refused(context, |context, client, key| Event {
                id: random_hex(),
                ..context.auth_event(client, key)
            })
        },
    ),
    rule(
        "nip42/not-broadcast",
        EVENT,
        "kind 22242 is sent to nobody: neither by AUTH nor by EVENT, live or stored",
        not_broadcast,
    ),
    rule(
        "corecast/auth-kind-refused",
        EVENT,
        "EVENT of kind 22242 is answered OK false `invalid:`",
        |context| {
            let mut stage = context.stage()?;
            let event = stage.sign(Draft::new(AUTH_KIND, ""));
            stage.publisher.refuse(&event, "invalid")?;
            Ok(())
        },
    ),
    rule(
        "corecast/auth-url",
        VERIFICATION,
        "the URL may have a trailing slash more or less, and its scheme's port",
        normal_url,
    ),
    rule(
        "corecast/auth-shape",
        MESSAGES,
        "AUTH without an event is answered NOTICE `invalid:`",
        |context| {
            let mut client = context.open_bare()?;
            for text in [
                "[\"AUTH\"]",
                "[\"AUTH\",\"x\"]",
                "[\"AUTH\",{}]",
                "[\"AUTH\",null]",
            ] {
                client.send_text(text)?;
                let notice = client.expect_notice("invalid");
                notice.map_err(|error| format!("{text}: {error}"))?;
            }
            Ok(())
        },
    ),
];

/// The event that answers the challenge, but with another kind.
fn auth_of_kind(context: &Context, client: &Client, kind: u32) -> Draft {
    let challenge = client.challenge.clone().unwrap_or_default();
    Draft::new(kind, "")
        .tag(&["relay", &context.auth_url])
        .tag(&["challenge", &challenge])
}

/// Sends an AUTH. Returns why it is refused.
fn authenticate(client: &mut Client, event: &Event) -> Result<Option<String>, String> {
    client.send(&json!(["AUTH", event.json()]))?;
    let receipt = client.receipt(&event.id)?;
    Ok((!receipt.is_accepted).then_some(receipt.reason))
}

/// An AUTH that must be refused, on a connection of its own, and leaves it without a key.
fn refused(context: &Context, event: impl Fn(&Context, &Client, &Key) -> Event) -> Check {
    let mut client = context.challenged()?;
    let key = Key::random();
    let event = event(context, &client, &key);
    let reason = authenticate(&mut client, &event)?;
    let reason = reason.ok_or_else(|| format!("it was accepted: {}", event.json()))?;
    ensure(reason.contains(": "), || format!("no prefix: {reason:?}"))?;
    if context.lists(70) {
        let draft = Draft::new(1, &random_hex()).tag(&["-"]);
        client.refuse(&context.sign(&key, draft), "auth-required")?;
    }
    Ok(())
}

fn several_keys(context: &Context) -> Check {
    if !context.lists(70) {
        return Err(skipped("it is looked at with protected events, NIP-70"));
    }
    let keys = [Key::random(), Key::random(), Key::random()];
    let mut client = context.authenticated(&keys.each_ref())?;
    for key in &keys {
        let draft = Draft::new(1, &random_hex()).tag(&["-"]);
        client.accept(&context.sign(key, draft))?;
    }
    Ok(())
}

fn challenge_by_connection(context: &Context) -> Check {
    let other = context.challenged()?;
    refused(context, |context, _, key| context.auth_event(&other, key))?;
    let mut client = context.challenged()?;
    ensure(client.challenge != other.challenge, || {
        format!("two connections have the same: {:?}", other.challenge)
    })?;
    let event = context.auth_event(&client, &Key::random());
    let reason = authenticate(&mut client, &event)?;
    ensure(reason.is_none(), || format!("its own: {reason:?}"))?;
    Ok(())
}

fn wrong_challenge(context: &Context) -> Check {
    for challenge in [Some(random_hex()), Some(String::new()), None] {
        refused(context, |context, _, key| {
            let draft = Draft::new(AUTH_KIND, "").tag(&["relay", &context.auth_url]);
            match &challenge {
                Some(challenge) => draft.tag(&["challenge", challenge]),
                None => draft,
            }
            .signed(key)
        })?;
    }
    Ok(())
}

fn wrong_relay(context: &Context) -> Check {
    for url in [Some("wss://other.example/"), Some(""), None] {
        refused(context, |_, client, key| {
            let challenge = client.challenge.clone().unwrap_or_default();
            let draft = Draft::new(AUTH_KIND, "").tag(&["challenge", &challenge]);
            match url {
                Some(url) => draft.tag(&["relay", url]),
                None => draft,
            }
            .signed(key)
        })?;
    }
    Ok(())
}

fn not_broadcast(context: &Context) -> Check {
    let mut stage = context.stage()?;
    let mine = stage.mine(json!({}));
    stage.reader.subscribe("live", &[mine])?;
    context.authenticated(&[&stage.key])?;
    let event = stage.sign(Draft::new(AUTH_KIND, ""));
    stage.publisher.publish(&event)?;
    stage.nothing_before_a_note("live")?;
    let found = stage.found(json!({"kinds": [AUTH_KIND]}))?;
    Ok(same_order("stored", &found, &[])?)
}

/// Other spellings of a URL.
fn spellings(url: &str) -> Vec<String> {
    let slash = match url.strip_suffix('/') {
        Some(without) => without.to_owned(),
        None => format!("{url}/"),
    };
    let mut spellings = vec![url.to_owned(), slash];
    let default_port = if url.starts_with("wss://") { 443 } else { 80 };
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !authority.contains(':') {
            spellings.push(format!("{scheme}://{authority}:{default_port}/{path}"));
        }
    }
    spellings
}

fn normal_url(context: &Context) -> Check {
    let mut client = context.challenged()?;
    let challenge = client.challenge.clone().unwrap_or_default();
    for url in spellings(&context.auth_url) {
        let draft = Draft::new(AUTH_KIND, "").tag(&["relay", &url]);
        let event = draft.tag(&["challenge", &challenge]).signed(&Key::random());
        let reason = authenticate(&mut client, &event)?;
        ensure(reason.is_none(), || format!("{url}: {reason:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::spellings;

    #[test]
    fn a_url_has_other_spellings() {
        assert_eq!(
            spellings("wss://a.example/nostr"),
            [
                "wss://a.example/nostr",
                "wss://a.example/nostr/",
                "wss://a.example:443/nostr"
            ]
        );
        assert_eq!(spellings("ws://a:8080/"), ["ws://a:8080/", "ws://a:8080"]);
    }
}
