//! `/metrics`: which series there are, and that they move by exactly what happened.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corecast::config::{ConnectionLimit, HubOptions, Kind};
use corecast::engine::{CloseReason, RatePolicy, Refusal, SlowAction, TurnPhase};
use corecast::guard;
use tungstenite::Message;

use crate::exposition::Scrape;
use crate::http::{Client, ask};
use crate::{Relay, config, relay_text, try_join};

/// Families without labels, by kind.
const PLAIN: [(&str, &[&str]); 2] = [
    (
        "gauge",
        &[
            "websocket_connected_clients",
            "corecast_rooms",
            "corecast_outbox_bytes",
            "corecast_outbox_age_seconds",
            "corecast_held_runs",
            "corecast_held_age_seconds",
            "corecast_deflate_connections",
            "corecast_process_bytes",
            "corecast_live_batch_bytes",
            "corecast_inbound_bytes",
            "corecast_rate_addresses",
            "corecast_pushes_pending",
            "corecast_pushes_pending_bytes",
            "corecast_start_time_seconds",
            "corecast_config_last_reload_timestamp_seconds",
            "corecast_uptime_seconds",
        ],
    ),
    (
        "counter",
        &[
            "websocket_messages_total",
            "websocket_connections_total",
            "websocket_disconnections_total",
            "corecast_accepted_total",
            "corecast_admin_evicted_total",
            "corecast_accept_errors_total",
            "corecast_opened_total",
            "corecast_http_requests_total",
            "corecast_forwarded_malformed_total",
            "corecast_forwarded_conflicts_total",
            "corecast_endpoint_panics_total",
            "corecast_log_errors_total",
            "corecast_unusable_key_files_total",
            "corecast_messages_received_total",
            "corecast_received_payload_bytes_total",
            "corecast_deliveries_total",
            "corecast_sent_bytes_total",
            "corecast_send_errors_total",
            "corecast_sends_total",
            "corecast_compression_saved_bytes_total",
            "corecast_inflations_total",
            "corecast_dropped_frames_total",
            "corecast_sender_blocked_total",
            "corecast_pushes_queued_total",
        ],
    ),
];

/// Families with one label, its name and its values, with two shards.
const LABELLED: [(&str, &str, &str, &[&str]); 20] = [
    (
        "gauge",
        "corecast_connections",
        "state",
        &["connecting", "open", "closing"],
    ),
    (
        "gauge",
        "corecast_endpoint_connections",
        "endpoint",
        &["hub", "named", "push"],
    ),
    (
        "counter",
        "corecast_closed_total",
        "reason",
        &CloseReason::LABELS,
    ),
    (
        "counter",
        "corecast_refused_total",
        "reason",
        Refusal::LABELS,
    ),
    (
        "counter",
        "corecast_rate_actions_total",
        "action",
        &RatePolicy::LABELS,
    ),
    (
        "counter",
        "corecast_slow_client_actions_total",
        "action",
        &SlowAction::LABELS,
    ),
    (
        "counter",
        "corecast_tls_handshakes_total",
        "kind",
        &["full", "resumed"],
    ),
    (
        "counter",
        "corecast_pushes_total",
        "kind",
        &["now", "delayed"],
    ),
    (
        "counter",
        "corecast_pushes_ended_total",
        "result",
        &["sent", "cancelled"],
    ),
    (
        "counter",
        "corecast_push_requests_refused_total",
        "reason",
        &[
            "key",
            "method",
            "json",
            "event_name",
            "token",
            "token_ambiguous",
            "delay",
            "batch",
            "query",
            "not_pending",
            "full",
            "journal",
            "key_scope",
            "key_rate",
        ],
    ),
    (
        "counter",
        "corecast_config_reloads_total",
        "result",
        &["applied", "failed"],
    ),
    (
        "counter",
        "corecast_compressions_total",
        "result",
        &["smaller", "in_vain"],
    ),
    (
        "counter",
        "corecast_inflations_refused_total",
        "reason",
        &["message_too_big", "invalid_deflate", "invalid_utf8"],
    ),
    (
        "counter",
        "corecast_wakes_total",
        "result",
        &["sent", "elided"],
    ),
    ("gauge", "corecast_mailbox_depth", "shard", &["0", "1"]),
    ("gauge", "corecast_shard_connections", "shard", &["0", "1"]),
    (
        "counter",
        "corecast_shard_busy_seconds_total",
        "shard",
        &["0", "1"],
    ),
    (
        "counter",
        "corecast_shard_idle_seconds_total",
        "shard",
        &["0", "1"],
    ),
    ("gauge", "corecast_shard_busy_ratio", "shard", &["0", "1"]),
    (
        "counter",
        "corecast_turn_cut_total",
        "phase",
        &TurnPhase::LABELS,
    ),
];

const HISTOGRAMS: [&str; 3] = [
    "corecast_frames_per_send",
    "corecast_relay_latency_seconds",
    "corecast_turn_duration_seconds",
];

const PROCESS: [(&str, &str); 7] = [
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_threads", "gauge"),
];

/// What is not 0 at the start, since time passes.
fn is_about_time(name: &str) -> bool {
    [
        "_uptime_",
        "_start_time_",
        "_timestamp_",
        "_busy_",
        "_idle_",
    ]
    .iter()
    .any(|part| name.contains(part))
}

#[test]
fn every_series_is_there_from_the_start_with_0() {
    let relay = Relay::start(&config());
    let scrape = relay.scrape();
    let mut expected = vec!["corecast_build_info".to_owned()];
    let mut expect = |name: &str, kind: &str| {
        let family = &scrape.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(family.kind, kind, "{name}");
        expected.push(name.to_owned());
    };
    for (kind, names) in PLAIN {
        for name in names {
            expect(name, kind);
            assert!(scrape.value(name) == 0.0 || is_about_time(name), "{name}");
        }
    }
    let guard_reasons = guard::reasons();
    for (kind, name, label, values) in LABELLED {
        expect(name, kind);
        let of_guard = (name == "corecast_refused_total").then_some(&guard_reasons);
        let values: Vec<&str> = values
            .iter()
            .chain(of_guard.into_iter().flatten())
            .copied()
            .collect();
        let samples = &scrape.0[name].samples;
        assert_eq!(samples.len(), values.len(), "{name}");
        for value in values {
            let labels = vec![(label.to_owned(), value.to_owned())];
            let sample = samples.iter().find(|sample| sample.labels == labels);
            let sample = sample.unwrap_or_else(|| panic!("no {name} {labels:?}"));
            assert!(sample.value == 0.0 || is_about_time(name), "{sample:?}");
        }
    }
    HISTOGRAMS.iter().for_each(|name| expect(name, "histogram"));
    if cfg!(target_os = "linux") {
        PROCESS.iter().for_each(|(name, kind)| expect(name, kind));
    }
    expected.sort();
    let there: Vec<String> = scrape.0.keys().cloned().collect();
    assert_eq!(there, expected, "new series belong into the lists above");
}

#[test]
fn build_and_process_are_described() {
    let relay = Relay::start(&config());
    let scrape = relay.scrape();
    let [build] = scrape.0["corecast_build_info"].samples.as_slice() else {
        panic!("{scrape:?}");
    };
    let label = |name| build.labels.iter().find(|(other, _)| other == name);
    let version = env!("CARGO_PKG_VERSION");
    assert!(label("version").is_some_and(|(_, value)| value == version));
    assert!(label("commit").is_some_and(|(_, value)| !value.is_empty()));
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970");
    let started = scrape.value("corecast_start_time_seconds");
    assert!(started > 1.6e9 && started <= now.as_secs_f64());
    if cfg!(target_os = "linux") {
        // The boot time that it is counted from is rounded to a second.
        let process_started = scrape.value("process_start_time_seconds");
        assert!(process_started > 1.6e9 && process_started <= started + 2.0);
        assert!(scrape.value("process_cpu_seconds_total") > 0.0);
        // Two shards, the admin shard, and the test.
        assert!(scrape.value("process_threads") >= 4.0);
        let resident = scrape.value("process_resident_memory_bytes");
        assert!(resident > 1e6 && resident < scrape.value("process_virtual_memory_bytes"));
        let open = scrape.value("process_open_fds");
        assert!(open > 5.0 && open <= scrape.value("process_max_fds"));
    }
}

/// The bytes of a server's frame with a payload of up to 125 bytes.
const HEADER_BYTES: f64 = 2.0;

#[test]
fn messages_and_deliveries_are_counted_exactly() {
    let relay = Relay::start(&config());
    // The least loaded shard gets the next one, so both have members.
    let mut clients = [relay.join("/"), relay.join("/"), relay.join("/")];
    // A shard counts what it has sent after it has sent it.
    relay.scrape_until("3 answers", |scrape| {
        scrape.value("corecast_sends_total") == 3.0
    });
    let before = relay.scrape();
    for text in ["1", "12", "123", "1234", "12345"] {
        relay_text(&mut clients, text);
    }
    relay.scrape_until("15 deliveries", |scrape| {
        scrape.value("corecast_deliveries_total") == 15.0
            && scrape.of_histogram("corecast_frames_per_send", "_sum") == 15.0
    });
    let after = relay.scrape();
    for (name, value) in [
        ("websocket_connected_clients", 3.0),
        ("websocket_connections_total", 3.0),
        ("websocket_disconnections_total", 0.0),
        ("websocket_messages_total", 5.0),
        ("corecast_messages_received_total", 5.0),
        ("corecast_received_payload_bytes_total", 15.0),
        ("corecast_accepted_total", 3.0),
        ("corecast_opened_total", 3.0),
        ("corecast_deliveries_total", 15.0),
        ("corecast_rooms", 1.0),
        ("corecast_dropped_frames_total", 0.0),
    ] {
        assert_eq!(after.value(name), value, "{name}");
    }
    let grown = |name| after.value(name) - before.value(name);
    assert_eq!(
        grown("corecast_sent_bytes_total"),
        3.0 * (15.0 + 5.0 * HEADER_BYTES)
    );
    // Each message was awaited before the next was sent: one send each to each client.
    assert_eq!(grown("corecast_sends_total"), 15.0);
    assert_eq!(
        after.of_histogram("corecast_frames_per_send", "_count"),
        15.0
    );
    assert_eq!(after.of_histogram("corecast_frames_per_send", "_sum"), 15.0);
    assert_eq!(
        after.of_histogram("corecast_relay_latency_seconds", "_count"),
        15.0
    );
    assert!(after.of_histogram("corecast_relay_latency_seconds", "_sum") > 0.0);
    let states = after.by_label("corecast_connections");
    assert_eq!(
        (states["connecting"], states["open"], states["closing"]),
        (0.0, 3.0, 0.0)
    );
    let shards = after.by_label("corecast_shard_connections");
    assert_eq!(shards["0"] + shards["1"], 3.0);
    assert!(shards["0"] > 0.0 && shards["1"] > 0.0, "{shards:?}");
    // Each message was handed to the other shard, which was woken or awake.
    assert_eq!(
        after.by_label("corecast_wakes_total").values().sum::<f64>(),
        5.0
    );
}

#[test]
fn connections_are_counted_by_endpoint_for_as_long_as_they_are_open() {
    let relay = Relay::start(&config());
    let count = |scrape: &Scrape| {
        let of = scrape.by_label("corecast_endpoint_connections");
        [of["hub"], of["named"], of["push"]]
    };
    let clients = ["/", "/lobby", "/lobby", "/ws/ada", "/ws/bob", "/ws?token=1"];
    let mut clients: Vec<_> = clients.iter().map(|path| relay.join(path)).collect();
    assert_eq!(try_join(relay.main, "/ws/ada").err(), Some(409));
    relay.scrape_until("six clients", |scrape| count(scrape) == [3.0, 2.0, 1.0]);
    clients.remove(4);
    clients.remove(0);
    relay.scrape_until("two have left", |scrape| count(scrape) == [2.0, 1.0, 1.0]);
    clients.clear();
    relay.scrape_until("all have left", |scrape| count(scrape) == [0.0, 0.0, 0.0]);
}

#[test]
fn ends_are_counted_once_with_their_reason() {
    let relay = Relay::start(&config());
    let [mut polite, gone, mut careless] = [relay.join("/"), relay.join("/"), relay.join("/")];
    polite.close(None).expect("sent");
    while polite.read().is_ok() {}
    gone.get_ref()
        .shutdown(Shutdown::Both)
        .expect("it was open");
    // A frame that is not masked (RFC 6455 §5.1).
    careless.get_mut().write_all(&[0x81, 0x00]).expect("sent");
    while careless.read().is_ok() {}
    drop((polite, gone, careless));
    let scrape = relay.scrape_until("no connections", |scrape| {
        let states = scrape.by_label("corecast_connections");
        states.values().sum::<f64>() == 0.0
    });
    for (reason, closed) in scrape.by_label("corecast_closed_total") {
        let expected = match reason {
            "client_closed" | "client_gone" | "protocol_error" => 1.0,
            _ => 0.0,
        };
        assert_eq!(closed, expected, "{reason}");
    }
    assert_eq!(scrape.value("websocket_disconnections_total"), 3.0);
    assert_eq!(scrape.value("websocket_connected_clients"), 0.0);
    assert_eq!(scrape.value("corecast_rooms"), 0.0);
    // Close frames are no messages.
    assert_eq!(scrape.value("corecast_deliveries_total"), 0.0);
    assert_eq!(
        scrape.of_histogram("corecast_relay_latency_seconds", "_count"),
        0.0
    );
}

/// The counts of `corecast_refused_total` that are not 0.
fn refusals(scrape: &Scrape) -> Vec<(&str, f64)> {
    let counts = scrape.by_label("corecast_refused_total").into_iter();
    counts.filter(|(_, count)| *count > 0.0).collect()
}

#[test]
fn refusals_are_counted_with_their_reason_and_requests_apart() {
    let mut config = config();
    config.endpoints.get_mut("hub").expect("built in").path = "/chat".to_owned();
    let relay = Relay::start(&config);
    let mut client = Client::connect(relay.main);
    client.send(b"GET /chat HTTP/9.9\r\n\r\n");
    assert!(client.reply("GET").status >= 400);
    let mut client = Client::connect(relay.main);
    client.send(
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(client.reply("GET").status, 400);
    assert_eq!(try_join(relay.main, "/nothing").err(), Some(404));
    assert_eq!(try_join(relay.main, "/health").err(), Some(400));
    assert_eq!(ask(relay.main, "GET", "/chat").status, 426);
    assert_eq!(ask(relay.main, "GET", "/livez").status, 200);
    let scrape = relay.scrape();
    let expected = [
        ("bad_request", 1.0),
        ("bad_upgrade", 1.0),
        ("endpoint", 1.0),
        ("not_found", 1.0),
    ];
    assert_eq!(refusals(&scrape), expected);
    // The scrapes themselves are not among them.
    assert_eq!(scrape.value("corecast_http_requests_total"), 2.0);
    assert_eq!(scrape.value("corecast_opened_total"), 0.0);
}

#[test]
fn full_relays_and_full_addresses_are_told_apart() {
    let mut full = config();
    full.limits.connections = ConnectionLimit::Count(1);
    let mut address = config();
    address.limits.connections_per_ip = Some(1);
    address.limits.exempt_networks.clear();
    for (config, status, reason) in [
        (full, 503, "connections"),
        (address, 429, "connections_per_ip"),
    ] {
        let relay = Relay::start(&config);
        let _first = relay.join("/");
        assert_eq!(try_join(relay.main, "/").err(), Some(status));
        assert_eq!(refusals(&relay.scrape()), [(reason, 1.0)]);
    }
}

#[test]
fn partial_messages_show_in_the_inbound_bytes() {
    let relay = Relay::start(&config());
    let mut client = relay.join("/");
    // Not the last frame, masked with zeros, 5 bytes (RFC 6455 §5.2).
    let part = [0x01, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    client.get_mut().write_all(&part).expect("sent");
    relay.scrape_until("5 bytes held", |scrape| {
        scrape.value("corecast_inbound_bytes") >= 5.0
    });
    let rest = [0x80, 0x80, 0, 0, 0, 0];
    client.get_mut().write_all(&rest).expect("sent");
    assert_eq!(client.read().expect("a message"), Message::text("hello"));
    relay.scrape_until("nothing held", |scrape| {
        scrape.value("corecast_inbound_bytes") == 0.0
    });
}

#[test]
fn a_client_that_does_not_read_shows_in_the_outbox_and_then_as_slow() {
    let mut config = config();
    config.slow_client.outbox_bytes = 4 << 20;
    let named = config.endpoints.get_mut("named").expect("built in");
    named.limits.message_bytes = None;
    config.slow_client.outbox_age = Duration::ZERO;
    let hub = config.endpoints.get_mut("hub").expect("built in");
    hub.kind = Kind::Hub(HubOptions { echo: false });
    let relay = Relay::start(&config);
    let slow = relay.join("/");
    let mut sender = relay.join("/");
    let text = "x".repeat(512 << 10);
    // As much as the sockets between them take, until something waits in the outbox.
    let is_waiting = |scrape: &Scrape| scrape.value("corecast_outbox_bytes") > 0.0;
    let mut sent = 0.0;
    let waiting = loop {
        sender.send(Message::text(text.as_str())).expect("sent");
        sent += 1.0;
        assert!(sent < 100.0, "the sockets take everything");
        let scrape = relay.scrape_until("delivered or waiting", |scrape| {
            scrape.value("corecast_deliveries_total") == sent || is_waiting(scrape)
        });
        if is_waiting(&scrape) {
            break scrape;
        }
    };
    assert_eq!(
        waiting.by_label("corecast_slow_client_actions_total")["disconnect"],
        0.0
    );
    relay.scrape_until("an age", |scrape| {
        scrape.value("corecast_outbox_age_seconds") > 0.0
    });
    for _ in 0..10 {
        sender.send(Message::text(text.as_str())).expect("sent");
    }
    let closed = relay.scrape_until("a slow client is closed", |scrape| {
        scrape.by_label("corecast_closed_total")["slow_bytes"] == 1.0
            && scrape.value("corecast_dropped_frames_total") >= 1.0
            && scrape.value("websocket_connected_clients") == 1.0
    });
    let actions = closed.by_label("corecast_slow_client_actions_total");
    assert_eq!(actions["disconnect"], 1.0);
    drop(slow);
    relay.scrape_until("nothing waits", |scrape| {
        scrape.value("corecast_outbox_bytes") == 0.0
            && scrape.value("corecast_live_batch_bytes") == 0.0
            && scrape.value("corecast_outbox_age_seconds") == 0.0
    });
}

#[test]
fn scrapes_under_load_are_whole_and_counters_never_fall() {
    let relay = Relay::start(&config());
    let mut sender = relay.join("/");
    let receiver = relay.join("/");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| drain(receiver.get_ref()));
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                sender.send(Message::text("load")).expect("sent");
                sender.read().expect("a message");
            }
        });
        let mut before = relay.scrape();
        for _ in 0..30 {
            let after = relay.scrape();
            assert_no_counter_fell(&before, &after);
            before = after;
        }
        is_over.store(true, Ordering::Relaxed);
        receiver
            .get_ref()
            .shutdown(Shutdown::Both)
            .expect("it was open");
    });
    let scrape = relay.scrape();
    let ratios = scrape.by_label("corecast_shard_busy_ratio");
    assert!(
        ratios.values().all(|ratio| (0.0..=1.0).contains(ratio)),
        "{ratios:?}"
    );
    assert!(scrape.value("corecast_deliveries_total") > 0.0);
}

fn drain(mut stream: &TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|received| received > 0) {}
}

fn assert_no_counter_fell(before: &Scrape, after: &Scrape) {
    for (name, family) in after.0.iter().filter(|(_, family)| family.kind != "gauge") {
        for (old, new) in before.0[name].samples.iter().zip(&family.samples) {
            assert!(new.value >= old.value, "{old:?} became {new:?}");
        }
    }
}
