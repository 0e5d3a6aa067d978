//! The floor against another implementation's client: its measurements are only valid if it
//! delivers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(20);

/// A floor that is killed when the test ends, passed or not.
struct Floor {
    child: Child,
    address: String,
}

impl Floor {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_floor"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it prints a line");
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("the line names the address");
        Self {
            child,
            address: address.to_owned(),
        }
    }

    fn connect(&self) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.address).expect("the floor accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout is set");
        let url = format!("ws://{}/", self.address);
        tungstenite::client(url, stream)
            .expect("the upgrade is answered with the right key")
            .0
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_client_gets_every_message_in_both_modes() {
    for mode in ["message", "turn"] {
        let floor = Floor::start(&["--mode", mode]);
        let mut clients: Vec<_> = (0..5).map(|_| floor.connect()).collect();
        let messages: Vec<Message> = [0, 1, 5, 125, 126, 65_535, 65_536, 3_000_000]
            .into_iter()
            .map(|length: usize| Message::binary((0..length).map(|i| i as u8).collect::<Vec<u8>>()))
            .chain([Message::text("grüße")])
            .collect();
        for message in &messages {
            clients[0]
                .send(message.clone())
                .expect("the message is sent");
            for client in &mut clients {
                assert_eq!(
                    &client.read().expect("a message arrives"),
                    message,
                    "{mode}"
                );
            }
        }
    }
}

#[test]
fn a_client_that_reads_late_gets_all_that_was_sent_meanwhile() {
    for mode in ["message", "turn"] {
        let floor = Floor::start(&["--mode", mode]);
        let mut late = floor.connect();
        let mut publisher = floor.connect();
        let message = |number: u32| Message::binary(number.to_be_bytes().repeat(25_000));
        for number in 0..200 {
            publisher
                .send(message(number))
                .expect("the message is sent");
            assert_eq!(
                publisher.read().expect("its own copy arrives"),
                message(number)
            );
        }
        for number in 0..200 {
            assert_eq!(
                late.read().expect("the late client's copy arrives"),
                message(number),
                "{mode}"
            );
        }
    }
}

#[test]
fn a_close_is_answered_and_the_others_stay() {
    let floor = Floor::start(&["--mode", "turn"]);
    let mut leaver = floor.connect();
    let mut stayer = floor.connect();
    leaver.close(None).expect("the close is sent");
    assert!(leaver.read().expect("the close is answered").is_close());
    stayer
        .send(Message::text("still here"))
        .expect("the message is sent");
    assert_eq!(
        stayer.read().expect("it arrives"),
        Message::text("still here")
    );
}

#[test]
fn an_upgrade_in_two_packets_with_a_frame_behind_it_is_taken() {
    let floor = Floor::start(&["--mode", "turn"]);
    let mut other = floor.connect();
    let mut stream = TcpStream::connect(&floor.address).expect("the floor accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout is set");
    // The key and its answer are those of RFC 6455 §1.3.
    stream
        .write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNh")
        .expect("half is sent");
    stream
        .write_all(b"bXBsZSBub25jZQ==\r\n\r\n\x82\x82\0\0\0\0hi")
        .expect("the rest is sent");
    assert_eq!(
        other.read().expect("the frame arrives"),
        Message::binary(&b"hi"[..])
    );
    let mut answer = [0; 256];
    let length = stream.read(&mut answer).expect("an answer arrives");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{answer}"
    );
}
