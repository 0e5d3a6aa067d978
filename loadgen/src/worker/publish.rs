//! The publishing side of a worker: messages that are due, and messages that the windows allow.

use std::io;

use super::Worker;
use crate::client::Client;
use crate::control::{Notice, Shared};
use crate::histogram;
use crate::interval::{Interval, Spans};
use crate::pacing::Publisher;
use crate::plan::{Pace, Relay};
use crate::push;
use crate::stamp::Stamp;

/// Messages are written in chunks of about this many bytes.
const SEND_BYTES: usize = 256 << 10;

impl Worker {
    pub(super) fn send_ready(&mut self, spans: &mut Spans) {
        let Some(start_ns) = self.shared.times.start_ns() else {
            return self.time_out();
        };
        let now_ns = self.shared.clock.now_ns();
        self.note_marks(now_ns);
        if now_ns < start_ns {
            return;
        }
        if !self.started {
            self.started = true;
            if matches!(self.relay.pace, Pace::Closed { .. }) {
                (0..self.clients.len()).for_each(|place| self.may_send(place));
            }
        }
        self.note_due(start_ns, now_ns);
        for at in 0..self.sending.len() {
            let place = self.sending[at];
            self.clients[place].is_sending = false;
            if let Err(error) = self.send(place, start_ns, &mut spans.window) {
                self.lost(place, error.into());
            }
        }
        self.sending.clear();
        self.tell_when_sent(now_ns);
    }

    fn note_due(&mut self, start_ns: u64, now_ns: u64) {
        let end_ns = self.shared.times.end_ns();
        let before_ns = end_ns.min(now_ns + 1);
        while let Some(publisher) = self.pacing.take_due(before_ns.saturating_sub(start_ns)) {
            let place = self.place_of(publisher);
            if let Some(publisher) = &mut self.clients[place].publisher {
                publisher.scheduled += 1;
            }
            self.may_send(place);
        }
        let next_ns = self.pacing.next_ns().map(|due_ns| start_ns + due_ns);
        self.next_due_ns = next_ns
            .filter(|next_ns| *next_ns < end_ns)
            .unwrap_or(u64::MAX);
    }

    /// Sends the messages that the publisher at `place` may send now, as far as its socket accepts
    /// them.
    fn send(&mut self, place: usize, start_ns: u64, interval: &mut Interval) -> io::Result<()> {
        let client = &mut self.clients[place];
        let end_ns = self.shared.times.end_ns();
        let is_open_loop = matches!(self.relay.pace, Pace::Open { .. });
        while client.is_open() {
            if !client.flush()? {
                if let Some(publisher) = &mut client.publisher {
                    publisher.is_held = true;
                }
                return Ok(());
            }
            let now_ns = self.shared.clock.now_ns();
            self.scratch.clear();
            let Some(publisher) = &mut client.publisher else {
                return Ok(());
            };
            while self.scratch.len() < SEND_BYTES {
                let permitted = self.pacing.permit(publisher, start_ns, now_ns, end_ns);
                let Some(due_ns) = permitted else {
                    break;
                };
                let Some(seq) = number_of(&self.shared, publisher) else {
                    self.shared.times.end_at(now_ns);
                    break;
                };
                let measured = due_ns >= self.shared.times.measure_ns();
                let stamp = Stamp {
                    measured,
                    publisher: publisher.number,
                    seq,
                    due_ns,
                    sent_ns: now_ns,
                    is_held: publisher.is_held,
                };
                let query = match (&mut self.listener, &self.shared.nostr) {
                    (Some(listener), Some(script)) => {
                        listener.ask_query(place, &mut self.scratch, script, &stamp)
                    }
                    _ => None,
                };
                let receivers = query.unwrap_or_else(|| {
                    append(&mut self.scratch, &self.shared, &self.relay, &stamp)
                });
                publisher.seq += 1;
                publisher.sent[usize::from(measured)] += 1;
                self.sent += 1;
                self.expected += u64::from(receivers);
                interval.sent += u64::from(measured);
                if measured && is_open_loop {
                    if publisher.is_held {
                        publisher.held_up += 1;
                    } else {
                        histogram::record(&mut interval.lateness, now_ns.saturating_sub(due_ns));
                    }
                }
            }
            publisher.is_held = false;
            if self.scratch.is_empty() {
                return Ok(());
            }
            client.write(&self.scratch)?;
        }
        Ok(())
    }

    fn tell_when_sent(&mut self, now_ns: u64) {
        if self.told_sent || now_ns < self.shared.times.end_ns() {
            return;
        }
        let is_done = |client: &Client| match &client.publisher {
            Some(publisher) => {
                !client.is_open() || !client.is_blocked() && publisher.seq >= publisher.scheduled
            }
            None => true,
        };
        if self.clients.iter().all(is_done) {
            self.told_sent = true;
            let _ = self.notices.send(Notice::Sent);
        }
    }
}

/// The number of the publisher's next message, or of its event. `None`: no event is left of those
/// that were signed for a closed loop.
#[inline]
fn number_of(shared: &Shared, publisher: &Publisher) -> Option<u32> {
    match &shared.nostr {
        None => Some(publisher.seq as u32),
        Some(script) => script.next(publisher.number, publisher.seq),
    }
}

/// Appends a message to `out`, as a frame or as a request. Returns the number of arrivals to
/// expect.
#[inline]
fn append(out: &mut Vec<u8>, shared: &Shared, relay: &Relay, stamp: &Stamp) -> u32 {
    if let Some(script) = &shared.nostr {
        return script.append(out, stamp);
    }
    let receivers = relay.receivers_of(stamp.publisher);
    let Some(push) = &shared.push else {
        shared.payloads.append(out, stamp);
        return receivers;
    };
    let room = (relay.rooms > 1).then(|| relay.room_of(stamp.publisher));
    let authority = shared.target.authority();
    push::append_request(out, push, authority, room, &shared.payloads, stamp);
    receivers
}
