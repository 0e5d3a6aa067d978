//! `/metrics`: its series, and that they grow by exactly the number of events.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corecast::config::{ConnectionLimit, HubOptions, Kind};
use tungstenite::Message;

use crate::exposition::Scrape;
use crate::http::{Client, ask};
use crate::{Relay, config, relay_text, try_join};

/// A row of `docs/metrics.md`, which is written from the rows of the code.
struct Documented {
    name: &'static str,
    kind: &'static str,
    /// Each label, and its values; none if the running relay alone knows them.
    labels: Vec<(&'static str, Vec<&'static str>)>,
}

fn documented() -> Vec<Documented> {
    let lines = include_str!("../../docs/metrics.md").lines();
    let rows = lines.filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        let kind = cells.next()?;
        let labels = cells.next()?.split("; ").filter_map(|label| {
            let (name, values) = label.strip_prefix('`')?.split_once("`: ")?;
            // Every second part stands between backticks.
            let values = values.split('`').skip(1).step_by(2);
            Some((name, values.collect()))
        });
        let labels = labels.collect();
        Some(Documented { name, kind, labels })
    });
    rows.collect()
}

/// The series of a metric, by their labels, with two shards and the endpoints that are on unless
/// the config says otherwise.
fn series(documented: &Documented) -> Vec<Vec<(String, String)>> {
    let mut series = vec![Vec::new()];
    for (label, values) in &documented.labels {
        let values = match *label {
            "shard" => &vec!["0", "1"],
            "endpoint" => &vec!["hub", "named", "push"],
            _ => values,
        };
        let extended = series.iter().flat_map(|before: &Vec<_>| {
            values.iter().map(|value| {
                let mut labels = before.clone();
                labels.push(((*label).to_owned(), (*value).to_owned()));
                labels
            })
        });
        series = extended.collect();
    }
    series
}

/// Metrics that this relay has nothing to say about: it has no Nostr endpoint and no TLS.
fn is_absent(name: &str) -> bool {
    name.starts_with("corecast_nostr_") || name.starts_with("corecast_tls_certificate_")
}

/// Whether a series is not 0 at the start because it measures time.
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
fn exactly_the_documented_series_exist_from_the_start() {
    let relay = Relay::start(&config());
    let scrape = relay.scrape();
    let documented = documented();
    let mut names = Vec::new();
    for row in documented.iter().filter(|row| !is_absent(row.name)) {
        let name = row.name;
        names.push(name);
        if name.starts_with("process_") && !cfg!(target_os = "linux") {
            continue;
        }
        let family = &scrape.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(family.kind, row.kind, "{name}");
        if row.kind == "histogram" || name == "corecast_build_info" {
            continue;
        }
        let wanted = series(row);
        assert_eq!(family.samples.len(), wanted.len(), "{name}");
        for labels in wanted {
            let sample = family.samples.iter().find(|sample| sample.labels == labels);
            let sample = sample.unwrap_or_else(|| panic!("no {name} {labels:?}"));
            let is_free = is_about_time(name) || name.starts_with("process_");
            assert!(sample.value == 0.0 || is_free, "{sample:?}");
        }
    }
    assert!(names.len() > 70, "the page has its tables");
    for name in scrape.0.keys() {
        assert!(names.contains(&name.as_str()), "{name} is not documented");
    }
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
        // It is counted from the boot time, which is rounded to a second.
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
    // A shard counts a send after it.
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
    // Each message was awaited before the next was sent: one send per message and client.
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
    // Each message was handed to the other shard, which was woken or already awake.
    assert_eq!(
        after.by_label("corecast_wakes_total").values().sum::<f64>(),
        5.0
    );
}

#[test]
fn pings_are_counted_and_are_not_messages() {
    let relay = Relay::start(&config());
    let mut client = relay.join("/");
    for _ in 0..3 {
        client.send(Message::Ping("?".into())).expect("sent");
        assert!(client.read().expect("an answer").is_pong());
    }
    let scrape = relay.scrape();
    assert_eq!(scrape.value("corecast_pings_received_total"), 3.0);
    assert_eq!(scrape.value("corecast_messages_received_total"), 0.0);
}

#[test]
fn open_connections_are_counted_by_endpoint() {
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
    // Close frames do not count as messages.
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
    // The scrapes themselves do not count.
    assert_eq!(scrape.value("corecast_http_requests_total"), 2.0);
    assert_eq!(scrape.value("corecast_opened_total"), 0.0);
}

#[test]
fn full_relays_and_full_addresses_count_separately() {
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
fn a_stalled_client_shows_in_the_outbox_and_then_as_slow() {
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
    // As much as the sockets between them accept, until something waits in the outbox.
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
