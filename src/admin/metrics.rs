//! `/metrics`: what the shards count, in the text format of Prometheus.
//!
//! Every series is there from the start, with 0. The values of a label come from fixed sets or from
//! the config, or are the numbers of the shards: nothing that a client does adds a series.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use super::families::Families;
use super::nostr;
use super::page::{Page, Pages, Running};
#[cfg(target_os = "linux")]
use super::process::Process;
use crate::engine::{
    CloseReason, Counter, RatePolicy, Request, ShardStats, SlowAction, TurnPhase, View,
};
use crate::fanout::room::EndpointId;
use crate::logging;
use crate::relay::count::Count;
use crate::relay::nostr::NostrStats;
use crate::relay::push::{PushRefusal, PushStats};
use crate::wire::deflate::InflateError;
use crate::wire::http::Response;

/// Version 0.0.4 of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page.
pub(super) struct Metrics {
    registry: OnceLock<Registry>,
    relay: Relay,
}

/// What there is beside the engine's own numbers.
#[derive(Clone)]
struct Relay {
    endpoints: Vec<(String, EndpointId)>,
    push: Arc<PushStats>,
    nostr: Vec<Arc<NostrStats>>,
}

impl Metrics {
    /// The engine's own numbers, and those of the relay's endpoints.
    pub(super) fn new(pages: &Pages) -> Metrics {
        let relay = Relay {
            endpoints: pages.endpoints.clone(),
            push: Arc::clone(&pages.push),
            nostr: pages
                .nostr
                .iter()
                .map(|(_, stats)| Arc::clone(stats))
                .collect(),
        };
        Metrics {
            registry: OnceLock::new(),
            relay,
        }
    }
}

impl Page for Metrics {
    fn answer(&self, _request: &Request<'_>, running: &Running) -> Response {
        let registry = self.registry.get_or_init(|| registry(running, &self.relay));
        match TextEncoder::new().encode_to_string(&registry.gather()) {
            Ok(text) => Response {
                body: text.into(),
                ..Response::new(200).with_header("Content-Type", CONTENT_TYPE)
            },
            Err(error) => Response::text(500, format!("{error}\n")),
        }
    }
}

fn registry(running: &Running, relay: &Relay) -> Registry {
    let registry = Registry::new();
    let collector = EngineCollector::new(running.clone(), relay.clone());
    if let Err(error) = collector.and_then(|collector| registry.register(Box::new(collector))) {
        tracing::error!(%error, "there are no metrics");
    }
    registry
}

/// Reads the shards' own counters whenever somebody asks.
struct EngineCollector {
    running: Running,
    relay: Relay,
    #[cfg(target_os = "linux")]
    process: Process,
    descriptions: Vec<Desc>,
}

impl EngineCollector {
    fn new(running: Running, relay: Relay) -> prometheus::Result<EngineCollector> {
        let mut collector = EngineCollector {
            running,
            relay,
            #[cfg(target_os = "linux")]
            process: Process::new(),
            descriptions: Vec::new(),
        };
        let describe = |family: MetricFamily| {
            let (name, help) = (family.name().to_owned(), family.help().to_owned());
            Desc::new(name, help, Vec::new(), HashMap::new())
        };
        let families = collector.collect().into_iter();
        collector.descriptions = families.map(describe).collect::<prometheus::Result<_>>()?;
        Ok(collector)
    }
}

impl Collector for EngineCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let view = &self.running.view;
        let mut families = Families::default();
        earlier_names(&mut families, view);
        connections(&mut families, view);
        endpoints(&mut families, view, &self.relay.endpoints);
        received(&mut families, view);
        rates(&mut families, view);
        sent(&mut families, view);
        compression(&mut families, view);
        slow_clients(&mut families, view);
        between_shards(&mut families, view);
        memory(&mut families, view);
        pushes(&mut families, &self.relay.push);
        nostr::nostr(&mut families, &self.relay.nostr);
        shards(&mut families, view);
        certificates(&mut families, view);
        about(&mut families, &self.running);
        #[cfg(target_os = "linux")]
        self.process.collect(&mut families);
        families.0
    }
}

/// The four names that users of an earlier relay have in their dashboards.
fn earlier_names(families: &mut Families, view: &View) {
    families.gauge(
        "websocket_connected_clients",
        "WebSocket clients that are connected now.",
        sum(view, |stats| &stats.open),
    );
    families.counter(
        "websocket_messages_total",
        "Messages received from clients for relaying.",
        sum(view, |stats| &stats.messages),
    );
    families.counter(
        "websocket_connections_total",
        "WebSocket connections that were opened.",
        sum(view, |stats| &stats.opened),
    );
    families.counter(
        "websocket_disconnections_total",
        "WebSocket connections that ended.",
        sum_each(view, CloseReason::LABELS, |stats| &stats.closed)
            .map(|(_, closed)| closed)
            .sum(),
    );
}

fn connections(families: &mut Families, view: &View) {
    families.gauges(
        "corecast_connections",
        "Connections now: connecting (TCP, before or without a WebSocket), open, or closing.",
        "state",
        [
            ("connecting", sum(view, |stats| &stats.connecting)),
            ("open", sum(view, |stats| &stats.open)),
            ("closing", sum(view, |stats| &stats.closing)),
        ],
    );
    families.counter(
        "corecast_accepted_total",
        "TCP connections that were accepted, of all kinds.",
        sum(view, |stats| &stats.accepted),
    );
    families.counter(
        "corecast_accept_errors_total",
        "Times that accepting a connection failed, as a rule for want of file descriptors.",
        sum(view, |stats| &stats.accept_errors),
    );
    families.counter(
        "corecast_admin_evicted_total",
        "Connections to the admin listener that had to make room for a new one, idle ones first.",
        view.evicted() as f64,
    );
    families.counter(
        "corecast_opened_total",
        "WebSocket connections that were opened.",
        sum(view, |stats| &stats.opened),
    );
    families.counters(
        "corecast_closed_total",
        "WebSocket connections that ended, by why.",
        "reason",
        sum_each(view, CloseReason::LABELS, |stats| &stats.closed),
    );
    families.counters(
        "corecast_refused_total",
        "Requests and connections that were refused before a WebSocket was open, by why.",
        "reason",
        refusals(view),
    );
    families.counters(
        "corecast_tls_handshakes_total",
        "TLS handshakes that were finished, in full or by a ticket of an earlier connection.",
        "kind",
        sum_each(view, &["full", "resumed"], |stats| &stats.tls_handshakes),
    );
    families.counter(
        "corecast_forwarded_malformed_total",
        "Requests of trusted proxies whose Forwarded or X-Forwarded-For could not be read.",
        sum(view, |stats| &stats.forwarded_malformed),
    );
    families.counter(
        "corecast_forwarded_conflicts_total",
        "Requests of trusted proxies whose Forwarded and X-Forwarded-For differ: refused (400).",
        sum(view, |stats| &stats.forwarded_conflicts),
    );
    families.counter(
        "corecast_http_requests_total",
        "Plain HTTP requests answered by an endpoint of the main listener, probes included.",
        sum(view, |stats| &stats.requests),
    );
    families.counter(
        "corecast_endpoint_panics_total",
        "Panics in endpoint code. Each of them closed one connection (1011): a bug to report.",
        sum(view, |stats| &stats.endpoint_panics),
    );
}

/// There is no family without a series: a relay may have no endpoint that takes WebSockets.
fn endpoints(families: &mut Families, view: &View, endpoints: &[(String, EndpointId)]) {
    if endpoints.is_empty() {
        return;
    }
    families.gauges(
        "corecast_endpoint_connections",
        "WebSocket connections open now, by the endpoint of the config that they are at.",
        "endpoint",
        endpoints.iter().map(|(name, id)| {
            let open = view.shards().map(|stats| &stats.endpoint_open);
            let open = open.filter_map(|each| each.get(usize::from(id.0)));
            (name, open.map(Counter::get).sum::<u64>() as f64)
        }),
    );
}

fn received(families: &mut Families, view: &View) {
    families.counter(
        "corecast_messages_received_total",
        "Messages received from clients.",
        sum(view, |stats| &stats.messages),
    );
    families.counter(
        "corecast_received_payload_bytes_total",
        "Payload of the messages received from clients, in bytes.",
        sum(view, |stats| &stats.message_bytes),
    );
    families.gauge(
        "corecast_rooms",
        "Rooms that have members now.",
        view.rooms() as f64,
    );
}

/// Clients that send more than they may. The refusals of `connect_rate` and the closed
/// connections are with the others of their kind.
fn rates(families: &mut Families, view: &View) {
    families.counters(
        "corecast_rate_actions_total",
        "What was done about clients that send more than they may: made to wait, by the message \
         dropped, closed (1008).",
        "action",
        sum_each(view, RatePolicy::LABELS, |stats| &stats.rate_actions),
    );
    families.gauge(
        "corecast_rate_addresses",
        "Addresses whose connects are counted at the moment, for limits.connects_per_ip.",
        view.rated_addresses() as f64,
    );
}

fn sent(families: &mut Families, view: &View) {
    families.counter(
        "corecast_deliveries_total",
        "Messages sent to clients, one for each recipient. Control frames do not count.",
        sum(view, |stats| &stats.deliveries),
    );
    families.counter(
        "corecast_sent_bytes_total",
        "Bytes sent to clients: payload, headers, control frames and HTTP.",
        sum(view, |stats| &stats.sent_bytes),
    );
    families.counter(
        "corecast_sends_total",
        "Calls of send and writev, those included that the socket took nothing of.",
        sum(view, |stats| &stats.sends),
    );
    families.counter(
        "corecast_send_errors_total",
        "Sends that failed because the kernel was short of memory. They are tried again.",
        sum(view, |stats| &stats.send_errors),
    );
    families.counts(
        "corecast_frames_per_send",
        "Messages finished by one send or writev; calls that finished none do not count.",
        view.shards().map(|stats| &stats.frames_per_send),
    );
    families.durations(
        "corecast_relay_latency_seconds",
        "From the receipt of a message to the end of the send that carried it to a recipient.",
        view.shards().map(|stats| &stats.relay_latency),
    );
    families.gauge(
        "corecast_outbox_bytes",
        "Bytes that wait to be sent, for all clients together, as of about a second ago.",
        sum(view, |stats| &stats.outbox_bytes),
    );
    families.gauge(
        "corecast_outbox_age_seconds",
        "How long the oldest message has waited for a client that takes nothing at the moment.",
        max_seconds(view, |stats| &stats.outbox_age_ms),
    );
}

fn compression(families: &mut Families, view: &View) {
    families.gauge(
        "corecast_deflate_connections",
        "WebSocket connections open now that agreed to compression (permessage-deflate).",
        sum(view, |stats| &stats.deflate_open),
    );
    families.counters(
        "corecast_compressions_total",
        "Messages compressed, each once for all its recipients: smaller, or in vain (sent plain).",
        "result",
        [
            ("smaller", sum(view, |stats| &stats.deflated)),
            ("in_vain", sum(view, |stats| &stats.deflated_in_vain)),
        ],
    );
    families.counter(
        "corecast_compression_saved_bytes_total",
        "Bytes that clients were sent fewer because of compression, all recipients together.",
        sum(view, |stats| &stats.deflate_saved_bytes),
    );
    families.counter(
        "corecast_inflations_total",
        "Compressed messages received from clients.",
        sum(view, |stats| &stats.inflated),
    );
    families.counters(
        "corecast_inflations_refused_total",
        "Compressed messages that closed their connection, by why.",
        "reason",
        sum_each(view, InflateError::LABELS, |stats| {
            &stats.inflations_refused
        }),
    );
}

fn slow_clients(families: &mut Families, view: &View) {
    families.counters(
        "corecast_slow_client_actions_total",
        "What was done about clients that read too slowly. copy_out costs a client nothing.",
        "action",
        sum_each(view, SlowAction::LABELS, |stats| &stats.slow_actions),
    );
    families.counter(
        "corecast_dropped_frames_total",
        "Messages that were not sent to a client, because it read too slowly.",
        sum(view, |stats| &stats.dropped_frames),
    );
}

fn between_shards(families: &mut Families, view: &View) {
    let depths = (0..view.shards().count()).map(|shard| (shard, view.mailbox_depth(shard) as f64));
    families.gauges(
        "corecast_mailbox_depth",
        "Batches of messages from other shards that wait for this one, now.",
        "shard",
        depths,
    );
    families.counters(
        "corecast_wakes_total",
        "Batches handed to another shard that had to be woken (sent), or was awake (elided).",
        "result",
        [
            ("sent", sum(view, |stats| &stats.exchange.wakes_sent)),
            ("elided", sum(view, |stats| &stats.exchange.wakes_elided)),
        ],
    );
    families.gauge(
        "corecast_held_runs",
        "Messages in a row that came early and wait for their predecessors, now.",
        sum(view, |stats| &stats.exchange.held_runs),
    );
    families.gauge(
        "corecast_held_age_seconds",
        "How long the oldest of the messages that came early has waited.",
        max_seconds(view, |stats| &stats.exchange.held_age_ms),
    );
    families.counter(
        "corecast_sender_blocked_total",
        "Times that a shard stopped reading, because the mailbox of another one was full.",
        sum(view, |stats| &stats.exchange.blocked),
    );
}

fn memory(families: &mut Families, view: &View) {
    families.gauge(
        "corecast_process_bytes",
        "Memory of all that waits to be sent, and of what it takes to send it, in bytes, bounded \
         by slow_client.process_bytes.",
        view.process_bytes() as f64,
    );
    families.gauge(
        "corecast_live_batch_bytes",
        "Of corecast_process_bytes, the buffers of encoded frames.",
        view.live_bytes() as f64,
    );
    families.gauge(
        "corecast_inbound_bytes",
        "Memory of messages, requests and TLS records received in part, in bytes, bounded by \
         limits.inbound_bytes.",
        view.inbound_bytes() as f64,
    );
}

fn pushes(families: &mut Families, push: &PushStats) {
    fn of<'c, const N: usize>(
        labels: &'static [&'static str],
        counts: &'c [Count; N],
    ) -> impl Iterator<Item = (&'static str, f64)> + 'c {
        let counts = counts.iter().map(|count| count.get() as f64);
        labels.iter().copied().zip(counts)
    }
    families.counters(
        "corecast_pushes_total",
        "Pushes that the push API accepted: to be sent now, or delayed.",
        "kind",
        of(&PushStats::ACCEPTED, &push.accepted),
    );
    families.counter(
        "corecast_pushes_queued_total",
        "Connections that pushes were queued for, delayed ones aside.",
        push.queued.get() as f64,
    );
    families.counters(
        "corecast_push_requests_refused_total",
        "Requests that the push API refused, by why.",
        "reason",
        of(PushRefusal::LABELS, &push.refused),
    );
    families.gauge(
        "corecast_pushes_pending",
        "Delayed pushes that wait now, bounded by pending_max of their endpoint.",
        push.pending.get() as f64,
    );
    families.gauge(
        "corecast_pushes_pending_bytes",
        "Memory of the delayed pushes that wait, bounded by pending_bytes of their endpoint.",
        push.pending_bytes.get() as f64,
    );
    families.counters(
        "corecast_pushes_ended_total",
        "Delayed pushes that wait no more: sent, or cancelled.",
        "result",
        of(&PushStats::ENDED, &push.ended),
    );
}

fn shards(families: &mut Families, view: &View) {
    let each = |of: fn(&ShardStats) -> f64| view.shards().map(of).enumerate();
    let connections =
        (0..view.shards().count()).map(|shard| (shard, f64::from(view.shard_connections(shard))));
    families.gauges(
        "corecast_shard_connections",
        "Connections that a shard has now, of all kinds.",
        "shard",
        connections,
    );
    families.counters(
        "corecast_shard_busy_seconds_total",
        "Time that a shard has worked. Its rate is how busy the shard is: near 1 is full.",
        "shard",
        each(|stats| stats.turns.sum_ns() as f64 / 1e9),
    );
    families.counters(
        "corecast_shard_idle_seconds_total",
        "Time that a shard has waited for something to do.",
        "shard",
        each(|stats| stats.idle_ns.get() as f64 / 1e9),
    );
    // Measured by the shard itself over a fixed window: one since the last scrape would be
    // another for each of two scrapers.
    families.gauges(
        "corecast_shard_busy_ratio",
        "Share of the last whole second that a shard has worked, 0 to 1.",
        "shard",
        each(|stats| stats.busy_ppm.get() as f64 / 1e6),
    );
    families.durations(
        "corecast_turn_duration_seconds",
        "How long the turns of the shards' loops took, without the wait for something to do.",
        view.shards().map(|stats| &stats.turns),
    );
    families.counters(
        "corecast_turn_cut_total",
        "Phases of turns, and reads of a connection in one, that ended while more waited, since \
         they had done their share of the work: it goes on in the next turn.",
        "phase",
        sum_each(view, TurnPhase::LABELS, |stats| &stats.turn_cut),
    );
}

/// There is no family without a series: a relay without TLS has none.
fn certificates(families: &mut Families, view: &View) {
    if view.certificate_expiries().next().is_some() {
        families.gauges(
            "corecast_tls_certificate_expiry_timestamp_seconds",
            "When the certificate of a listener expires, in seconds since 1970 (UTC).",
            "listener",
            view.certificate_expiries()
                .map(|(name, at)| (name, at as f64)),
        );
    }
}

fn about(families: &mut Families, running: &Running) {
    let (applied, failed) = running.view.reloads();
    families.counters(
        "corecast_config_reloads_total",
        "Times that config and certificates were read again (SIGHUP).",
        "result",
        [("applied", applied as f64), ("failed", failed as f64)],
    );
    families.counter(
        "corecast_unusable_key_files_total",
        "Looks at a file with keys that had changed and could not be used; its old keys stay.",
        running.view.unusable_key_files() as f64,
    );
    families.gauge(
        "corecast_config_last_reload_timestamp_seconds",
        "When the config that is in effect was taken, in seconds since 1970 (UTC).",
        running.view.last_reload_unix_s() as f64,
    );
    families.info(
        "corecast_build_info",
        "Always 1: the version and the commit that this relay was built from.",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("commit", env!("CORECAST_COMMIT")),
        ],
    );
    let since_1970 = running.since.duration_since(UNIX_EPOCH);
    families.gauge(
        "corecast_start_time_seconds",
        "When the relay was started, in seconds since 1970 (UTC).",
        since_1970.unwrap_or_default().as_secs_f64(),
    );
    families.gauge(
        "corecast_uptime_seconds",
        "How long the relay has been running.",
        running.view.started().elapsed().as_secs_f64(),
    );
    families.counter(
        "corecast_log_errors_total",
        "Writes to the log that failed, as a rule because a disk is full. Their lines are lost.",
        logging::errors() as f64,
    );
}

/// A counter of all shards together. Numbers above 2^53 lose their last digits, as everywhere in
/// Prometheus.
fn sum(view: &View, of: impl Fn(&ShardStats) -> &Counter) -> f64 {
    let total: u64 = view.shards().map(|stats| of(stats).get()).sum();
    total as f64
}

/// Counters of all shards together, each with its label.
fn sum_each<'v, const N: usize>(
    view: &'v View,
    labels: &'static [&'static str],
    of: impl Fn(&ShardStats) -> &[Counter; N] + 'v,
) -> impl Iterator<Item = (&'static str, f64)> + 'v {
    let labels = labels.iter().enumerate();
    labels.map(move |(place, label)| (*label, sum(view, |stats| &of(stats)[place])))
}

/// Why connections were refused, of all shards together.
fn refusals(view: &View) -> impl Iterator<Item = (&'static str, f64)> + '_ {
    view.refusals()
        .into_iter()
        .map(|(label, count)| (label, count as f64))
}

/// The largest of the shards' gauges in milliseconds, in seconds.
fn max_seconds(view: &View, of: impl Fn(&ShardStats) -> &Counter) -> f64 {
    let max_ms = view.shards().map(|stats| of(stats).get()).max();
    max_ms.unwrap_or_default() as f64 / 1e3
}
