//! The opening side of a worker: opens connections up to its share, with a timeout for the upgrade.

use std::io;

use mio::{Interest, Token};

use super::Worker;
use crate::check::{Receiver, Share};
use crate::client::{Cause, Client, Credit, End};
use crate::control::Notice;
use crate::histogram;
use crate::nostr::Script;
use crate::pacing::Publisher;
use crate::plan::{Expect, Pace, Role};

/// Connections that all threads together open at once: the smallest listen backlog in common use,
/// because a dropped SYN is retried only after a second.
const OPENING_MAX: u32 = 128;

impl Worker {
    pub(super) fn open_more(&mut self) {
        let opening_max = (OPENING_MAX / self.shared.threads).max(1) as usize;
        while self.clients.len() < self.share && self.opening < opening_max {
            let place = self.clients.len();
            let opened = self.open(place).and_then(|mut client| {
                self.watch(place, &mut client)?;
                self.clients.push(client);
                Ok(())
            });
            if let Err(error) = opened {
                let index = self.client_index(place);
                return self.fail(format!("client {index}: {error}"));
            }
        }
    }

    /// Starts to connect the client at `place`.
    pub(super) fn open(&self, place: usize) -> io::Result<Client> {
        let relay = &self.relay;
        let index = self.client_index(place);
        let role = relay.role(index);
        let room = relay.room_of(index);
        let now_ns = self.shared.clock.now_ns();
        let mut client = Client::connect(index, &self.shared, role, room, now_ns)?;
        let own = relay.publisher_at(index);
        client.publisher = own.map(|number| Publisher {
            number,
            ..Publisher::default()
        });
        client.receiver = Receiver::new(Share {
            silent_publisher: own.filter(|_| relay.expect == Expect::Others),
            rooms: relay.rooms_apart(),
            room,
            joins_late: role != Role::Full,
            is_nothing: relay.expect == Expect::Nobody,
        });
        client.credits = self.credit_for(place);
        Ok(client)
    }

    pub(super) fn watch(&mut self, place: usize, client: &mut Client) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut client.stream, Token(place), interest)?;
        self.opening += 1;
        Ok(())
    }

    pub(super) fn client_index(&self, place: usize) -> u32 {
        place as u32 * self.shared.threads + self.thread
    }

    /// The index of the publisher with this number, which is one of this thread's.
    pub(super) fn place_of(&self, publisher: u32) -> usize {
        (self.relay.index_of(publisher) / self.shared.threads) as usize
    }

    /// The publisher whose messages complete at `place`: the client itself, or without echo its
    /// neighbour in the same room.
    fn credit_for(&self, place: usize) -> Option<Credit> {
        let (relay, threads) = (&self.relay, self.shared.threads);
        let full = (self.thread..relay.full())
            .step_by(threads as usize)
            .count();
        if !matches!(relay.pace, Pace::Closed { .. }) || place >= full || relay.is_pushed {
            return None;
        }
        let room_at = |place: usize| relay.room_of(self.client_index(place));
        let of = match relay.expect {
            Expect::All | Expect::Own => Some(place),
            Expect::Others => (1..full)
                .map(|away| (place + full - away) % full)
                .find(|other| room_at(*other) == room_at(place)),
            Expect::Nobody => None,
        }?;
        let publisher = relay.publisher_at(self.client_index(of))?;
        Some(Credit {
            publisher,
            place: of,
        })
    }

    /// The connection at `place` is upgraded.
    pub(super) fn upgraded(&mut self, place: usize, now_ns: u64) {
        let started_ns = self.clients[place].started_ns;
        self.progress.came(&self.relay, self.clients[place].index);
        if self.told_connected {
            self.opening -= 1;
            return self.reconnects.replaced(started_ns, now_ns);
        }
        let took_ns = now_ns - started_ns;
        if self.clients[place].role != Role::Pusher {
            histogram::record(&mut self.connect_times, took_ns);
        }
        if !self.subscribes(place) {
            self.settled();
        }
    }

    /// A connection is ready, including everything that it asked for before the run.
    pub(super) fn settled(&mut self) {
        self.opening -= 1;
        self.came_up += 1;
        if self.came_up == self.share {
            self.told_connected = true;
            // The coordinator is gone only when the run is over.
            let _ = self.notices.send(Notice::Connected);
        }
    }

    /// Gives up on connections that were not upgraded in time.
    pub(super) fn time_out(&mut self) {
        let timeout_ns = self.shared.connect_timeout.as_nanos() as u64;
        let oldest_ns = self.shared.clock.now_ns().saturating_sub(timeout_ns);
        let awaits = |place| self.listener.as_ref().is_some_and(|one| one.awaits(place));
        let is_late = |(place, client): &(usize, &Client)| {
            (client.is_opening() || awaits(*place)) && client.started_ns < oldest_ns
        };
        if self.opening > 0
            && let Some((place, client)) = self.clients.iter().enumerate().find(is_late)
        {
            let stores = self.shared.nostr.as_ref().is_some_and(Script::has_queries);
            let what = match client.is_opening() {
                true => "not upgraded",
                false if stores => "no OK for an event",
                false => "no EOSE for every subscription",
            };
            let reason = format!("{what} within {:?}", self.shared.connect_timeout);
            self.lost(place, End::new(Cause::Refused, reason));
        }
    }
}
