//! NIP-11: the relay's document over HTTP.

use serde_json::{Value, json};

use crate::context::Context;
use crate::http::{Response, request};
use crate::rules::{Check, Rule, ensure};

const DOCUMENT: &str = "Relay Information Document";

const fn rule(
    id: &'static str,
    paragraph: &'static str,
    text: &'static str,
    check: fn(&Context) -> Check,
) -> Rule {
    Rule::new(id, &[11], paragraph, text, check)
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "nip11/document",
        DOCUMENT,
        "GET with Accept: application/nostr+json gives a JSON object",
        |context| {
            let json = document(context, "application/nostr+json")?.json()?;
            ensure(json.is_object(), || format!("no object: {json}"))?;
            Ok(())
        },
    ),
    rule(
        "nip11/cors",
        DOCUMENT,
        "the three Access-Control-Allow headers are there",
        |context| {
            let response = document(context, "application/nostr+json")?;
            has_cors(&response)?;
            Ok(())
        },
    ),
    rule(
        "nip11/supported-nips",
        "Supported NIPs",
        "supported_nips is a list of integers, NIP-01 and NIP-11 among them",
        supported_nips,
    ),
    rule(
        "nip11/fields",
        "Field Descriptions",
        "fields are strings, keys 64 hex digits, software is a URL",
        fields,
    ),
    rule(
        "nip11/limitation",
        "Server Limitations",
        "the fields of limitation are numbers and booleans",
        limitation,
    ),
    rule(
        "corecast/document-type",
        DOCUMENT,
        "the document's Content-Type is application/nostr+json",
        |context| {
            let response = document(context, "application/nostr+json")?;
            let given = response.header("content-type").unwrap_or_default();
            let media_type = given.split(';').next().unwrap_or_default().trim();
            ensure(media_type == "application/nostr+json", || given.clone())?;
            Ok(())
        },
    ),
    rule(
        "corecast/accept",
        DOCUMENT,
        "among other types, with parameters and in any case it gives the document as well",
        |context| {
            for accept in [
                "Application/NOSTR+json",
                "application/nostr+json;q=0.9",
                "text/html, application/nostr+json ; charset=utf-8, */*",
                "text/html,application/nostr+json",
            ] {
                let json = document(context, accept)?.json();
                json.map_err(|error| format!("{accept}: {error}"))?;
            }
            Ok(())
        },
    ),
    rule(
        "corecast/head",
        DOCUMENT,
        "HEAD gives the same head, and no body",
        head,
    ),
    rule(
        "corecast/page",
        DOCUMENT,
        "GET without that type gives a page in HTML",
        |context| {
            for accept in ["", "Accept: text/html\r\n", "Accept: */*\r\n"] {
                let response = request(&context.target, "GET", accept)?;
                let media_type = response.header("content-type").unwrap_or_default();
                ensure(
                    response.status == 200 && media_type.starts_with("text/html"),
                    || format!("{accept:?}: status {}, {media_type}", response.status),
                )?;
                has_own_headers(&response)?;
            }
            Ok(())
        },
    ),
    rule(
        "corecast/options",
        DOCUMENT,
        "OPTIONS gives 204 with the headers",
        |context| {
            let preflight = "Origin: https://client.example\r\n\
                             Access-Control-Request-Method: POST\r\n\
                             Access-Control-Request-Headers: authorization\r\n";
            let response = request(&context.target, "OPTIONS", preflight)?;
            ensure(response.status == 204, || {
                format!("status {}", response.status)
            })?;
            has_own_headers(&response)?;
            Ok(())
        },
    ),
    rule(
        "corecast/post",
        DOCUMENT,
        "POST of another type gives 415",
        |context| {
            let headers = "Content-Type: text/plain\r\nContent-Length: 0\r\n";
            let response = request(&context.target, "POST", headers)?;
            ensure(response.status == 415, || {
                format!("status {}", response.status)
            })?;
            has_own_headers(&response)?;
            Ok(())
        },
    ),
    rule(
        "corecast/headers",
        DOCUMENT,
        "Allow-Origin is *, Allow-Headers has Authorization, Vary has Accept",
        |context| {
            has_own_headers(&document(context, "application/nostr+json")?)?;
            Ok(())
        },
    ),
];

fn document(context: &Context, accept: &str) -> Result<Response, String> {
    request(&context.target, "GET", &format!("Accept: {accept}\r\n"))
}

fn has_cors(response: &Response) -> Result<(), String> {
    for name in ["origin", "headers", "methods"] {
        let name = format!("access-control-allow-{name}");
        ensure(response.header(&name).is_some(), || format!("no {name}"))?;
    }
    Ok(())
}

fn has_own_headers(response: &Response) -> Result<(), String> {
    has_cors(response)?;
    let header = |name: &str| {
        response
            .header(name)
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let due = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "authorization"),
        ("vary", "accept"),
    ];
    for (name, part) in due {
        let value = header(name);
        let has_part = value.split(',').any(|each| each.trim() == part);
        ensure(has_part, || format!("{name}: {value:?} without {part}"))?;
    }
    Ok(())
}

fn head(context: &Context) -> Check {
    let accept = "Accept: application/nostr+json\r\n";
    let get = request(&context.target, "GET", accept)?;
    let head = request(&context.target, "HEAD", accept)?;
    ensure(head.status == 200, || format!("status {}", head.status))?;
    ensure(head.body.is_empty(), || "it has a body".to_owned())?;
    for name in [
        "content-type",
        "content-length",
        "access-control-allow-origin",
    ] {
        let (one, other) = (get.header(name), head.header(name));
        ensure(one == other, || {
            format!("{name}: GET {one:?}, HEAD {other:?}")
        })?;
    }
    Ok(())
}

fn supported_nips(context: &Context) -> Check {
    let json = document(context, "application/nostr+json")?.json()?;
    let listed = json["supported_nips"].as_array();
    let listed = listed.ok_or_else(|| "supported_nips is no list".to_owned())?;
    let are_numbers = listed.iter().all(Value::is_u64);
    ensure(are_numbers, || format!("not all are integers: {listed:?}"))?;
    for nip in [1, 11] {
        let is_there = listed.contains(&json!(nip));
        ensure(is_there, || format!("{nip} is not in {listed:?}"))?;
    }
    Ok(())
}

fn fields(context: &Context) -> Check {
    let json = document(context, "application/nostr+json")?.json()?;
    let strings = [
        "name",
        "description",
        "banner",
        "icon",
        "pubkey",
        "self",
        "contact",
        "software",
        "version",
        "terms_of_service",
        "payments_url",
    ];
    for name in strings {
        let value = &json[name];
        ensure(value.is_null() || value.is_string(), || {
            format!("{name} is {value}")
        })?;
    }
    for name in ["pubkey", "self"] {
        let Some(key) = json[name].as_str().filter(|key| !key.is_empty()) else {
            continue;
        };
        let is_hex = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure(is_hex, || format!("{name} is {key}"))?;
    }
    if let Some(software) = json["software"].as_str() {
        ensure(software.contains("://"), || {
            format!("software is {software}")
        })?;
    }
    Ok(())
}

fn limitation(context: &Context) -> Check {
    let json = document(context, "application/nostr+json")?.json()?;
    let limitation = &json["limitation"];
    let is_there = limitation.is_object() || limitation.is_null();
    ensure(is_there, || format!("limitation is {limitation}"))?;
    let numbers = [
        "max_message_length",
        "max_subscriptions",
        "max_limit",
        "max_subid_length",
        "max_event_tags",
        "max_content_length",
        "min_pow_difficulty",
        "created_at_lower_limit",
        "created_at_upper_limit",
        "default_limit",
    ];
    for name in numbers {
        let value = &limitation[name];
        ensure(value.is_null() || value.is_u64(), || {
            format!("{name} is {value}")
        })?;
    }
    for name in ["auth_required", "payment_required", "restricted_writes"] {
        let value = &limitation[name];
        ensure(value.is_null() || value.is_boolean(), || {
            format!("{name} is {value}")
        })?;
    }
    Ok(())
}
