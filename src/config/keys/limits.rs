//! Rows that bound what clients may do: `limits`, `slow_client`, `rate`, `keepalive`, `deflate`,
//! `timeouts` and `shutdown`.

use super::codecs::{
    CONNECTIONS, COUNT, DEFLATE_BYTES, DEFLATE_LEVEL, FRAME_BYTES, HEAD_BYTES, MEMORY_BYTES,
    MESSAGE_BYTES, NETWORKS, OFF_OR_SPAN, PER_SECOND, POLICY, RATE_POLICY, ROOM_NAME_BYTES, ROOMS,
    SPAN, SPAN_OR_ZERO,
};
use super::row::{Key, is_live, key, overridable};
use crate::config::Config;
use crate::config::endpoint::EndpointConfig;
use crate::config::form::Formed as _;
use crate::config::value::{Codec as _, Or, OrNull, Switch};

overridable! {
    MESSAGES, MESSAGES_OF_ENDPOINT:
    (limits.message_bytes, MESSAGE_BYTES, live, or "MAX_MESSAGE_SIZE";
        "Largest message that a client may send. One byte more closes its connection (1009)."),
    (limits.frame_bytes, FRAME_BYTES, live;
        "Largest frame of a message; a message may consist of many. 0 or off: as large as the \
         message."),
}

pub(super) static LIMITS: &[Key<Config>] = &[
    key!(limits.head_bytes, HEAD_BYTES, live;
        "Largest head (request line and headers) of an HTTP request. A larger one gets 431."),
    key!(limits.connections, CONNECTIONS, live;
        "Connections at a time. auto: as many as the limit on open files allows (`ulimit -n`, \
         which is raised to its hard limit at the start), less what shards, listeners, refusals \
         and the admin listener need; `corecast doctor` says how many that is. A larger number is \
         reduced to that, with a warning. 0 or off: only the system's limits apply. Further \
         clients get 503; /livez and /readyz are still answered."),
    key!(limits.connections_per_ip, Or(&["0", "off"], COUNT), live;
        "Connections at a time from one IPv4 address or one IPv6 /64. 0 or off: any number. \
         Further ones get 429. Behind a proxy all clients share the proxy's address, unless it is \
         listed in `server.trusted_proxies`."),
    key!(limits.connects_per_ip.rate, Or(&["0", "off"], PER_SECOND), live;
        "Connects per second, on average. 0 or off: any number."),
    key!(limits.connects_per_ip.burst, Or(&["auto"], PER_SECOND), live;
        "Connects at once, for example by a browser that opens several tabs. auto: as many as in \
         two seconds."),
    key!(limits.exempt_networks, NETWORKS, live;
        "Networks to which `connections_per_ip` and `connects_per_ip` do not apply."),
    key!(limits.inbound_bytes, MEMORY_BYTES, live;
        "Memory for partly received messages and requests of all clients together. If it is full, \
         the client with the largest part is closed (1009, or 503). At least `message_bytes`."),
    key!(limits.rooms_per_connection, ROOMS, live;
        "Rooms that one connection can be in."),
    key!(limits.room_name_bytes, ROOM_NAME_BYTES, live;
        "Longest name of a room (for a hub, its path)."),
];

overridable! {
    SLOW_CLIENT, SLOW_CLIENT_OF_ENDPOINT:
    (slow_client.policy, POLICY, live;
        "The action if a client's outbox is full, or a message in it too old:\n\
         - `disconnect`: it is closed (1013), so that it reconnects and knows that it missed \
         something\n\
         - `drop_oldest`: the oldest messages are dropped; it sees a gap, then the newest\n\
         - `drop_newest`: new messages are dropped; it sees the old ones, then a gap\n\
         - `latest_only`: only the latest message of each room is kept; for states, not for chats"),
    (slow_client.outbox_bytes, MEMORY_BYTES, live;
        "Bytes that may wait for one client: at least `limits.message_bytes` and 10 more. Clients \
         that wait for the same messages share the memory, so this says how far a client may be \
         behind (the default covers half a second at 1 Gbit/s); `process_bytes` bounds the \
         memory."),
    (slow_client.outbox_age, OFF_OR_SPAN, live;
        "How long a message may wait for a client that accepts nothing. 0 or off: no such bound."),
}

pub(super) static ALL_CLIENTS: &[Key<Config>] =
    &[key!(slow_client.process_bytes, MEMORY_BYTES, live;
        "Memory for everything that waits to be sent to all clients together, including buffers, \
         queues, TLS and compression. If it is full, the clients that hold most are closed first. \
         At least `outbox_bytes`.")];

overridable! {
    RATE, RATE_OF_ENDPOINT:
    (rate.policy, RATE_POLICY, live;
        "The action if a client sends more:\n\
         - `delay`: the relay stops reading from it until it may send again; nothing is lost, and \
         TCP slows the client down\n\
         - `drop`: the excess messages are dropped\n\
         - `close`: the connection is closed (1008)"),
    (rate.messages, Or(&["0", "off"], PER_SECOND), live;
        "Messages per second, on average. Each ping, pong and fragment counts as a message. 0 or \
         off: any number."),
    (rate.messages_burst, Or(&["auto"], PER_SECOND), live;
        "Messages at once. auto: as many as in one second."),
    (rate.bytes, Or(&["0", "off"], MESSAGE_BYTES), live;
        "Bytes of payload per second, on average; compressed messages count with their inflated \
         size. 0 or off: any number."),
    (rate.bytes_burst, Or(&["auto"], MESSAGE_BYTES), live;
        "Bytes at once. auto: as many as in one second."),
}

overridable! {
    KEEPALIVE_AND_DEFLATE, KEEPALIVE_AND_DEFLATE_OF_ENDPOINT:
    (keepalive.ping, OFF_OR_SPAN, live;
        "Interval between pings to a client. 0 or off: none are sent."),
    (keepalive.pong, OFF_OR_SPAN, live;
        "A client that has sent nothing for this long, not even a pong, is closed. Longer than \
         `ping`. 0 or off: never."),
    (deflate.enabled, Switch, restart;
        "Off by default, for two reasons. It costs time in the relay and in every client to save \
         bytes on the wire. And if a message holds a secret beside text that an attacker chooses, \
         the compressed length reveals the secret bit by bit. No context is kept from one message \
         to the next, so that no message reveals anything about another."),
    (deflate.min_bytes, DEFLATE_BYTES, restart;
        "Smaller messages are sent uncompressed: they hardly shrink."),
    (deflate.level, DEFLATE_LEVEL, restart;
        "From 1 (fastest) to 9 (smallest). For 512 bytes of JSON, 1 takes about 8 µs and saves \
         30 %; 2 and above take three times as long and save 45 %, which is worth it in large \
         rooms."),
}

pub(super) static TIMEOUTS_AND_SHUTDOWN: &[Key<Config>] = &[
    key!(timeouts.handshake, SPAN, live;
        "From the connect to the end of the HTTP request, including the TLS handshake."),
    key!(timeouts.message, SPAN, live;
        "From the first byte of a message to its last."),
    key!(timeouts.close, SPAN, live;
        "From the relay's Close to the client's answer."),
    key!(shutdown.delay, SPAN_OR_ZERO, live;
        "How long the relay goes on accepting connections while /readyz already answers 503, so \
         that a load balancer notices. 0s: not at all."),
    key!(shutdown.timeout, SPAN_OR_ZERO, live;
        "Latest end of the process, counted from the end of `delay`. Every client gets a Close \
         (1001), and the process ends when the last one is gone. 0s: at once."),
];
