//! The dashboard's figures, and access to them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

use corecast::admin::dashboard::Snapshot;
use corecast::config::{Config, EndpointConfig, EndpointKind, KIB};
use corecast::relay;
use corecast_nostr::{Draft, Signer};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::http::{Client, DEADLINE, Reply, ask, poll};
use crate::{Relay, config, relay_text};

const TOKEN: &str = "a-token-for-admins";
/// The same in base64, as a page offers it.
const OFFERED: &str = "token.YS10b2tlbi1mb3ItYWRtaW5z";
const FIGURES: [&str; 2] = ["/dashboard/snapshot", "/dashboard/config"];
const FILES: [&str; 4] = [
    "/",
    "/dashboard/look.css",
    "/dashboard/page.js",
    "/dashboard/icon.svg",
];

fn guarded() -> Config {
    let mut config = config();
    config.admin.token = Some(TOKEN.parse().expect("a token"));
    config
}

/// Requests `path` with additional headers, including the host's name.
fn ask_with(to: SocketAddr, path: &str, headers: &str) -> Reply {
    let mut client = Client::connect(to);
    client.send(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes());
    client.reply("GET")
}

fn get(relay: &Relay, path: &str) -> Reply {
    ask_with(relay.admin(), path, "Host: localhost\r\n")
}

fn snapshot(relay: &Relay) -> Snapshot {
    let reply = get(relay, "/dashboard/snapshot");
    assert_eq!(reply.status, 200, "{reply:?}");
    parse(&reply.body)
}

fn parse(text: &str) -> Snapshot {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Connects to the stream; an error is the status of the refusal.
fn watch(to: SocketAddr, headers: &[(&'static str, &str)]) -> Result<WebSocket<TcpStream>, u16> {
    let request = format!("ws://{to}/dashboard/stream").into_client_request();
    let mut request = request.expect("a request");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a value");
        request.headers_mut().insert(*name, value);
    }
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    match tungstenite::client(request, stream) {
        Ok((client, _)) => Ok(client),
        Err(HandshakeError::Failure(tungstenite::Error::Http(refused))) => {
            Err(refused.status().as_u16())
        }
        Err(error) => panic!("{error}"),
    }
}

fn next(watcher: &mut WebSocket<TcpStream>) -> Snapshot {
    match watcher.read().expect("a snapshot") {
        Message::Text(text) => parse(&text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn its_figures_are_those_of_the_metrics() {
    let relay = Relay::start(&config());
    let mut clients = [relay.join("/a"), relay.join("/a"), relay.join("/b")];
    for _ in 0..4 {
        relay_text(&mut clients[..2], "to both in a room");
    }
    relay.scrape_until("eight deliveries", |scrape| {
        scrape.value("corecast_deliveries_total") == 8.0
    });
    clients[2].close(None).expect("a close");
    relay.scrape_until("one has left", |scrape| {
        scrape.by_label("corecast_closed_total")["client_closed"] == 1.0
    });
    let (snapshot, scrape) = (snapshot(&relay), relay.scrape());
    let totals = snapshot.totals;
    for (figure, name) in [
        (snapshot.now.clients, "websocket_connected_clients"),
        (snapshot.now.rooms as u64, "corecast_rooms"),
        (totals.messages, "corecast_messages_received_total"),
        (
            totals.message_bytes,
            "corecast_received_payload_bytes_total",
        ),
        (totals.deliveries, "corecast_deliveries_total"),
        (totals.sent_bytes, "corecast_sent_bytes_total"),
        (totals.sends, "corecast_sends_total"),
        (totals.opened, "corecast_opened_total"),
    ] {
        assert_eq!(figure as f64, scrape.value(name), "{name}");
    }
    assert_eq!(
        (totals.messages, totals.deliveries, totals.closed),
        (4, 8, 1)
    );
    assert_eq!((snapshot.now.clients, snapshot.now.rooms), (2, 1));
    let [close] = snapshot.closes.as_slice() else {
        panic!("{:?}", snapshot.closes);
    };
    assert_eq!((&*close.reason, close.total), ("client_closed", 1));
    let connections: u32 = snapshot.shards.iter().map(|shard| shard.connections).sum();
    assert_eq!(u64::from(connections), snapshot.now.connections);
    assert_eq!(snapshot.shards.len(), 2);
}

#[test]
fn a_watcher_gets_a_snapshot_a_second_with_what_happened_in_it() {
    let relay = Relay::start(&config());
    let mut watcher = watch(relay.admin(), &[]).expect("let in");
    let mut earlier = next(&mut watcher);
    assert_eq!(earlier.rates.messages, 0.0);
    assert_eq!(earlier.latency.p50_us, None);
    assert_eq!(
        earlier.now.rooms, 0,
        "the dashboard's own room is not counted"
    );
    let mut clients = [relay.join("/a"), relay.join("/a")];
    let mut deliveries = 0;
    while deliveries < 20 {
        (0..5).for_each(|_| relay_text(&mut clients, "again"));
        let snapshot = next(&mut watcher);
        assert!(snapshot.at_unix_ms > earlier.at_unix_ms);
        let (rates, window_s) = (&snapshot.rates, snapshot.window_s);
        let counted = snapshot.totals.messages - earlier.totals.messages;
        assert!((rates.messages * window_s - counted as f64).abs() < 0.1 + window_s / 10.0);
        let buckets = &snapshot.latency.buckets;
        let in_buckets: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        assert_eq!(in_buckets > 0, snapshot.latency.max_us.is_some());
        assert!(snapshot.latency.p50_us <= snapshot.latency.max_us);
        deliveries += in_buckets;
        earlier = snapshot;
    }
    assert_eq!(
        deliveries, earlier.totals.deliveries,
        "each is in one second's histogram"
    );
}

#[test]
fn sampling_stops_without_viewers() {
    let relay = Relay::start(&config());
    let first = snapshot(&relay);
    let until = first.uptime_s + 3.5;
    relay.scrape_until("a while has gone by", |scrape| {
        scrape.value("corecast_uptime_seconds") > until
    });
    let second = snapshot(&relay);
    assert!(second.uptime_s - first.uptime_s > 3.0);
    assert!(
        second.window_s < 2.9,
        "it began to count anew: {}",
        second.window_s
    );
}

#[test]
fn those_who_ask_at_once_get_the_same_answer() {
    let relay = Relay::start(&config());
    let mut clients = [(); 3].map(|()| Client::connect(relay.admin()));
    for client in &mut clients {
        client.send(b"GET /dashboard/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    let times = clients.map(|mut client| parse(&client.reply("GET").body).at_unix_ms);
    assert!(
        times.iter().max().unwrap() - times.iter().min().unwrap() < 3_000,
        "{times:?}"
    );
}

/// A client that never reads, in that room.
fn stalled(relay: &Relay, room: &str) -> TcpStream {
    let mut stream = TcpStream::connect(relay.main).expect("a connection");
    let head = format!(
        "GET {room} HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    stream
}

#[test]
fn lagging_clients_are_listed_and_addresses_on_request() {
    for addresses in [false, true] {
        let mut config = config();
        config.admin.addresses = addresses;
        config.engine.send_buffer_bytes = Some(64 * KIB);
        let relay = Relay::start(&config);
        let stalled = stalled(&relay, "/slow");
        let mut publisher = relay.join("/slow");
        let message = "x".repeat(512 * KIB);
        let found = poll(
            || {
                publisher.send(Message::text(&message)).expect("sent");
                publisher.read().expect("its own message");
                snapshot(&relay)
            },
            |snapshot| {
                snapshot
                    .slow_clients
                    .iter()
                    .any(|each| each.outbox_bytes > 0)
            },
            "a slow client",
        );
        let [slow] = found.slow_clients.as_slice() else {
            panic!("{found:?}");
        };
        let address = stalled.local_addr().expect("an address").to_string();
        assert_eq!(slow.address, addresses.then_some(address));
        assert_eq!((&*slow.endpoint, found.slow_clients_total), ("hub", 1));
        drop(stalled);
        poll(
            || snapshot(&relay).slow_clients_total,
            |total| *total == 0,
            "it is gone",
        );
    }
}

#[test]
fn a_relay_for_nostr_has_figures_of_its_own() {
    let none = Relay::start(&config());
    assert!(!get(&none, "/dashboard/snapshot").body.contains("nostr"));
    assert!(!get(&none, "/metrics").body.contains("corecast_nostr_"));
    let mut config = config();
    let notes = EndpointConfig::new(EndpointKind::Nostr, "/nostr");
    config.endpoints.insert("notes".to_owned(), notes);
    let relay = Relay::start(&config);
    let mut client = relay.join("/nostr");
    let signer = Signer::new([1; 32]).expect("a key");
    let event = signer.sign(Draft::default());
    for message in [
        r#"["REQ","s",{"kinds":[0]}]"#.to_owned(),
        format!("[\"EVENT\",{}]", event.json()),
        format!(
            "[\"EVENT\",{}]",
            event.json().replace("\"kind\":0", "\"kind\":1")
        ),
    ] {
        client.send(Message::text(message)).expect("sent");
        client.read().expect("an answer");
    }
    let found = poll(
        || snapshot(&relay).nostr,
        |relays| relays.iter().any(|each| each.store_events == 1),
        "the event is counted",
    );
    let [notes] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((&*notes.endpoint, notes.subscriptions), ("notes", 1));
    assert!(notes.store_bytes > event.json().len() as u64);
    let metrics = get(&relay, "/metrics").body;
    for line in [
        r#"corecast_nostr_events_total{result="stored"} 1"#,
        r#"corecast_nostr_events_total{result="invalid"} 1"#,
        r#"corecast_nostr_queries_total{op="req",result="answered"} 1"#,
        "corecast_nostr_writer_queue 0",
        "corecast_nostr_subscriptions 1",
        "corecast_nostr_deliveries_total 1",
        "corecast_nostr_store_events 1",
        "corecast_nostr_verify_seconds_count 1",
        "corecast_nostr_query_seconds_count 1",
        "corecast_nostr_commit_seconds_count 1",
    ] {
        assert!(
            metrics.lines().any(|each| each == line),
            "{line} in {metrics}"
        );
    }
}

#[test]
fn a_reachable_dashboard_without_token_is_closed() {
    let mut config = config();
    config.metrics.host = Some("0.0.0.0".parse().expect("an address"));
    let relay = Relay::start(&config);
    let admin = SocketAddr::from(([127, 0, 0, 1], relay.admin().port()));
    for path in FIGURES.iter().chain(&FILES) {
        let reply = ask_with(admin, path, "Host: localhost\r\n");
        assert_eq!(reply.status, 403, "{path}");
        assert!(reply.body.contains("admin.token") && reply.body.contains("metrics.host"));
    }
    assert_eq!(watch(admin, &[]).err(), Some(403));
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        assert_eq!(ask(admin, "GET", path).status, 200, "{path}");
    }
}

#[test]
fn the_token_opens_it_and_nothing_else_does() {
    let relay = Relay::start(&guarded());
    for path in FILES {
        assert_eq!(get(&relay, path).status, 200, "{path}");
    }
    for path in FIGURES {
        for (wrong, url) in [
            ("", path.to_owned()),
            (
                "Authorization: Bearer a-token-for-admin\r\n",
                path.to_owned(),
            ),
            ("Authorization: Bearer \r\n", path.to_owned()),
            ("Cookie: token=a-token-for-admins\r\n", path.to_owned()),
            ("", format!("{path}?token={TOKEN}")),
            ("", format!("{path}?access_token={TOKEN}&api_key={TOKEN}")),
        ] {
            let reply = ask_with(relay.admin(), &url, &format!("Host: x\r\n{wrong}"));
            assert_eq!(reply.status, 401, "{url} {wrong}");
            assert!(reply.header("WWW-Authenticate").is_some());
        }
        let right = format!("Host: relay.example\r\nAuthorization: Bearer {TOKEN}\r\n");
        let reply = ask_with(relay.admin(), path, &right);
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("Cache-Control"), Some("no-store"));
        assert!(!reply.body.contains(TOKEN), "{path}");
    }
    let protocols = "Sec-WebSocket-Protocol";
    let offered = format!("corecast.dashboard.v1, {OFFERED}");
    assert_eq!(watch(relay.admin(), &[]).err(), Some(401));
    let wrong = watch(relay.admin(), &[(protocols, "token.AAAA")]);
    assert_eq!(wrong.err(), Some(401));
    let bearer = format!("Bearer {TOKEN}");
    for right in [("Authorization", &bearer), (protocols, &offered)] {
        let mut watcher = watch(relay.admin(), &[(right.0, right.1)]).expect("let in");
        assert_eq!(next(&mut watcher).format, 1);
    }
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        assert_eq!(ask(relay.admin(), "GET", path).status, 200, "{path}");
    }
}

#[test]
fn guesses_get_429_but_the_dashboard_token_still_works() {
    let mut config = guarded();
    config.limits.exempt_networks = Vec::new();
    let relay = Relay::start(&config);
    let with = |token: &str| {
        let headers = format!("Host: x\r\nAuthorization: Bearer {token}\r\n");
        ask_with(relay.admin(), FIGURES[1], &headers)
    };
    let judged = (0..200).take_while(|_| with("a-guess").status == 401);
    assert!(judged.count() >= 20);
    let refused = (0..200)
        .map(|_| with("a-guess"))
        .find(|reply| reply.status == 429);
    let refused = refused.expect("it is throttled");
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert!(
        refused.body.contains("\"credential_rate\""),
        "{}",
        refused.body
    );
    assert_eq!(with(TOKEN).status, 200);
    // A request without a token does not count as a guess.
    assert_eq!(
        ask_with(relay.admin(), FIGURES[1], "Host: x\r\n").status,
        401
    );
}

#[test]
fn the_dashboard_stream_refuses_other_origins_and_hosts() {
    let relay = Relay::start(&config());
    let own = format!("http://{}", relay.admin());
    assert!(watch(relay.admin(), &[("Origin", &own)]).is_ok());
    for other in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let refused = watch(relay.admin(), &[("Origin", other)]);
        assert_eq!(refused.err(), Some(403), "{other}");
    }
    // A page under a name that a foreign DNS points here sends that name as its Host.
    let rebound = "Host: evil.example\r\n";
    for path in FIGURES.iter().chain(&FILES) {
        assert_eq!(ask_with(relay.admin(), path, rebound).status, 403, "{path}");
    }
    let both = [("Host", "evil.example"), ("Origin", "http://evil.example")];
    assert_eq!(watch(relay.admin(), &both).err(), Some(403));
}

#[test]
fn without_a_token_nothing_is_shown_through_a_proxy() {
    let relay = Relay::start(&config());
    for path in FIGURES.iter().chain(&FILES) {
        for said in [
            "X-Forwarded-For: 192.0.2.1",
            "Forwarded: for=_x",
            "Via: 1.1 p",
            "X-Real-IP: ::",
        ] {
            let headers = format!("Host: localhost\r\n{said}\r\n");
            let reply = ask_with(relay.admin(), path, &headers);
            assert_eq!(reply.status, 403, "{path} {said}");
            assert!(reply.body.contains("admin.token"), "{path} {said}");
        }
    }
    // Like a request of an nginx without a configured Host.
    let mut client = Client::connect(relay.admin());
    client.send(b"GET /dashboard/config HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(client.reply("GET").status, 403);
    let proxied = [("Host", "localhost"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(watch(relay.admin(), &proxied).err(), Some(403));
}

#[test]
fn a_foreign_host_name_blocks_browsers_but_not_scrapers() {
    let relay = Relay::start(&config());
    let browser = "User-Agent: Mozilla/5.0\r\nAccept-Language: en\r\n";
    let scraper = "User-Agent: Prometheus/3.5\r\n";
    for path in ["/metrics", "/health"] {
        for (host, headers, status) in [
            ("evil.example:9090", browser, 403),
            ("localhost:9090", browser, 200),
            ("127.0.0.1", browser, 200),
            ("relay.example", scraper, 200),
        ] {
            let headers = format!("Host: {host}\r\n{headers}");
            let reply = ask_with(relay.admin(), path, &headers);
            assert_eq!(reply.status, status, "{path} {headers}");
        }
    }
    // Probes reveal nothing, and always answer; the relay's own listener accepts pages of any name.
    let rebound = format!("Host: evil.example\r\n{browser}");
    for (to, path) in [
        (relay.admin(), "/livez"),
        (relay.admin(), "/readyz"),
        (relay.main, "/health"),
        (relay.main, "/test/benchmark"),
    ] {
        assert_eq!(ask_with(to, path, &rebound).status, 200, "{path}");
    }
}

#[test]
fn its_files_go_out_with_a_strict_policy_and_tags() {
    let relay = Relay::start(&config());
    for path in FILES {
        let reply = get(&relay, path);
        let policy = reply.header("Content-Security-Policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"));
        let etag = reply.header("ETag").expect("a tag");
        let known = format!("Host: localhost\r\nIf-None-Match: {etag}\r\n");
        let mut client = Client::connect(relay.admin());
        client.send(format!("GET {path} HTTP/1.1\r\n{known}\r\n").as_bytes());
        assert_eq!(client.reply("HEAD").status, 304, "{path}");
    }
    assert_eq!(get(&relay, "/dashboard/x").status, 404);
    assert_eq!(get(&relay, "/dashboard/stream").status, 426);
    assert_eq!(ask(relay.main, "GET", "/dashboard/page.js").status, 404);
}

#[test]
fn a_disabled_dashboard_serves_nothing() {
    let mut config = config();
    config.admin.dashboard = false;
    let relay = Relay::start(&config);
    for path in FIGURES.iter().chain(&FILES) {
        assert_eq!(get(&relay, path).status, 404, "{path}");
    }
    assert_eq!(get(&relay, "/metrics").status, 200);
}

#[test]
fn a_reload_replaces_the_dashboard_token_at_once() {
    let mut relay = Relay::start(&guarded());
    let status = |relay: &Relay, token: &str| {
        let headers = format!("Host: x\r\nAuthorization: Bearer {token}\r\n");
        ask_with(relay.admin(), "/dashboard/config", &headers).status
    };
    assert_eq!(status(&relay, TOKEN), 200);
    let bearer = [("Authorization", &*format!("Bearer {TOKEN}"))];
    let mut watcher = watch(relay.admin(), &bearer).expect("let in");
    let mut reload = |config: &Config| {
        let builder = relay::builder(config, 1_024).expect("a config that works");
        let engine = relay.engine.as_mut().expect("it runs");
        engine.reload(builder).expect("reloaded");
    };
    // The same token, so the viewer stays.
    let mut same = guarded();
    same.admin.addresses = true;
    reload(&same);
    next(&mut watcher);
    next(&mut watcher);
    let mut other = guarded();
    other.admin.token = Some("another-token-of-ours".parse().expect("a token"));
    reload(&other);
    assert_eq!(status(&relay, TOKEN), 401);
    assert_eq!(status(&relay, "another-token-of-ours"), 200);
    // A viewer with the removed token is closed.
    let close = loop {
        match watcher.read().expect("a snapshot or a Close") {
            Message::Text(_) => {}
            Message::Close(close) => break close.expect("a code"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (u16::from(close.code), &*close.reason),
        (1008, "auth: revoked")
    );
}

fn top(relay: &Relay, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    Command::new(env!("CARGO_BIN_EXE_corecast"))
        .args(["top", "--url", &format!("http://{}/", relay.admin())])
        .args(arguments)
        .current_dir(directory.path())
        .env_clear()
        .output()
        .expect("it runs")
}

#[test]
fn without_a_terminal_top_prints_text_or_json() {
    let relay = Relay::start(&config());
    let _client = relay.join("/a");
    for arguments in [&["--once"][..], &[]] {
        let output = top(&relay, arguments);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("\nclients           1\n"), "{text}");
    }
    let output = top(&relay, &["--once", "--json"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(parse(&text).now.clients, 1);
}

#[test]
fn top_uses_the_config_token_and_reports_refusals() {
    let relay = Relay::start(&guarded());
    let set = format!("admin.token={TOKEN}");
    assert_eq!(
        top(&relay, &["--once", "--set", &set]).status.code(),
        Some(0)
    );
    let refused = top(&relay, &["--once"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).expect("UTF-8");
    assert!(
        said.contains("401") && said.contains("admin.token"),
        "{said}"
    );
    let admin = relay.admin();
    drop(relay);
    let nobody = Command::new(env!("CARGO_BIN_EXE_corecast"))
        .args(["top", "--once", "--url", &format!("http://{admin}")])
        .output()
        .expect("it runs");
    assert_eq!(nobody.status.code(), Some(1));
}
