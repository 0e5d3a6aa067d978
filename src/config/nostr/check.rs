//! Conflicts between the keys of `nostr`, and warnings about them.

use std::collections::BTreeMap;

use super::{NostrChallenge, NostrConfig, NostrPolicy};
use crate::config::endpoint::EndpointConfig;
use crate::config::error::Conflict;
use crate::config::quantity::show_size;
use crate::engine::{EndpointSettings, SlowPolicy};

/// The most bytes that surround an event on its way to a client: the header of a frame and
/// `["EVENT",…]` with a subscription's name of 64 characters, each of which can take six bytes.
const AROUND_BYTES_MAX: usize = 512;

/// The defaults of a relay with these settings and this `queries.limit`, if that is set: a default
/// must not contradict a value that the operator has set.
pub(crate) fn defaults_beside(limit: Option<usize>, settings: &EndpointSettings) -> NostrConfig {
    let mut defaults = NostrConfig::default();
    let (events, queries) = (&mut defaults.events, &mut defaults.queries);
    events.bytes = events.bytes.min(event_bytes_max(settings));
    queries.limit_default = queries.limit_default.min(limit.unwrap_or(queries.limit));
    defaults
}

/// The largest event that can be received and sent.
fn event_bytes_max(settings: &EndpointSettings) -> usize {
    let sent_max = settings
        .slow_client
        .outbox_bytes
        .saturating_sub(AROUND_BYTES_MAX);
    settings.message_bytes.min(sent_max)
}

/// The conflicts between keys of this endpoint, if it is a Nostr relay.
pub(crate) fn conflicts(
    name: &str,
    endpoint: &EndpointConfig,
    settings: &EndpointSettings,
) -> Vec<Conflict> {
    let Some(nostr) = endpoint.nostr() else {
        return Vec::new();
    };
    let own = |key: &str| format!("endpoints.{name}.{key}");
    let found = [
        path(&own, endpoint),
        policy(&own, endpoint),
        needs_urls(&own, "nostr.auth.read", nostr.auth.read, nostr, endpoint),
        needs_urls(&own, "nostr.auth.write", nostr.auth.write, nostr, endpoint),
        admins(&own, nostr, endpoint),
        must_auth(&own, nostr),
        events(&own, nostr, settings),
        limits(&own, nostr),
    ];
    found.into_iter().flatten().collect()
}

/// The conflict between two endpoints that name one folder.
pub(crate) fn shared_store(endpoints: &BTreeMap<String, EndpointConfig>) -> Option<Conflict> {
    let mut folders = BTreeMap::new();
    for (name, endpoint) in endpoints.iter().filter(|(_, endpoint)| endpoint.enabled) {
        let folder = endpoint.nostr().and_then(|nostr| nostr.store.as_ref());
        let other = folder.and_then(|folder| folders.insert(folder, name));
        if let Some(other) = other {
            let keys = [other, name].map(|name| format!("endpoints.{name}.nostr.store"));
            return Some(Conflict {
                paths: keys.to_vec(),
                message: "two relays cannot share a store; give each a folder of its own"
                    .to_owned(),
            });
        }
    }
    None
}

/// Returns the full name of a key of the endpoint.
type Own<'a> = &'a dyn Fn(&str) -> String;

fn path(own: Own<'_>, endpoint: &EndpointConfig) -> Option<Conflict> {
    let path = &endpoint.path;
    path.contains(['*', '{']).then(|| Conflict {
        paths: vec![own("path"), own("kind")],
        message: format!(
            "{path} is not an exact path, which a Nostr relay needs; write one such as /nostr or /"
        ),
    })
}

fn policy(own: Own<'_>, endpoint: &EndpointConfig) -> Option<Conflict> {
    let policy = endpoint.slow_client.policy?;
    let key = own("slow_client.policy");
    (policy != SlowPolicy::Disconnect).then(|| Conflict {
        message: format!(
            "a Nostr relay must not drop events silently; set {key} to disconnect, or leave it out"
        ),
        paths: vec![key, own("kind")],
    })
}

fn needs_urls(
    own: Own<'_>,
    key: &str,
    is_on: bool,
    nostr: &NostrConfig,
    endpoint: &EndpointConfig,
) -> Option<Conflict> {
    let (key, urls) = (own(key), own("nostr.urls"));
    (is_on && nostr.urls.is_empty()).then(|| Conflict {
        message: format!(
            "{key} is true, but nobody can prove a key (NIP-42) while {urls} is empty; set \
             {urls} to the URL that clients use, such as wss://relay.example.com{}, or {key} to \
             false",
            endpoint.path
        ),
        paths: vec![key, urls],
    })
}

fn admins(own: Own<'_>, nostr: &NostrConfig, endpoint: &EndpointConfig) -> Option<Conflict> {
    let (key, urls) = (own("nostr.admins"), own("nostr.urls"));
    (!nostr.admins.is_empty() && nostr.urls.is_empty()).then(|| Conflict {
        message: format!(
            "{key} lists keys, but no admin can sign a call (NIP-86) while {urls} is empty; set \
             {urls} to the URL that clients use, such as wss://relay.example.com{}, or {key} to []",
            endpoint.path
        ),
        paths: vec![key, urls],
    })
}

fn must_auth(own: Own<'_>, nostr: &NostrConfig) -> Option<Conflict> {
    let (key, urls) = (own("nostr.policies"), own("nostr.urls"));
    let is_on = nostr.policies.contains(&NostrPolicy::MustAuth);
    (is_on && nostr.urls.is_empty()).then(|| Conflict {
        message: format!(
            "{key} has must_auth, but nobody can prove a key (NIP-42) while {urls} is empty; set \
             {urls} to the URL that clients use, or remove must_auth"
        ),
        paths: vec![key, urls],
    })
}

fn events(own: Own<'_>, nostr: &NostrConfig, settings: &EndpointSettings) -> Option<Conflict> {
    let bytes = nostr.events.bytes;
    let conflict = |key: &str, message: String| Conflict {
        paths: vec![own("nostr.events.bytes"), own(key), key.to_owned()],
        message,
    };
    if bytes > settings.message_bytes {
        let message = format!(
            "an event of {} is larger than the largest message, {}; lower nostr.events.bytes or \
             raise limits.message_bytes",
            show_size(bytes),
            show_size(settings.message_bytes)
        );
        return Some(conflict("limits.message_bytes", message));
    }
    (bytes > event_bytes_max(settings)).then(|| {
        let message = format!(
            "an outbox of {} does not hold an event of {} and the {AROUND_BYTES_MAX} bytes around \
             it; raise outbox_bytes or lower nostr.events.bytes",
            show_size(settings.slow_client.outbox_bytes),
            show_size(bytes)
        );
        conflict("slow_client.outbox_bytes", message)
    })
}

fn limits(own: Own<'_>, nostr: &NostrConfig) -> Option<Conflict> {
    let queries = &nostr.queries;
    let keys = ["nostr.queries.limit_default", "nostr.queries.limit"].map(own);
    (queries.limit_default > queries.limit).then(|| Conflict {
        message: format!(
            "a filter without a limit would get {} events, which is more than the maximum of {}; \
             lower {} or raise {}",
            queries.limit_default, queries.limit, keys[0], keys[1]
        ),
        paths: keys.to_vec(),
    })
}

/// Warnings about this endpoint, if it is a Nostr relay.
pub(crate) fn warnings(name: &str, endpoint: &EndpointConfig) -> Vec<String> {
    let Some(nostr) = endpoint.nostr().filter(|nostr| nostr.urls.is_empty()) else {
        return Vec::new();
    };
    let (auth, place) = (&nostr.auth, format!("endpoints.{name}.nostr"));
    let taken = |kind: &&u16| {
        let kinds = nostr.events.kinds.as_ref();
        kinds.is_none_or(|kinds| kinds.contains(*kind))
    };
    let refused: Vec<String> = auth
        .private_kinds
        .iter()
        .filter(taken)
        .map(u16::to_string)
        .collect();
    let of_kinds = (!refused.is_empty()).then(|| {
        format!(
            "{place}.urls: the list is empty, so nobody can prove a key (NIP-42), and events of \
             private kinds ({}) are refused; set it to the URL that clients use, or set \
             {place}.auth.private_kinds to [] if everybody may read them",
            refused.join(", ")
        )
    });
    let of_challenge = (auth.challenge == NostrChallenge::Connect).then(|| {
        format!(
            "{place}.auth.challenge: connect does nothing while {place}.urls is empty, since \
             nobody can answer a challenge"
        )
    });
    of_kinds.into_iter().chain(of_challenge).collect()
}
