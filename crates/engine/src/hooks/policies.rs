//! Ready-made hooks, and khatru's numbers.
//!
//! Limits that the engine has itself are better set there, where they cost less and appear in the
//! metrics: [`crate::engine::Settings::connects_per_ip`] for all endpoints together, and
//! [`crate::engine::EndpointSettings`] with `rate` and `message_bytes`. The hooks here are for one
//! endpoint, and may depend on the message.

use std::time::{Duration, Instant};

use super::{Hook, Verdict};
use crate::engine::{
    AddressBuckets, Client, EndpointSettings, Keepalive, Refusal, Refused, Request, SlowClient,
    SlowPolicy, TokenBucket, TokenRate,
};
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;

/// khatru's numbers for an endpoint: a ping every 30 s, 60 s for an answer, 10 s for a write (here
/// for the oldest frame that a client does not take), messages of at most 512,000 bytes.
pub fn khatru() -> EndpointSettings {
    const MESSAGE_BYTES: usize = 512_000;
    EndpointSettings {
        message_bytes: MESSAGE_BYTES,
        frame_bytes: MESSAGE_BYTES as u64,
        slow_client: SlowClient {
            policy: SlowPolicy::Disconnect,
            outbox_age: Duration::from_secs(10),
            ..SlowClient::default()
        },
        keepalive: Keepalive {
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(60),
        },
        ..EndpointSettings::default()
    }
}

/// Refuses an address (IPv6: a /64) that requests WebSockets too often, with 429. It is counted as
/// [`Refusal::ConnectRate`]. The default is khatru's: 10 a second, 20 at once.
pub struct ConnectRate {
    rate: TokenRate,
    buckets: AddressBuckets,
    origin: Instant,
}

impl ConnectRate {
    /// Allows `rate`: so many a second on average, and a burst.
    pub fn new(rate: TokenRate) -> ConnectRate {
        ConnectRate {
            rate,
            buckets: AddressBuckets::default(),
            origin: Instant::now(),
        }
    }
}

impl Default for ConnectRate {
    fn default() -> Self {
        ConnectRate::new(TokenRate::new(10, 20))
    }
}

impl Hook for ConnectRate {
    fn reject(&self, request: &Request<'_>) -> Result<(), Refused> {
        let now_ns = self.origin.elapsed().as_nanos() as u64;
        let mut buckets = request.peer.ip().into_iter();
        if buckets.all(|address| self.buckets.take(address, &self.rate, now_ns)) {
            return Ok(());
        }
        let told = "This address connects too often.";
        let refused = Refused::of(Refusal::ConnectRate, 429, told);
        Err(refused.retry_after(self.rate.retry_after_s()))
    }
}

/// The action on a message that a policy does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    /// It is dropped.
    Drop,
    /// The connection is closed, with the policy's code.
    Close,
}

impl Excess {
    fn act(self, client: &mut Client<'_>, code: u16, reason: &str) -> Verdict {
        if self == Excess::Close {
            client.close(code, reason);
        }
        Verdict::Drop
    }
}

/// Limits the number of messages of one connection, whatever their size. Further ones are dropped,
/// or the connection is closed with 1008. Use at most one of these for an endpoint.
pub struct MessageRate {
    rate: TokenRate,
    excess: Excess,
    origin: Instant,
}

impl MessageRate {
    /// Allows `rate`: so many a second on average, and a burst.
    pub fn new(rate: TokenRate, excess: Excess) -> MessageRate {
        MessageRate {
            rate,
            excess,
            origin: Instant::now(),
        }
    }
}

/// The tokens that a connection has left of its [`MessageRate`].
#[derive(Default)]
struct Left(TokenBucket);

impl Hook for MessageRate {
    fn connected(&self, client: &mut Client<'_>, _request: &Request<'_>) {
        client.attach(Left::default());
    }

    fn message(&self, client: &mut Client<'_>, _message: Message<'_>) -> Verdict {
        let now_ns = self.origin.elapsed().as_nanos() as u64;
        let left = client.attached::<Left>();
        if left.is_none_or(|left| left.0.take(&self.rate, now_ns)) {
            return Verdict::Allow;
        }
        self.excess.act(client, 1008, "rate: too many messages")
    }
}

/// Limits the payload of messages, in bytes. Larger ones are dropped, or the connection is closed
/// with 1009. They have been received by then; [`EndpointSettings::message_bytes`] bounds the
/// memory for them.
#[derive(Clone, Copy, Debug)]
pub struct MessageBytes {
    /// The largest message, in bytes.
    pub max: usize,
    /// The action on larger messages.
    pub excess: Excess,
}

impl Hook for MessageBytes {
    fn message(&self, client: &mut Client<'_>, message: Message<'_>) -> Verdict {
        match message.payload.len() {
            len if len <= self.max => Verdict::Allow,
            _ => self.excess.act(client, 1009, "size: message is too big"),
        }
    }
}

/// Allows text only: a binary message closes the connection with 1003 (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug)]
pub struct TextOnly;

impl Hook for TextOnly {
    fn message(&self, client: &mut Client<'_>, message: Message<'_>) -> Verdict {
        match message.kind {
            MessageKind::Text => Verdict::Allow,
            MessageKind::Binary => Excess::Close.act(client, 1003, "unsupported: text only"),
        }
    }
}

/// Rooms in which clients only listen, by their paths: messages from clients are dropped there.
/// Handles can still publish to them.
pub struct ReadOnly<F>(F);

impl<F: Fn(&str) -> bool + Send + Sync + 'static> ReadOnly<F> {
    /// The rooms for whose paths `is_read_only` returns true.
    pub fn paths(is_read_only: F) -> ReadOnly<F> {
        ReadOnly(is_read_only)
    }
}

/// Marks a connection that only listens.
struct Listens;

impl<F: Fn(&str) -> bool + Send + Sync + 'static> Hook for ReadOnly<F> {
    fn connected(&self, client: &mut Client<'_>, request: &Request<'_>) {
        if (self.0)(request.head.path) {
            client.attach(Listens);
        }
    }

    fn message(&self, client: &mut Client<'_>, _message: Message<'_>) -> Verdict {
        match client.attached::<Listens>() {
            Some(_) => Verdict::Drop,
            None => Verdict::Allow,
        }
    }
}
