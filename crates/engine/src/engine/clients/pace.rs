//! The rate limit of one connection: its token buckets, and the bytes that wait for tokens.

use super::held::Held;
use crate::clock::Tick;
use crate::engine::close_reason::CloseReason;
use crate::engine::rate::TokenBucket;
use crate::engine::settings::{Rate, RatePolicy};

/// The tokens that one connection has left, and the bytes that wait for them. It exists from the
/// first frame on if there is a limit, and while bytes wait.
#[derive(Default)]
pub(super) struct Pace {
    pub(super) messages: TokenBucket,
    pub(super) bytes: TokenBucket,
    /// Received bytes that may not be handled yet.
    pub(super) rest: Vec<u8>,
    /// Counts `rest`.
    pub(super) held: Held,
    /// Since when the connection is paused, on the clock of reading.
    pub(super) paused_since: Option<Tick>,
}

/// The decision on a message.
pub(super) enum Verdict {
    Pass,
    Drop,
    Close(CloseReason),
}

/// The rate limit of a connection while its bytes are decoded.
pub(super) struct Meter<'p> {
    pace: Option<&'p mut Pace>,
    rate: Rate,
    now_ns: u64,
}

impl<'p> Meter<'p> {
    /// Without a limit the connection keeps no pace.
    #[inline]
    pub(super) fn new(pace: &'p mut Option<Box<Pace>>, rate: Rate, now_ns: u64) -> Meter<'p> {
        let pace = match rate.is_on() {
            true => Some(&mut **pace.get_or_insert_default()),
            false => {
                *pace = None;
                None
            }
        };
        Meter { pace, rate, now_ns }
    }

    /// Whether the next message has to wait.
    #[inline]
    pub(super) fn must_wait(&self) -> bool {
        let pace = self.pace.as_ref();
        pace.is_some_and(|pace| pace.must_wait(&self.rate, self.now_ns))
    }

    /// Takes tokens for payload of a message that has passed, if they were not taken before.
    #[inline]
    pub(super) fn spend_bytes(&mut self, bytes: usize) {
        if let (Some(pace), Some(rate)) = (&mut self.pace, &self.rate.bytes) {
            pace.bytes.spend(rate, self.now_ns, bytes as u64);
        }
    }

    /// Checks one more message, and takes its tokens if it passes.
    #[inline]
    pub(super) fn check(&mut self, bytes: usize) -> Verdict {
        match self.pace {
            None => Verdict::Pass,
            Some(_) => self.check_paced(bytes),
        }
    }

    #[inline(never)]
    fn check_paced(&mut self, bytes: usize) -> Verdict {
        let Some(pace) = &mut self.pace else {
            return Verdict::Pass;
        };
        let policy = self.rate.policy;
        if policy != RatePolicy::Delay
            && let Some(reason) = pace.excess(&self.rate, self.now_ns)
        {
            return match policy {
                RatePolicy::Close => Verdict::Close(reason),
                _ => Verdict::Drop,
            };
        }
        if let Some(rate) = &self.rate.messages {
            pace.messages.spend(rate, self.now_ns, 1);
        }
        self.spend_bytes(bytes);
        Verdict::Pass
    }
}

impl Pace {
    #[inline]
    pub(super) fn must_wait(&self, rate: &Rate, now_ns: u64) -> bool {
        rate.policy == RatePolicy::Delay && self.excess(rate, now_ns).is_some()
    }

    #[inline]
    fn excess(&self, rate: &Rate, now_ns: u64) -> Option<CloseReason> {
        let messages = rate.messages.as_ref();
        if messages.is_some_and(|rate| !self.messages.has_token(rate, now_ns)) {
            return Some(CloseReason::RateMessages);
        }
        let bytes = rate.bytes.as_ref();
        let is_over = bytes.is_some_and(|rate| !self.bytes.has_token(rate, now_ns));
        is_over.then_some(CloseReason::RateBytes)
    }

    /// When the next message may come, as far as known.
    pub(super) fn next_ns(&self, rate: &Rate) -> u64 {
        let messages = rate.messages.as_ref();
        let messages = messages.map_or(0, |rate| self.messages.next_token_ns(rate));
        let bytes = rate.bytes.as_ref();
        messages.max(bytes.map_or(0, |rate| self.bytes.next_token_ns(rate)))
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Drops the bytes that wait for tokens.
    pub(super) fn forget_rest(&mut self) {
        self.rest = Vec::new();
        self.held = Held::default();
    }
}
