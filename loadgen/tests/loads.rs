//! Every option that shapes a load changes the messages, their receivers or their source.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corecast_test::generator::{self, Behaviour, loadgen, number, report, run, serve};
use serde_json::Value;
use tungstenite::Message;

const SHORT: &str = "--duration 200 --warmup 0";

/// A server that separates the clients of different paths.
fn rooms() -> String {
    serve(Behaviour {
        by_path: true,
        ..Behaviour::default()
    })
}

fn text<'a>(report: &'a Value, path: &str) -> &'a str {
    let found = report.pointer(path).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {path} in {report:#}"))
}

#[test]
fn rooms_keep_their_messages_to_themselves() {
    let load = format!("--scenario rooms --clients 7 --rooms 3 --rate 700 --size 100 {SHORT}");
    for threads in [1, 2] {
        let (code, report) = report(&rooms(), &format!("{load} --threads {threads}"));
        // Rooms of 3, 2 and 2: 20 rounds of 7 messages come to 20 × (9 + 4 + 4) deliveries.
        assert_eq!((code, number(&report, "/sent")), (0, 140.0), "{report:#}");
        assert_eq!(number(&report, "/expected"), 340.0);
        assert_eq!(number(&report, "/delivered"), 340.0);
        assert_eq!(number(&report, "/order/compared"), 7.0);
        assert_eq!(number(&report, "/latency/corrected/last/count"), 140.0);
        assert!(text(&report, "/config/url").ends_with("/room{room}"));
    }
}

#[test]
fn a_message_in_the_wrong_room_is_misrouted() {
    let url = serve(Behaviour::default());
    let load = format!("--scenario rooms --clients 4 --rooms 2 --rate 200 {SHORT}");
    let (code, report) = report(&url, &load);
    assert_eq!((code, number(&report, "/sent")), (3, 40.0));
    assert_eq!(number(&report, "/misrouted"), 80.0, "{report:#}");
    assert_eq!(
        (number(&report, "/delivered"), number(&report, "/lost")),
        (80.0, 0.0)
    );
    assert_eq!(
        report["errors"],
        serde_json::json!([{"error": "misrouted", "count": 80}])
    );
}

#[test]
fn an_echo_server_answers_the_sender_alone() {
    let load = format!("--scenario echo --clients 4 --rate 200 {SHORT}");
    let (code, report) = report(&rooms(), &load);
    assert_eq!((code, text(&report, "/config/expect")), (0, "self"));
    assert_eq!(
        (number(&report, "/sent"), number(&report, "/expected")),
        (40.0, 40.0)
    );
    // The same with explicit options, in a closed loop.
    let url = format!("{}each{{i}}", rooms());
    let load = format!("--expect self --clients 4 --rate max --window 4 {SHORT}");
    let (code, report) = generator::report(&url, &load);
    assert_eq!(code, 0, "{report:#}");
    assert!(number(&report, "/sent") > 16.0, "{report:#}");
}

#[test]
fn a_server_that_says_nothing_back_is_a_target_too() {
    let url = serve(Behaviour::with(|_| vec![]));
    let load = format!("--expect nobody --clients 3 --rate 200 {SHORT}");
    let (code, report) = report(&url, &load);
    assert_eq!((code, number(&report, "/sent")), (0, 40.0), "{report:#}");
    assert_eq!(
        (number(&report, "/expected"), number(&report, "/lost")),
        (0.0, 0.0)
    );
}

#[test]
fn a_server_with_large_messages_of_its_own_is_a_target_too() {
    let url = serve(Behaviour {
        greeting: Box::leak("news ".repeat(100_000).into_boxed_str()),
        ..Behaviour::default()
    });
    let (code, report) = report(&url, &format!("--clients 3 --rate 200 {SHORT}"));
    assert_eq!((code, number(&report, "/foreign")), (0, 3.0), "{report:#}");
    assert_eq!(number(&report, "/delivered"), 120.0);
}

#[test]
fn named_and_audio_are_presets_of_the_same_options() {
    let silent = || {
        serve(Behaviour {
            echo: false,
            ..Behaviour::default()
        })
    };
    let (code, report) = report(&silent(), &format!("--scenario named {SHORT}"));
    assert_eq!(
        (code, text(&report, "/scenario")),
        (0, "named"),
        "{report:#}"
    );
    assert!(text(&report, "/config/url").ends_with("/ws/user{i}"));
    assert_eq!(
        (number(&report, "/config/rate"), number(&report, "/sent")),
        (1000.0, 200.0)
    );
    assert_eq!(number(&report, "/config/size_bytes"), 1024.0);
    assert_eq!(
        (
            text(&report, "/config/payload"),
            number(&report, "/expected")
        ),
        ("json", 1800.0)
    );
    let load = format!("--scenario audio --clients 3 --rate 20/each {SHORT}");
    let (code, report) = generator::report(&silent(), &load);
    assert_eq!(
        (code, number(&report, "/config/rate")),
        (0, 60.0),
        "{report:#}"
    );
    assert_eq!(number(&report, "/config/size_bytes"), 8192.0);
    assert_eq!(
        (number(&report, "/sent"), number(&report, "/expected")),
        (12.0, 24.0)
    );
}

#[test]
fn idle_holds_its_connections() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, "--scenario idle --clients 10 --duration 100");
    assert_eq!((code, number(&report, "/sent")), (0, 0.0));
    assert_eq!(number(&report, "/connect_ns/count"), 10.0);
    assert_eq!(number(&report, "/tcp_connect_ns/count"), 10.0);
}

#[test]
fn a_storm_drops_many_at_once_and_says_when_they_were_back() {
    let url = serve(Behaviour::default());
    let load =
        "--clients 40 --storm-every 150ms --churning 30 --rate 200 --duration 600 --warmup 0";
    for threads in [1, 3] {
        let load = format!("{load} --threads {threads} --abort-if recovery>5s");
        let (code, report) = report(&url, &load);
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(number(&report, "/config/churning"), 30.0);
        assert_eq!(number(&report, "/config/storm_every_ms"), 150.0);
        // Clients that stay get everything, no matter what happens to the others.
        assert_eq!(
            number(&report, "/expected"),
            10.0 * number(&report, "/sent")
        );
        // At 150, 300 and 450 ms: a storm at 600 ms would have no time to recover.
        let storms = report["churn"]["storms"].as_array().expect("a list");
        assert_eq!(storms.len(), 3, "{report:#}");
        for storm in storms {
            assert_eq!(
                (number(storm, "/dropped"), number(storm, "/back")),
                (30.0, 30.0)
            );
            assert!(number(storm, "/recovery_ns") > 0.0);
        }
        assert_eq!(number(&report, "/churn/replaced"), 90.0);
    }
    let (code, report) = report(&url, &format!("{load} --abort-if recovery>1ns"));
    assert_eq!(
        (code, text(&report, "/aborted/condition")),
        (3, "recovery>1ns")
    );
    let told = generator::run(
        &url,
        "--storm-every 6s --duration 10s --abort-if recovery>5s",
    );
    assert_eq!(told.status.code(), Some(2), "no storm would come");
    let (_, report) = generator::report(
        &url,
        "--scenario storm --clients 20 --duration 10ms --warmup 0",
    );
    assert_eq!(number(&report, "/config/churning"), 19.0);
    assert_eq!(number(&report, "/config/storm_every_ms"), 2000.0);
    assert_eq!(report["churn"]["storms"].as_array().map(Vec::len), Some(0));
}

#[test]
fn connections_lost_in_a_storm_are_reported() {
    let url = serve(Behaviour {
        accepts: 20,
        ..Behaviour::default()
    });
    let load =
        "--clients 12 --storm-every 200ms --churning 10 --rate 100 --duration 500 --warmup 0";
    let (code, report) = report(&url, &format!("{load} --abort-if recovery>99s"));
    assert_eq!(code, 3, "{report:#}");
    let storm = &report["churn"]["storms"][0];
    assert_eq!(
        (number(storm, "/dropped"), number(storm, "/back")),
        (10.0, 8.0)
    );
}

#[test]
fn clients_that_come_and_go_leave_the_others_in_peace() {
    let url = serve(Behaviour::default());
    let load = "--clients 6 --churn 50/s --churning 2 --rate 200 --duration 600 --warmup 0";
    for threads in [1, 2] {
        let (code, report) = report(&url, &format!("{load} --threads {threads}"));
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(number(&report, "/config/churning"), 2.0);
        assert_eq!(number(&report, "/expected"), 4.0 * number(&report, "/sent"));
        let (replaced, failed) = (
            number(&report, "/churn/replaced"),
            number(&report, "/churn/failed"),
        );
        assert!(
            replaced > 2.0 && replaced <= 30.0 && failed == 0.0,
            "{report:#}"
        );
        assert_eq!(number(&report, "/churn/connect_ns/count"), replaced);
        assert!(number(&report, "/churn/delivered") > 0.0);
    }
    let (_, report) = generator::report(&url, &format!("--scenario churn --clients 10 {SHORT}"));
    assert_eq!(number(&report, "/config/churn_per_second"), 100.0);
    assert_eq!(number(&report, "/config/churning"), 2.0);
}

#[test]
fn slow_readers_keep_to_their_rate_and_are_not_counted() {
    // The server gives up on a client when a write has waited for 200 ms: 20 MB go to each.
    let url = serve(Behaviour::default());
    let load = "--clients 4 --slow-readers 25% --slow-rate 10000 --rate 100 --size 200000";
    let (code, report) = report(&url, &format!("{load} --duration 1s --warmup 0"));
    assert_eq!(
        (code, number(&report, "/config/slow_readers")),
        (0, 1.0),
        "{report:#}"
    );
    assert_eq!(number(&report, "/expected"), 3.0 * number(&report, "/sent"));
    assert_eq!(number(&report, "/disconnects/reading"), 0.0);
    assert_eq!(number(&report, "/disconnects/slow"), 1.0, "{report:#}");
    // A slow reader that reads enough is served like the others.
    let load = format!("--clients 4 --slow-readers 1 --slow-rate 10000000 --rate 50 {SHORT}");
    let (code, report) = generator::report(&url, &load);
    assert_eq!(
        (code, number(&report, "/disconnects/slow")),
        (0, 0.0),
        "{report:#}"
    );
}

#[test]
fn a_seed_repeats_poisson_arrivals() {
    let url = serve(Behaviour::default());
    let sent = |seed: u32| {
        let load = format!("--clients 4 --rate 500 --arrivals poisson --seed {seed} {SHORT}");
        let (code, report) = report(&url, &load);
        assert_eq!(
            (code, text(&report, "/config/arrivals")),
            (0, "poisson"),
            "{report:#}"
        );
        number(&report, "/sent")
    };
    let (one, other) = (sent(1), sent(2));
    assert!(one != 100.0 || other != 100.0, "as if by chance");
    assert_eq!(one, sent(1));
}

#[test]
fn a_ramp_comes_before_the_warm_up_and_has_half_of_the_rate() {
    let url = serve(Behaviour::default());
    let load = "--clients 2 --rate 1000 --ramp 200ms --warmup 100ms --duration 100";
    let (code, report) = report(&url, load);
    assert_eq!((code, number(&report, "/sent")), (0, 100.0), "{report:#}");
    assert_eq!(number(&report, "/warmup/sent"), 200.0);
    assert_eq!(number(&report, "/config/ramp_ms"), 200.0);
}

#[test]
fn connections_come_from_the_addresses_that_were_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let seen: Arc<Mutex<HashSet<IpAddr>>> = Arc::default();
    let addresses = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let from = stream.peer_addr().expect("a peer").ip();
            addresses.lock().expect("nobody panicked").insert(from);
            std::thread::spawn(move || {
                let mut socket = tungstenite::accept(stream).expect("a handshake");
                while socket.read().is_ok() {}
            });
        }
    });
    let load = "--publishers 0 --clients 6 --source-ips 127.0.0.2-127.0.0.4 --duration 100";
    let (code, report) = report(&url, load);
    let expected = [2, 3, 4].map(|last| IpAddr::from([127, 0, 0, last]));
    assert_eq!(
        *seen.lock().expect("nobody panicked"),
        HashSet::from(expected)
    );
    assert_eq!(
        report["config"]["source_ips"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(code, 0);
}

/// A push API and its clients, on one listener. Pushes need the key `secret`.
fn push_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let clients: Arc<Mutex<Vec<(String, TcpStream)>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let clients = Arc::clone(&clients);
            std::thread::spawn(move || serve_push(stream, &clients));
        }
    });
    url
}

fn serve_push(stream: TcpStream, clients: &Mutex<Vec<(String, TcpStream)>>) -> Option<()> {
    let mut first = [0; 4];
    while stream.peek(&mut first).ok()? < first.len() {}
    if &first != b"POST" {
        let mut token = String::new();
        let writer = stream.try_clone().ok()?;
        // The callback's error is tungstenite's own type.
        #[allow(clippy::result_large_err)]
        let look = |request: &tungstenite::handshake::server::Request, response| {
            token = request
                .uri()
                .query()
                .unwrap_or_default()
                .replace("token=", "");
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, look).ok()?;
        clients.lock().ok()?.push((token, writer));
        while socket.read().is_ok() {}
        return None;
    }
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut key, mut line) = (0, String::new(), String::new());
        let mut request = String::new();
        reader.read_line(&mut request).ok()?;
        while reader.read_line(&mut line).ok()? > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name {
                "Content-Length" => length = value.trim().parse().ok()?,
                "X-API-KEY" => key = value.trim().to_owned(),
                _ => {}
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let refusal = match (request.starts_with("POST /api/push "), key == "secret") {
            (true, true) => None,
            (true, false) => Some("HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\n\r\nbad key"),
            (false, _) => Some("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        };
        if let Some(answer) = refusal {
            writer.write_all(answer.as_bytes()).ok()?;
            continue;
        }
        let value: Value = serde_json::from_slice(&body).ok()?;
        // Byte for byte, as it came.
        let text = String::from_utf8(body).ok()?;
        let rest = text.split_once("\"subject\":")?.1;
        let subject = rest.split(",\"token\":").next()?;
        let subject = match value["token"].is_null() {
            true => &subject[..subject.len() - 1],
            false => subject,
        };
        deliver(subject, &value["token"], &mut clients.lock().ok()?);
        writer
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .ok()?;
    }
}

fn deliver(subject: &str, token: &Value, clients: &mut [(String, TcpStream)]) {
    let message = format!("{{\"event\":\"load\",\"data\":{{\"subject\":{subject},\"ts\":1}}}}");
    let frame = tungstenite::protocol::frame::Frame::message(
        message.into_bytes(),
        tungstenite::protocol::frame::coding::OpCode::Data(
            tungstenite::protocol::frame::coding::Data::Text,
        ),
        true,
    );
    let mut bytes = Vec::new();
    frame.format(&mut bytes).expect("into memory");
    for (own, stream) in clients {
        if token.as_str().is_none_or(|token| token == own) {
            let _ = stream.write_all(&bytes);
        }
    }
}

#[test]
fn pushed_messages_are_checked_and_a_refusal_ends_the_run() {
    let url = push_server();
    let load = format!("--scenario push --clients 5 --rate 200 {SHORT}");
    let key = "--push-key secret --push-path /api/push";
    let (code, report) = report(&url, &format!("{load} {key}"));
    assert_eq!((code, number(&report, "/sent")), (0, 40.0), "{report:#}");
    assert_eq!(number(&report, "/delivered"), 200.0);
    assert!(text(&report, "/config/push_url").ends_with("/api/push"));
    let (code, report) = generator::report(&push_server(), &format!("{load} {key} --rooms 5"));
    assert_eq!(
        (code, number(&report, "/delivered")),
        (0, 40.0),
        "{report:#}"
    );
    let closed = "--scenario push --clients 2 --rate max --window 2";
    let (code, report) = generator::report(&push_server(), &format!("{closed} {SHORT} {key}"));
    assert!(code == 0 && number(&report, "/sent") > 8.0, "{report:#}");
    let output = run(&url, &load);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("401") && told.contains("bad key"), "{told}");
}

#[test]
fn a_push_goes_to_the_path_that_was_named() {
    let load = format!("--scenario push --push-key secret --push-path /elsewhere {SHORT}");
    let output = run(&push_server(), &load);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("the push API answered 404"), "{told}");
}

#[test]
fn a_closed_loop_completes_within_its_rooms() {
    let url = serve(Behaviour {
        by_path: true,
        echo: false,
        ..Behaviour::default()
    });
    let target = format!("{url}room{{room}}");
    let load = "--clients 8 --rooms 2 --no-echo --rate max --window 1 --duration 1s --warmup 0";
    for threads in [1, 2] {
        let (code, report) = report(&target, &format!("{load} --threads {threads}"));
        assert_eq!(code, 0, "{report:#}");
        // If credits were never returned, it would end after one message per publisher.
        assert!(number(&report, "/sent") > 8.0, "{report:#}");
        assert_eq!(number(&report, "/expected"), 3.0 * number(&report, "/sent"));
    }
    let refused = run(&url, "--clients 4 --rooms 4 --no-echo --rate max");
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_push_key_may_come_from_the_environment() {
    let mut command = loadgen(
        &push_server(),
        &format!("--scenario push --clients 2 {SHORT}"),
    );
    let output = command.env("LOADGEN_PUSH_KEY", "secret").output();
    assert_eq!(output.expect("it starts").status.code(), Some(0));
}

#[test]
fn messages_of_the_server_beside_ours_are_foreign() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        while let Ok(message) = socket.read() {
            if message.is_binary() {
                let _ = socket.send(Message::text("{\"type\":\"ack\"}"));
                let _ = socket.send(message);
            }
        }
    });
    let (code, report) = report(&url, &format!("--clients 1 --rate 100 {SHORT}"));
    assert_eq!((code, number(&report, "/foreign")), (0, 20.0), "{report:#}");
    assert_eq!(number(&report, "/delivered"), 20.0);
}

#[test]
fn a_preset_yields_to_what_is_said() {
    let silent = serve(Behaviour {
        echo: false,
        ..Behaviour::default()
    });
    let load = format!("--scenario named --binary --size 100 --clients 3 {SHORT}");
    let (code, report) = report(&silent, &load);
    assert_eq!(
        (code, text(&report, "/config/opcode")),
        (0, "binary"),
        "{report:#}"
    );
    assert_eq!(text(&report, "/config/payload"), "pattern");
    assert_eq!(number(&report, "/config/size_bytes"), 100.0);
}

#[test]
fn metrics_split_the_way_of_a_delivery() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let metrics = format!("http://{}/metrics", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for (scrape, stream) in listener.incoming().flatten().enumerate() {
            answer_scrape(stream, scrape as f64);
        }
    });
    let url = serve(Behaviour::default());
    let load = format!("--clients 2 --rate 200 --metrics-url {metrics} {SHORT}");
    let (code, report) = report(&url, &load);
    assert_eq!(code, 0, "{report:#}");
    // Scraped when the measurement begins, at its end and after the last delivery.
    assert_eq!(number(&report, "/server/cpu_ms").round(), 16.0);
    let cpu_ns = number(&report, "/server/cpu_ns_per_delivery");
    assert_eq!(cpu_ns.round(), 100_000.0);
    let mean_ns = number(&report, "/server/relay_latency_ns/mean");
    assert_eq!(mean_ns.round(), 1000.0);
    assert_eq!(number(&report, "/server/resident_bytes"), 5e6);
    assert_eq!(
        number(&report, "/server/counters/corecast_deliveries_total"),
        160.0
    );
    let parts = report["server"]["parts"].as_array().expect("parts");
    let names: Vec<_> = parts.iter().map(|part| text(part, "/name")).collect();
    assert_eq!(names, ["client", "server", "receive", "rest"]);
    let sum: f64 = parts.iter().map(|part| number(part, "/mean_ns")).sum();
    let mean = number(&report, "/latency_ns/mean");
    assert!((sum - mean).abs() < 1.0, "{sum} of {mean}");
    let output = run(
        &url,
        &format!("--metrics-url {metrics}x {SHORT} --clients 0"),
    );
    assert_eq!(output.status.code(), Some(2));
}

fn answer_scrape(mut stream: TcpStream, scrape: f64) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        line.clear();
    }
    let body = format!(
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {}\n\
         process_resident_memory_bytes 5e6\n\
         # TYPE corecast_deliveries_total counter\ncorecast_deliveries_total {}\n\
         # TYPE corecast_relay_latency_seconds histogram\n\
         corecast_relay_latency_seconds_bucket{{le=\"0.001\"}} {count}\n\
         corecast_relay_latency_seconds_bucket{{le=\"+Inf\"}} {count}\n\
         corecast_relay_latency_seconds_sum {}\ncorecast_relay_latency_seconds_count {count}\n",
        1.0 + scrape * 0.008,
        10.0 + scrape * 80.0,
        scrape * 80e-6,
        count = scrape * 80.0,
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
}
