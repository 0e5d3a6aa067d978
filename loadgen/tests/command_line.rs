//! The command line as a child process: accepted and refused options, and exit codes.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use corecast_test::generator::{Behaviour, loadgen, number, report, run, serve};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Runs to an error and returns its message.
#[track_caller]
fn refused(url: &str, arguments: &str) -> String {
    let output = run(url, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty(), "an error is no report");
    told
}

#[test]
fn a_bad_url_is_refused_with_what_is_wrong_about_it() {
    assert!(refused("http://127.0.0.1/", "").contains("must start with ws:// or wss://"));
    assert!(refused("wss://127.0.0.1/", "").contains("--ca"));
    assert!(refused("ws://127.0.0.1/", "--insecure").contains("wss://"));
    assert!(refused("ws://", "").contains("--url"));
}

#[test]
fn a_closed_port_is_a_connection_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    let told = refused(&url, "--clients 3 --duration 100");
    assert!(
        told.contains("refused") && told.contains("client"),
        "{told}"
    );
    let told = refused(&url, "--handshakes 3");
    assert!(told.contains("refused"), "{told}");
}

/// A server that answers every connection with `answer` and then waits for its end.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.write_all(answer.as_bytes());
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    url
}

#[test]
fn a_refused_upgrade_is_reported_with_its_status() {
    let url = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let told = refused(&url, "--clients 1 --duration 100");
    assert!(told.contains("503 Service Unavailable"), "{told}");
}

#[test]
fn a_silent_server_fails_after_the_connect_timeout() {
    let url = answering("");
    for mode in ["--clients 1 --duration 100", "--handshakes 1"] {
        let told = refused(&url, &format!("{mode} --connect-timeout 100ms"));
        assert!(told.contains("not upgraded within 100ms"), "{told}");
    }
}

#[test]
fn a_bare_duration_is_milliseconds_from_outside_too() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, "--clients 2 --rate 100 --duration 500 --warmup 0");
    assert_eq!((code, number(&report, "/sent")), (0, 50.0));
    assert_eq!(number(&report, "/config/duration_ms"), 500.0);
}

#[test]
fn the_json_report_has_every_documented_field() {
    let url = serve(Behaviour::default());
    let (_, report) = report(
        &url,
        "--clients 2 --rate 100 --duration 100 --warmup 0 --seed 7",
    );
    assert_eq!(
        (&report["version"], &report["kind"]),
        (&Value::from(1), &Value::from("relay"))
    );
    assert_eq!(report["config"]["seed"], 7);
    let documented = include_str!("../../docs/loadgen-report.md");
    let mut found = 0;
    for line in documented.lines() {
        // Rows of the field table look like: | `/sent` | … |
        let Some((path, _)) = line
            .strip_prefix("| `/")
            .and_then(|rest| rest.split_once('`'))
        else {
            continue;
        };
        found += 1;
        assert!(
            report.pointer(&format!("/{path}")).is_some(),
            "no {path} in {report:#}"
        );
    }
    let fields = report.as_object().map_or(0, serde_json::Map::len);
    assert!(
        found >= fields,
        "docs/loadgen-report.md has {found} rows, the report {fields} fields"
    );
}

#[test]
fn the_text_report_fits_a_terminal_and_says_what_was_found() {
    let url = serve(Behaviour::default());
    let output = run(&url, "--clients 2 --rate 100 --duration 100 --warmup 0");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("every delivery right"), "{text}");
    assert!(
        text.contains("lost 0   repeated 0   reordered 0   damaged 0"),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line}");
    }
    assert!(output.stderr.is_empty(), "progress goes to terminals only");
}

#[test]
fn an_interrupt_ends_the_run_early_and_still_reports() {
    let (sender, seen) = channel();
    let url = serve(Behaviour::with(move |delivery| {
        let _ = sender.send(());
        vec![delivery.payload]
    }));
    let mut command = loadgen(&url, "--clients 2 --duration 10m --warmup 0 --output json");
    let child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the generator starts");
    seen.recv_timeout(Duration::from_secs(10))
        .expect("messages flow");
    let pid = Pid::from_raw(child.id() as i32).expect("a pid");
    kill_process(pid, Signal::INT).expect("still running");
    let output = child.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(
        (output.status.code(), &report["interrupted"]),
        (Some(0), &Value::Bool(true))
    );
    assert!(number(&report, "/sent") >= 1.0);
    assert!(number(&report, "/measured_ms") < 600_000.0);
}

#[test]
fn without_publishers_connections_are_held_for_the_duration() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, "--clients 20 --publishers 0 --duration 100");
    assert_eq!((code, number(&report, "/sent")), (0, 0.0));
    assert_eq!(number(&report, "/connect_ns/count"), 20.0);
    assert!(number(&report, "/measured_ms") >= 100.0);
    // An idle generator sleeps. A busy machine can only make this smaller.
    assert!(number(&report, "/generator/cpu_share") < 0.5, "{report:#}");
}

#[test]
fn a_connection_that_the_server_ends_is_reported_and_wrong() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The generator tests whether anything still listens; that connection sends nothing.
            let Ok(mut socket) = tungstenite::accept(stream) else {
                continue;
            };
            let reason = tungstenite::protocol::CloseFrame {
                code: tungstenite::protocol::frame::coding::CloseCode::Again,
                reason: "slow: too slow".into(),
            };
            let _ = socket.close(Some(reason));
            let _ = socket.flush();
        }
    });
    let (code, report) = report(&url, "--clients 1 --publishers 0 --duration 300");
    assert_eq!(
        (code, &report["disconnects"]["reading"]),
        (5, &Value::from(1)),
        "nobody is left"
    );
    let reason = report["disconnects"]["listed"][0]["reason"]
        .as_str()
        .expect("a reason");
    assert!(reason.contains("1013 slow: too slow"), "{reason}");
}

#[test]
fn stalled_clients_never_read_and_their_losses_do_not_count() {
    // The server gives a client up when a write has waited for 200 ms.
    let url = serve(Behaviour::default());
    let load = "--clients 4 --stalled 1 --rate 100 --size 200000 --duration 1s --warmup 0";
    let (code, report) = report(&url, load);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(number(&report, "/expected"), 3.0 * number(&report, "/sent"));
    assert_eq!(number(&report, "/delivered"), number(&report, "/expected"));
    assert_eq!(report["disconnects"]["reading"], 0, "{report:#}");
    assert_eq!(report["disconnects"]["stalled"], 1, "{report:#}");
}

#[test]
fn handshakes_end_with_a_close_or_a_reset() {
    let url = serve(Behaviour::default());
    for flag in ["", "--reset"] {
        let (code, report) = report(&url, &format!("--handshakes 60 --concurrency 7 {flag}"));
        assert_eq!((code, &report["kind"]), (0, &Value::from("handshakes")));
        assert_eq!(number(&report, "/completed"), 60.0);
        assert_eq!(number(&report, "/not_closed"), 0.0);
        assert_eq!(number(&report, "/concurrency"), 7.0);
        assert_eq!(number(&report, "/connect_ns/count"), 60.0);
    }
    let output = run(&url, "--handshakes 10");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("10 of 10"), "{text}");
}

#[test]
fn no_more_handshakes_than_asked_are_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let mut child = loadgen(
        &url,
        "--handshakes 20 --concurrency 3 --connect-timeout 60s",
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .expect("the generator starts");
    let opened: Vec<_> = (0..3)
        .map(|_| listener.accept().expect("a connection"))
        .collect();
    // No client is answered, so no slot becomes free.
    let patience = Some(Duration::from_millis(200));
    let waiting = socket2::SockRef::from(&listener).set_read_timeout(patience);
    waiting.expect("set");
    let more = listener.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock), "beside {}", opened.len());
    child.kill().expect("it is ours");
    child.wait().expect("it ended");
}

#[test]
fn handshakes_are_opened_no_faster_than_asked() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, "--handshakes 21 --per-second 100");
    assert_eq!((code, number(&report, "/completed")), (0, 21.0));
    assert!(number(&report, "/elapsed_ms") >= 200.0, "{report:#}");
}

#[test]
fn each_client_has_its_own_path_if_the_url_has_i() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!(
        "ws://{}/ws/user{{i}}",
        listener.local_addr().expect("bound")
    );
    let (sender, paths) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let _ = sender.send(line);
            // Never answered: the run fails, but all have connected by then.
        }
    });
    refused(&url, "--clients 3 --duration 100");
    let first = paths
        .recv_timeout(Duration::from_secs(10))
        .expect("a request");
    assert!(first.starts_with("GET /ws/user0 HTTP/1.1"), "{first}");
    let second = paths
        .recv_timeout(Duration::from_secs(10))
        .expect("a request");
    assert!(second.starts_with("GET /ws/user1 HTTP/1.1"), "{second}");
}
