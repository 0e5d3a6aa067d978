//! Answers to plain HTTP requests: the relay's information document (NIP-11) for clients, and a
//! page for people.

use corecast_nostr::{Moderation, RelayText};
use serde_json::{Map, Value, json};

use super::settings::NostrSettings;
use crate::config::NostrInfoConfig;
use crate::engine::Refused;
use crate::relay::{files, json_error};
use crate::wire::http::{Head, Response};

const DOCUMENT: &str = "application/nostr+json";

/// Gift wraps (NIP-59).
const GIFT_WRAP: u16 = 1_059;

/// Longest name of a subscription, in characters (NIP-01).
const SUBSCRIPTION_CHARS_MAX: u64 = 64;

/// The document and the page, made once.
pub(super) struct Documents {
    information: Map<String, Value>,
    page: String,
}

impl Documents {
    /// They say what the settings do, as far as management has not changed it. `restricts`: some
    /// keys or kinds are not accepted.
    pub(super) fn of(
        settings: &NostrSettings,
        moderation: &Moderation,
        restricts: bool,
    ) -> Documents {
        let info = moderated(&settings.info, moderation);
        Documents {
            information: information(settings, &info, restricts),
            page: page(settings, &info),
        }
    }

    /// `change` may change the information document for this request.
    pub(super) fn answer(
        &self,
        head: &Head<'_>,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Response {
        with_cors(match head.method {
            "OPTIONS" => Response::new(204),
            _ if accepts(head, DOCUMENT) => {
                let mut document = self.information.clone();
                change(&mut document);
                of_type(DOCUMENT, &Value::Object(document).to_string())
            }
            _ => of_type(files::HTML, &self.page).with_header(
                "Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'",
            ),
        })
    }
}

/// Allows pages of all origins to read an answer (NIP-11).
pub(super) fn with_cors(response: Response) -> Response {
    response
        .with_header("Access-Control-Allow-Origin", "*")
        .with_header("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
        .with_header(
            "Access-Control-Allow-Headers",
            "Accept, Authorization, Content-Type",
        )
        .with_header("Vary", "Accept")
}

/// A refusal, in JSON as on all paths, and readable for pages of all origins.
pub fn rendered(refused: &Refused) -> Response {
    with_cors(json_error::rendered(refused))
}

fn of_type(media_type: &str, body: &str) -> Response {
    let mut response = Response::new(200).with_header("Content-Type", media_type);
    response.body = body.to_owned().into();
    response
}

/// Whether a header is this type by name; parameters and case are ignored.
pub(super) fn has_type(header: Option<&str>, media_type: &str) -> bool {
    let name = header.and_then(|value| value.split(';').next());
    name.is_some_and(|name| name.trim().eq_ignore_ascii_case(media_type))
}

/// Whether the client accepts this type by name.
fn accepts(head: &Head<'_>, media_type: &str) -> bool {
    let mut types = head
        .headers_named("accept")
        .flat_map(|value| value.split(','));
    types.any(|each| has_type(Some(each), media_type))
}

/// The relay's description, with the texts that an admin has changed.
fn moderated(info: &NostrInfoConfig, moderation: &Moderation) -> NostrInfoConfig {
    let mut info = info.clone();
    for (text, field) in [
        (RelayText::Name, &mut info.name),
        (RelayText::Description, &mut info.description),
        (RelayText::Icon, &mut info.icon),
    ] {
        if let Some(changed) = moderation.text(text) {
            *field = Some(changed.to_owned());
        }
    }
    info
}

/// The information document (NIP-11), without features that are off.
fn information(
    settings: &NostrSettings,
    info: &NostrInfoConfig,
    restricts: bool,
) -> Map<String, Value> {
    let NostrInfoConfig {
        name,
        description,
        icon,
        banner,
        pubkey,
        self_key,
        contact,
        terms_of_service,
        payments_url,
    } = info;
    let mut document = Map::new();
    for (key, value) in [
        ("name", name),
        ("description", description),
        ("icon", icon),
        ("banner", banner),
        ("pubkey", pubkey),
        ("self", self_key),
        ("contact", contact),
        ("terms_of_service", terms_of_service),
        ("payments_url", payments_url),
    ] {
        if let Some(value) = value {
            document.insert(key.to_owned(), json!(value));
        }
    }
    document.insert("supported_nips".to_owned(), json!(nips(settings)));
    document.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    document.insert("limitation".to_owned(), limitation(settings, restricts));
    document
}

/// The NIPs that this relay supports with its configuration.
fn nips(settings: &NostrSettings) -> Vec<u16> {
    let has_auth = settings.has_auth();
    let supported = [
        (1, true),
        (9, true),
        (11, true),
        (13, settings.events.pow > 0),
        (40, true),
        (42, has_auth),
        (45, true),
        (59, has_auth && settings.private.contains(GIFT_WRAP)),
        (62, true),
        (67, true),
        (70, has_auth),
        (77, settings.sync.events_max.is_some()),
        (86, settings.has_management()),
        (91, settings.filter_syntax.and_tags),
    ];
    supported
        .into_iter()
        .filter_map(|(nip, is_on)| is_on.then_some(nip))
        .collect()
}

fn limitation(settings: &NostrSettings, restricts: bool) -> Value {
    let events = &settings.events;
    let mut limitation = json!({
        "max_message_length": settings.message_bytes,
        "max_subscriptions": settings.subscriptions_max,
        "max_limit": settings.queries.limit_max,
        "default_limit": settings.queries.limit_default,
        "max_subid_length": SUBSCRIPTION_CHARS_MAX,
        "max_event_tags": events.tags,
        "min_pow_difficulty": events.pow,
        "auth_required": settings.auth_read,
        "payment_required": false,
        "restricted_writes": settings.auth_write || restricts || events.pow > 0,
        "created_at_upper_limit": events.future_s,
    });
    if let Some(chars) = events.content_chars {
        limitation["max_content_length"] = json!(chars);
    }
    if let Some(past_s) = events.past_s {
        limitation["created_at_lower_limit"] = json!(past_s);
    }
    limitation
}

/// The page for people who open the address in a browser.
fn page(settings: &NostrSettings, info: &NostrInfoConfig) -> String {
    let text = |text: &Option<String>| escaped(text.as_deref().unwrap_or_default());
    let name = match text(&info.name) {
        name if name.is_empty() => "A Nostr relay".to_owned(),
        name => name,
    };
    let nips: Vec<String> = nips(settings)
        .iter()
        .map(|nip| format!("{nip:02}"))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{name}</title>\
         <style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;\
         background:Canvas;max-width:40em;margin:4em auto;padding:0 1em}}</style></head>\
         <body><main><h1>{name}</h1>\
         <p>{description}</p><p>This address is a <a href=\"https://nostr.com\">Nostr</a> relay: \
         add it to the relays of your client, with <code>wss://</code> in place of \
         <code>https://</code>.</p><p>NIPs: {nips}</p></main></body></html>\n",
        description = text(&info.description),
        nips = nips.join(", "),
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
