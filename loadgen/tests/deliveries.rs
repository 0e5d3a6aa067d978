//! Planted faults are found and counted exactly.

use std::time::Duration;

use corecast_test::generator::{self, Behaviour, Delivery, number, report, serve};
use serde_json::Value;

/// 200 messages to 5 clients: 1,000 deliveries.
const LOAD: &str = "--clients 5 --rate 1000 --duration 200 --warmup 0 --size 100";

/// The same, with messages that are worth compressing.
const JSON_LOAD: &str = "--clients 5 --rate 1000 --duration 200 --warmup 0 --size 512 \
                         --payload json --deflate";

/// Checks every count of a report; counts that are not named must be zero.
#[track_caller]
fn expect(report: &Value, counts: &[(&str, u64)]) {
    for name in [
        "sent",
        "expected",
        "delivered",
        "lost",
        "repeated",
        "reordered",
        "damaged",
    ] {
        let expected = counts
            .iter()
            .find(|count| count.0 == name)
            .map_or(0, |count| count.1);
        assert_eq!(
            number(report, &format!("/{name}")),
            expected as f64,
            "{name} in {report:#}"
        );
    }
}

/// Whether this is the delivery of message 50 to client 2.
fn is_chosen(delivery: &Delivery) -> bool {
    delivery.client == 2 && delivery.number == 50
}

#[test]
fn a_faultless_server_is_found_right() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, LOAD);
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
    );
    assert_eq!(report["order"]["compared"], 5);
    assert_eq!((code, &report["right"]), (0, &Value::Bool(true)));
    assert_eq!(number(&report, "/latency_ns/count"), 1000.0);
}

#[test]
fn every_dropped_delivery_is_counted_as_lost() {
    let url = serve(Behaviour::with(|delivery| {
        if delivery.client == 1 && delivery.number % 10 == 9 {
            return vec![];
        }
        vec![delivery.payload]
    }));
    let (code, report) = report(&url, LOAD);
    // The last message is among the dropped ones: a loss at the end shows no gap.
    let counts = [
        ("sent", 200),
        ("expected", 1000),
        ("delivered", 980),
        ("lost", 20),
    ];
    expect(&report, &counts);
    assert_eq!(
        report["order"]["compared"], 4,
        "who lost something has no order to compare"
    );
    assert_eq!(report["order"]["differing"], 0);
    assert_eq!(code, 3);
}

#[test]
fn a_repeated_delivery_is_counted_once() {
    let url = serve(Behaviour::with(|delivery| {
        let copies = if is_chosen(&delivery) { 3 } else { 1 };
        vec![delivery.payload; copies]
    }));
    let (code, report) = report(&url, LOAD);
    expect(
        &report,
        &[
            ("sent", 200),
            ("expected", 1000),
            ("delivered", 1000),
            ("repeated", 2),
        ],
    );
    assert_eq!(code, 3);
}

/// From message 50 on: swaps the first two successive messages for which `wanted` holds, at client
/// 2.
fn swapping(wanted: fn(&[u8], &[u8]) -> bool) -> Behaviour {
    let mut held: Option<Vec<u8>> = None;
    let mut is_done = false;
    Behaviour::with(move |delivery| {
        if delivery.client != 2 || delivery.number < 50 || is_done {
            return vec![delivery.payload];
        }
        let Some(earlier) = held.take() else {
            held = Some(delivery.payload);
            return vec![];
        };
        if wanted(&earlier, &delivery.payload) {
            is_done = true;
            return vec![delivery.payload, earlier];
        }
        held = Some(delivery.payload);
        vec![earlier]
    })
}

/// The publisher's number in a binary payload.
const PUBLISHER: std::ops::Range<usize> = 4..8;

#[test]
fn swapped_messages_of_one_publisher_are_reordered() {
    let url = serve(swapping(|_, _| true));
    let (code, report) = report(&url, &format!("{LOAD} --publishers 1"));
    expect(
        &report,
        &[
            ("sent", 200),
            ("expected", 1000),
            ("delivered", 1000),
            ("reordered", 1),
        ],
    );
    assert_eq!(report["order"]["differing"], 1);
    assert_eq!(code, 3);
}

#[test]
fn swapped_messages_of_two_publishers_only_change_the_order() {
    let url = serve(swapping(|one, other| one[PUBLISHER] != other[PUBLISHER]));
    let (code, report) = report(&url, &format!("{LOAD} --publishers 2"));
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
    );
    assert_eq!(report["order"]["differing"], 1);
    assert_eq!((code, &report["right"]), (3, &Value::Bool(false)));
}

/// Changes message 50 to client 2.
fn damaging(change: impl Fn(&mut Vec<u8>) + Send + 'static) -> Behaviour {
    Behaviour::with(move |mut delivery| {
        if is_chosen(&delivery) {
            change(&mut delivery.payload);
        }
        vec![delivery.payload]
    })
}

#[test]
fn one_flipped_bit_anywhere_is_damage_and_not_also_a_loss() {
    for at in [0, 5, 9, 20, 35, 40, 99] {
        let url = serve(damaging(move |payload| payload[at] ^= 0x10));
        let (code, report) = report(&url, LOAD);
        let counts = [
            ("sent", 200),
            ("expected", 1000),
            ("delivered", 999),
            ("damaged", 1),
        ];
        expect(&report, &counts);
        assert_eq!(code, 3, "byte {at}");
    }
}

#[test]
fn a_message_that_is_cut_off_or_grows_is_damage() {
    let changes: [fn(&mut Vec<u8>); 2] =
        [|payload| payload.truncate(60), |payload| payload.push(0)];
    for change in changes {
        let url = serve(damaging(change));
        let (code, report) = report(&url, LOAD);
        let counts = [
            ("sent", 200),
            ("expected", 1000),
            ("delivered", 999),
            ("damaged", 1),
        ];
        expect(&report, &counts);
        assert_eq!(code, 3);
    }
}

#[test]
fn an_opcode_that_is_not_preserved_is_damage() {
    let url = serve(Behaviour {
        binary_out: true,
        ..Behaviour::default()
    });
    let (code, report) = report(&url, &format!("{LOAD} --text"));
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("damaged", 1000)],
    );
    assert_eq!(code, 3);
}

#[test]
fn text_messages_pass_a_server_that_validates_them() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, &format!("{LOAD} --text"));
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
    );
    assert_eq!(
        (code, &report["config"]["opcode"]),
        (0, &Value::from("text"))
    );
}

#[test]
fn a_stall_is_seen_in_the_latency_of_every_message_that_waited() {
    let stall = Duration::from_millis(50);
    let url = serve(Behaviour::with(move |delivery| {
        if delivery.client == 0 && delivery.number == 50 {
            std::thread::sleep(stall);
        }
        vec![delivery.payload]
    }));
    let (code, report) = report(&url, LOAD);
    assert_eq!(code, 0, "late is not wrong: {report:#}");
    assert!(number(&report, "/latency_ns/max") >= 50e6, "{report:#}");
    // Some 50 messages of 200 were due meanwhile. Latency counts from then, so at least the last
    // tenth waited: a generator that waits itself would see one slow message.
    assert!(number(&report, "/latency_ns/p90") >= 20e6, "{report:#}");
}

#[test]
fn without_echo_own_messages_are_not_expected() {
    let url = serve(Behaviour {
        echo: false,
        ..Behaviour::default()
    });
    let (code, report) = report(&url, &format!("{LOAD} --no-echo --publishers 2"));
    expect(
        &report,
        &[("sent", 200), ("expected", 800), ("delivered", 800)],
    );
    assert_eq!(
        report["order"]["compared"], 3,
        "publishers miss their own messages"
    );
    assert_eq!(code, 0);
}

#[test]
fn an_echo_that_should_not_be_is_a_repeat() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, &format!("{LOAD} --no-echo"));
    expect(
        &report,
        &[
            ("sent", 200),
            ("expected", 800),
            ("delivered", 800),
            ("repeated", 200),
        ],
    );
    assert_eq!(code, 3);
}

#[test]
fn a_fault_in_the_warm_up_is_reported_and_not_counted() {
    let url = serve(Behaviour::with(|delivery| {
        if is_chosen(&delivery) {
            vec![]
        } else {
            vec![delivery.payload]
        }
    }));
    // One publisher: message 50 is part of the warm-up, even if messages are sent late.
    let load = "--clients 5 --publishers 1 --rate 1000 --duration 200 --warmup 100ms --size 100";
    let (code, report) = report(&url, load);
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
    );
    assert_eq!(report["warmup"]["sent"], 100);
    assert_eq!((&report["warmup"]["lost"], code), (&Value::from(1), 3));
}

#[test]
fn messages_of_others_are_told_apart() {
    let url = serve(Behaviour {
        greeting: "welcome",
        ..Behaviour::default()
    });
    let (code, report) = report(&url, LOAD);
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
    );
    assert_eq!((&report["foreign"], code), (&Value::from(5), 0));
}

#[test]
fn fragmented_messages_with_control_frames_between_are_read() {
    let url = serve(Behaviour {
        fragment: true,
        ..Behaviour::default()
    });
    let (code, report) = report(&url, LOAD);
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
    );
    assert_eq!(code, 0);
}

#[test]
fn compressed_messages_are_inflated_and_checked() {
    for fragment in [false, true] {
        let url = serve(Behaviour {
            deflate: true,
            fragment,
            ..Behaviour::default()
        });
        let (code, report) = report(&url, JSON_LOAD);
        expect(
            &report,
            &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
        );
        assert_eq!((code, number(&report, "/wire/compressed")), (0, 1000.0));
        let bytes = number(&report, "/wire/bytes_per_delivery");
        assert!(bytes > 100.0 && bytes < 400.0, "{report:#}");
    }
}

#[test]
fn damage_under_compression_is_damage() {
    let url = serve(Behaviour {
        deflate: true,
        ..damaging(|payload| payload[400] ^= 0x10)
    });
    let (code, report) = report(&url, JSON_LOAD);
    let counts = [
        ("sent", 200),
        ("expected", 1000),
        ("delivered", 999),
        ("damaged", 1),
    ];
    expect(&report, &counts);
    assert_eq!(code, 3);
}

#[test]
fn a_server_that_does_not_compress_is_as_good() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, JSON_LOAD);
    assert_eq!((code, number(&report, "/wire/compressed")), (0, 0.0));
    // A frame of 512 bytes has a header of four.
    assert_eq!(number(&report, "/wire/bytes_per_delivery"), 516.0);
}

#[test]
fn compression_that_was_not_agreed_on_is_an_offence() {
    let url = serve(Behaviour {
        deflate: true,
        ..Behaviour::default()
    });
    let output = generator::run(&url, LOAD);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("was not offered"), "{told}");
}

#[test]
fn a_closed_loop_completes_with_and_without_echo() {
    for echo in [true, false] {
        let url = serve(Behaviour {
            echo,
            ..Behaviour::default()
        });
        let flag = if echo { "" } else { "--no-echo" };
        let load = "--clients 4 --rate max --window 1 --duration 1s --warmup 50ms --size 100";
        let (code, report) = report(&url, &format!("{load} {flag}"));
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(
            number(&report, "/delivered"),
            number(&report, "/expected"),
            "{report:#}"
        );
        // If credits were never returned, it would end after one message per publisher.
        assert!(number(&report, "/sent") > 4.0, "{report:#}");
        assert_eq!(report["latency_comparable"], false);
    }
}

#[test]
fn a_window_bounds_the_messages_under_way() {
    let url = serve(Behaviour::with(|_| vec![]));
    let load = "--clients 4 --publishers 2 --rate max --window 7 --duration 100 --warmup 0";
    let (code, report) = report(&url, load);
    expect(&report, &[("sent", 14), ("expected", 56), ("lost", 56)]);
    assert_eq!(code, 3);
}

#[test]
fn threads_share_the_clients_and_the_rate() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, &format!("{LOAD} --threads 2"));
    expect(
        &report,
        &[("sent", 200), ("expected", 1000), ("delivered", 1000)],
    );
    assert_eq!(report["order"]["compared"], 5);
    assert_eq!((&report["config"]["threads"], code), (&Value::from(2), 0));
}

#[test]
fn large_messages_arrive_whole() {
    let url = serve(Behaviour::default());
    let load = "--clients 3 --rate 20 --duration 200 --warmup 0 --size 1000000";
    let (code, report) = report(&url, load);
    expect(&report, &[("sent", 4), ("expected", 12), ("delivered", 12)]);
    assert_eq!(code, 0);
}

#[test]
fn a_relay_that_does_not_read_delays_but_skips_no_message() {
    let url = serve(Behaviour::with(|delivery| {
        if delivery.number == 0 {
            std::thread::sleep(Duration::from_millis(600));
        }
        vec![delivery.payload]
    }));
    // 40 MB in 400 ms: more than the sockets' buffers hold while the server does not read.
    let load = "--clients 1 --rate 100 --duration 400 --warmup 0 --size 1000000";
    let (code, report) = report(&url, load);
    expect(
        &report,
        &[("sent", 40), ("expected", 40), ("delivered", 40)],
    );
    assert!(number(&report, "/held_up") >= 1.0, "{report:#}");
    // The relay causes these, not the generator's lateness.
    let recorded = number(&report, "/lateness_ns/count") + number(&report, "/held_up");
    assert_eq!(recorded, 40.0, "{report:#}");
    assert_eq!((code, number(&report, "/unsent")), (0, 0.0));
}

#[test]
fn a_stall_of_50_ms_shows_in_the_tail() {
    let url = serve(Behaviour::with(|delivery| {
        if delivery.client == 0 && delivery.number == 500 {
            std::thread::sleep(Duration::from_millis(50));
        }
        vec![delivery.payload]
    }));
    let load = "--clients 3 --publishers 1 --rate 1000 --duration 1s --warmup 0 --size 100";
    let (code, report) = report(&url, load);
    assert_eq!(code, 0, "{report:#}");
    for path in [
        "/latency_ns",
        "/latency/corrected/first",
        "/latency/corrected/last",
    ] {
        let of = |quantile: &str| number(&report, &format!("{path}/{quantile}"));
        assert!(of("max") >= 50e6, "{path}: {}", of("max"));
        // 50 of 1,000 messages were due during the stall; one in a thousand waited for nearly all
        // of it.
        assert!(of("p99_9") >= 45e6, "{path}: {}", of("p99_9"));
        assert!(of("p99") >= 30e6, "{path}: {}", of("p99"));
    }
    let worst = report["timeline"].as_array().expect("seconds").iter();
    let worst = worst.map(|second| number(second, "/latency/max"));
    assert!(worst.fold(0.0, f64::max) >= 50e6, "the timeline shows when");
}

#[test]
fn a_search_does_not_find_more_than_a_slow_server_bears() {
    // Two deliveries of 5 ms: it can handle 100 messages a second. At 130 it is 180 ms behind after
    // 600 ms, which chance cannot hide.
    let slow = Behaviour::with(|delivery| {
        std::thread::sleep(Duration::from_millis(5));
        vec![delivery.payload]
    });
    let load = "--clients 2 --size 64 --rate 160 --duration 600 --warmup 0 --find-max p99<60ms";
    let (_, report) = report(&serve(slow), load);
    let steps = report["walk"]["steps"].as_array().expect("steps");
    let too_fast = |step: &&Value| number(step, "/rate") >= 130.0;
    assert!(steps.iter().any(|step| too_fast(&step)), "{report:#}");
    let met = |step: &Value| step["met"] == true;
    assert!(!steps.iter().filter(too_fast).any(met), "{report:#}");
    if let Some(knee) = report["walk"]["knee"].as_f64() {
        assert!(knee < 130.0, "{report:#}");
    }
}
