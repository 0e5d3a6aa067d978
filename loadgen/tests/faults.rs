//! Every planted fault is counted as its kind, or reported as unidentified.

use std::time::Duration;

use corecast_test::generator::{findings, number, report};
use corecast_test::stand_in::{Hub, Message, Plan, StandIn, Truth, both, every, expect, frame};
use serde_json::Value;
use tungstenite::protocol::frame::coding::Data;

/// 40 messages in the warm-up and 120 measured ones, to 8 clients.
const LOAD: &str = "--clients 8 --rate 400 --duration 300 --warmup 100ms";
const CLIENTS: u64 = 8;

/// Runs the load against a server. Returns the exit code, the report and the truth.
fn load(server: &StandIn, arguments: &str) -> (i32, Value, Truth) {
    let (code, report) = report(&server.url, &format!("{LOAD} {arguments}"));
    let truth = server.truth();
    assert_eq!(truth.messages, [40, 120], "{report:#}");
    (code, report, truth)
}

/// Planted faults of both phases: their split between the two is random if messages are sent late.
fn planted(truth: &Truth) -> u64 {
    truth.faults.iter().sum()
}

/// The number of errors that a report lists under a name.
fn listed(report: &Value, error: &str) -> u64 {
    let errors = report["errors"].as_array().expect("a list");
    let found = errors.iter().find(|one| one["error"] == error);
    found.map_or(0, |one| one["count"].as_u64().expect("a count"))
}

#[test]
fn a_faultless_server_is_right_in_both_phases() {
    let server = StandIn::with(Hub::broadcast);
    let (code, report, truth) = load(&server, "");
    let counts = [("delivered", truth.deliveries)];
    expect(&report, &truth, CLIENTS, &counts);
    assert_eq!((code, number(&report, "/foreign")), (0, 0.0));
    assert!(findings(&report).is_empty(), "{report:#}");
    assert_eq!(report["unsent_by"]["held"], 0);
}

#[test]
fn deliveries_that_are_dropped_are_lost() {
    let server = StandIn::with(every(50, |_, _, _| {}));
    let (code, report, truth) = load(&server, "");
    let counts = [("delivered", truth.deliveries), ("lost", truth.faults)];
    expect(&report, &truth, CLIENTS, &counts);
    assert_eq!((code, planted(&truth)), (3, 25));
    // No message of those has a last receiver.
    let untracked = number(&report, "/latency/untracked");
    let tracked = number(&report, "/latency/corrected/last/count");
    assert_eq!(untracked + tracked, 120.0);
    assert!(untracked > 0.0);
}

/// Drops every `n`-th message for all clients.
fn dropping(n: u64) -> impl FnMut(&mut Hub, &Message) + Send + 'static {
    move |hub, message| match message.number % n {
        0 => hub.clients().iter().for_each(|_| hub.fault(message)),
        _ => hub.broadcast(message),
    }
}

#[test]
fn a_message_that_reaches_no_client_is_lost_for_all() {
    let server = StandIn::with(dropping(20));
    let (code, report, truth) = load(&server, "");
    let counts = [("delivered", truth.deliveries), ("lost", truth.faults)];
    expect(&report, &truth, CLIENTS, &counts);
    assert_eq!((code, planted(&truth)), (3, 64));
    assert_eq!(number(&report, "/latency/untracked"), 6.0);
    assert_eq!(number(&report, "/latency/corrected/last/count"), 114.0);
}

#[test]
fn repeats_are_counted_in_one_thread_and_in_three() {
    for threads in [1, 3] {
        let server = StandIn::with(every(50, |hub, client, message| {
            hub.deliver(client, message);
            hub.send(client, &message.frame());
        }));
        let (code, report, truth) = load(&server, &format!("--threads {threads}"));
        let counts = [("delivered", truth.deliveries), ("repeated", truth.faults)];
        expect(&report, &truth, CLIENTS, &counts);
        assert_eq!((code, planted(&truth)), (3, 25));
    }
}

#[test]
fn late_repeats_are_waited_for() {
    let server = StandIn::with(|hub, message| {
        hub.broadcast(message);
        if message.number.is_multiple_of(20) || message.number == 159 {
            for client in hub.clients() {
                hub.fault(message);
                hub.send_later(Duration::from_millis(100), client, message.frame());
            }
        }
    });
    let (code, report, truth) = load(&server, "");
    let counts = [("delivered", truth.deliveries), ("repeated", truth.faults)];
    expect(&report, &truth, CLIENTS, &counts);
    assert_eq!((code, planted(&truth)), (3, 72));
}

#[test]
fn a_changed_bit_is_damage_in_the_body_and_in_the_stamp() {
    for at in [100, 0, 3, 9, 20, 33] {
        let server = StandIn::with(every(50, move |hub, client, message| {
            let mut payload = message.payload.clone();
            payload[at] ^= 0x10;
            hub.send(client, &message.with(payload).frame());
        }));
        let (code, report, truth) = load(&server, "");
        let counts = [("delivered", truth.deliveries), ("damaged", truth.faults)];
        // A message without its stamp counts in the phase in which it arrived.
        let [warmup, measured] = both(&report, "damaged");
        assert_eq!(warmup + measured, 25, "byte {at}: {report:#}");
        let counts = match warmup == truth.faults[0] {
            true => &counts[..],
            false => continue,
        };
        expect(&report, &truth, CLIENTS, counts);
        assert_eq!((code, &report["order"]["differing"]), (3, &Value::from(0)));
    }
}

#[test]
fn a_message_without_its_stamp_has_no_place_in_the_order() {
    // Half of the clients get one message whose stamp is unreadable.
    let server = StandIn::with(|hub, message| {
        for client in hub.clients() {
            if message.number == 90 && client % 2 == 0 {
                hub.fault(message);
                let mut payload = message.payload.clone();
                payload[16..24].fill(0xee);
                hub.send(client, &message.with(payload).frame());
            } else {
                hub.deliver(client, message);
            }
        }
    });
    let (code, report, truth) = load(&server, "");
    let counts = [("delivered", truth.deliveries), ("damaged", truth.faults)];
    expect(&report, &truth, CLIENTS, &counts);
    let order = &report["order"];
    let order = (&order["compared"], &order["differing"]);
    assert_eq!((code, order), (3, (&Value::from(4), &Value::from(0))));
}

#[test]
fn a_truncated_message_with_its_run_id_is_damaged() {
    // If the run id is intact, the message is known to be ours; otherwise it is foreign, and ours
    // is lost.
    for (bytes, error) in [(100, "damaged"), (16, "damaged"), (15, "lost")] {
        let server = StandIn::with(every(50, move |hub, client, message| {
            let payload = message.payload[..bytes].to_vec();
            hub.send(client, &message.with(payload).frame());
        }));
        let (code, report, truth) = load(&server, "");
        let [warmup, measured] = both(&report, error);
        assert_eq!(warmup + measured, 25, "{bytes} bytes: {report:#}");
        let foreign = if error == "lost" { 25.0 } else { 0.0 };
        assert_eq!((code, number(&report, "/foreign")), (3, foreign));
        assert_eq!(both(&report, "delivered"), truth.deliveries);
    }
}

/// Swaps two messages of one publisher, or of two, for every client that `is_chosen`.
fn swapping(
    is_chosen: fn(usize) -> bool,
    same_publisher: bool,
) -> impl FnMut(&mut Hub, &Message) + Send + 'static {
    let mut held: Vec<Option<Message>> = vec![None; 8];
    move |hub, message| {
        for client in hub.clients() {
            let fits = |one: &Message| (one.publisher() == message.publisher()) == same_publisher;
            if let Some(earlier) = held[client].take_if(|one| fits(one)) {
                hub.deliver(client, message);
                hub.fault(&earlier);
                hub.deliver(client, &earlier);
            } else if is_chosen(client) && message.number == 60 {
                held[client] = Some(message.clone());
            } else {
                hub.deliver(client, message);
            }
        }
    }
}

#[test]
fn messages_of_one_publisher_that_change_places_are_reordered() {
    for threads in [1, 2] {
        let server = StandIn::with(swapping(|_| true, true));
        let (code, report, truth) = load(&server, &format!("--threads {threads}"));
        let counts = [("delivered", truth.deliveries), ("reordered", truth.faults)];
        expect(&report, &truth, CLIENTS, &counts);
        // All see the same wrong order.
        assert_eq!((code, planted(&truth)), (3, 8));
        assert_eq!(listed(&report, "order"), 0);
    }
}

#[test]
fn another_order_of_two_publishers_is_an_error_like_the_others() {
    let server = StandIn::with(swapping(|client| client == 2, false));
    let (code, report, truth) = load(&server, "--abort-if order>0");
    let counts = [("delivered", truth.deliveries)];
    expect(&report, &truth, CLIENTS, &counts);
    assert_eq!((code, listed(&report, "order")), (3, 1));
    assert_eq!(report["aborted"]["condition"], "order>0");
    assert_eq!(number(&report, "/order/differing"), 1.0);
}

#[test]
fn another_opcode_is_damage_and_no_latency_is_judged() {
    let server = StandIn::with(|hub, message| {
        for client in hub.clients() {
            hub.fault(message);
            hub.send(client, &frame(Data::Text, true, &message.payload));
        }
    });
    let (code, report, truth) = load(&server, "");
    expect(&report, &truth, CLIENTS, &[("damaged", truth.faults)]);
    assert_eq!((code, number(&report, "/latency_ns/count")), (3, 0.0));
    let reasons = report["invalid_reasons"].to_string();
    assert!(!reasons.contains("a tenth of the latency"), "{reasons}");
}

#[test]
fn frames_of_the_server_are_foreign_whatever_their_size() {
    for bytes in [33, 512, 511, 600, 70_000] {
        let server = StandIn::with(move |hub, message| {
            hub.broadcast(message);
            if message.number.is_multiple_of(20) {
                for client in hub.clients() {
                    hub.send_foreign(client, &frame(Data::Binary, true, &vec![0xee; bytes]));
                }
            }
        });
        let (code, report, truth) = load(&server, "");
        let counts = [("delivered", truth.deliveries)];
        expect(&report, &truth, CLIENTS, &counts);
        assert_eq!((code, truth.foreign), (0, 64));
        assert_eq!(number(&report, "/foreign"), 64.0, "{bytes} bytes");
        assert_eq!(number(&report, "/order/compared"), 8.0);
    }
}

#[test]
fn foreign_frames_in_parts_are_foreign_too() {
    let server = StandIn::with(|hub, message| {
        hub.broadcast(message);
        if message.number.is_multiple_of(20) {
            for client in hub.clients() {
                hub.send_foreign(client, &frame(Data::Binary, false, &[0xee; 200]));
                hub.send(client, &frame(Data::Continue, true, &[0xee; 312]));
            }
        }
    });
    let (code, report, truth) = load(&server, "");
    let counts = [("delivered", truth.deliveries)];
    expect(&report, &truth, CLIENTS, &counts);
    assert_eq!((code, number(&report, "/foreign")), (0, 64.0));
}

#[test]
fn a_foreign_frame_of_our_size_does_not_hide_a_loss() {
    let server = StandIn::with(every(50, |hub, client, message| {
        let bytes = vec![0xee; message.payload.len()];
        hub.send_foreign(client, &frame(Data::Binary, true, &bytes));
    }));
    let (code, report, truth) = load(&server, "");
    let counts = [("delivered", truth.deliveries), ("lost", truth.faults)];
    expect(&report, &truth, CLIENTS, &counts);
    assert_eq!((code, number(&report, "/foreign")), (3, 25.0));
}

#[test]
fn a_greeting_is_foreign_even_to_a_closed_connection() {
    let server = StandIn::new(Plan {
        joined: Box::new(|hub, client| {
            hub.send_foreign(client, &frame(Data::Text, true, b"hello"));
        }),
        ..Plan::default()
    });
    let load = "--clients 8 --churn 40/s --churning 4 --rate 100 --duration 500 --warmup 0";
    let (code, report) = report(&server.url, load);
    let truth = server.truth();
    assert_eq!(code, 0, "{report:#}");
    assert!(truth.foreign > 8, "{truth:?}");
    // A client that was greeted when the run ended may not have read it.
    let foreign = number(&report, "/foreign") as u64;
    assert!(
        (truth.foreign - 4..=truth.foreign).contains(&foreign),
        "{truth:?}, {report:#}"
    );
}

#[test]
fn deliveries_to_slow_readers_are_checked_like_others() {
    let server = StandIn::with(|hub, message| {
        for client in hub.clients() {
            if hub.index(client) == Some(7) && message.number.is_multiple_of(2) {
                hub.fault(message);
                let mut payload = message.payload.clone();
                payload[100] ^= 1;
                hub.send(client, &message.with(payload).frame());
            } else {
                hub.deliver(client, message);
            }
        }
    });
    let (code, report, truth) = load(&server, "--slow-readers 1 --slow-rate 200000");
    assert_eq!(both(&report, "damaged"), truth.faults, "{report:#}");
    assert_eq!((code, planted(&truth)), (3, 80));
    assert_eq!(both(&report, "lost"), [0, 0]);
    assert_eq!(number(&report, "/expected"), 7.0 * 120.0);
}

#[test]
fn faults_of_any_repeat_are_in_the_report() {
    // The second run's clients are numbers 8 to 15.
    let server = StandIn::with(every(50, |hub, client, message| {
        if !(8..16).contains(&client) {
            hub.deliver(client, message);
        }
    }));
    let (code, report) = report(&server.url, &format!("{LOAD} --repeat 3 --abort-if lost>0"));
    let runs = report["repeats"]["runs"].as_array().expect("a list");
    let lost: Vec<_> = runs.iter().map(|run| number(run, "/lost")).collect();
    assert_eq!(lost[0], 0.0, "{report:#}");
    assert!(lost[1] > 0.0 && lost.get(2).is_none_or(|lost| *lost == 0.0));
    assert_eq!(number(&report, "/lost"), lost[1]);
    assert_eq!(number(&report, "/sent"), 120.0 * runs.len() as f64);
    assert!(listed(&report, "lost") as f64 >= lost[1]);
    assert_eq!((code, &report["right"]), (3, &Value::Bool(false)));
    assert_eq!(report["aborted"]["condition"], "lost>0");
}

#[test]
fn own_messages_that_come_back_unasked_are_repeated_and_named() {
    let server = StandIn::with(Hub::broadcast);
    let (code, report, truth) = load(&server, "--no-echo");
    assert_eq!(both(&report, "repeated"), truth.messages);
    assert_eq!(report["findings"][0]["kind"], "echo", "{report:#}");
    assert_eq!(code, 3);
}
