//! The metrics of the engine, the push APIs, and the relay itself.

use std::time::UNIX_EPOCH;

use super::histogram::Histogram;
use super::row::{Group, Kind, Names, Read, Row};
use crate::engine::{CloseReason, Counter, RatePolicy, Refusal, SlowAction, TurnPhase};
use crate::guard;
use crate::logging;
use crate::relay::count::Count;
use crate::relay::push::{PushRefusal, PushStats};
use crate::wire::deflate::InflateError;

pub(super) const EARLIER_NAMES: Group = Group {
    title: "Names of an earlier relay",
    about: "For dashboards that were made for savinmax/websocket-relay. New ones should use the \
            names that begin with `corecast_`.",
    rows: &[
        Row::gauge(
            "websocket_connected_clients",
            "WebSocket clients connected now.",
            |it| Some(it.sum(|stats| &stats.open)),
        ),
        Row::counter(
            "websocket_messages_total",
            "Messages received from clients.",
            |it| Some(it.sum(|stats| &stats.messages)),
        ),
        Row::counter(
            "websocket_connections_total",
            "WebSocket connections opened.",
            |it| Some(it.sum(|stats| &stats.opened)),
        ),
        Row::counter(
            "websocket_disconnections_total",
            "WebSocket connections closed.",
            |it| Some(it.each(|stats| &stats.closed).iter().sum()),
        ),
    ],
};

pub(super) const CONNECTIONS: Group = Group {
    title: "Connections",
    about: "The reasons of `corecast_closed_total` are described in \
            [CLOSE.md](../crates/engine/src/engine/CLOSE.md), those of `corecast_refused_total` in \
            [HANDSHAKE.md](../crates/engine/src/engine/edge/HANDSHAKE.md).",
    rows: &[
        Row::new(
            "corecast_connections",
            "Connections now: connecting (TCP, TLS or plain HTTP), open WebSockets, and WebSockets \
             that are closing.",
            Kind::Gauge,
            Read::Each(&[("state", &["connecting", "open", "closing"])], |it| {
                vec![
                    it.sum(|stats| &stats.connecting),
                    it.sum(|stats| &stats.open),
                    it.sum(|stats| &stats.closing),
                ]
            }),
        ),
        Row::new(
            "corecast_endpoint_connections",
            "Open WebSocket connections by endpoint.",
            Kind::Gauge,
            Read::Named(
                Names::of("endpoint", "names of endpoints in the config"),
                |it| {
                    let endpoints = it.relay.endpoints.iter();
                    let open = |of: usize| {
                        let shards = it.shards().filter_map(|stats| stats.endpoint_open.get(of));
                        shards.map(Counter::get).sum::<u64>() as f64
                    };
                    endpoints
                        .map(|(name, id)| (name.clone(), open(usize::from(id.0))))
                        .collect()
                },
            ),
        ),
        Row::counter(
            "corecast_accepted_total",
            "TCP and Unix-socket connections accepted, whatever became of them.",
            |it| Some(it.sum(|stats| &stats.accepted)),
        ),
        Row::counter(
            "corecast_accept_errors_total",
            "Failed calls of accept, usually for lack of file descriptors.",
            |it| Some(it.sum(|stats| &stats.accept_errors)),
        ),
        Row::counter(
            "corecast_admin_evicted_total",
            "Connections to the admin listener closed to make room for new ones; idle ones go \
             first.",
            |it| Some(it.running.view.evicted() as f64),
        ),
        Row::counter(
            "corecast_opened_total",
            "WebSocket connections opened.",
            |it| Some(it.sum(|stats| &stats.opened)),
        ),
        Row::counters(
            "corecast_closed_total",
            "WebSocket connections closed, by reason.",
            &[("reason", CloseReason::LABELS)],
            |it| it.each(|stats| &stats.closed),
        ),
        Row::new(
            "corecast_refused_total",
            "Requests and connections refused before a WebSocket was open, by reason.",
            Kind::Counter,
            Read::Named(
                Names {
                    label: "reason",
                    known: || [Refusal::LABELS, &guard::reasons()].concat(),
                    others: "",
                },
                |it| {
                    let refusals = it.running.view.refusals().into_iter();
                    refusals
                        .map(|(label, count)| (label.to_owned(), count as f64))
                        .collect()
                },
            ),
        ),
        Row::counters(
            "corecast_tls_handshakes_total",
            "Completed TLS handshakes: full ones, and ones resumed by a session ticket.",
            &[("kind", &["full", "resumed"])],
            |it| it.each(|stats| &stats.tls_handshakes),
        ),
        Row::counter(
            "corecast_forwarded_malformed_total",
            "Requests from trusted proxies with a malformed Forwarded or X-Forwarded-For header.",
            |it| Some(it.sum(|stats| &stats.forwarded_malformed)),
        ),
        Row::counter(
            "corecast_forwarded_conflicts_total",
            "Requests from trusted proxies refused (400) because Forwarded and X-Forwarded-For \
             name different clients.",
            |it| Some(it.sum(|stats| &stats.forwarded_conflicts)),
        ),
        Row::counter(
            "corecast_http_requests_total",
            "Plain HTTP requests answered on the main listeners, probes included.",
            |it| Some(it.sum(|stats| &stats.requests)),
        ),
        Row::counter(
            "corecast_endpoint_panics_total",
            "Panics in endpoint code. Each closed one connection (1011) and is a bug to report.",
            |it| Some(it.sum(|stats| &stats.endpoint_panics)),
        ),
        Row::new(
            "corecast_tls_certificate_expiry_timestamp_seconds",
            "Expiry of a listener's certificate, in seconds since 1970 (UTC). Absent without TLS.",
            Kind::Gauge,
            Read::Named(
                Names::of("listener", "addresses of the listeners that use TLS"),
                |it| {
                    let expiries = it.running.view.certificate_expiries();
                    expiries
                        .map(|(name, at)| (name.to_owned(), at as f64))
                        .collect()
                },
            ),
        ),
    ],
};

pub(super) const RECEIVED: Group = Group {
    title: "Messages received",
    about: "",
    rows: &[
        Row::counter(
            "corecast_messages_received_total",
            "Messages received from clients.",
            |it| Some(it.sum(|stats| &stats.messages)),
        ),
        Row::counter(
            "corecast_received_payload_bytes_total",
            "Payload of the messages received from clients, in bytes.",
            |it| Some(it.sum(|stats| &stats.message_bytes)),
        ),
        Row::counter(
            "corecast_pings_received_total",
            "Ping frames received from clients, each of which costs the relay a Pong.",
            |it| Some(it.sum(|stats| &stats.pings)),
        ),
        Row::gauge("corecast_rooms", "Rooms that have members now.", |it| {
            Some(it.running.view.rooms() as f64)
        }),
        Row::counters(
            "corecast_rate_actions_total",
            "Rate-limit actions: connection delayed, message dropped, connection closed (1008).",
            &[("action", RatePolicy::LABELS)],
            |it| it.each(|stats| &stats.rate_actions),
        ),
        Row::gauge(
            "corecast_rate_addresses",
            "Addresses whose connection rate is tracked now (limits.connects_per_ip).",
            |it| Some(it.running.view.rated_addresses() as f64),
        ),
    ],
};

pub(super) const SENT: Group = Group {
    title: "Messages sent",
    about: "",
    rows: &[
        Row::counter(
            "corecast_deliveries_total",
            "Messages sent to clients, counted once per recipient, without control frames.",
            |it| Some(it.sum(|stats| &stats.deliveries)),
        ),
        Row::counter(
            "corecast_sent_bytes_total",
            "Bytes sent to clients: payload, headers, control frames and HTTP.",
            |it| Some(it.sum(|stats| &stats.sent_bytes)),
        ),
        Row::counter(
            "corecast_sends_total",
            "Calls of send and writev, including those that would have blocked.",
            |it| Some(it.sum(|stats| &stats.sends)),
        ),
        Row::counter(
            "corecast_send_errors_total",
            "Sends that failed because the kernel was short of memory, and are retried.",
            |it| Some(it.sum(|stats| &stats.send_errors)),
        ),
        Row::histogram(
            "corecast_frames_per_send",
            "Messages completed by one send or writev, without the calls that completed none.",
            |it| {
                Some(Histogram::counts(
                    it.shards().map(|stats| &stats.frames_per_send),
                ))
            },
        ),
        Row::histogram(
            "corecast_relay_latency_seconds",
            "Time from the receipt of a message to the end of the send that carried it to a \
             recipient.",
            |it| {
                Some(Histogram::seconds(
                    it.shards().map(|stats| &stats.relay_latency),
                ))
            },
        ),
    ],
};

pub(super) const SLOW_CLIENTS: Group = Group {
    title: "Slow clients",
    about: "",
    rows: &[
        Row::gauge(
            "corecast_outbox_bytes",
            "Bytes waiting to be sent to all clients together, updated about once a second.",
            |it| Some(it.sum(|stats| &stats.outbox_bytes)),
        ),
        Row::gauge(
            "corecast_outbox_age_seconds",
            "Age of the oldest message that waits for a client whose socket takes nothing more.",
            |it| Some(it.max_seconds(|stats| &stats.outbox_age_ms)),
        ),
        Row::counters(
            "corecast_slow_client_actions_total",
            "Actions against clients that read too slowly. copy_out frees memory and costs the \
             client nothing.",
            &[("action", SlowAction::LABELS)],
            |it| it.each(|stats| &stats.slow_actions),
        ),
        Row::counter(
            "corecast_dropped_frames_total",
            "Messages that a client did not get because it read too slowly.",
            |it| Some(it.sum(|stats| &stats.dropped_frames)),
        ),
    ],
};

pub(super) const COMPRESSION: Group = Group {
    title: "Compression",
    about: "",
    rows: &[
        Row::gauge(
            "corecast_deflate_connections",
            "Open WebSocket connections that negotiated compression (permessage-deflate).",
            |it| Some(it.sum(|stats| &stats.deflate_open)),
        ),
        Row::counters(
            "corecast_compressions_total",
            "Messages compressed, each once for all its recipients. in_vain: it did not become \
             smaller and was sent uncompressed.",
            &[("result", &["smaller", "in_vain"])],
            |it| {
                vec![
                    it.sum(|stats| &stats.deflated),
                    it.sum(|stats| &stats.deflated_in_vain),
                ]
            },
        ),
        Row::counter(
            "corecast_compression_saved_bytes_total",
            "Bytes that compression saved, over all recipients.",
            |it| Some(it.sum(|stats| &stats.deflate_saved_bytes)),
        ),
        Row::counter(
            "corecast_inflations_total",
            "Compressed messages received from clients.",
            |it| Some(it.sum(|stats| &stats.inflated)),
        ),
        Row::counters(
            "corecast_inflations_refused_total",
            "Compressed messages that closed their connection, by reason.",
            &[("reason", InflateError::LABELS)],
            |it| it.each(|stats| &stats.inflations_refused),
        ),
    ],
};

pub(super) const MEMORY: Group = Group {
    title: "Memory",
    about: "",
    rows: &[
        Row::gauge(
            "corecast_process_bytes",
            "Memory of everything that waits to be sent, in bytes: buffers, queues, TLS and \
             compression. Bounded by slow_client.process_bytes.",
            |it| Some(it.running.view.process_bytes() as f64),
        ),
        Row::gauge(
            "corecast_live_batch_bytes",
            "The part of corecast_process_bytes that holds encoded frames.",
            |it| Some(it.running.view.live_bytes() as f64),
        ),
        Row::gauge(
            "corecast_inbound_bytes",
            "Memory of partially received messages, requests and TLS records, in bytes. Bounded by \
             limits.inbound_bytes.",
            |it| Some(it.running.view.inbound_bytes() as f64),
        ),
    ],
};

pub(super) const SHARDS: Group = Group {
    title: "Shards",
    about: "A shard is one thread with its own connections; a message passes from its sender's \
            shard to the others in batches.",
    rows: &[
        Row::of_shards(
            "corecast_shard_connections",
            "Connections of a shard, of every kind.",
            Kind::Gauge,
            |it| it.by_shard(|shard, _| f64::from(it.running.view.shard_connections(shard))),
        ),
        Row::of_shards(
            "corecast_shard_busy_seconds_total",
            "Time that a shard has worked. Its rate is the shard's load: close to 1 is saturated.",
            Kind::Counter,
            |it| it.by_shard(|_, stats| stats.turns.sum_ns() as f64 / 1e9),
        ),
        Row::of_shards(
            "corecast_shard_idle_seconds_total",
            "Time that a shard has waited for events.",
            Kind::Counter,
            |it| it.by_shard(|_, stats| stats.idle_ns.get() as f64 / 1e9),
        ),
        // Measured by the shard itself over a fixed window: one since the last scrape would be
        // another for each of two scrapers.
        Row::of_shards(
            "corecast_shard_busy_ratio",
            "Share of the last full second that a shard worked, 0 to 1.",
            Kind::Gauge,
            |it| it.by_shard(|_, stats| stats.busy_ppm.get() as f64 / 1e6),
        ),
        Row::histogram(
            "corecast_turn_duration_seconds",
            "Duration of the turns of the shards' event loops, without the wait for events.",
            |it| Some(Histogram::seconds(it.shards().map(|stats| &stats.turns))),
        ),
        Row::counters(
            "corecast_turn_cut_total",
            "Phases of a turn that used up their share of work while more was waiting; the rest is \
             done in the next turn.",
            &[("phase", TurnPhase::LABELS)],
            |it| it.each(|stats| &stats.turn_cut),
        ),
        Row::of_shards(
            "corecast_mailbox_depth",
            "Batches from other shards that wait for a shard now.",
            Kind::Gauge,
            |it| it.by_shard(|shard, _| it.running.view.mailbox_depth(shard) as f64),
        ),
        Row::counters(
            "corecast_wakes_total",
            "Batches handed to another shard: it had to be woken (sent) or was awake (elided).",
            &[("result", &["sent", "elided"])],
            |it| {
                vec![
                    it.sum(|stats| &stats.exchange.wakes_sent),
                    it.sum(|stats| &stats.exchange.wakes_elided),
                ]
            },
        ),
        Row::gauge(
            "corecast_held_runs",
            "Runs of messages that arrived early and wait for earlier ones, so that the order is \
             the same for everybody.",
            |it| Some(it.sum(|stats| &stats.exchange.held_runs)),
        ),
        Row::gauge(
            "corecast_held_age_seconds",
            "Age of the oldest run that waits for earlier messages.",
            |it| Some(it.max_seconds(|stats| &stats.exchange.held_age_ms)),
        ),
        Row::counter(
            "corecast_sender_blocked_total",
            "Times that a shard stopped reading because another shard's mailbox was full.",
            |it| Some(it.sum(|stats| &stats.exchange.blocked)),
        ),
    ],
};

pub(super) const PUSHES: Group = Group {
    title: "Push API",
    about: "See [push.md](push.md).",
    rows: &[
        Row::counters(
            "corecast_pushes_total",
            "Pushes accepted by the push API: to be sent now, or delayed.",
            &[("kind", &PushStats::ACCEPTED)],
            |it| values(&it.relay.push.accepted),
        ),
        Row::counter(
            "corecast_pushes_queued_total",
            "Connections that pushes without a delay were queued for.",
            |it| Some(it.relay.push.queued.get() as f64),
        ),
        Row::counters(
            "corecast_push_requests_refused_total",
            "Requests refused by the push API, by reason.",
            &[("reason", PushRefusal::LABELS)],
            |it| values(&it.relay.push.refused),
        ),
        Row::gauge(
            "corecast_pushes_pending",
            "Delayed pushes that wait now. Bounded by pending_max of their endpoint.",
            |it| Some(it.relay.push.pending.get() as f64),
        ),
        Row::gauge(
            "corecast_pushes_pending_bytes",
            "Memory of the delayed pushes that wait, in bytes. Bounded by pending_bytes of their \
             endpoint.",
            |it| Some(it.relay.push.pending_bytes.get() as f64),
        ),
        Row::counters(
            "corecast_pushes_ended_total",
            "Delayed pushes that were sent or cancelled.",
            &[("result", &PushStats::ENDED)],
            |it| values(&it.relay.push.ended),
        ),
    ],
};

fn values(counts: &[Count]) -> Vec<f64> {
    counts.iter().map(|count| count.get() as f64).collect()
}

pub(super) const RELAY: Group = Group {
    title: "The relay itself",
    about: "",
    rows: &[
        Row::new(
            "corecast_build_info",
            "Always 1: the version and the commit that this relay was built from.",
            Kind::Gauge,
            Read::Info(&[
                ("version", env!("CARGO_PKG_VERSION")),
                ("commit", env!("CORECAST_COMMIT")),
            ]),
        ),
        Row::gauge(
            "corecast_start_time_seconds",
            "Start of the relay, in seconds since 1970 (UTC).",
            |it| {
                let since_1970 = it.running.since.duration_since(UNIX_EPOCH);
                Some(since_1970.unwrap_or_default().as_secs_f64())
            },
        ),
        Row::gauge(
            "corecast_uptime_seconds",
            "Time since the start of the relay.",
            |it| Some(it.running.view.started().elapsed().as_secs_f64()),
        ),
        Row::counters(
            "corecast_config_reloads_total",
            "Reloads of the config and the certificates (SIGHUP).",
            &[("result", &["applied", "failed"])],
            |it| {
                let (applied, failed) = it.running.view.reloads();
                vec![applied as f64, failed as f64]
            },
        ),
        Row::gauge(
            "corecast_config_last_reload_timestamp_seconds",
            "Time at which the config now in effect was loaded, in seconds since 1970 (UTC).",
            |it| Some(it.running.view.last_reload_unix_s() as f64),
        ),
        Row::counter(
            "corecast_unusable_key_files_total",
            "Checks that found a key file changed but unusable; the keys loaded before stay valid.",
            |it| Some(it.running.view.unusable_key_files() as f64),
        ),
        Row::counter(
            "corecast_log_errors_total",
            "Failed writes to the log, usually because a disk is full. Their lines are lost.",
            |_| Some(logging::errors() as f64),
        ),
    ],
};
