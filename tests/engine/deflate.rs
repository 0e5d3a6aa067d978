//! permessage-deflate over real sockets: the form for each client, shared work, refusals.

use std::time::Duration;

use corecast::engine::{
    Deflate, Endpoint, EndpointSettings, Request, Session, Settings, SlowAction, SlowClient,
    SlowPolicy,
};
use corecast::fanout::Recipients;
use corecast::fanout::room::EndpointId;
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;

use crate::support::client::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, PING, PONG, RSV1, TEXT, close_payload, compressed,
    fragment, frame, raw_frame, upgrade_with,
};
use crate::support::{DEADLINE, Server, eventually, settings};

const ON: Deflate = Deflate {
    enabled: true,
    min_bytes: 64,
    level: 1,
};

fn endpoint() -> EndpointSettings {
    EndpointSettings {
        deflate: ON,
        ..EndpointSettings::default()
    }
}

/// A hub with compression.
fn hub(shards: usize) -> Server {
    let settings = Settings {
        shards,
        ..settings()
    };
    Server::hub(settings, endpoint())
}

fn open(server: &Server, parameters: &str) -> Client {
    Client::connect(server.address).deflating("/", parameters)
}

fn compressions(server: &Server) -> [u64; 2] {
    [
        server.sum(|stats| stats.deflated.get()),
        server.sum(|stats| stats.deflated_in_vain.get()),
    ]
}

/// A message that becomes smaller.
fn words(number: usize) -> String {
    format!("{number:06} {}", "the same again, ".repeat(20 + number % 7))
}

/// Incompressible bytes.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn an_offer_is_accepted_if_the_endpoint_compresses() {
    let ours = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let (on, off) = (hub(1), Server::default_hub());
    let answer = |server: &Server, headers: &str| {
        let mut client = Client::connect(server.address);
        client.send(upgrade_with("/", headers).as_bytes());
        let answer = client.answer();
        let extensions = answer.header("sec-websocket-extensions");
        (answer.status, extensions.map(str::to_owned))
    };
    let offer = "Sec-WebSocket-Extensions: x, permessage-deflate; client_max_window_bits\r\n";
    assert_eq!(answer(&on, offer), (101, Some(ours.to_owned())));
    assert_eq!(answer(&off, offer), (101, None));
    assert_eq!(answer(&on, ""), (101, None));
    let window = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n";
    let with_window = format!("{ours}; server_max_window_bits=8");
    assert_eq!(answer(&on, window), (101, Some(with_window)));
    let unknown = "Sec-WebSocket-Extensions: permessage-deflate; what\r\n";
    assert_eq!(answer(&on, unknown), (101, None));
    let bad = "Sec-WebSocket-Extensions: permessage-deflate;;\r\n";
    assert_eq!(answer(&on, bad).0, 400);
}

#[test]
fn members_with_and_without_deflate_see_one_order() {
    const EACH: usize = 150;
    let server = hub(2);
    let mut clients: Vec<Client> = (0..9)
        .map(|number| match number % 3 {
            0 => server.open("/"),
            1 => open(&server, "; client_max_window_bits"),
            _ => open(&server, "; server_max_window_bits=9"),
        })
        .collect();
    // Publishers on both shards: some compress, some do not, and some cannot.
    let expected = 3 * EACH;
    std::thread::scope(|scope| {
        for (publisher, client) in clients.iter_mut().take(3).enumerate() {
            let mut stream = client.stream.try_clone().expect("a socket");
            scope.spawn(move || {
                for number in 0..EACH {
                    let noise = noise(number as u64 + 1, 300);
                    let bytes = match number % 5 {
                        0 => frame(TEXT, format!("{publisher} {number}").as_bytes()),
                        1 => frame(BINARY, &noise),
                        2 => frame(TEXT, words(number).repeat(300).as_bytes()),
                        3 if publisher > 0 => {
                            let message = compressed(words(number).as_bytes());
                            raw_frame(FIN | RSV1 | TEXT, &message, true)
                        }
                        _ => frame(TEXT, words(number).as_bytes()),
                    };
                    std::io::Write::write_all(&mut stream, &bytes).expect("the server reads");
                }
            });
        }
        let readers: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(move || (0..expected).map(|_| client.frame()).collect::<Vec<_>>())
            })
            .collect();
        let mut orders = readers.into_iter().map(|reader| reader.join().unwrap());
        let first = orders.next().expect("a reader");
        assert!(orders.all(|order| order == first), "two different orders");
        let compressible = first.iter().filter(|frame| frame.payload.len() > 310);
        assert!(compressible.count() > EACH);
    });
    for (number, client) in clients.iter().enumerate() {
        match (number % 3, client.deflated_frames) {
            (0, None) => {}
            (1, Some(deflated)) => assert!(deflated > 100, "{deflated}"),
            // Only runs of small messages fit the window.
            (_, Some(deflated)) => assert!(deflated < 300, "{deflated}"),
            (_, None) => unreachable!(),
        }
    }
    assert_eq!(server.sum(|stats| stats.deflate_open.get()), 6);
    drop(clients);
    server.expect_empty();
    assert_eq!(server.sum(|stats| stats.deflate_open.get()), 0);
}

#[test]
fn a_message_is_compressed_once_whatever_the_number_of_members() {
    const MESSAGES: usize = 40;
    let server = hub(2);
    let mut members: Vec<Client> = (0..50).map(|_| open(&server, "")).collect();
    let mut plain = server.open("/");
    for number in 0..MESSAGES {
        members[number % 3].text(&words(number));
        for member in &mut members {
            assert_eq!(member.expect_text(), words(number));
        }
        assert_eq!(plain.expect_text(), words(number));
    }
    assert_eq!(compressions(&server), [MESSAGES as u64, 0]);
    for member in &members {
        assert_eq!(member.deflated_frames, Some(MESSAGES));
    }
    let sent: u64 = (0..MESSAGES)
        .map(|number| 4 + words(number).len() as u64)
        .sum();
    let saved = server.sum(|stats| stats.deflate_saved_bytes.get());
    assert!(saved > sent * 50 / 2 && saved < sent * 50, "{saved}");
}

#[test]
fn saved_bytes_are_what_the_sockets_were_spared() {
    let server = hub(1);
    let mut clients = [open(&server, ""), open(&server, ""), server.open("/")];
    let mut plain_bytes = 0;
    for number in 0..10 {
        // Two frames in one run, one of which is not compressed.
        let both = [words(number), format!("short {number}")];
        let frames = both.each_ref().map(|text| frame(TEXT, text.as_bytes()));
        clients[0].send(&frames.concat());
        for client in &mut clients {
            for text in &both {
                assert_eq!(client.expect_text(), *text);
            }
        }
        plain_bytes += 4 + both[0].len() + 2 + both[1].len();
    }
    let received: usize = clients.iter().map(|client| client.frame_bytes).sum();
    assert_eq!(clients[2].frame_bytes, plain_bytes);
    let saved = server.sum(|stats| stats.deflate_saved_bytes.get()) as usize;
    assert!(
        saved > plain_bytes && received + saved == 3 * plain_bytes,
        "{saved}"
    );
}

#[test]
fn nothing_is_compressed_without_a_client_that_inflates() {
    let server = hub(2);
    let mut elsewhere = Client::connect(server.address).deflating("/other", "");
    let mut clients: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    let publish = |clients: &mut Vec<Client>, number| {
        clients[0].text(&words(number));
        for client in clients {
            assert_eq!(client.expect_text(), words(number));
        }
    };
    publish(&mut clients, 1);
    // A client that has left.
    let mut gone = open(&server, "");
    gone.round_trip();
    drop(gone);
    eventually("it is gone", || server.view.connections() == 5);
    publish(&mut clients, 2);
    elsewhere.text("short");
    assert_eq!(elsewhere.expect_text(), "short");
    assert_eq!(compressions(&server), [0, 0]);
    elsewhere.text(&words(3));
    assert_eq!(elsewhere.expect_text(), words(3));
    assert_eq!(compressions(&server), [1, 0]);
}

#[test]
fn incompressible_messages_are_seldom_tried() {
    // Tried at 1, 3, 6, 11, 20, 37, 70, 135 and 200.
    const MESSAGES: u64 = 200;
    let server = hub(1);
    let mut client = open(&server, "");
    for number in 0..MESSAGES {
        let audio = noise(number + 1, 400);
        client.send(&frame(BINARY, &audio));
        assert_eq!(client.frame().payload, audio);
        // Text of the same room is compressed all the time.
        client.text(&words(number as usize));
        assert_eq!(client.expect_text(), words(number as usize));
    }
    assert_eq!(compressions(&server), [MESSAGES, 9]);
    assert_eq!(client.deflated_frames, Some(MESSAGES as usize));
}

#[test]
fn a_small_window_gets_what_fits_it_and_plain_frames_otherwise() {
    let server = hub(1);
    let (mut small, mut large) = (
        open(&server, "; server_max_window_bits=9"),
        open(&server, ""),
    );
    for (bytes, small_count, large_count) in [(512, 1, 1), (513, 1, 2), (5_000, 1, 3), (64, 2, 4)] {
        let message = "x".repeat(bytes);
        small.text(&message);
        assert_eq!(small.expect_text(), message);
        assert_eq!(large.expect_text(), message);
        assert_eq!(small.deflated_frames, Some(small_count), "{bytes} bytes");
        assert_eq!(large.deflated_frames, Some(large_count), "{bytes} bytes");
    }
    assert_eq!(compressions(&server), [4, 0], "never for one window alone");
}

#[test]
fn the_sender_of_a_run_is_left_out_of_its_deflated_form_too() {
    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(endpoint(), Hub { echo: false });
        builder.route("/**", id).expect("a path");
    });
    let mut clients = [open(&server, ""), open(&server, ""), server.open("/")];
    // Several in one write, so that they become one run.
    for (number, client) in clients.iter_mut().enumerate() {
        let messages = [words(number), number.to_string(), words(number + 10)];
        let frames = messages.map(|text| frame(TEXT, text.as_bytes())).concat();
        client.send(&frames);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut texts: Vec<String> = (0..6).map(|_| client.expect_text()).collect();
        texts.sort();
        let others = (0..3).filter(|other| *other != number);
        let mut expected: Vec<String> = others
            .flat_map(|other| [words(other), other.to_string(), words(other + 10)])
            .collect();
        expected.sort();
        assert_eq!(texts, expected);
        assert_eq!(client.deflated_frames, (number < 2).then_some(4));
    }
}

#[test]
fn a_compressed_message_may_be_fragmented_around_pings() {
    let server = hub(1);
    let (mut sender, mut other) = (open(&server, ""), server.open("/"));
    let text = words(1) + " κόσμε";
    let payload = compressed(text.as_bytes());
    let pieces: Vec<&[u8]> = payload.chunks(payload.len() / 3).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let first = if number == 0 {
            RSV1 | TEXT
        } else {
            CONTINUATION
        };
        let fin = if number + 1 == pieces.len() { FIN } else { 0 };
        if number > 0 {
            sender.send(&frame(PING, b"between"));
            assert_eq!(sender.frame().opcode, PONG);
        }
        sender.send(&fragment(first | fin, piece));
    }
    assert_eq!(sender.expect_text(), text);
    assert_eq!(other.expect_text(), text);
    assert_eq!(server.sum(|stats| stats.inflated.get()), 1);
    assert_eq!(
        server.sum(|stats| stats.message_bytes.get()),
        text.len() as u64
    );
}

#[test]
fn rsv1_without_negotiation_is_a_protocol_error() {
    let server = hub(1);
    let message = raw_frame(FIN | RSV1 | TEXT, &compressed(b"Hello"), true);
    for (mut client, frame) in [
        (server.open("/"), message.clone()),
        (open(&server, ""), raw_frame(FIN | RSV1 | PING, b"", true)),
        (open(&server, ""), raw_frame(FIN | 0x20 | TEXT, b"", true)),
    ] {
        client.send(&frame);
        assert_eq!(client.expect_close(1002), "protocol: reserved_bits");
    }
    let mut client = open(&server, "");
    client.send(&message);
    assert_eq!(client.expect_text(), "Hello");
}

#[test]
fn invalid_deflate_closes_only_its_sender() {
    let server = hub(1);
    let mut other = open(&server, "");
    // A hundred megabytes in a hundred kilobytes, with a limit of one megabyte.
    let bomb = compressed(&vec![0; 100 << 20]);
    assert!(bomb.len() < 120_000);
    for (kind, payload, code, reason) in [
        (BINARY, &bomb[..], 1009, "message_too_big"),
        (TEXT, &[0xFF, 0xFF], 1007, "invalid_deflate"),
        (BINARY, &[], 1007, "invalid_deflate"),
        (TEXT, &compressed(b"caf\xE9"), 1007, "invalid_utf8"),
    ] {
        let mut client = open(&server, "");
        client.send(&raw_frame(FIN | RSV1 | kind, payload, true));
        let told = client.expect_close(code);
        assert_eq!(told, format!("protocol: {reason}"));
    }
    let refused = |place: usize| server.sum(|stats| stats.inflations_refused[place].get());
    assert_eq!([refused(0), refused(1), refused(2)], [1, 2, 1]);
    assert_eq!(server.sum(|stats| stats.messages.get()), 0);
    other.text("still here");
    assert_eq!(other.expect_text(), "still here");
}

#[test]
fn many_bombs_behind_a_handshake_are_inflated_turn_by_turn() {
    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(endpoint(), Hub { echo: false });
        builder.route("/**", id).expect("a path");
    });
    let bomb = raw_frame(FIN | RSV1 | BINARY, &compressed(&vec![0; 1 << 20]), true);
    assert!(bomb.len() < 1_200);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let request = upgrade_with("/", offer).into_bytes();
    let bye = frame(CLOSE, &close_payload(1000, ""));
    let all = [request, bomb.repeat(50), bye].concat();
    let mut client = Client::connect(server.address);
    client.send(&all);
    assert_eq!(client.answer().status, 101);
    client.expect_close(1000);
    assert_eq!(server.sum(|stats| stats.inflated.get()), 50);
    // Each of them costs more than one connection may have of a turn.
    assert!(server.sum(|stats| stats.turns.buckets().map(|(_, count)| count).sum()) >= 50);
    server.expect_empty();
}

/// Answers every message to its sender only, with `session.send`.
struct Direct;

impl Endpoint for Direct {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        session.join(request.head.path).expect("a room");
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        session.send(message.kind, message.payload);
    }
}

#[test]
fn direct_messages_and_those_of_handles_are_compressed() {
    let server = Server::start(settings(), |builder| {
        let id = builder.endpoint(endpoint(), Direct);
        assert_eq!(id, EndpointId(0));
        builder.route("/**", id).expect("a path");
    });
    let mut plain = server.open("/");
    let mut narrow = open(&server, "; server_max_window_bits=9");
    let mut client = open(&server, "");
    let long = "again ".repeat(200);
    for (text, deflated) in [("short", 0), (&words(1), 1), (&long, 2)] {
        for each in [&mut plain, &mut narrow, &mut client] {
            each.text(text);
            assert_eq!(each.expect_text(), text);
        }
        assert_eq!(client.deflated_frames, Some(deflated));
        assert_eq!(narrow.deflated_frames, Some(deflated.min(1)));
    }
    assert_eq!(compressions(&server), [3, 0]);
    let handle = server.engine().handle();
    let everybody = Recipients::All;
    let published = handle.publish(EndpointId(0), "/", everybody, MessageKind::Text, words(2));
    assert!(published.is_ok());
    for each in [&mut plain, &mut narrow, &mut client] {
        assert_eq!(each.expect_text(), words(2));
    }
    assert_eq!(client.deflated_frames, Some(3));
    assert_eq!(compressions(&server), [4, 0]);
}

/// A number and noise of two hex digits per byte: it compresses, but not by much.
fn slow_text(number: usize) -> String {
    let noise = noise(number as u64 + 1, 800);
    let hex: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{number:06} {hex} {}", "repeated ".repeat(40))
}

#[test]
fn slow_clients_lose_whole_deflated_frames_by_every_policy() {
    const MESSAGES: usize = 400;
    for (policy, action) in [
        (SlowPolicy::DropOldest, SlowAction::DropOldest),
        (SlowPolicy::DropNewest, SlowAction::DropNewest),
        (SlowPolicy::LatestOnly, SlowAction::LatestOnly),
        (SlowPolicy::Disconnect, SlowAction::Disconnect),
    ] {
        let mut settings = settings();
        settings.timeouts.close = DEADLINE;
        settings.send_buffer_bytes = Some(16 * 1024);
        let slow_client = SlowClient {
            policy,
            outbox_bytes: 64 * 1024,
            outbox_age: Duration::ZERO,
        };
        let endpoint = EndpointSettings {
            message_bytes: 16 * 1024,
            slow_client,
            ..endpoint()
        };
        let server = Server::hub(settings, endpoint);
        let (mut sender, mut fast) = (open(&server, ""), server.open("/"));
        let mut stalled = Client::connect_narrow(server.address, 16 * 1024).deflating("/", "");
        for number in 0..MESSAGES {
            sender.text(&slow_text(number));
            assert_eq!(fast.expect_text(), slow_text(number));
            assert_eq!(sender.expect_text(), slow_text(number));
        }
        let acted = server.sum(|stats| stats.slow_actions[action as usize].get());
        assert!(acted > 0, "{policy:?}");
        let texts = match policy {
            SlowPolicy::Disconnect => {
                let (texts, code, _) = stalled.until_close();
                assert_eq!(code, 1013);
                texts
            }
            _ => {
                // There is room again: this one gets through under every policy.
                let dropped = server.sum(|stats| stats.dropped_frames.get()) as usize;
                (dropped..MESSAGES).map(|_| stalled.expect_text()).collect()
            }
        };
        let number = |text: &String| text[..6].parse::<usize>().expect("a number");
        let numbers: Vec<usize> = texts.iter().map(number).collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "{policy:?}: {numbers:?}"
        );
        assert!(numbers.len() < MESSAGES && !numbers.is_empty());
        for (number, text) in numbers.iter().zip(&texts) {
            assert!(*text == slow_text(*number), "a frame that was not sent");
        }
        let keeps_last = matches!(policy, SlowPolicy::DropOldest | SlowPolicy::LatestOnly);
        assert_eq!(numbers.last() == Some(&(MESSAGES - 1)), keeps_last);
        assert_eq!(stalled.deflated_frames, Some(texts.len()));
    }
}
