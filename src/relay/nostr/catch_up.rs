//! Live events of a subscription that is still getting its stored events.

use std::collections::VecDeque;
use std::sync::Arc;

use corecast_nostr::{Event, Seq};

use super::mail::{Live, Request};
use crate::fanout::shared_body::SharedBody;

/// Bounds on the live events that are kept for a subscription: their number and their bytes.
const KEPT_EVENTS_MAX: usize = 256;
const KEPT_BYTES_MAX: usize = 256 << 10;

/// A live event that is kept.
pub(super) struct Kept {
    seq: Option<Seq>,
    /// It may be hidden by the time it is sent.
    pub(super) event: Arc<Event>,
    pub(super) body: SharedBody,
}

/// The progress of a subscription that has not sent all stored events yet.
pub(super) struct CatchUp {
    request: Request,
    /// The kept events, in order of arrival.
    kept: VecDeque<Kept>,
    bytes: usize,
    has_overflowed: bool,
}

impl CatchUp {
    pub(super) fn new(request: Request) -> CatchUp {
        CatchUp {
            request,
            kept: VecDeque::new(),
            bytes: 0,
            has_overflowed: false,
        }
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// Keeps an event. Returns whether it exceeds the bounds: then all are dropped, and further
    /// ones are not kept until [`CatchUp::begin_again`].
    pub(super) fn keep(&mut self, live: &Live, body: &SharedBody) -> bool {
        if self.has_overflowed {
            return false;
        }
        self.bytes += body.len();
        self.kept.push_back(Kept {
            seq: live.seq,
            event: Arc::clone(&live.event),
            body: body.clone(),
        });
        if self.kept.len() <= KEPT_EVENTS_MAX && self.bytes <= KEPT_BYTES_MAX {
            return false;
        }
        self.has_overflowed = true;
        self.kept = VecDeque::new();
        self.bytes = 0;
        true
    }

    pub(super) fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    /// Keeps live events again. The dropped ones are read from the store.
    pub(super) fn begin_again(&mut self) {
        self.has_overflowed = false;
    }

    /// Drops kept events up to that number, since they are among those read from the store.
    pub(super) fn drop_until(&mut self, snapshot: Seq) {
        self.kept
            .retain(|kept| kept.seq.is_none_or(|seq| seq > snapshot));
    }

    pub(super) fn take_kept(&mut self) -> VecDeque<Kept> {
        std::mem::take(&mut self.kept)
    }
}
