//! Clients that read nothing, or hardly anything, under each policy.

use std::io::Read;
use std::time::Duration;

use crate::stage::{Stage, hold};
use crate::support::client::{Client, TEXT, frame};
use crate::support::eventually;

/// Messages of a kilobyte: far more than the kernel's buffers and an outbox hold.
const MESSAGES: usize = 1_000;

/// The sizes of one client's queue and of its socket's buffer: small.
const NARROW: [&str; 5] = [
    "engine.send_buffer_bytes=16KiB",
    "limits.message_bytes=16KiB",
    "endpoints.named.limits.message_bytes=16KiB",
    "slow_client.outbox_bytes=64KiB",
    "slow_client.outbox_age=0",
];

fn text(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(1_000))
}

/// A relay with `settings`, and a room with published messages and one member that read nothing.
fn stage_with_a_stalled_member(settings: &[&str]) -> (Stage, Client, Client) {
    let stage = Stage::start(&[&NARROW[..], settings].concat());
    let stalled = Client::connect_narrow(stage.address(), 4_096).upgraded("/slow");
    let mut sender = stage.open("/slow");
    for number in 0..MESSAGES {
        sender.text(&text(number));
        assert!(sender.expect_text() == text(number));
    }
    (stage, sender, stalled)
}

/// A policy that drops messages, and its label in the metrics.
fn a_client_that_never_reads_misses_messages_by(policy: &str) {
    let setting = format!("slow_client.policy={policy}");
    let (stage, mut sender, mut stalled) = stage_with_a_stalled_member(&[&setting]);
    // Then it reads after all: the rest comes whole, once and in order.
    stalled.send(&frame(TEXT, b"awake"));
    let mut numbers = Vec::new();
    loop {
        let text_found = stalled.expect_text();
        let Ok(number) = text_found[..text_found.len().min(6)].parse() else {
            assert_eq!(text_found, "awake");
            break;
        };
        assert!(text_found == text(number));
        numbers.push(number);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(sender.expect_text(), "awake");
    let dropped = stage.count("dropped_frames");
    assert_eq!(numbers.len() + dropped as usize, MESSAGES);
    let action = format!("slow_client_actions {policy}");
    let actions = stage.count(&action);
    assert!(actions > 0 && dropped >= actions, "{actions}, {dropped}");
    stage.leave(stalled);
    stage.leave(sender);
    stage.end(&[("dropped_frames", dropped), (&action, actions)]);
}

#[test]
fn never_reads_and_is_disconnected() {
    let (stage, sender, mut stalled) = stage_with_a_stalled_member(&[]);
    stage.wait_for("closed slow_bytes", 1);
    let (texts, code, _) = stalled.until_close();
    assert_eq!(code, 1013);
    for (number, found) in texts.iter().enumerate() {
        assert!(*found == text(number), "message {number}");
    }
    stalled.close(1013);
    stalled.expect_end();
    stage.leave(sender);
    // Messages that waited when it was closed were dropped; later ones were not for it.
    let dropped = stage.count("dropped_frames");
    assert!((1..=(MESSAGES - texts.len()) as u64).contains(&dropped));
    stage.end(&[
        ("closed slow_bytes", 1),
        ("dropped_frames", dropped),
        ("slow_client_actions disconnect", 1),
    ]);
}

#[test]
fn never_reads_and_misses_the_oldest() {
    a_client_that_never_reads_misses_messages_by("drop_oldest");
}

#[test]
fn never_reads_and_misses_the_newest() {
    a_client_that_never_reads_misses_messages_by("drop_newest");
}

#[test]
fn never_reads_and_gets_the_latest_only() {
    a_client_that_never_reads_misses_messages_by("latest_only");
}

#[test]
fn never_reads_and_does_not_answer_the_close_either() {
    let (stage, sender, stalled) = stage_with_a_stalled_member(&["timeouts.close=1s"]);
    stage.wait_for("closed slow_bytes", 1);
    // It is cut, although it never reads its Close.
    eventually("it is gone", || {
        stage.metrics().connections("closing") == 0.0
    });
    stage.leave(sender);
    let dropped = stage.count("dropped_frames");
    stage.end(&[
        ("closed slow_bytes", 1),
        ("dropped_frames", dropped),
        ("slow_client_actions disconnect", 1),
    ]);
    drop(stalled);
}

#[test]
fn reads_one_byte_a_second() {
    let stage = Stage::start(&[
        "engine.send_buffer_bytes=16KiB",
        "slow_client.outbox_age=2s",
        "timeouts.close=1s",
    ]);
    let mut slow = Client::connect_narrow(stage.address(), 4_096).upgraded("/slow");
    let mut sender = stage.open("/slow");
    for number in 0..200 {
        sender.text(&text(number));
        assert!(sender.expect_text() == text(number));
    }
    let mut seconds = 0;
    while stage.count("closed slow_age") == 0 {
        let mut byte = [0];
        slow.stream
            .read_exact(&mut byte)
            .expect("far more is there");
        hold(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds < 60, "it may be slow for ever");
    }
    stage.leave(sender);
    let dropped = stage.count("dropped_frames");
    assert!(dropped > 0);
    stage.end(&[
        ("closed slow_age", 1),
        ("dropped_frames", dropped),
        ("slow_client_actions disconnect", 1),
    ]);
}
