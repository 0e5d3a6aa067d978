//! Rows of `endpoints.<name>`, except those of Nostr relays.

use serde_yaml::Value;

use super::codecs::{
    AUTH_ENABLED, CLAIM, HEADER_VALUE, JWT_SECRET, MEMORY_BYTES, ON_DUPLICATE, ORIGIN, ORIGINS,
    PENDING, SPAN,
};
use super::row::{Key, discreet, field, is_live, key, option, path_of};
use crate::config::endpoint::{EndpointConfig, EndpointKind, Kind};
use crate::config::form::Formed as _;
use crate::config::value::{ApiKeys, Codec as _, File, OrNull, Switch, UrlPath, Word};

pub(super) static COMMON: &[Key<EndpointConfig>] = &[
    KIND,
    key!(path, UrlPath, restart;
        "An exact path such as `/chat`; `/ws/{username}`, which matches one further part; or \
         `/chat/**`, which matches everything below `/chat/` but not `/chat` itself. An exact path \
         beats a parameter, which beats `**`. Paths below `/ws/{username}` get 404."),
    key!(enabled, Switch, restart;
        "false: the endpoint does not exist (404)."),
];

/// Setting the kind replaces the options by the defaults of the new kind.
const KIND: Key<EndpointConfig> = Key {
    path: "kind",
    plain_environment: None,
    secret: false,
    is_live: false,
    kinds: &[],
    text: "The endpoint's behaviour:\n\
        - `hub`: the path of a connection is its room, and every message goes to everybody in it\n\
        - `named`: the last part of the path is the user's name, which is unique, and every \
        message goes to everybody else\n\
        - `push`: clients connect with ?token=… and wait; back ends push messages to them by HTTP \
        (docs/push.md)\n\
        - `pubsub`: one connection subscribes to many rooms and publishes to them, by JSON \
        messages (docs/pubsub.md)\n\
        - `nostr`: a relay for clients of Nostr (docs/nostr.md)\n\
        Each kind has options of its own; an option of another kind is an error.",
    is_discreet: false,
    form: || Word(EndpointKind::ALL).form(),
    read: |endpoint: &mut EndpointConfig, value| {
        endpoint.kind = Kind::new(Word(EndpointKind::ALL).read(value)?);
        Ok(())
    },
    show: |endpoint: &EndpointConfig| Word(EndpointKind::ALL).show(&endpoint.kind.which()),
};

pub(super) static OPTIONS: &[Key<EndpointConfig>] = &[
    option!(Hub | Named | PubSub, (echo), Switch, restart;
        "Whether a sender gets its own messages back."),
    option!(Named, (binary_out), Switch, restart;
        "true: every message is sent as binary, even if it was received as text."),
    option!(Named, (on_duplicate), ON_DUPLICATE, restart;
        "If a client connects with a name that is already connected:\n\
         - `refuse`: the new client gets 409\n\
         - `replace`: the new client gets the name, and the older connection is closed (4001); two \
         clients that reconnect automatically replace each other for ever\n\
         - `share`: both have the name, up to 1024 connections: one user with several devices, \
         which get each other's messages"),
    option!(Named, (cors.origin), OrNull(ORIGIN), restart; ""),
    option!(Named, (cors.methods), OrNull(HEADER_VALUE), restart; ""),
    option!(Named, (cors.headers), OrNull(HEADER_VALUE), restart; ""),
    option!(Push, (push_path), OrNull(UrlPath), restart;
        "The exact path to which back ends push; their keys are in `api`. null: nowhere."),
    option!(Push, (broadcast_fallback), Switch, restart;
        "Whether a push whose token names no user goes to everybody, as in the earlier relay. \
         false: it is refused (400), as private pushes need it."),
    option!(Push, (journal), OrNull(File), restart;
        "A file that keeps delayed pushes across a restart. It is created if it does not exist, \
         for the relay's user alone (mode 600). A push is on disk before its back end gets the \
         answer. null: a restart loses delayed pushes."),
    option!(Push, (pending_max), PENDING, restart;
        "Delayed pushes that may wait at a time. Further ones are refused (503)."),
    option!(Push, (pending_bytes), MEMORY_BYTES, restart;
        "Memory for delayed pushes. Further ones are refused (503)."),
    option!(Push, (delay_max), SPAN, restart;
        "Longest delay of a push. Longer ones are refused (400)."),
];

/// Rows of `origins` and `auth`; each overrides the common key of the same path.
pub(super) static DOORS: &[Key<EndpointConfig>] = &[
    key!(origins.allow, OrNull(ORIGINS), live;),
    key!(origins.allow_missing, OrNull(Switch), live;),
    key!(auth.enabled, OrNull(AUTH_ENABLED), live;),
    discreet(key!(auth.keys, OrNull(ApiKeys), live;)),
    key!(auth.keys_file, OrNull(File), live;),
    discreet(key!(auth.jwt.secret, OrNull(JWT_SECRET), live;)),
    key!(auth.jwt.keys_file, OrNull(File), live;),
    key!(auth.jwt.issuer, OrNull(CLAIM), live;),
    key!(auth.jwt.audience, OrNull(CLAIM), live;),
];
