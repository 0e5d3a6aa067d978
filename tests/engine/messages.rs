//! Messages, control frames and closes of fast clients.

use std::thread;
use std::time::Duration;

use corecast::engine::{CloseReason, EndpointSettings};
use corecast::relay::hub::Hub;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::support::client::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, Frame, PING, PONG, TEXT, close_payload, fragment,
    frame, raw_frame,
};
use crate::support::{Server, eventually, settings};

fn tungstenite(server: &Server, path: &str) -> WebSocket<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect(server.address).unwrap();
    let url = format!("ws://{}{path}", server.address);
    tungstenite::client(url, stream).expect("an upgrade").0
}

fn small_hub(message_bytes: usize) -> Server {
    let endpoint = EndpointSettings {
        message_bytes,
        frame_bytes: message_bytes as u64,
        ..EndpointSettings::default()
    };
    Server::hub(settings(), endpoint)
}

#[test]
fn every_size_up_to_the_limit_arrives_with_its_opcode() {
    const LIMIT: usize = 70_000;
    let server = small_hub(LIMIT);
    let mut sender = tungstenite(&server, "/");
    let mut receiver = tungstenite(&server, "/");
    for size in [0, 1, 125, 126, 4_096, 65_535, 65_536, LIMIT] {
        let binary: Vec<u8> = (0..size).map(|place| place as u8).collect();
        let messages = [Message::text("x".repeat(size)), Message::binary(binary)];
        for message in messages {
            sender.send(message.clone()).unwrap();
            assert!(receiver.read().unwrap() == message, "{size} bytes");
            assert!(sender.read().unwrap() == message, "{size} bytes, back");
        }
    }
    sender.send(Message::binary(vec![0; LIMIT + 1])).unwrap();
    let Ok(Message::Close(Some(close))) = sender.read() else {
        panic!("one byte over the limit is 1009");
    };
    assert_eq!(close.code, CloseCode::Size);
    receiver.send(Message::text("still here")).unwrap();
    assert_eq!(receiver.read().unwrap(), Message::text("still here"));
}

#[test]
fn a_message_over_the_limit_in_fragments_is_1009() {
    let server = small_hub(100);
    let mut client = server.open("/");
    client.send(&fragment(BINARY, &[0; 60]));
    client.send(&fragment(FIN | CONTINUATION, &[0; 41]));
    client.expect_close(1009);
    client.expect_end();
    drop(client);
    server.expect_empty();
}

#[test]
fn control_frames_may_come_between_fragments() {
    let server = Server::default_hub();
    let mut client = server.open("/");
    client.send(&fragment(TEXT, b"one "));
    client.send(&frame(PING, b"a"));
    client.send(&fragment(CONTINUATION, b"two "));
    client.send(&frame(PONG, b"unasked"));
    client.send(&frame(PING, b"b"));
    client.send(&fragment(FIN | CONTINUATION, b"three"));
    let mut frames = [client.frame(), client.frame(), client.frame()];
    // Pongs go before data; the message is whole.
    frames.sort_by_key(|frame| frame.opcode);
    assert_eq!(frames[0].payload, b"one two three");
    assert_eq!(
        (&*frames[1].payload, &*frames[2].payload),
        (&b"a"[..], &b"b"[..])
    );
}

#[test]
fn frames_may_be_split_at_every_byte() {
    let server = Server::default_hub();
    let mut other = server.open("/other");
    let mut script = fragment(TEXT, "é".as_bytes());
    script.extend(frame(PING, b"p"));
    script.extend(fragment(FIN | CONTINUATION, "😀".as_bytes()));
    script.extend(frame(BINARY, &[7; 200]));
    let mut client = server.open("/");
    for at in 1..script.len() {
        client.send(&script[..at]);
        other.round_trip();
        client.send(&script[at..]);
        let mut frames = [client.frame(), client.frame(), client.frame()];
        frames.sort_by_key(|frame| frame.opcode);
        assert_eq!(frames[0].payload, "é😀".as_bytes(), "split at {at}");
        assert_eq!(
            (frames[1].opcode, &*frames[1].payload),
            (BINARY, &[7; 200][..])
        );
        assert_eq!((frames[2].opcode, &*frames[2].payload), (PONG, &b"p"[..]));
    }
    for byte in &script {
        client.send(&[*byte]);
    }
    for _ in 0..3 {
        client.frame();
    }
    eventually("nothing of it is kept", || server.view.inbound_bytes() == 0);
}

#[test]
fn without_echo_exactly_the_sender_is_left_out() {
    for shards in [1, 2] {
        let mut settings = settings();
        settings.shards = shards;
        let server = Server::start(settings, |builder| {
            let id = builder.endpoint(EndpointSettings::default(), Hub { echo: false });
            builder.route("/**", id).unwrap();
        });
        let mut clients: Vec<Client> = (0..5).map(|_| server.open("/")).collect();
        for sender in 0..clients.len() {
            clients[sender].text(&format!("from {sender}"));
            for (index, client) in clients.iter_mut().enumerate() {
                if index != sender {
                    assert_eq!(client.expect_text(), format!("from {sender}"));
                }
            }
        }
        for client in &mut clients {
            client.round_trip();
        }
    }
}

#[test]
fn rooms_by_path_do_not_mix() {
    let server = Server::default_hub();
    let paths = ["/", "/a", "/a/", "/A", "/a/b", "/%61"];
    let mut members: Vec<(Client, Client)> = paths
        .iter()
        .map(|path| (server.open(path), server.open(path)))
        .collect();
    assert_eq!(server.view.rooms(), paths.len());
    for (path, (sender, receiver)) in paths.iter().zip(&mut members) {
        sender.text(path);
        assert_eq!(receiver.expect_text(), *path);
        assert_eq!(sender.expect_text(), *path);
    }
    for (sender, receiver) in &mut members {
        sender.round_trip();
        receiver.round_trip();
    }
    drop(members);
    server.expect_empty();
}

#[test]
fn a_ping_is_answered_while_a_large_message_is_on_its_way() {
    let mut settings = settings();
    settings.send_buffer_bytes = Some(8 * 1024);
    let server = Server::hub(settings, EndpointSettings::default());
    let mut sender = server.open("/");
    let mut reader = Client::connect_narrow(server.address, 16 * 1024).upgraded("/");
    let large: Vec<u8> = (0..1 << 20).map(|place: u32| (place / 7) as u8).collect();
    sender.send(&frame(BINARY, &large));
    sender.send(&frame(TEXT, b"behind"));
    assert_eq!(sender.frame().payload, large);
    // The reader has not read yet: its copy is stuck half-way.
    reader.send(&frame(PING, b"now"));
    let frames = [reader.frame(), reader.frame(), reader.frame()];
    assert!(
        frames[0].payload == large,
        "the frame that was begun is finished first"
    );
    let pong = Frame {
        opcode: PONG,
        payload: b"now".to_vec(),
    };
    assert_eq!(frames[1], pong, "ahead of what had waited longer");
    assert_eq!(frames[2].payload, b"behind");
}

#[test]
fn a_close_is_answered_with_its_own_code() {
    let server = Server::default_hub();
    for code in [1000, 1001, 1011, 3000, 4999] {
        let mut client = server.open("/");
        client.send(&frame(CLOSE, &close_payload(code, "bye")));
        assert_eq!(client.expect_close(code), "");
        client.expect_end();
    }
    let mut client = server.open("/");
    client.send(&frame(CLOSE, b""));
    assert_eq!(
        client.frame(),
        Frame {
            opcode: CLOSE,
            payload: vec![]
        }
    );
    client.expect_end();
    server.expect_empty();
    assert_eq!(
        server.sum(|stats| stats.closed[CloseReason::ClientClosed(None).label_index()].get()),
        6
    );
}

#[test]
fn a_protocol_error_closes_with_its_reason() {
    let server = Server::default_hub();
    let mut bystander = server.open("/");
    let offences: [(Vec<u8>, u16); 10] = [
        (raw_frame(FIN | TEXT, b"x", false), 1002),
        (raw_frame(FIN | 3, b"", true), 1002),
        (raw_frame(FIN | 0x40 | TEXT, b"x", true), 1002),
        (raw_frame(PING, b"", true), 1002),
        (frame(PING, &[0; 126]), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        ([fragment(TEXT, b"a"), frame(TEXT, b"b")].concat(), 1002),
        (frame(CLOSE, &close_payload(1005, "")), 1002),
        (frame(TEXT, b"\xC0\xAF"), 1007),
        (frame(CLOSE, b"\x03\xE8\xFF"), 1007),
    ];
    for (bytes, code) in &offences {
        let mut client = server.open("/");
        client.send(bytes);
        let reason = client.expect_close(*code);
        assert!(reason.starts_with("protocol: "), "{reason}");
        client.expect_end();
    }
    bystander.round_trip();
    drop(bystander);
    server.expect_empty();
}

#[test]
fn a_byte_by_byte_reader_gets_everything_beside_fast_ones() {
    let mut settings = settings();
    settings.send_buffer_bytes = Some(4 * 1024);
    let mut endpoint = EndpointSettings::default();
    endpoint.keepalive.ping = Duration::ZERO;
    let server = Server::hub(settings, endpoint);
    let mut narrow = Client::connect_narrow(server.address, 1_024).upgraded("/");
    let mut fast = server.open("/");
    let mut sender = server.open("/");
    let texts: Vec<String> = (0..60)
        .map(|number| format!("{number} ").repeat(number * 4))
        .collect();
    let expected: Vec<u8> = texts
        .iter()
        .flat_map(|text| {
            let mut unmasked = raw_frame(FIN | TEXT, text.as_bytes(), false);
            unmasked[1] &= 0x7F;
            unmasked
        })
        .collect();
    let total = expected.len();
    let slow = thread::spawn(move || {
        let mut received = Vec::with_capacity(total);
        let mut byte = [0];
        while received.len() < total {
            std::io::Read::read_exact(&mut narrow.stream, &mut byte).expect("the next byte");
            received.push(byte[0]);
        }
        received
    });
    for text in &texts {
        sender.text(text);
        assert_eq!(fast.expect_text(), *text);
        assert_eq!(sender.expect_text(), *text);
    }
    assert!(slow.join().unwrap() == expected, "every byte, in order");
    assert_eq!(server.sum(|stats| stats.dropped_frames.get()), 0);
}
