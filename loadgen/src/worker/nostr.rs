//! What a worker does for a Nostr relay: subscribes, and hears what comes back.

use std::ops::Range;

use super::Worker;
use crate::client::{Cause, Credit, End};
use crate::interval::Interval;
use crate::measures::Moment;
use crate::plan::Pace;

impl Worker {
    /// Asks for what the client at `place` is to get, which was just upgraded. False if it asks for
    /// nothing.
    pub(super) fn subscribes(&mut self, place: usize) -> bool {
        let (Some(listener), Some(script)) = (&mut self.listener, &self.shared.nostr) else {
            return false;
        };
        let client = &mut self.clients[place];
        let frames = listener.subscribe(place, client, script);
        if frames.is_empty() {
            return false;
        }
        if let Err(error) = client.write(&frames) {
            self.lost(place, error.into());
        }
        true
    }

    /// Takes the frames that lie there in the buffer.
    pub(super) fn hear(
        &mut self,
        place: usize,
        range: Range<usize>,
        moment: Moment,
        interval: &mut Interval,
    ) -> Result<(), End> {
        let (Some(listener), Some(script)) = (&mut self.listener, &self.shared.nostr) else {
            return Ok(());
        };
        let client = &mut self.clients[place];
        let bytes = client.unskipped(&self.buffer[range]);
        let sums = (&mut self.tally, interval);
        let said = listener.take(place, client, &self.shared, script, bytes, moment, sums)?;
        client.keep(bytes, said.bytes);
        if !said.replies.is_empty() {
            client.write(&said.replies)?;
        }
        // Over TLS a read sends what waited, and no further edge tells.
        let goes_on = client.is_held() && !client.is_blocked();
        self.expected = self.expected.saturating_sub(said.withdrawn);
        if let Some((code, reason)) = said.closed {
            return Err(End::closed(code, &reason));
        }
        if let Some(told) = said.refused {
            return Err(End::new(Cause::Refused, told));
        }
        if said.is_settled {
            self.settled();
        }
        if goes_on {
            self.may_send(place);
        }
        if matches!(self.relay.pace, Pace::Closed { .. }) {
            let publisher = self.clients[place].index;
            self.complete(Some(Credit { publisher, place }), said.answers);
        }
        Ok(())
    }
}
