//! Stores events before a run, on a connection of its own. None of this is measured.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use serde_json::Value;
use tungstenite::protocol::frame::coding::{Control, Data};

use super::text::append_text;
use crate::client::{Client, Phase};
use crate::control::Shared;
use crate::error::RunError;
use crate::frames::{Incoming, Walk, append_control};
use crate::inflate::Inflater;
use crate::plan::Role;

/// Events that may be without an answer.
const WINDOW: usize = 128;
/// How long a relay may take for its next answer.
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(100);
/// Enough for several TLS records.
const READ_BYTES: usize = 128 << 10;
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// A server's frame never begins with this (RFC 6455 §5.2), so each one is parsed.
const NO_HEAD: [u8; 2] = [0x7f, 0xff];

/// An upload in progress.
struct Upload<'a> {
    shared: &'a Shared,
    client: Client,
    inflater: Inflater,
    buffer: Vec<u8>,
    events: &'a [Box<[u8]>],
    sent: usize,
    answered: usize,
    answered_at: Instant,
}

/// Stores these events, in JSON, and returns when all are acknowledged.
///
/// # Errors
/// The relay refused one, or did not answer.
pub(crate) fn upload(
    shared: &Shared,
    events: &[Box<[u8]>],
    interrupt: &AtomicBool,
) -> Result<(), RunError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut poll = Poll::new()?;
    let now_ns = shared.clock.now_ns();
    let mut client = Client::connect(0, shared, Role::Full, 0, now_ns)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    let registry = poll.registry();
    registry.register(&mut client.stream, Token(0), interest)?;
    let mut upload = Upload {
        shared,
        client,
        inflater: Inflater::new(MESSAGE_BYTES_MAX),
        buffer: vec![0; READ_BYTES],
        events,
        sent: 0,
        answered: 0,
        answered_at: Instant::now(),
    };
    let mut ready = Events::with_capacity(8);
    while upload.answered < events.len() {
        match poll.poll(&mut ready, Some(TICK)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        if interrupt.load(Ordering::Relaxed) {
            return Err(RunError::new("interrupted before every event was stored"));
        }
        let step = upload.step();
        step.map_err(|reason| RunError::new(format!("storing events: {reason}")))?;
    }
    Ok(())
}

impl Upload<'_> {
    fn step(&mut self) -> Result<(), String> {
        if matches!(self.client.phase, Phase::Connecting) {
            if !told(self.client.connected())? {
                return self.check_patience();
            }
            told(self.client.request(self.shared))?;
        }
        told(self.client.flush())?;
        while self.read()? {}
        if self.client.is_open() {
            self.send()?;
        }
        self.check_patience()
    }

    fn check_patience(&self) -> Result<(), String> {
        match self.answered_at.elapsed() < PATIENCE {
            true => Ok(()),
            false => Err(format!("no answer in {PATIENCE:?}")),
        }
    }

    fn send(&mut self) -> Result<(), String> {
        let until = self.events.len().min(self.answered + WINDOW);
        let mut frames = Vec::new();
        let mask = self.shared.payloads.mask();
        for event in &self.events[self.sent.min(until)..until] {
            append_text(&mut frames, mask, &[b"[\"EVENT\",", event, b"]"]);
        }
        self.sent = self.sent.max(until);
        told(self.client.write(&frames))
    }

    /// False if nothing is left to read.
    fn read(&mut self) -> Result<bool, String> {
        let kept = self.client.inbox.len();
        self.buffer[..kept].copy_from_slice(&self.client.inbox);
        let count = match told(self.client.read(&mut self.buffer, kept, false))? {
            None => return Ok(false),
            Some(opened) if opened.bytes == 0 => {
                return Err("the server closed the connection".to_owned());
            }
            Some(opened) => opened.bytes,
        };
        let mut from = 0;
        if let Phase::Upgrading(handshake) = &self.client.phase {
            let Some(answer) = handshake.answer(&self.buffer[..count + kept])? else {
                self.client.inbox = self.buffer[..count + kept].to_vec();
                return Ok(true);
            };
            from = answer.head_bytes;
            self.client.upgraded(answer.deflate);
        }
        let bytes = self.buffer[from..kept + count].to_vec();
        let walk = Walk {
            expected_head: &NO_HEAD,
            expected_bytes: 0,
            payload_bytes_max: MESSAGE_BYTES_MAX as u64,
            allows_compressed: self.client.deflate,
        };
        let mut outcome = Ok(());
        let walked = walk.each(&bytes, |frame| {
            if outcome.is_ok() {
                outcome = self.frame(&frame);
            }
        });
        let taken = told(walked)?;
        outcome?;
        self.client.inbox = bytes.get(taken..).unwrap_or_default().to_vec();
        Ok(true)
    }

    fn frame(&mut self, frame: &Incoming<'_>) -> Result<(), String> {
        match *frame {
            Incoming::Ping(payload) => {
                let mut pong = Vec::new();
                let mask = self.shared.payloads.mask();
                append_control(&mut pong, Control::Pong, mask, payload);
                told(self.client.write(&pong))
            }
            Incoming::Close { code, reason } => {
                let reason = String::from_utf8_lossy(reason);
                Err(format!("the server closed with {code} {reason:?}"))
            }
            Incoming::Data {
                kind: Data::Text,
                is_final: true,
                is_compressed,
                payload,
            } => match is_compressed {
                false => self.message(payload),
                true => {
                    let text = self.inflater.whole(payload);
                    let text = text.ok_or("a message that cannot be decompressed")?;
                    let text = text.to_vec();
                    self.message(&text)
                }
            },
            Incoming::Message(_) | Incoming::Pong => Ok(()),
            Incoming::Data { .. } | Incoming::Large { .. } => {
                Err("an answer in fragments or of another type".to_owned())
            }
        }
    }

    fn message(&mut self, text: &[u8]) -> Result<(), String> {
        let items: Vec<Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let text = |at: usize| items.get(at).and_then(Value::as_str).unwrap_or_default();
        match (text(0), items.get(2).and_then(Value::as_bool)) {
            ("OK", Some(true)) => {
                self.answered += 1;
                self.answered_at = Instant::now();
                Ok(())
            }
            ("OK", _) => Err(format!("the relay refused one: {}", text(3).escape_debug())),
            // Includes challenges, which nobody asked for.
            _ => Ok(()),
        }
    }
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
