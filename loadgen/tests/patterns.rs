//! Patterns in the counts are recognised, and reported with the option to use or the part to look
//! at.

use std::time::Duration;

use corecast_test::generator::{findings, number, report};
use corecast_test::stand_in::{Hub, Message, StandIn, both};
use serde_json::Value;

const LOAD: &str = "--clients 8 --rate 400 --duration 800 --warmup 100ms";
const SOON: Duration = Duration::from_millis(300);

/// Runs the load. Returns the exit code and the report, which has this as its only finding.
#[track_caller]
fn only(
    mode: impl FnMut(&mut Hub, &Message) + Send + 'static,
    arguments: &str,
    kind: &str,
    words: &[&str],
) -> (i32, Value, StandIn) {
    let server = StandIn::with(mode);
    let (code, report) = report(&server.url, &format!("{LOAD} {arguments}"));
    let findings = findings(&report);
    let kinds: Vec<_> = findings.iter().map(|finding| &finding["kind"]).collect();
    assert_eq!(kinds, [kind], "{report:#}");
    let text = findings[0]["text"].as_str().expect("a text");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text:?}");
    }
    (code, report, server)
}

fn index(hub: &Hub, client: usize) -> u32 {
    hub.index(client).expect("a number")
}

#[test]
fn a_relay_without_echo_is_named_with_the_option() {
    let mode = |hub: &mut Hub, message: &Message| {
        for client in hub.clients() {
            match client == message.from {
                true => hub.fault(message),
                false => hub.deliver(client, message),
            }
        }
    };
    let (code, report, server) = only(mode, "", "no_echo", &["--no-echo"]);
    assert_eq!(both(&report, "lost"), server.truth().faults);
    assert_eq!(report["findings"][0]["culprit"], "options");
    assert_eq!(code, 3);
}

#[test]
fn an_echo_server_is_named_with_the_option() {
    let mode = |hub: &mut Hub, message: &Message| hub.deliver(message.from, message);
    for arguments in ["", "--no-echo"] {
        let (code, report, server) = only(mode, arguments, "only_echo", &["--expect self"]);
        let lost = server.truth().messages.map(|messages| 7 * messages);
        assert_eq!((code, both(&report, "lost")), (3, lost));
    }
}

#[test]
fn a_broadcast_relay_is_reported_if_echo_was_expected() {
    let words = ["--expect all"];
    let (code, report, server) = only(Hub::broadcast, "--expect self", "wrong_room", &words);
    let misrouted = server.truth().messages.map(|messages| 7 * messages);
    assert_eq!((code, both(&report, "misrouted")), (3, misrouted));
}

#[test]
fn a_server_that_says_nothing_is_named_with_the_option() {
    let (code, report, server) = only(|_, _| {}, "", "nothing_came", &["--expect nobody"]);
    let lost = server.truth().messages.map(|messages| 8 * messages);
    assert_eq!((code, both(&report, "lost")), (3, lost));
}

#[test]
fn something_that_buffers_for_a_time_is_named() {
    let mut next = Vec::new();
    let mode = move |hub: &mut Hub, message: &Message| {
        next.extend(message.frame());
        // A tenth of a second.
        if message.number % 40 == 39 {
            for client in hub.clients() {
                hub.send(client, &next);
            }
            next.clear();
        }
    };
    let (code, _, _) = only(mode, "", "batched", &["in batches", "proxy"]);
    assert_eq!(code, 0);
}

#[test]
fn a_part_of_the_relay_that_dies_is_named_with_its_clients() {
    let is_dead = |hub: &Hub, client: usize| {
        hub.measured_for() >= SOON && matches!(hub.index(client), Some(1 | 5))
    };
    let mode = move |hub: &mut Hub, message: &Message| {
        let from_dead = is_dead(hub, message.from);
        for client in hub.clients() {
            match from_dead || is_dead(hub, client) {
                true => hub.fault(message),
                false => hub.deliver(client, message),
            }
        }
    };
    let words = ["clients 1, 5 got nothing after", "reached nobody", "shard"];
    let (code, report, server) = only(mode, "", "part_dead", &words);
    assert_eq!(both(&report, "lost"), server.truth().faults);
    assert_eq!(code, 3);
}

#[test]
fn a_client_that_gets_nothing_more_is_named() {
    let mode = |hub: &mut Hub, message: &Message| {
        for client in hub.clients() {
            match index(hub, client) == 2 && hub.measured_for() >= SOON {
                true => hub.fault(message),
                false => hub.deliver(client, message),
            }
        }
    };
    let words = ["client 2 got nothing after"];
    let (code, report, server) = only(mode, "", "clients_silent", &words);
    assert_eq!((code, both(&report, "lost")), (3, server.truth().faults));
}

#[test]
fn an_unheard_publisher_is_named() {
    let mode = |hub: &mut Hub, message: &Message| {
        for client in hub.clients() {
            match message.publisher() == 1 {
                true => hub.fault(message),
                false => hub.deliver(client, message),
            }
        }
    };
    let words = ["messages of client 1 reached nobody"];
    let (code, report, server) = only(mode, "", "publishers_lost", &words);
    assert_eq!((code, both(&report, "lost")), (3, server.truth().faults));
}

#[test]
fn shards_that_do_not_talk_to_each_other_are_named() {
    let mode = |hub: &mut Hub, message: &Message| {
        for client in hub.clients() {
            match index(hub, client) % 2 == message.publisher() % 2 {
                true => hub.deliver(client, message),
                false => hub.fault(message),
            }
        }
    };
    let words = ["clients 0, 2, 4, 6", "clients 1, 3, 5, 7"];
    let (code, report, server) = only(mode, "", "split", &words);
    assert_eq!((code, both(&report, "lost")), (3, server.truth().faults));
}

#[test]
fn rooms_that_are_not_kept_apart_are_named() {
    let server = StandIn::with(Hub::broadcast);
    let url = server.url.replace("{i}", "{room}");
    let (code, report) = report(&url, &format!("{LOAD} --rooms 2"));
    assert_eq!(report["findings"][0]["kind"], "wrong_room", "{report:#}");
    let text = report["findings"][0]["text"].as_str().expect("a text");
    assert!(text.contains("does not separate the rooms"), "{text}");
    let misrouted = server.truth().messages.map(|messages| 4 * messages);
    assert_eq!((code, both(&report, "misrouted")), (3, misrouted));
}

#[test]
fn a_client_in_the_wrong_room_is_named() {
    // The first client of room 0 is put into room 1.
    let mut astray = None;
    let server = StandIn::with(move |hub, message| {
        let rooms = 2;
        let clients = hub.clients();
        let first = clients.iter().find(|client| hub.index(**client) == Some(0));
        astray = astray.or(first.copied());
        for client in clients {
            let room = match Some(client) == astray {
                true => 1,
                false => index(hub, client),
            };
            if room == message.publisher() % rooms {
                hub.deliver(client, message);
            }
        }
    });
    let url = server.url.replace("{i}", "{room}");
    let (code, report) = report(&url, &format!("{LOAD} --rooms 2"));
    let findings = report["findings"].to_string();
    assert!(
        findings.contains("messages of rooms that they are not in"),
        "{report:#}"
    );
    assert_eq!(code, 3);
    let [warmup, measured] = both(&report, "misrouted");
    assert_eq!(
        warmup + measured,
        180,
        "half of 360 messages, to one client"
    );
    let lost = both(&report, "lost").iter().sum::<u64>();
    assert_eq!(lost, 180, "and those of its own room are missing");
    assert!(number(&report, "/delivered") > 0.0);
}
