//! Handles the frames of one read: verification, latency, replies.

use tungstenite::protocol::frame::coding::{Control, Data};

use crate::check::{Counts, Receiver};
use crate::client::{Client, Credit};
use crate::control::Shared;
use crate::first_last::{Joint, Spread};
use crate::frames::{Fragments, FrameError, Incoming, Walk, append_control};
use crate::inflate::Inflater;
use crate::interval::Interval;
use crate::measures::{Burst, Measures, Moment};
use crate::plan::Role;
use crate::push;
use crate::stamp::{Payloads, Reading};

/// A fragmented message may exceed the size that was sent by this much, so that a server's own
/// messages pass.
const FOREIGN_BYTES_MAX: usize = 64 << 10;

/// One thread's sums over all its receivers, and their shared state.
#[derive(Debug)]
pub(crate) struct Tally {
    inflater: Inflater,
    /// Messages that came compressed, in both phases.
    pub(crate) compressed: u64,
    /// First arrivals at clients that read all the time, in both phases.
    pub(crate) arrivals: u64,
    /// Messages of this run at any client, faulty ones included.
    pub(crate) seen: u64,
    pub(crate) measures: Measures,
    pub(crate) spread: Spread,
    /// When the last measured message arrived.
    pub(crate) last_arrival_ns: u64,
}

impl Tally {
    pub(crate) fn new(payloads: &Payloads, spread: Spread) -> Self {
        Self {
            inflater: Inflater::new(message_bytes_max(payloads)),
            compressed: 0,
            arrivals: 0,
            seen: 0,
            measures: Measures::new(),
            spread,
            last_arrival_ns: 0,
        }
    }
}

fn message_bytes_max(payloads: &Payloads) -> usize {
    (payloads.size() + push::AROUND_BYTES_MAX).max(FOREIGN_BYTES_MAX)
}

/// The parameters for the frames of a run.
pub(crate) fn walk_of(payloads: &Payloads, allows_compressed: bool) -> Walk<'_> {
    Walk {
        expected_head: payloads.expected_head(),
        expected_bytes: payloads.size(),
        payload_bytes_max: message_bytes_max(payloads) as u64,
        allows_compressed,
    }
}

/// The result of a read.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Bytes of whole frames; exceeds the buffer if the rest of a large frame is still to come.
    pub(crate) bytes: usize,
    /// Completed messages of the publisher that this client credits.
    pub(crate) credits: u32,
    /// Frames to send back.
    pub(crate) replies: Vec<u8>,
    /// The server sent a Close with this code and reason.
    pub(crate) closed: Option<(u16, String)>,
}

/// The frames of one read of one client.
pub(crate) struct Arrivals<'a> {
    receiver: &'a mut Receiver,
    fragments: &'a mut Option<Fragments>,
    deflate: bool,
    /// Its deliveries count: it reads all the time.
    is_full: bool,
    credit: Option<Credit>,
    payloads: &'a Payloads,
    /// Payloads are wrapped by a push API.
    is_pushed: bool,
    joint: Option<&'a Joint>,
    publishers: u32,
    moment: Moment,
    measuring: bool,
    /// Consecutive measured messages.
    burst: Burst,
}

impl<'a> Arrivals<'a> {
    /// For bytes of `client` that were read at `moment`.
    pub(crate) fn of(
        client: &'a mut Client,
        shared: &'a Shared,
        publishers: u32,
        moment: Moment,
    ) -> Self {
        Self {
            receiver: &mut client.receiver,
            fragments: &mut client.fragments,
            deflate: client.deflate,
            is_full: client.role == Role::Full,
            credit: client.credits,
            payloads: &shared.payloads,
            is_pushed: shared.push.is_some(),
            joint: shared.joint.as_ref(),
            publishers,
            moment,
            measuring: moment.now_ns >= shared.times.measure_ns(),
            burst: Burst::default(),
        }
    }

    /// Handles all whole frames of `bytes`.
    ///
    /// # Errors
    /// The offence of the server.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        tally: &mut Tally,
        interval: &mut Interval,
    ) -> Result<Taken, FrameError> {
        let mut taken = Taken {
            bytes: 0,
            credits: 0,
            replies: Vec::new(),
            closed: None,
        };
        let mut offence = None;
        let walk = walk_of(self.payloads, self.deflate);
        let before = self.receiver.counts;
        let walked = walk.each(bytes, |frame| match frame {
            _ if offence.is_some() => {}
            Incoming::Message(_) if self.fragments.is_some() => {
                offence = Some(FrameError::Unfinished);
            }
            Incoming::Message(payload) => {
                self.message(self.payloads.read(payload), &mut taken, tally, interval);
            }
            Incoming::Data {
                kind,
                is_final,
                is_compressed,
                payload,
            } => match self.assemble(kind, is_final, is_compressed, payload, tally) {
                Ok(Some(reading)) => self.message(reading, &mut taken, tally, interval),
                Ok(None) => {}
                Err(what) => offence = Some(what),
            },
            Incoming::Large { kind, is_final } => match self.follows(kind) {
                Ok(()) => self.large(is_final),
                Err(what) => offence = Some(what),
            },
            Incoming::Ping(payload) => {
                let mask = self.payloads.mask();
                append_control(&mut taken.replies, Control::Pong, mask, payload);
            }
            Incoming::Pong => {}
            Incoming::Close { code, reason } => {
                let reason = String::from_utf8_lossy(reason);
                taken.closed = Some((code, reason.into_owned()));
            }
        });
        self.end_burst(tally, interval);
        self.note_progress(&before, tally, interval);
        taken.bytes = walked?;
        offence.map_or(Ok(taken), Err)
    }

    /// Adds the changes of one read to the totals.
    fn note_progress(&mut self, before: &[Counts; 2], tally: &mut Tally, interval: &mut Interval) {
        let after = self.receiver.counts;
        let [warmup, measured] =
            [0, 1].map(|phase| after[phase].delivered - before[phase].delivered);
        let delivered = warmup + measured;
        let mut arrivals = delivered;
        tally.seen += delivered;
        if after
            .iter()
            .zip(before)
            .any(|(after, before)| after.has_more_faults(before))
        {
            let sum = |of: fn(&Counts) -> u64| {
                after.iter().map(of).sum::<u64>() - before.iter().map(of).sum::<u64>()
            };
            arrivals += sum(|counts| counts.damaged);
            tally.seen += sum(Counts::seen) - delivered;
            interval.faults += sum(Counts::faults);
        }
        if delivered > 0 {
            self.receiver.note_read(self.moment.now_ns);
        }
        if self.is_full {
            tally.arrivals += arrivals;
            if self.measuring {
                interval.received += delivered;
            }
            if measured > 0 {
                tally.last_arrival_ns = self.moment.now_ns;
            }
        }
    }

    #[inline]
    fn message(
        &mut self,
        reading: Reading,
        taken: &mut Taken,
        tally: &mut Tally,
        interval: &mut Interval,
    ) {
        if let Reading::Intact(stamp, _) = &reading
            && stamp.due_ns > self.moment.now_ns
        {
            return self.receiver.early(stamp);
        }
        let Some(stamp) = self
            .receiver
            .accept(reading, self.publishers, self.measuring)
        else {
            return;
        };
        if stamp.measured && self.is_full {
            if (stamp.due_ns, stamp.sent_ns) != (self.burst.due_ns, self.burst.sent_ns) {
                self.end_burst(tally, interval);
                self.burst.due_ns = stamp.due_ns;
                self.burst.sent_ns = stamp.sent_ns;
                self.burst.is_held = stamp.is_held;
            }
            self.burst.count += 1;
            tally.spread.note(&stamp, self.moment.now_ns, self.joint);
        }
        if self
            .credit
            .is_some_and(|credit| credit.publisher == stamp.publisher)
        {
            taken.credits += 1;
        }
    }

    #[inline]
    fn end_burst(&mut self, tally: &mut Tally, interval: &mut Interval) {
        let burst = std::mem::take(&mut self.burst);
        if burst.count > 0 {
            let latency_ns = self.moment.now_ns.saturating_sub(burst.due_ns);
            interval.latency.record(latency_ns, burst.count);
            self.receiver.note_latency(latency_ns, burst.count);
            tally.measures.record(&burst, &self.moment);
        }
    }

    /// Checks that a data frame may come now (RFC 6455 §5.4).
    fn follows(&self, kind: Data) -> Result<(), FrameError> {
        match (kind == Data::Continue, self.fragments.is_some()) {
            (true, false) => Err(FrameError::Unbegun),
            (false, true) => Err(FrameError::Unfinished),
            _ => Ok(()),
        }
    }

    /// A frame that this run did not send; its message is not kept.
    fn large(&mut self, is_final: bool) {
        if is_final {
            *self.fragments = None;
            self.receiver.foreign += 1;
        } else {
            *self.fragments = Some(Fragments {
                is_kind_kept: false,
                is_compressed: false,
                is_large: true,
                bytes: Vec::new(),
            });
        }
    }

    /// Handles data frames that do not look like ours: compressed, another length, the other
    /// opcode, fragments. `None`: the message is not complete yet.
    fn assemble(
        &mut self,
        kind: Data,
        is_final: bool,
        is_compressed: bool,
        payload: &[u8],
        tally: &mut Tally,
    ) -> Result<Option<Reading>, FrameError> {
        self.follows(kind)?;
        if is_final && self.fragments.is_none() {
            let is_kind_kept = self.is_kind_kept(kind);
            return self
                .read(payload, is_kind_kept, is_compressed, tally)
                .map(Some);
        }
        let is_kind_kept = self.is_kind_kept(kind);
        let fragments = self.fragments.get_or_insert_with(|| Fragments {
            is_kind_kept,
            is_compressed,
            is_large: false,
            bytes: Vec::new(),
        });
        fragments.is_large |=
            fragments.bytes.len() + payload.len() > message_bytes_max(self.payloads);
        if fragments.is_large {
            self.large(is_final);
            return Ok(None);
        }
        fragments.bytes.extend_from_slice(payload);
        match self.fragments.take_if(|_| is_final) {
            Some(whole) => self
                .read(&whole.bytes, whole.is_kind_kept, whole.is_compressed, tally)
                .map(Some),
            None => Ok(None),
        }
    }

    fn is_kind_kept(&self, kind: Data) -> bool {
        (kind == Data::Text) == self.payloads.is_text()
    }

    fn read(
        &self,
        message: &[u8],
        is_kind_kept: bool,
        is_compressed: bool,
        tally: &mut Tally,
    ) -> Result<Reading, FrameError> {
        let reading = if self.is_pushed {
            let subject = push::subject_of(message, self.payloads.size());
            subject.map_or(Reading::Foreign, |subject| self.payloads.read(subject))
        } else if is_compressed {
            tally.compressed += 1;
            let inflated = tally.inflater.read(message, self.payloads);
            inflated.ok_or(FrameError::Compressed)?
        } else {
            self.payloads.read(message)
        };
        Ok(match reading {
            // The opcode is part of the message: text must stay text.
            Reading::Intact(stamp, checksum) if !is_kind_kept => {
                Reading::BodyDamaged(stamp, checksum)
            }
            other => other,
        })
    }
}
