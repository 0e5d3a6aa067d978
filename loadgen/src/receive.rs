//! What happens to the frames of one read: verification, latency, replies.

use std::borrow::Cow;

use hdrhistogram::Histogram;
use tungstenite::protocol::frame::coding::{Control, Data};

use crate::check::Receiver;
use crate::client::{Client, Credit};
use crate::control::Shared;
use crate::frames::{Incoming, Walk, append_control};
use crate::histogram;
use crate::stalled::close_text;
use crate::stamp::{Payloads, Reading};

/// A message of fragments may be larger than what was sent by this much, so that a server's own
/// messages pass.
const FOREIGN_BYTES_MAX: usize = 64 << 10;

/// One thread's sums over all its receivers.
#[derive(Debug)]
pub(crate) struct Tally {
    /// First arrivals, in both phases.
    pub(crate) arrivals: u64,
    /// From the due time to the end of the `recv`, of measured messages.
    pub(crate) latency: Histogram<u64>,
    /// When the last measured message arrived.
    pub(crate) last_arrival_ns: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            arrivals: 0,
            latency: histogram::new(),
            last_arrival_ns: 0,
        }
    }
}

/// What to look for in the frames of a run.
pub(crate) fn walk_of(payloads: &Payloads) -> Walk<'_> {
    Walk {
        expected_head: payloads.expected_head(),
        expected_bytes: payloads.size(),
        payload_bytes_max: payloads.size().max(FOREIGN_BYTES_MAX) as u64,
    }
}

/// What a read came to.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Bytes of whole frames.
    pub(crate) bytes: usize,
    /// Messages that completed for the publisher that this client credits.
    pub(crate) credits: u32,
    /// Frames to send back.
    pub(crate) replies: Vec<u8>,
    /// The server said goodbye, with this.
    pub(crate) closed: Option<String>,
}

/// The frames of one read of one client.
pub(crate) struct Arrivals<'a> {
    receiver: &'a mut Receiver,
    fragments: &'a mut Option<(bool, Vec<u8>)>,
    credit: Option<Credit>,
    payloads: &'a Payloads,
    publishers: u32,
    now_ns: u64,
    measuring: bool,
}

impl<'a> Arrivals<'a> {
    /// For bytes of `client` that were read by `now_ns`.
    pub(crate) fn of(
        client: &'a mut Client,
        shared: &'a Shared,
        publishers: u32,
        now_ns: u64,
    ) -> Self {
        Self {
            receiver: &mut client.receiver,
            fragments: &mut client.fragments,
            credit: client.credits,
            payloads: &shared.payloads,
            publishers,
            now_ns,
            measuring: now_ns >= shared.times.measure_ns(),
        }
    }

    /// Takes all whole frames of `bytes`.
    ///
    /// # Errors
    /// What the server did that a server must not do.
    pub(crate) fn take(&mut self, bytes: &[u8], tally: &mut Tally) -> Result<Taken, String> {
        let mut taken = Taken {
            bytes: 0,
            credits: 0,
            replies: Vec::new(),
            closed: None,
        };
        let mut too_large = false;
        let walk = walk_of(self.payloads);
        let before = self.receiver.arrivals();
        let walked = walk.each(bytes, |frame| match frame {
            Incoming::Message(payload) => {
                self.message(self.payloads.read(payload), &mut taken, tally);
            }
            Incoming::Data {
                kind,
                is_final,
                payload,
            } => match self.assemble(kind, is_final, payload) {
                Ok(Some(reading)) => self.message(reading, &mut taken, tally),
                Ok(None) => {}
                Err(()) => too_large = true,
            },
            Incoming::Ping(payload) => {
                let mask = self.payloads.mask();
                append_control(&mut taken.replies, Control::Pong, mask, payload);
            }
            Incoming::Pong => {}
            Incoming::Close { code, reason } => {
                taken.closed = Some(close_text(code, reason));
            }
        });
        tally.arrivals += self.receiver.arrivals() - before;
        taken.bytes = walked.map_err(|error| error.to_string())?;
        if too_large {
            return Err("the server sent a message larger than any that was sent".to_owned());
        }
        Ok(taken)
    }

    #[inline]
    fn message(&mut self, reading: Reading, taken: &mut Taken, tally: &mut Tally) {
        let Some(stamp) = self
            .receiver
            .accept(reading, self.publishers, self.measuring)
        else {
            return;
        };
        if stamp.measured {
            histogram::record(&mut tally.latency, self.now_ns.saturating_sub(stamp.due_ns));
            tally.last_arrival_ns = tally.last_arrival_ns.max(self.now_ns);
        }
        if self
            .credit
            .is_some_and(|credit| credit.publisher == stamp.publisher)
        {
            taken.credits += 1;
        }
    }

    /// Data frames that do not look like ours: other lengths, the other opcode, fragments.
    fn assemble(
        &mut self,
        kind: Data,
        is_final: bool,
        payload: &[u8],
    ) -> Result<Option<Reading>, ()> {
        let (kind_kept, message) = match self.fragments.take() {
            Some((kind_kept, mut message)) => {
                message.extend_from_slice(payload);
                (kind_kept, Cow::Owned(message))
            }
            None => (
                (kind == Data::Text) == self.payloads.is_text(),
                Cow::Borrowed(payload),
            ),
        };
        if message.len() > self.payloads.size().max(FOREIGN_BYTES_MAX) {
            return Err(());
        }
        if !is_final {
            *self.fragments = Some((kind_kept, message.into_owned()));
            return Ok(None);
        }
        let reading = self.payloads.read(&message);
        Ok(Some(match reading {
            // The opcode is part of the message: text must stay text.
            Reading::Intact(stamp, checksum) if !kind_kept => Reading::BodyDamaged(stamp, checksum),
            other => other,
        }))
    }
}
