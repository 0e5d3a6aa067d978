//! A server's protocol violations (RFC 6455 §5) end its connection and are errors; permitted frames
//! between the messages are not.

use corecast_test::generator::{findings, number, report};
use corecast_test::stand_in::{Hub, Message, StandIn, both, expect, frame};
use serde_json::Value;
use tungstenite::protocol::frame::coding::Data;

const LOAD: &str = "--clients 8 --rate 400 --duration 300 --warmup 100ms";

/// Sends message 60, a measured one, to clients 1 and 2 in the form that `offence` makes.
fn offending(
    offence: impl Fn(&Message) -> Vec<u8> + Send + 'static,
) -> impl FnMut(&mut Hub, &Message) + Send + 'static {
    move |hub, message| {
        for client in hub.clients() {
            if message.number == 60 && matches!(hub.index(client), Some(1 | 2)) {
                hub.send(client, &offence(message));
            } else {
                hub.deliver(client, message);
            }
        }
    }
}

/// Both clients are closed and reported, and the others go on.
#[track_caller]
fn offended(offence: impl Fn(&Message) -> Vec<u8> + Send + 'static, told: &str) {
    let server = StandIn::with(offending(offence));
    let (code, report) = report(&server.url, &format!("{LOAD} --publishers 1"));
    assert_eq!(code, 3, "{report:#}");
    assert_eq!(number(&report, "/disconnects/reading"), 2.0, "{report:#}");
    assert_eq!(number(&report, "/disconnects/protocol"), 2.0);
    let finding = &report["findings"][0];
    assert_eq!(finding["kind"], "protocol_error", "{report:#}");
    assert_eq!(finding["culprit"], "relay");
    let text = finding["text"].as_str().expect("a text");
    assert!(text.contains("2 of 8") && text.contains(told), "{text}");
    let errors = report["errors"].to_string();
    assert!(
        errors.contains(r#"{"count":2,"error":"protocol"}"#),
        "{errors}"
    );
    // Messages 60 to 159 did not come to these two.
    assert_eq!(both(&report, "lost"), [0, 200], "{report:#}");
    assert_eq!(both(&report, "damaged"), [0, 0]);
}

#[test]
fn a_continuation_of_nothing_is_an_offence() {
    offended(
        |message| frame(Data::Continue, true, &message.payload),
        "a continuation without a message",
    );
}

#[test]
fn a_new_message_within_another_one_is_an_offence() {
    offended(
        |message| {
            let (head, rest) = message.payload.split_at(50);
            [
                frame(Data::Binary, false, head),
                frame(Data::Binary, true, rest),
            ]
            .concat()
        },
        "a new message before the end of the last one",
    );
    offended(
        |message| {
            let head = frame(Data::Binary, false, &message.payload[..50]);
            [head, message.frame()].concat()
        },
        "a new message before the end of the last one",
    );
    offended(
        |message| {
            let head = frame(Data::Binary, false, &message.payload[..50]);
            [head, frame(Data::Binary, true, &[0; 100_000])].concat()
        },
        "a new message before the end of the last one",
    );
}

#[test]
fn a_masked_frame_is_an_offence() {
    offended(
        |message| {
            let mut bytes = message.frame();
            bytes[1] |= 0x80;
            bytes.splice(4..4, [0; 4]);
            bytes
        },
        "a masked frame",
    );
}

#[test]
fn a_reserved_bit_or_opcode_is_an_offence() {
    for first in [0xc2, 0xa2, 0x92, 0x83, 0x8b] {
        offended(
            move |message| {
                let mut bytes = message.frame();
                bytes[0] = first;
                bytes
            },
            "a reserved bit or opcode",
        );
    }
}

#[test]
fn a_length_that_could_be_shorter_is_an_offence() {
    offended(
        |message| {
            let mut bytes = vec![0x82, 127];
            bytes.extend((message.payload.len() as u64).to_be_bytes());
            bytes.extend(&message.payload);
            bytes
        },
        "whose length is not minimal",
    );
}

#[test]
fn a_control_frame_in_two_parts_and_half_a_close_are_offences() {
    offended(|_| vec![0x09, 1, b'x'], "too long or fragmented");
    offended(|_| vec![0x88, 1, 3], "a Close with half a status code");
}

#[test]
fn a_protocol_error_on_all_clients_is_not_reported_as_gone() {
    let server = StandIn::with(|hub, message| {
        for client in hub.clients() {
            hub.send(client, &frame(Data::Continue, true, &message.payload));
        }
    });
    let (code, report) = report(&server.url, LOAD);
    assert_eq!(
        (code, number(&report, "/delivered")),
        (3, 0.0),
        "{report:#}"
    );
    assert_eq!(number(&report, "/disconnects/protocol"), 8.0);
    assert_eq!(report["findings"][0]["kind"], "protocol_error");
    assert_eq!(report["right"], Value::Bool(false));
}

/// Sends every message in this form, which is equivalent to the plain one.
#[track_caller]
fn allowed(form: impl Fn(&Message) -> Vec<u8> + Send + 'static) {
    let server = StandIn::with(move |hub, message| {
        for client in hub.clients() {
            hub.fault(message);
            hub.send(client, &form(message));
        }
    });
    let (code, report) = report(&server.url, LOAD);
    let truth = server.truth();
    expect(&report, &truth, 8, &[("delivered", truth.faults)]);
    assert_eq!((code, number(&report, "/foreign")), (0, 0.0));
    assert!(findings(&report).is_empty(), "{report:#}");
}

#[test]
fn parts_with_pings_between_them_are_one_message() {
    allowed(|message| {
        let (head, rest) = message.payload.split_at(50);
        let ping = vec![0x89, 1, b'x'];
        let parts = [
            frame(Data::Binary, false, head),
            ping,
            frame(Data::Continue, true, rest),
        ];
        parts.concat()
    });
}

#[test]
fn a_flood_of_pings_changes_nothing() {
    allowed(|message| {
        let mut bytes = [vec![0x89, 100], vec![b'x'; 100]].concat().repeat(20);
        bytes.extend(message.frame());
        bytes
    });
}
