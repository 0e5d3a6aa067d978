//! NIP-86: management over HTTP, with the authorization of NIP-98.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::context::Context;
use crate::event::{Draft, Key, hex, now, random_hex};
use crate::http::{Response, post};
use crate::rules::{Check, Rule, Verdict, ensure, skipped};

const API: &str = "Relay Management API";
const AUTHORIZATION: &str = "Authorization";

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[86], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip86/no-authorization",
        AUTHORIZATION,
        "a call without Authorization gets 401",
        |context| refused(context, |_, _| String::new()),
    ),
    rule(
        "nip86/no-event",
        AUTHORIZATION,
        "a call whose Authorization is no event gets 401",
        |context| refused(context, |_, _| "Authorization: Nostr e30=\r\n".to_owned()),
    ),
    rule(
        "nip86/other-kind",
        AUTHORIZATION,
        "an event of another kind than 27235 proves nothing",
        |context| {
            refused(context, |context, body| {
                authorization(context, draft_of(22_242, context, body))
            })
        },
    ),
    rule(
        "nip86/old",
        AUTHORIZATION,
        "an event that is hours old proves nothing",
        |context| {
            refused(context, |context, body| {
                authorization(context, draft(context, body).at(now() - 7_200))
            })
        },
    ),
    rule(
        "nip86/other-url",
        AUTHORIZATION,
        "an event for another URL proves nothing",
        |context| {
            refused(context, |context, body| {
                let draft = Draft::new(27_235, "")
                    .tag(&["u", "https://other.example/"])
                    .tag(&["method", "POST"])
                    .tag(&["payload", &hash(body)]);
                authorization(context, draft)
            })
        },
    ),
    rule(
        "nip86/other-method",
        AUTHORIZATION,
        "an event for another method proves nothing",
        |context| {
            refused(context, |context, body| {
                let draft = Draft::new(27_235, "")
                    .tag(&["u", &context.auth_url])
                    .tag(&["method", "GET"])
                    .tag(&["payload", &hash(body)]);
                authorization(context, draft)
            })
        },
    ),
    rule(
        "nip86/no-payload",
        AUTHORIZATION,
        "the payload tag is required",
        |context| {
            refused(context, |context, _| {
                let draft = Draft::new(27_235, "")
                    .tag(&["u", &context.auth_url])
                    .tag(&["method", "POST"]);
                authorization(context, draft)
            })
        },
    ),
    rule(
        "nip86/other-payload",
        AUTHORIZATION,
        "an event for another body proves nothing",
        |context| {
            refused(context, |context, _| {
                authorization(context, draft(context, "{}"))
            })
        },
    ),
    rule(
        "nip86/forged",
        AUTHORIZATION,
        "an event with a wrong signature proves nothing",
        |context| {
            refused(context, |context, body| {
                let signed = draft(context, body).signed(&Key::random());
                encoded(&signed.claimed_by(&Key::random().public).json())
            })
        },
    ),
    rule(
        "nip86/not-an-admin",
        API,
        "a call by any key is not carried out",
        |context| {
            let call = call_body("listbannedpubkeys", &json!([]));
            let header = encoded(&draft(context, &call).signed(&Key::random()).json());
            let response = send(context, &header, &call)?;
            let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            ensure(answer["result"].is_null(), || answer.to_string())?;
            Ok(())
        },
    ),
    rule(
        "nip86/supported-methods",
        API,
        "supportedmethods gives an array of names",
        |context| {
            let methods = result(context, "supportedmethods", &json!([]))?;
            let names = methods.as_array().map(Vec::as_slice).unwrap_or_default();
            let are_names = !names.is_empty() && names.iter().all(Value::is_string);
            ensure(are_names, || methods.to_string())?;
            Ok(())
        },
    ),
    rule(
        "nip86/ban-pubkey",
        API,
        "a banned key is listed with the reason, and no longer after unbanpubkey",
        |context| {
            let key = Key::random().public;
            done(context, "banpubkey", &json!([key, "a test"]))?;
            let entry = json!({"pubkey": key, "reason": "a test"});
            has(context, "listbannedpubkeys", &entry, true)?;
            done(context, "unbanpubkey", &json!([key]))?;
            has(context, "listbannedpubkeys", &entry, false)
        },
    ),
    rule(
        "nip86/ban-event",
        API,
        "a banned event is listed with the reason",
        |context| {
            let id = random_hex();
            done(context, "banevent", &json!([id, "a test"]))?;
            let entry = json!({"id": id, "reason": "a test"});
            has(context, "listbannedevents", &entry, true)?;
            done(context, "allowevent", &json!([id]))
        },
    ),
    rule(
        "nip86/block-ip",
        API,
        "a blocked address is listed with the reason, and no longer after unblockip",
        |context| {
            let ip = "192.0.2.77";
            done(context, "blockip", &json!([ip, "a test"]))?;
            let entry = json!({"ip": ip, "reason": "a test"});
            has(context, "listblockedips", &entry, true)?;
            done(context, "unblockip", &json!([ip]))?;
            has(context, "listblockedips", &entry, false)
        },
    ),
    rule(
        "nip86/unknown-method",
        API,
        "an unknown method is answered with error",
        |context| {
            let response = call(context, "nosuchmethod", &json!([]))?;
            let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            ensure(answer["error"].is_string(), || answer.to_string())?;
            Ok(())
        },
    ),
    rule(
        "corecast/authorization-once",
        AUTHORIZATION,
        "an authorization is used once",
        |context| {
            admin(context)?;
            let body = call_body("supportedmethods", &json!([]));
            let header = authorization(context, draft(context, &body));
            for status in [200, 401] {
                let response = send(context, &header, &body)?;
                ensure(response.status == status, || {
                    format!("status {} in place of {status}", response.status)
                })?;
            }
            Ok(())
        },
    ),
    rule(
        "corecast/ban-hides",
        API,
        "events of a banned key are hidden, refused and shown again, and those that are kept stay",
        ban_hides,
    ),
];

fn ban_hides(context: &Context) -> Check {
    admin(context)?;
    let mut stage = context.stage()?;
    let note = stage.note(1)?;
    let key = json!([stage.key.public]);
    done(context, "banpubkey", &key)?;
    let found = stage.found(json!({}))?;
    ensure(found.is_empty(), || format!("found {found:?}"))?;
    let refused = stage.sign(Draft::new(1, &random_hex()));
    stage.publisher.refuse(&refused, "blocked")?;
    done(context, "unbanpubkey", &key)?;
    let found = stage.found(json!({}))?;
    ensure(found == [note.id.clone()], || format!("found {found:?}"))?;
    Ok(())
}

fn admin(context: &Context) -> Result<&Key, Verdict> {
    let admin = context.admin.as_ref();
    admin.ok_or_else(|| skipped("needs --admin-key"))
}

fn hash(body: &str) -> String {
    hex(digest(&SHA256, body.as_bytes()).as_ref())
}

fn draft(context: &Context, body: &str) -> Draft {
    draft_of(27_235, context, body)
}

/// Each differs, so that each is used once.
fn draft_of(kind: u32, context: &Context, body: &str) -> Draft {
    Draft::new(kind, &random_hex())
        .tag(&["u", &context.auth_url])
        .tag(&["method", "POST"])
        .tag(&["payload", &hash(body)])
}

fn encoded(event: &Value) -> String {
    let event = BASE64_STANDARD.encode(event.to_string());
    format!("Authorization: Nostr {event}\r\n")
}

/// The header, signed by the admin if there is one.
fn authorization(context: &Context, draft: Draft) -> String {
    let event = match &context.admin {
        Some(admin) => draft.signed(admin),
        None => draft.signed(&Key::random()),
    };
    encoded(&event.json())
}

fn call_body(method: &str, params: &Value) -> String {
    json!({"method": method, "params": params}).to_string()
}

fn send(context: &Context, header: &str, body: &str) -> Result<Response, String> {
    let headers = format!("Content-Type: application/nostr+json+rpc\r\n{header}");
    post(&context.target, &headers, body)
}

/// A call with the header that `header` makes is refused with 401.
fn refused(context: &Context, header: impl Fn(&Context, &str) -> String) -> Check {
    let body = call_body("listbannedpubkeys", &json!([]));
    let response = send(context, &header(context, &body), &body)?;
    ensure(response.status == 401, || {
        format!("status {} in place of 401", response.status)
    })?;
    Ok(())
}

/// Sends a call of the admin.
fn call(context: &Context, method: &str, params: &Value) -> Result<Response, Verdict> {
    admin(context)?;
    let body = call_body(method, params);
    let header = authorization(context, draft(context, &body));
    Ok(send(context, &header, &body)?)
}

fn result(context: &Context, method: &str, params: &Value) -> Result<Value, Verdict> {
    let answer = call(context, method, params)?.json()?;
    match answer.get("result") {
        Some(result) if !result.is_null() => Ok(result.clone()),
        _ => Err(format!("{method}: {answer}").into()),
    }
}

fn done(context: &Context, method: &str, params: &Value) -> Check {
    let result = result(context, method, params)?;
    ensure(result == true, || format!("{method}: {result}"))?;
    Ok(())
}

/// Whether a list has this entry.
fn has(context: &Context, method: &str, entry: &Value, is_due: bool) -> Check {
    let list = result(context, method, &json!([]))?;
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let has_it = list.contains(entry);
    ensure(has_it == is_due, || {
        format!("{method}: {entry} listed: {has_it}")
    })?;
    Ok(())
}
