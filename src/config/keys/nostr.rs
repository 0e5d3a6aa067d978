//! Rows of `endpoints.<name>.nostr`.

use serde_yaml::Value;

use super::codecs::MESSAGE_BYTES;
use super::row::{Key, at, field, is_live, option, path_of};
use crate::config::endpoint::{EndpointConfig, EndpointKind, Kind};
use crate::config::form::Formed as _;
use crate::config::nostr;
use crate::config::value::{Codec as _, File, OrNull, Switch};

pub(super) static NOSTR: &[Key<EndpointConfig>] = &[
    option!(Nostr in "nostr.", (urls), nostr::RELAY_URLS, restart;
        "The URLs by which clients know the relay: `ws://` or `wss://`, a host, optionally a port \
         and a path. The first one is the canonical URL. A client signs one of them to prove that \
         it has a key (NIP-42). With an empty list nobody can do so, and events of private kinds \
         and protected ones (NIP-70) are refused. The relay never takes its URL from a request, \
         since another relay could pass a proof on."),
    option!(Nostr in "nostr.", (admins), nostr::ADMINS, restart;
        "Public keys that may manage the relay over HTTP (NIP-86): ban keys and events, block \
         addresses, change the relay's name, and name further admins. They sign each call, with \
         one of `urls` in it. With an empty list the management API is off; its bans stay."),
    option!(Nostr in "nostr.", (store), OrNull(File), restart;
        "The folder that keeps the events. It is created if it does not exist, for the relay's \
         user alone (mode 700). An event is on disk before its sender gets the OK. null: events \
         are in memory, and a restart loses them."),
    option!(Nostr in "nostr.", (memory_events), nostr::MEMORY_EVENTS, restart;
        "Events that are kept in memory if `store` is null. If there are more, the oldest are \
         dropped first."),
    option!(Nostr in "nostr.", (info.name), OrNull(nostr::INFO_TEXT), restart;
        "The relay's name."),
    option!(Nostr in "nostr.", (info.description), OrNull(nostr::PROSE), restart;
        "The purpose of the relay, with an empty line between paragraphs."),
    option!(Nostr in "nostr.", (info.icon), OrNull(nostr::INFO_TEXT), restart;
        "URL of a square picture."),
    option!(Nostr in "nostr.", (info.banner), OrNull(nostr::INFO_TEXT), restart;
        "URL of a wide picture."),
    option!(Nostr in "nostr.", (info.pubkey), OrNull(nostr::HEX_KEY), restart;
        "The operator's public key."),
    at(
        "nostr.info.self",
        option!(Nostr in "nostr.", (info.self_key), OrNull(nostr::HEX_KEY), restart;
        "The relay's own public key."),
    ),
    option!(Nostr in "nostr.", (info.contact), OrNull(nostr::INFO_TEXT), restart;
        "Another way to reach the operator: `mailto:…` or `https://…`."),
    option!(Nostr in "nostr.", (info.terms_of_service), OrNull(nostr::INFO_TEXT), restart;
        "URL of the terms of service."),
    option!(Nostr in "nostr.", (info.payments_url), OrNull(nostr::INFO_TEXT), restart;
        "URL of the page for payments."),
    option!(Nostr in "nostr.", (auth.challenge), nostr::CHALLENGE, restart;
        "When a client is asked to prove that it has a key:\n\
         - `demand`: when it wants something that needs a key\n\
         - `connect`: as soon as it connects"),
    option!(Nostr in "nostr.", (auth.read), Switch, restart;
        "true: queries need a key."),
    option!(Nostr in "nostr.", (auth.write), Switch, restart;
        "true: events are accepted only from clients that have proven a key."),
    option!(Nostr in "nostr.", (auth.private_kinds), nostr::PRIVATE_KINDS, restart;
        "Kinds whose events go only to clients that have proven a key that the event names in a \
         `p` tag; events of kind 4 go to their authors too. With an empty list everybody may read \
         all kinds."),
    option!(Nostr in "nostr.", (auth.keys), nostr::KEYS, restart;
        "Keys that one connection can prove."),
    option!(Nostr in "nostr.", (events.bytes), MESSAGE_BYTES, restart;
        "Largest event, in bytes of JSON; at most `limits.message_bytes` of this endpoint. The \
         default is reduced to that."),
    option!(Nostr in "nostr.", (events.tags), nostr::TAGS, restart;
        "Most tags of an event."),
    option!(Nostr in "nostr.", (events.content_chars), nostr::CONTENT_CHARS, restart;
        "Most characters of an event's content. off or 0: no separate bound."),
    option!(Nostr in "nostr.", (events.future), nostr::AGE, restart;
        "How far `created_at` may be ahead of the relay's clock."),
    option!(Nostr in "nostr.", (events.past), nostr::OFF_OR_AGE, restart;
        "How long ago `created_at` may be. off or 0: any time."),
    option!(Nostr in "nostr.", (events.pow), nostr::BITS, restart;
        "Leading zero bits that an event's id must have (proof of work, NIP-13). 0: none."),
    option!(Nostr in "nostr.", (events.kinds), nostr::EVENT_KINDS, restart;
        "The kinds of events that are accepted, as a list such as [0, 1, 3, 10002]. all: every \
         kind."),
    option!(Nostr in "nostr.", (queries.filters), nostr::FILTERS, restart;
        "Filters of one REQ."),
    option!(Nostr in "nostr.", (queries.subscriptions), nostr::SUBSCRIPTIONS, restart;
        "Subscriptions of one connection."),
    option!(Nostr in "nostr.", (queries.values), nostr::VALUES, restart;
        "Items of all lists of one REQ together."),
    option!(Nostr in "nostr.", (queries.limit), nostr::ROWS, restart;
        "Most stored events that one filter gets, even if it asks for more."),
    option!(Nostr in "nostr.", (queries.limit_default), nostr::ROWS, restart;
        "Stored events for a filter that does not say how many; at most `limit`. The default is \
         reduced to that."),
    option!(Nostr in "nostr.", (queries.count), nostr::COUNTED, restart;
        "Events that a COUNT examines. If there are more, its answer is approximate."),
    option!(Nostr in "nostr.", (queries.and_tags), Switch, restart;
        "true: a filter may have keys such as `&t`, all of whose values an event must have \
         (NIP-91)."),
    option!(Nostr in "nostr.", (sync.events), nostr::SYNCED, restart;
        "Most events that a client can synchronize at a time (NIP-77). Each takes 40 bytes of \
         memory while that lasts; all clients together get memory for four times as many. off or \
         0: clients cannot synchronize."),
    option!(Nostr in "nostr.", (sync.sessions), nostr::SYNC_SESSIONS, restart;
        "Synchronizations of one connection at the same time."),
    option!(Nostr in "nostr.", (sync.idle), nostr::SYNC_IDLE, restart;
        "A synchronization ends after this time without a message from the client."),
    option!(Nostr in "nostr.", (readers), nostr::READERS, restart;
        "Threads that answer queries. auto: depends on the number of cores."),
    option!(Nostr in "nostr.", (policies), nostr::POLICIES, restart;
        "Policies for events, filters and connections, in this order, such as `[sane_defaults, \
         prevent_large_tags=1KiB, restrict_to_specified_kinds=0 1 3 7]`. The first one that \
         refuses decides. docs/nostr.md lists all of them."),
];
