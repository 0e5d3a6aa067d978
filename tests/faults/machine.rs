//! A machine that stalls, or whose clocks jump.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::stage::{Stage, arguments, hold, skip};
use crate::support::client::{TEXT, frame, upgrade};
use crate::support::eventually;
use crate::support::relay::Relay;

/// Deadlines that expire if the relay stops for five seconds.
const SHORT: [&str; 5] = [
    "timeouts.handshake=4900ms",
    "timeouts.message=4900ms",
    "keepalive.ping=1s",
    "keepalive.pong=4900ms",
    "slow_client.outbox_age=4900ms",
];

#[test]
fn stopped_for_five_seconds() {
    let stage = Stage::start(&SHORT);
    let request = upgrade("/stopped");
    let (request_head, request_tail) = request.as_bytes().split_at(40);
    let message = frame(TEXT, b"in two parts");
    let (message_head, message_tail) = message.split_at(8);
    let mut asking = stage.connect();
    let mut speaking = stage.open("/stopped");
    asking.send(request_head);
    speaking.send(message_head);
    eventually("half a message is held", || {
        stage.metrics().value("corecast_inbound_bytes") > 0.0
    });
    stage.relay.signal(Signal::STOP);
    hold(Duration::from_secs(5));
    stage.relay.signal(Signal::CONT);
    // It has checked all deadlines by the time that it has relayed some more.
    stage.witness.goes_on();
    asking.send(request_tail);
    assert_eq!(asking.answer().status, 101);
    speaking.send(message_tail);
    assert_eq!(speaking.expect_text(), "in two parts");
    assert_eq!(asking.expect_text(), "in two parts");
    stage.leave(asking);
    stage.leave(speaking);
    stage.end(&[]);
}

/// The library with which `faketime` changes the time that a process sees.
fn faketime() -> Option<String> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let paths = folders.filter_map(Result::ok).map(|folder| folder.path());
    let libraries = paths.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let library = libraries.into_iter().find(|library| library.exists())?;
    library.to_str().map(str::to_owned)
}

/// Makes the clocks of a relay jump by years, in both directions. `monotonic`: also the clock that
/// never should, as on a virtual machine that was moved or suspended.
fn the_clocks_jump(monotonic: bool) {
    let Some(library) = faketime() else {
        return skip("libfaketime is not installed");
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (offset, log) = (
        directory.path().join("offset"),
        directory.path().join("log"),
    );
    let jump = |to: &str| {
        // Atomically: the relay may read it at any time.
        let next = directory.path().join("next");
        fs::write(&next, to).expect("a file");
        fs::rename(&next, &offset).expect("a file");
    };
    jump("+0");
    let environment = [
        format!("LD_PRELOAD={library}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        format!("FAKETIME_DONT_FAKE_MONOTONIC={}", u8::from(!monotonic)),
    ];
    let by: Vec<&str> = ["env"]
        .into_iter()
        .chain(environment.iter().map(String::as_str))
        .collect();
    let output = format!("logging.output={}", log.display());
    let settings = [&SHORT[..], &["logging.level=debug", &output]].concat();
    let read_log = || fs::read_to_string(&log).unwrap_or_default();
    let stage = Stage::on(Relay::start_logging_to(&by, &arguments(&settings), |_| {
        read_log()
    }));
    let mut asking = stage.connect();
    let request = upgrade("/jump");
    asking.send(&request.as_bytes()[..40]);
    let this_year = year(&read_log());
    for to in ["+2y", "-2y", "+0"] {
        jump(to);
        // The log shows that the relay has seen the jump; the visitor causes a line.
        eventually("the log has that year", || {
            stage.leave(stage.open("/visitors"));
            (year(&read_log()) == this_year) == (to == "+0")
        });
        stage.witness.goes_on();
        // The monotonic clock jumps only if requested.
        let uptime_seconds = stage.metrics().value("corecast_uptime_seconds");
        let is_old = uptime_seconds > 300.0 * 24.0 * 3_600.0;
        assert_eq!(is_old, monotonic && to == "+2y", "{uptime_seconds}");
    }
    asking.send(&request.as_bytes()[40..]);
    assert_eq!(asking.answer().status, 101);
    stage.leave(asking);
    stage.end(&[]);
}

/// The year of the last line of a log.
fn year(log: &str) -> String {
    let last = log.lines().last().expect("a line");
    last.chars().take(4).collect()
}

#[test]
fn the_wall_clock_jumps() {
    the_clocks_jump(false);
}

#[test]
fn all_clocks_jump() {
    the_clocks_jump(true);
}
