//! A strict Nostr client: each answer must be the one that is due next, in its exact shape, and
//! each event that comes is hashed and verified here.
//!
//! Nothing waits for silence: a request whose answer must be next shows that nothing else comes.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::event::{Event, Fields, random_hex, verify};

/// The prefixes of reasons that NIP-01, NIP-42 and NIP-77 define, and that of CLOSED in NIP-01's
/// example.
const PREFIXES: [&str; 11] = [
    "duplicate",
    "pow",
    "blocked",
    "rate-limited",
    "invalid",
    "restricted",
    "mute",
    "error",
    "auth-required",
    "unsupported",
    "closed",
];

/// The relay's address, and how to test it.
#[derive(Clone)]
pub(crate) struct Target {
    /// `ws://HOST:PORT/PATH`.
    pub(crate) url: String,
    /// Every answer must arrive within this time.
    pub(crate) deadline: Duration,
    /// Whether a reason may have any standard prefix if the NIPs leave it open.
    pub(crate) nips_only: bool,
}

impl Target {
    /// Host and port, and the path.
    pub(crate) fn authority_and_path(&self) -> Result<(String, String), String> {
        let rest = self.url.strip_prefix("ws://");
        let rest = rest.ok_or_else(|| format!("{} is no ws:// URL", self.url))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if has_port { "" } else { ":80" };
        Ok((format!("{authority}{port}"), format!("/{path}")))
    }

    /// A TCP connection.
    pub(crate) fn dial(&self) -> Result<TcpStream, String> {
        let (authority, _) = self.authority_and_path()?;
        let failed = |error: std::io::Error| format!("{authority}: {error}");
        let mut last = format!("{authority} has no address");
        for address in authority.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, self.deadline) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    (stream.set_read_timeout(Some(self.deadline))).map_err(failed)?;
                    (stream.set_write_timeout(Some(self.deadline))).map_err(failed)?;
                    return Ok(stream);
                }
                Err(error) => last = failed(error),
            }
        }
        Err(last)
    }
}

/// A relay's answer to an event: `OK`.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) is_accepted: bool,
    pub(crate) reason: String,
}

/// The messages of a relay up to EOSE.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) events: Vec<Value>,
    /// The third element of EOSE.
    pub(crate) hint: Option<Value>,
}

impl Stored {
    pub(crate) fn ids(&self) -> Vec<String> {
        let ids = self.events.iter();
        ids.map(|event| event["id"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

/// A message of the relay, raw and parsed.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) parts: Vec<Value>,
}

impl Answer {
    fn new(text: String) -> Result<Answer, String> {
        let parts = serde_json::from_str(&text);
        let parts: Vec<Value> =
            parts.map_err(|error| format!("no JSON array ({error}): {}", short(&text)))?;
        Ok(Answer { text, parts })
    }

    pub(crate) fn verb(&self) -> &str {
        self.string(0)
    }

    pub(crate) fn string(&self, at: usize) -> &str {
        self.parts
            .get(at)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn unexpected(&self, expected: &str) -> String {
        format!("{expected} is due, and came: {}", short(&self.text))
    }

    /// The event of `["EVENT",sub,{…}]`, checked.
    fn event(mut self, sub: &str) -> Result<Value, String> {
        if self.verb() != "EVENT" || self.parts.len() != 3 || self.string(1) != sub {
            return Err(self.unexpected(&format!("[\"EVENT\",{},…]", json!(sub))));
        }
        verify(&self.parts[2])?;
        Ok(self.parts.swap_remove(2))
    }
}

/// Whether a reason begins with a prefix, a colon and a blank.
fn has_prefix(reason: &str, prefix: &str) -> bool {
    let rest = reason.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.starts_with(": "))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    target: Target,
    /// The last challenge that came.
    pub(crate) challenge: Option<String>,
    /// The number of subscription names used so far.
    names: u32,
    /// The names of queries that are over.
    over: BTreeSet<String>,
}

impl Client {
    pub(crate) fn open(target: &Target) -> Result<Client, String> {
        let stream = target.dial()?;
        let (authority, path) = target.authority_and_path()?;
        let upgraded = tungstenite::client(format!("ws://{authority}{path}"), stream);
        let (socket, _) = upgraded.map_err(|error| format!("no WebSocket: {error}"))?;
        Ok(Client {
            socket,
            target: target.clone(),
            challenge: None,
            names: 0,
            over: BTreeSet::new(),
        })
    }

    pub(crate) fn send(&mut self, message: &Value) -> Result<(), String> {
        self.send_text(&message.to_string())
    }

    pub(crate) fn send_text(&mut self, text: &str) -> Result<(), String> {
        self.send_message(Message::text(text))
    }

    pub(crate) fn send_message(&mut self, message: Message) -> Result<(), String> {
        let sent = self.socket.send(message);
        sent.map_err(|error| format!("cannot send: {error}"))
    }

    /// The next message except for a challenge, which is kept. With `nips_only`, late messages for
    /// a query that is over are ignored: CLOSED at any time, or an event that is both stored and
    /// new.
    pub(crate) fn next(&mut self) -> Result<Answer, String> {
        let within = self.target.deadline;
        self.next_within(within)?
            .ok_or_else(|| format!("no answer in {within:?}"))
    }

    /// The same; `None` if it does not come in time.
    pub(crate) fn next_within(&mut self, time: Duration) -> Result<Option<Answer>, String> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let set = self.socket.get_ref().set_read_timeout(Some(left));
            set.map_err(|error| error.to_string())?;
            let text = match self.socket.read() {
                Ok(Message::Text(text)) => text,
                Ok(Message::Binary(_)) => return Err("a binary message came".to_owned()),
                Ok(Message::Close(frame)) => return Err(format!("the relay closes: {frame:?}")),
                Ok(_) => continue,
                Err(tungstenite::Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(error) => return Err(format!("the connection is gone: {error}")),
            };
            let answer = Answer::new(text.to_string())?;
            let is_late =
                matches!(answer.verb(), "CLOSED" | "EVENT") && self.over.contains(answer.string(1));
            if is_late && self.target.nips_only {
                continue;
            }
            if answer.verb() != "AUTH" {
                return Ok(Some(answer));
            }
            if answer.parts.len() != 2 || answer.string(1).is_empty() {
                return Err(answer.unexpected("[\"AUTH\",challenge]"));
            }
            self.challenge = Some(answer.string(1).to_owned());
        }
    }

    /// The next message, which is an `OK` of this id in its exact shape.
    pub(crate) fn receipt(&mut self, id: &str) -> Result<Receipt, String> {
        let answer = self.next()?;
        match &answer.parts[..] {
            [
                Value::String(verb),
                Value::String(of),
                Value::Bool(is_accepted),
                Value::String(reason),
            ] if verb == "OK" && of == id => Ok(Receipt {
                is_accepted: *is_accepted,
                reason: reason.clone(),
            }),
            _ => Err(answer.unexpected(&format!("[\"OK\",\"{id}\",true|false,\"…\"]"))),
        }
    }

    pub(crate) fn publish(&mut self, event: &Event) -> Result<Receipt, String> {
        self.send(&json!(["EVENT", event.json()]))?;
        self.receipt(&event.id)
    }

    /// Publishes an event that must be accepted.
    pub(crate) fn accept(&mut self, event: &Event) -> Result<String, String> {
        let receipt = self.publish(event)?;
        if receipt.is_accepted {
            return Ok(receipt.reason);
        }
        Err(format!("refused: {} ({})", receipt.reason, event.json()))
    }

    /// Publishes an event that must be refused, with this prefix if the NIPs alone do not decide.
    pub(crate) fn refuse(&mut self, event: &Event, prefix: &str) -> Result<(), String> {
        self.refuse_fields(&event.fields(), prefix)
    }

    /// The same for an event of any shape.
    pub(crate) fn refuse_fields(&mut self, fields: &Fields, prefix: &str) -> Result<(), String> {
        self.send_text(&format!("[\"EVENT\",{}]", fields.text("")))?;
        self.refused(fields.id(), prefix)
    }

    /// The next message refuses the event of this id.
    pub(crate) fn refused(&mut self, id: &str, prefix: &str) -> Result<(), String> {
        let receipt = self.receipt(id)?;
        if receipt.is_accepted {
            return Err(format!("the event was accepted: {:?}", receipt.reason));
        }
        self.check_reason(&receipt.reason, prefix)
    }

    /// Reasons have this prefix; a standard one is enough if the NIPs alone count.
    pub(crate) fn check_reason(&self, reason: &str, prefix: &str) -> Result<(), String> {
        let is_standard = || PREFIXES.iter().any(|each| has_prefix(reason, each));
        if has_prefix(reason, prefix) || self.target.nips_only && is_standard() {
            return Ok(());
        }
        Err(format!("the reason is not `{prefix}: …`: {reason:?}"))
    }

    /// A name for a subscription that this connection never used.
    pub(crate) fn name(&mut self) -> String {
        self.names += 1;
        format!("c{}", self.names)
    }

    pub(crate) fn send_request(&mut self, sub: &str, filters: &[Value]) -> Result<(), String> {
        let message = [&[json!("REQ"), json!(sub)], filters].concat();
        self.send(&Value::Array(message))
    }

    /// Opens a subscription, which stays open.
    pub(crate) fn subscribe(&mut self, sub: &str, filters: &[Value]) -> Result<Stored, String> {
        self.send_request(sub, filters)?;
        self.stored(sub)
    }

    /// Reads up to EOSE.
    pub(crate) fn stored(&mut self, sub: &str) -> Result<Stored, String> {
        let mut events = Vec::new();
        loop {
            let mut answer = self.next()?;
            if answer.verb() != "EOSE" {
                events.push(answer.event(sub)?);
                continue;
            }
            if answer.string(1) != sub || answer.parts.len() > 3 {
                return Err(answer.unexpected(&format!("[\"EOSE\",{}]", json!(sub))));
            }
            let hint = (answer.parts.len() == 3).then(|| answer.parts.swap_remove(2));
            return Ok(Stored { events, hint });
        }
    }

    pub(crate) fn close(&mut self, sub: &str) -> Result<(), String> {
        self.send(&json!(["CLOSE", sub]))
    }

    /// Queries stored events. When this returns, the relay has seen the CLOSE, so an event
    /// published now on another connection cannot overtake it.
    pub(crate) fn query(&mut self, filters: &[Value]) -> Result<Stored, String> {
        let sub = self.name();
        let stored = self.subscribe(&sub, filters)?;
        self.over.insert(sub.clone());
        self.close(&sub)?;
        self.expect_nothing()?;
        Ok(stored)
    }

    /// The ids of the stored events, in order.
    pub(crate) fn found(&mut self, filters: &[Value]) -> Result<Vec<String>, String> {
        Ok(self.query(filters)?.ids())
    }

    /// The next message, which is an event for this subscription.
    pub(crate) fn live(&mut self, sub: &str) -> Result<Value, String> {
        self.next()?.event(sub)
    }

    /// The next message is this event for this subscription.
    pub(crate) fn expect_live(&mut self, sub: &str, event: &Event) -> Result<(), String> {
        let came = self.live(sub)?;
        if came == event.json() {
            return Ok(());
        }
        Err(format!("{} is due, and came: {came}", event.json()))
    }

    /// The next message is CLOSED for this subscription.
    pub(crate) fn expect_closed(&mut self, sub: &str, prefix: &str) -> Result<(), String> {
        let answer = self.next()?;
        if answer.verb() != "CLOSED" || answer.parts.len() != 3 || answer.string(1) != sub {
            return Err(answer.unexpected(&format!("[\"CLOSED\",{},\"…\"]", json!(sub))));
        }
        self.check_reason(answer.string(2), prefix)
    }

    /// A request that is refused.
    pub(crate) fn refuse_request(&mut self, filters: &[Value], prefix: &str) -> Result<(), String> {
        let sub = self.name();
        self.send_request(&sub, filters)?;
        self.expect_closed(&sub, prefix)
    }

    /// The next message is a NOTICE.
    pub(crate) fn expect_notice(&mut self, prefix: &str) -> Result<(), String> {
        let answer = self.next()?;
        if answer.verb() != "NOTICE" || answer.parts.len() != 2 {
            return Err(answer.unexpected("[\"NOTICE\",\"…\"]"));
        }
        self.check_reason(answer.string(1), prefix)
    }

    /// Nothing more comes for earlier requests: the answer to a request that finds nothing is next.
    pub(crate) fn expect_nothing(&mut self) -> Result<(), String> {
        let sub = self.name();
        self.send_request(&sub, &[json!({"ids": [random_hex()], "limit": 1})])?;
        let answer = self.next()?;
        if answer.verb() != "EOSE" || answer.string(1) != sub {
            return Err(answer.unexpected("nothing"));
        }
        self.over.insert(sub.clone());
        self.close(&sub)
    }
}
