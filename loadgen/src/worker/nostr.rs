//! A worker's part in loads of a Nostr relay: it subscribes, and handles the relay's messages.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use mio::Events;

use super::{EVENTS, TIMER, WAKER, Worker};
use crate::client::{Cause, Client, Credit, End};
use crate::interval::Interval;
use crate::measures::Moment;
use crate::nostr::Listener;
use crate::plan::Pace;

/// How long a relay may take to answer the query at the end.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_TICK: Duration = Duration::from_millis(50);

impl Worker {
    /// Subscribes for the client at `place`, which was just upgraded, or stores its events. False
    /// if it has neither.
    pub(super) fn subscribes(&mut self, place: usize) -> bool {
        let (Some(listener), Some(script)) = (&mut self.listener, &self.shared.nostr) else {
            return false;
        };
        let client = &mut self.clients[place];
        let now_ns = self.shared.clock.now_ns();
        let frames = listener.subscribe(place, client, script, now_ns);
        if frames.is_empty() {
            return false;
        }
        if let Err(error) = client.write(&frames) {
            self.lost(place, error.into());
        }
        true
    }

    /// Asks for the stored events when the run is over, and waits for the answer.
    pub(super) fn ask_what_is_stored(&mut self) {
        let (Some(listener), Some(script)) = (&mut self.listener, &self.shared.nostr) else {
            return;
        };
        let open = self.clients.iter().position(Client::is_open);
        let (0, Some(place)) = (self.thread, open) else {
            return;
        };
        let Some(question) = listener.ask(script) else {
            return;
        };
        if self.clients[place].write(&question).is_err() {
            return;
        }
        let cell = Arc::clone(&self.cell);
        let mut events = Events::with_capacity(EVENTS);
        let until = Instant::now() + ANSWER_PATIENCE;
        let is_asking = |worker: &Self| worker.listener.as_ref().is_some_and(Listener::is_asking);
        while is_asking(self) && self.clients[place].is_open() && Instant::now() < until {
            if self.poll.poll(&mut events, Some(ANSWER_TICK)).is_err() {
                continue;
            }
            for event in &events {
                if !matches!(event.token(), TIMER | WAKER) {
                    self.note_event(event);
                }
            }
            self.receive_ready(&mut cell.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Handles the frames in the buffer.
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
        // Over TLS a read may send bytes that waited, and no further edge reports it.
        let goes_on = client.is_held() && !client.is_blocked();
        self.expected = self.expected.saturating_sub(said.withdrawn);
        if said.is_alive {
            // Storing may take longer than a connection may.
            self.clients[place].started_ns = moment.now_ns;
        }
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
