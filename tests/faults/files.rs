//! A machine without disk space: for the log, for the journal.

use std::fs::{self, OpenOptions};

use corecast_nostr::{Draft, Signer};

use crate::stage::{Metrics, Stage, arguments, skip, succeeds};
use crate::support::eventually;
use crate::support::relay::Relay;

#[test]
fn the_disk_is_full_under_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().to_str().expect("UTF-8");
    // A disk of one page, visible only to this relay.
    let mount = format!("mount -t tmpfs -o size=4k tmpfs {directory} && exec \"$0\" \"$@\"");
    let by = ["unshare", "--mount", "sh", "-c", &mount];
    if !succeeds(&[&by[..], &["true"]].concat()) {
        return skip("there is no right to mount a small disk");
    }
    let output = format!("logging.output={directory}/log");
    let path = |relay: u32| format!("/proc/{relay}/root{directory}/log");
    let relay = Relay::start_logging_to(
        &by,
        &arguments(&["logging.level=debug", &output]),
        |relay| fs::read_to_string(path(relay)).unwrap_or_default(),
    );
    let log = path(relay.id());
    let stage = Stage::on(relay);
    let visit = || stage.leave(stage.open("/visitors"));
    while stage.count("log_errors") == 0 {
        visit();
    }
    assert_eq!(fs::metadata(&log).expect("a log").len(), 4_096);
    visit();
    // As soon as there is room again, it logs again.
    let room = OpenOptions::new().write(true).open(&log);
    room.expect("a log").set_len(0).expect("a file");
    eventually("it logs again", || {
        visit();
        fs::read_to_string(&log).is_ok_and(|log| log.contains("closed"))
    });
    let by_then = stage.count("log_errors");
    stage.end_with(|relay| {
        // The disk is so small that it may be full again.
        let errors = Metrics::of(relay).value("corecast_log_errors_total") as u64;
        assert!(errors >= by_then);
        vec![("log_errors", errors)]
    });
}

#[test]
fn the_disk_is_full_under_the_journal() {
    const KEY: &str = "X-API-KEY: secret\r\n";
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().to_str().expect("UTF-8");
    let mount = format!("mount -t tmpfs -o size=16m tmpfs {directory} && exec \"$0\" \"$@\"");
    let by = ["unshare", "--mount", "sh", "-c", &mount];
    if !succeeds(&[&by[..], &["true"]].concat()) {
        return skip("there is no right to mount a small disk");
    }
    let journal = format!("endpoints.push.journal={directory}/push.redb");
    let stage = Stage::start_by(&by, &["api.keys=secret", &journal]);
    let push = || {
        let subject = "x".repeat(50_000);
        let body =
            format!("{{\"event_name\":\"e\",\"delay_seconds\":3600,\"subject\":\"{subject}\"}}");
        let length = body.len();
        let head = format!("POST /api/push HTTP/1.1\r\nHost: relay\r\n{KEY}Connection: close\r\n");
        let mut client = stage.connect();
        client.send(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
        let answer = client.answer();
        (
            answer.status,
            String::from_utf8(answer.body).expect("UTF-8"),
        )
    };
    assert_eq!(push().0, 200);
    let filler = format!("/proc/{}/root{directory}/filler", stage.relay.id());
    let mut file = fs::File::create(&filler).expect("a file");
    while std::io::Write::write_all(&mut file, &[0; 1 << 16]).is_ok() {}
    let mut accepted = 1;
    eventually("the journal is full", || match push() {
        (200, _) => {
            accepted += 1;
            false
        }
        (status, body) => {
            let expected = "{\"code\":-1,\"msg\":\"the journal cannot be written\"}";
            assert_eq!((status, body.as_str()), (503, expected));
            true
        }
    });
    stage.witness.goes_on();
    // Accepted pushes wait, and nothing else; as soon as there is space, it accepts again.
    let pending = || stage.metrics().value("corecast_pushes_pending");
    assert_eq!(pending(), f64::from(accepted));
    drop(file);
    fs::remove_file(&filler).expect("a file");
    eventually("it accepts again", || push().0 == 200);
    assert_eq!(pending(), f64::from(accepted + 1));
    stage.end(&[]);
}

/// A relay refuses events while its disk is full, answers queries, and goes on as soon as there is
/// space.
#[test]
fn the_disk_is_full_under_a_nostr_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().to_str().expect("UTF-8");
    let mount = format!("mount -t tmpfs -o size=96m tmpfs {directory} && exec \"$0\" \"$@\"");
    let by = ["unshare", "--mount", "sh", "-c", &mount];
    if !succeeds(&[&by[..], &["true"]].concat()) {
        return skip("there is no right to mount a small disk");
    }
    let store = format!("endpoints.nostr.nostr.store={directory}/events");
    let sets = [
        "endpoints.nostr.kind=nostr",
        "endpoints.nostr.path=/nostr",
        &store,
    ];
    let stage = Stage::start_by(&by, &sets);
    let signer = Signer::new([1; 32]).expect("a key");
    let mut client = stage.open("/nostr");
    let mut at = 1_700_000_000;
    let mut publish = || {
        at += 1;
        let event = signer.sign(Draft {
            created_at: at,
            kind: 1,
            tags: Vec::new(),
            content: "x".repeat(200_000),
        });
        client.text(&format!("[\"EVENT\",{}]", event.json()));
        client.expect_text()
    };
    assert!(publish().contains(",true,"));
    let filler = format!("/proc/{}/root{directory}/filler", stage.relay.id());
    let mut file = fs::File::create(&filler).expect("a file");
    while std::io::Write::write_all(&mut file, &[0; 1 << 16]).is_ok() {}
    let mut accepted = 1;
    let refusal = (0..1_000).find_map(|_| {
        let answer = publish();
        accepted += i32::from(answer.contains(",true,"));
        answer.contains(",false,").then_some(answer)
    });
    let refusal = refusal.expect("a full disk");
    assert!(
        refusal.contains("error: the store cannot write events"),
        "{refusal}"
    );
    let ready = || {
        let mut client = stage.connect();
        client.send(b"GET /readyz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
        client.answer().status
    };
    assert_eq!(ready(), 503);
    stage.witness.goes_on();
    let mut reader = stage.open("/nostr");
    let mut count = |due: i32| {
        reader.text("[\"COUNT\",\"all\",{}]");
        let answer = reader.expect_text();
        assert_eq!(answer, format!("[\"COUNT\",\"all\",{{\"count\":{due}}}]"));
    };
    count(accepted);
    drop(file);
    fs::remove_file(&filler).expect("a file");
    eventually("it accepts again", || publish().contains(",true,"));
    eventually("it says so", || ready() == 200);
    count(accepted + 1);
    stage.leave(client);
    stage.leave(reader);
    stage.end(&[]);
}
