//! Clients that send or connect more than their rate allows: delayed, dropped, closed, refused.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use corecast::config::{ConfigFile, load};
use corecast::engine::{
    CloseReason, Deflate, EndpointSettings, Keepalive, Network, Rate, RatePolicy, Refusal,
    Settings, TokenRate,
};
use corecast::limits::PACED_READ_BYTES_MAX;

use crate::support::client::{
    CONTINUATION, Client, FIN, PING, PONG, RSV1, TEXT, compressed, fragment, frame, raw_frame,
    upgrade, upgrade_with,
};
use crate::support::{Server, eventually, settings};

fn hub(policy: RatePolicy, messages: Option<TokenRate>, bytes: Option<TokenRate>) -> Server {
    Server::hub(settings(), endpoint(policy, messages, bytes))
}

fn endpoint(
    policy: RatePolicy,
    messages: Option<TokenRate>,
    bytes: Option<TokenRate>,
) -> EndpointSettings {
    EndpointSettings {
        rate: Rate {
            policy,
            messages,
            bytes,
        },
        ..EndpointSettings::default()
    }
}

fn actions(server: &Server, policy: RatePolicy) -> u64 {
    server.sum(|stats| stats.rate_actions[policy as usize].get())
}

/// Numbered messages, in one piece.
fn numbered(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|number| frame(TEXT, number.to_string().as_bytes()))
        .collect()
}

#[test]
fn every_frame_takes_a_token_whatever_it_is() {
    let rate = TokenRate::new(1, 10);
    for (name, frame) in [
        ("pong", frame(PONG, b"")),
        ("ping", frame(PING, b"")),
        ("fragment", fragment(CONTINUATION, b"")),
        ("text", frame(TEXT, b"")),
    ] {
        let server = hub(RatePolicy::Close, Some(rate), None);
        let mut client = server.open("/");
        if name == "fragment" {
            client.send(&fragment(TEXT, b""));
        }
        client.send(&frame.repeat(30));
        let (_, code, reason) = client.until_close();
        assert_eq!((code, &reason[..5]), (1008, "rate:"), "{name}: {reason}");
        assert_eq!(actions(&server, RatePolicy::Close), 1, "{name}");
    }
}

#[test]
fn delayed_clients_lose_nothing_and_do_not_delay_others() {
    let server = hub(RatePolicy::Delay, Some(TokenRate::new(100, 10)), None);
    let mut flooder = server.open("/");
    let mut bystander = server.open("/elsewhere");
    let began = Instant::now();
    flooder.send(&numbered(60));
    eventually("it waits", || actions(&server, RatePolicy::Delay) > 0);
    for number in 0..5 {
        bystander.text(&number.to_string());
        assert_eq!(bystander.expect_text(), number.to_string());
    }
    for number in 0..60 {
        assert_eq!(flooder.expect_text(), number.to_string());
    }
    // Fifty of them had to wait for a token of their own.
    assert!(
        began.elapsed() >= Duration::from_millis(490),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.view.inbound_bytes(), 0, "nothing is kept any more");
    // Later messages get their turn as well, including the Close.
    flooder.send(&numbered(20));
    flooder.close(1000);
    let (texts, code, _) = flooder.until_close();
    assert_eq!((texts.len(), code), (20, 1000));
    drop((flooder, bystander));
    server.expect_empty();
}

#[test]
fn with_delay_tcp_slows_the_client_down() {
    // One message and then nothing for a quarter of an hour.
    let server = hub(RatePolicy::Delay, None, Some(TokenRate::new(1, 1)));
    let mut flooder = server.open("/");
    let bystander_path = "/elsewhere";
    flooder.text(&"x".repeat(1_000));
    assert_eq!(flooder.expect_text().len(), 1_000);
    flooder.stream.set_nonblocking(true).unwrap();
    let piece = frame(TEXT, &[b'y'; 4_000]);
    let mut sent = 0;
    let mut is_full = false;
    eventually("the socket takes no more", || {
        // Full, and still full at the second attempt.
        let was_full = std::mem::replace(&mut is_full, false);
        loop {
            match std::io::Write::write(&mut flooder.stream, &piece) {
                Ok(count) => sent += count,
                Err(_) => break is_full = true,
            }
            assert!(sent < 64 << 20, "it reads on and on");
        }
        was_full
    });
    assert!(server.view.inbound_bytes() <= PACED_READ_BYTES_MAX);
    let mut bystander = server.open(bystander_path);
    bystander.round_trip();
    assert_eq!(server.sum(|stats| stats.messages.get()), 1);
    drop((flooder, bystander));
    // A dead client is noticed at once: sending to it fails, or its end is read.
    assert!(server.stop());
}

#[test]
fn waiting_for_a_token_misses_no_deadline() {
    let mut settings = settings();
    settings.timeouts.message = Duration::from_millis(300);
    let rate = TokenRate::new(100, 1);
    let mut endpoint = endpoint(RatePolicy::Delay, None, Some(rate));
    endpoint.keepalive = Keepalive {
        ping: Duration::from_millis(100),
        pong: Duration::from_millis(300),
    };
    let server = Server::hub(settings, endpoint);
    // A message is open meanwhile: a ping between its fragments is allowed for a second and a
    // quarter.
    let mut client = server.open("/");
    let began = Instant::now();
    client.send(&fragment(TEXT, b"be"));
    client.send(&frame(PING, &[b'p'; 125]));
    client.send(&fragment(FIN | CONTINUATION, b"gun"));
    assert_eq!(client.frame().payload.len(), 125);
    assert_eq!(client.expect_text(), "begun");
    assert!(
        began.elapsed() >= Duration::from_millis(1_240),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn one_that_waits_can_be_closed_and_answers() {
    let server = hub(RatePolicy::Delay, Some(TokenRate::new(1, 1)), None);
    let mut client = server.open("/");
    client.send(&numbered(2_000));
    eventually("it waits", || actions(&server, RatePolicy::Delay) > 0);
    // The client's Close comes after two thousand messages that wait for their turn.
    client.close(1000);
    let stopping = std::thread::spawn(move || server.stop());
    let (texts, code, _) = client.until_close();
    assert!((1..100).contains(&texts.len()), "{}", texts.len());
    assert_eq!(code, 1001);
    client.expect_end();
    assert!(stopping.join().unwrap(), "it was not waited for");
}

#[test]
fn waiting_input_counts_as_partial_and_the_largest_is_closed() {
    let mut settings = settings();
    settings.inbound_bytes_max = 20_000;
    let rate = TokenRate::new(1, 1);
    let server = Server::hub(settings, endpoint(RatePolicy::Delay, Some(rate), None));
    let mut flooders = [server.open("/"), server.open("/")];
    for flooder in &mut flooders {
        flooder.send(&numbered(3_000));
    }
    let index = CloseReason::InboundBudget.label_index();
    eventually("one of them goes", || {
        server.sum(|stats| stats.closed[index].get()) == 1
    });
    eventually("within the bound again", || {
        server.view.inbound_bytes() <= 20_000
    });
    drop(flooders);
}

#[test]
fn with_drop_what_is_too_much_is_dropped_and_counted() {
    let server = hub(RatePolicy::Drop, Some(TokenRate::new(1, 5)), None);
    let mut client = server.open("/");
    client.send(&numbered(40));
    client.round_trip_past(&mut Vec::new());
    let dropped = actions(&server, RatePolicy::Drop);
    let passed = server.sum(|stats| stats.messages.get());
    assert_eq!(dropped + passed, 40);
    assert!((5..20).contains(&passed), "{passed}");
    // A token is refilled, and dropped messages took none.
    let mut others = 0;
    eventually("one gets through again", || {
        client.text("again");
        let mut texts = Vec::new();
        client.round_trip_past(&mut texts);
        others += 1;
        texts.iter().any(|text| text == "again")
    });
    assert!(others < 10_000);
    assert_eq!(actions(&server, RatePolicy::Close), 0);
}

#[test]
fn with_close_too_much_is_1008_with_the_reason() {
    let one = Some(TokenRate::new(1, 1));
    for (messages, bytes, reason) in [
        (one, None, "rate: too many messages"),
        (None, one, "rate: too many bytes"),
    ] {
        let server = hub(RatePolicy::Close, messages, bytes);
        let mut client = server.open("/");
        client.send(&numbered(40));
        let (texts, code, found) = client.until_close();
        assert_eq!((code, found.as_str()), (1008, reason));
        assert!(!texts.is_empty() && texts.len() < 10, "{texts:?}");
        assert_eq!(actions(&server, RatePolicy::Close), 1);
        client.close(1008);
        client.expect_end();
        // Pings count as well.
        let mut client = server.open("/");
        client.send(&(0..40).flat_map(|_| frame(PING, b"p")).collect::<Vec<u8>>());
        let (_, code, found) = client.until_close();
        assert_eq!((code, found.as_str()), (1008, reason));
        drop(client);
        server.expect_empty();
    }
}

#[test]
fn bytes_of_a_compressed_message_count_as_it_inflates() {
    let mut endpoint = endpoint(RatePolicy::Close, None, Some(TokenRate::new(1, 2_000)));
    endpoint.deflate = Deflate {
        enabled: true,
        ..Deflate::default()
    };
    let server = Server::hub(settings(), endpoint);
    let mut client = Client::connect(server.address).deflating("/", "");
    let small = compressed(&[b'a'; 100_000]);
    assert!(small.len() < 1_000, "{}", small.len());
    client.send(&raw_frame(FIN | RSV1 | TEXT, &small, true));
    assert_eq!(client.expect_text().len(), 100_000);
    client.text("one more");
    assert_eq!(client.expect_close(1008), "rate: too many bytes");
}

#[test]
fn a_client_within_its_rate_is_not_affected() {
    for policy in [RatePolicy::Delay, RatePolicy::Drop, RatePolicy::Close] {
        let rate = TokenRate::new(1_000_000, 10_000_000);
        let server = hub(policy, Some(rate), Some(rate));
        let mut client = server.open("/");
        for _ in 0..20 {
            client.send(&numbered(500));
            for number in 0..500 {
                assert_eq!(client.expect_text(), number.to_string());
            }
        }
        assert_eq!(actions(&server, policy), 0);
    }
}

fn connects(rate: TokenRate) -> Settings {
    let mut settings = settings();
    settings.connects_per_ip = Some(rate);
    settings
}

fn refused(server: &Server) -> u64 {
    server.sum(|stats| stats.refused.get(Refusal::ConnectRate))
}

#[test]
fn an_address_that_connects_too_often_gets_429_with_retry_after() {
    let server = Server::hub(connects(TokenRate::new(1, 3)), EndpointSettings::default());
    let mut opened = Vec::new();
    let answer = loop {
        let mut client = Client::connect(server.address);
        client.send(upgrade("/").as_bytes());
        let answer = client.answer();
        if answer.status != 101 {
            client.expect_end();
            break answer;
        }
        opened.push(client);
    };
    assert!((3..30).contains(&opened.len()), "{}", opened.len());
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        answer.body,
        br#"{"code":"connect_rate","error":"This address connects too often."}"#
    );
    assert_eq!(refused(&server), 1);
    assert_eq!(server.view.rated_addresses(), 1);
    opened[0].round_trip();
    eventually("it may connect again", || {
        let mut client = Client::connect(server.address);
        client.send(upgrade("/").as_bytes());
        client.answer().status == 101
    });
}

#[test]
fn the_rate_of_connects_does_not_hold_for_exempt_networks() {
    let mut settings = connects(TokenRate::new(1, 1));
    settings.exempt_networks = vec![Network::LOOPBACK_V4];
    let server = Server::hub(settings, EndpointSettings::default());
    let clients: Vec<Client> = (0..20).map(|_| server.open("/")).collect();
    assert_eq!((clients.len(), server.view.rated_addresses()), (20, 0));
}

/// The status for a client with this address behind a proxy.
fn status_of(server: &Server, address: &str) -> u16 {
    let mut client = Client::connect(server.address);
    let forwarded = format!("X-Forwarded-For: {address}\r\n");
    client.send(upgrade_with("/", &forwarded).as_bytes());
    client.answer().status
}

#[test]
fn behind_a_proxy_only_the_clients_have_a_rate() {
    let mut settings = connects(TokenRate::new(1, 2));
    settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
    let server = Server::hub(settings, EndpointSettings::default());
    // Hardly more than two of a thousand requests get through, even on a slow machine.
    let of = |address: &str| {
        let mut opened = 0;
        while status_of(&server, address) == 101 {
            opened += 1;
            assert!(opened < 30);
        }
        opened
    };
    assert!(of("192.0.2.1") >= 2);
    assert!(of("192.0.2.2") >= 2);
    assert!(of("2001:db8::1") >= 2);
    let began = Instant::now();
    let same_network =
        (0..10).filter(|host| status_of(&server, &format!("2001:db8::2:{host}")) == 101);
    assert!(same_network.count() as u64 <= 1 + began.elapsed().as_secs());
    assert!(of("2001:db8:0:1::1") >= 2);
    assert!(refused(&server) >= 5);
    // On a kept connection the next client is judged separately.
    let ask = |kept: &mut Client, address: &str| {
        let forwarded = format!("X-Forwarded-For: {address}\r\n");
        kept.send(upgrade_with("/", &forwarded).as_bytes());
        kept.answer().status
    };
    let refused_and_kept = (0..30).find_map(|_| {
        let mut kept = Client::connect(server.address);
        (ask(&mut kept, "192.0.2.1") == 429).then_some(kept)
    });
    let mut kept = refused_and_kept.expect("it connects too often");
    assert_eq!(ask(&mut kept, "192.0.2.9"), 101);
}

#[test]
fn network_rules_apply_to_the_address_of_a_proxy_header() {
    let mut settings = connects(TokenRate::new(1, 2));
    settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
    settings.proxy_protocol = true;
    let server = Server::hub(settings, EndpointSettings::default());
    let status = |address: SocketAddr, client: &str| {
        let mut proxied = Client::connect(address);
        proxied.send(format!("PROXY TCP4 {client} 127.0.0.1 1111 80\r\n").as_bytes());
        proxied.send(upgrade("/").as_bytes());
        proxied.answer().status
    };
    for client in ["192.0.2.1", "192.0.2.2"] {
        let mut statuses = (0..30).map(|_| status(server.address, client));
        assert_eq!(statuses.next(), Some(101), "{client}");
        assert!(statuses.any(|status| status == 429), "{client}");
    }
}

#[test]
fn the_keys_of_rates_take_effect() {
    let text = "server: {host: 127.0.0.1, port: 0}\nmetrics: {enabled: false}\n\
                limits: {exempt_networks: [], connects_per_ip: {rate: 1, burst: 4}}\n\
                rate: {policy: close, messages: 1, messages_burst: 2}\n\
                endpoints:\n  drops: {kind: hub, path: /drops, rate: {policy: drop}}\n  \
                free: {kind: hub, path: /free, rate: {messages: off}}\n  \
                bytes: {kind: hub, path: /bytes, rate: {messages: 0, bytes: 1, bytes_burst: 9}}\n";
    let file = ConfigFile {
        name: "config.yaml",
        text,
    };
    let config = load(Some(file), [], &[]).expect("a config");
    let engine = corecast::relay::builder(&config, 4_096)
        .unwrap()
        .start()
        .unwrap();
    let address = engine.addresses()[0];
    let mut free = Client::open(address, "/free");
    free.send(&numbered(100));
    assert_eq!((0..100).map(|_| free.expect_text()).count(), 100);
    let mut closed = Client::open(address, "/common");
    closed.send(&numbered(20));
    let (texts, code, reason) = closed.until_close();
    assert_eq!((code, reason.as_str()), (1008, "rate: too many messages"));
    assert!((2..10).contains(&texts.len()), "{texts:?}");
    let mut drops = Client::open(address, "/drops");
    drops.send(&numbered(20));
    assert_eq!([drops.expect_text(), drops.expect_text()], ["0", "1"]);
    let mut further = Vec::new();
    drops.round_trip_past(&mut further);
    assert!(further.len() < 10, "{further:?}");
    let mut bytes = Client::open(address, "/bytes");
    bytes.text(&"b".repeat(12));
    bytes.text("c");
    let (texts, _, reason) = bytes.until_close();
    assert_eq!((texts.len(), reason.as_str()), (1, "rate: too many bytes"));
    let statuses = (0..20).map(|_| {
        let mut client = Client::connect(address);
        client.send(upgrade("/free").as_bytes());
        client.answer().status
    });
    assert!(statuses.into_iter().any(|status| status == 429));
    drop((free, closed, drops, bytes));
    assert!(engine.stop());
}
