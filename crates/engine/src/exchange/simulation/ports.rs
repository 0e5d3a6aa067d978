//! Ports in the simulation. They join, leave, publish and sleep for long; some are dropped midway,
//! and the engine closes some.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::{Delivery, Port, PortError};
use super::*;
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// The way in which a port ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// Its thread drops it.
    IsDropped,
    /// The engine closes it, and it finds out later.
    IsClosed,
}

/// One period as a member of a room.
struct Stay {
    room: RoomKey,
    epoch: u64,
    joined_at: u64,
    got: Vec<u64>,
    is_over: bool,
}

enum PortStep {
    TakeMail,
    Publish,
    Seal(Sealing),
    Deliver,
    Announce,
    Sleep,
    Asleep,
}

/// A port, driven as its thread would drive it, with others running between any two steps.
pub(super) struct Driven {
    id: u16,
    /// `None` once it was dropped.
    port: Option<Port>,
    fate: Fate,
    /// Its fate is due when it has no more than this left to publish.
    fated_at: u64,
    step: PortStep,
    /// Steps in which it does nothing although it could.
    nap: u64,
    to_publish: u64,
    is_busy: bool,
    stays: Vec<Stay>,
    own: BTreeSet<u64>,
    restricted: BTreeSet<u64>,
}

impl Driven {
    pub(super) fn new(world: &mut World, id: u16) -> Driven {
        let fates = [Fate::Stays, Fate::IsDropped, Fate::IsClosed];
        let to_publish = 60;
        Driven {
            id,
            port: Some(Port::new(
                id,
                Arc::clone(&world.interconnect),
                Instant::now(),
            )),
            fate: world.fate.unwrap_or(fates[world.random.below(3) as usize]),
            fated_at: world.random.below(to_publish),
            step: PortStep::TakeMail,
            nap: 0,
            to_publish,
            is_busy: false,
            stays: Vec::new(),
            own: BTreeSet::new(),
            restricted: BTreeSet::new(),
        }
    }

    /// Its exchange; `None` once the port was dropped.
    pub(super) fn exchange(&self) -> (u16, Option<&Exchange>) {
        (self.id, self.port.as_ref().map(Port::exchange))
    }

    /// The number of frames that it got.
    pub(super) fn got(&self) -> usize {
        self.stays.iter().map(|stay| stay.got.len()).sum()
    }

    pub(super) fn is_asleep(&self, world: &World) -> bool {
        let is_woken = &world.is_woken[usize::from(self.id)];
        let sleeps = matches!(self.step, PortStep::Asleep) && !is_woken.load(Ordering::Relaxed);
        self.port.is_none() || sleeps
    }

    /// Takes one step of a turn.
    pub(super) fn go_on(&mut self, world: &mut World) {
        if self.nap > 0 {
            self.nap -= 1;
            return;
        }
        self.meet_fate(world);
        let Some(port) = &mut self.port else {
            return;
        };
        let sleeping = &world.interconnect.sleeper(self.id).sleeping;
        self.step = match std::mem::replace(&mut self.step, PortStep::Asleep) {
            PortStep::TakeMail => {
                port.receive_mail();
                PortStep::Publish
            }
            PortStep::Publish => {
                self.join_and_leave(world);
                self.publish(world);
                self.begin_sealing()
            }
            PortStep::Seal(sealing) => match port.go_on_sealing(sealing) {
                Some(next) => {
                    world.note_order(&next);
                    PortStep::Seal(next)
                }
                None => PortStep::Deliver,
            },
            PortStep::Deliver => {
                self.deliver();
                self.end_turn(world)
            }
            PortStep::Announce => {
                sleeping.announce();
                PortStep::Sleep
            }
            PortStep::Sleep if port.has_work() => {
                sleeping.withdraw();
                PortStep::TakeMail
            }
            PortStep::Sleep | PortStep::Asleep => {
                if !world.is_woken[usize::from(self.id)].swap(false, Ordering::Relaxed) {
                    return;
                }
                sleeping.withdraw();
                PortStep::TakeMail
            }
        };
    }

    /// A seal is never cut short: no code of an embedder runs between two of its steps.
    fn meet_fate(&mut self, world: &mut World) {
        let is_due = self.to_publish <= self.fated_at;
        if matches!(self.step, PortStep::Seal(_)) || !is_due {
            return;
        }
        let is_closed = world.interconnect.is_closed(self.id);
        match self.fate {
            Fate::Stays => {}
            Fate::IsDropped => self.be_dropped(world),
            Fate::IsClosed if !is_closed => world.interconnect.close(self.id),
            Fate::IsClosed if world.random.one_in(20) => self.be_dropped(world),
            Fate::IsClosed => {}
        }
    }

    fn be_dropped(&mut self, world: &mut World) {
        // A drop seals what fits, and the model needs the order of those tickets.
        if let PortStep::Seal(sealing) = self.begin_sealing() {
            let mut next = Some(sealing);
            while let (Some(sealing), Some(port)) = (next.take(), &mut self.port) {
                next = port.go_on_sealing(sealing);
                next.iter().for_each(|sealing| world.note_order(sealing));
            }
        }
        let port = self.port.take();
        self.stays.iter_mut().for_each(|stay| stay.is_over = true);
        if world.forgets_ports {
            std::mem::forget(port);
        }
    }

    fn join_and_leave(&mut self, world: &mut World) {
        let room = world.any_room();
        let Some(port) = &mut self.port else {
            return;
        };
        if world.random.one_in(8) {
            let mut stays = self.stays.iter_mut();
            let stay = stays.find(|stay| !stay.is_over && stay.room == room);
            assert_eq!(port.leave(room.endpoint, &room.name), stay.is_some());
            stay.into_iter().for_each(|stay| stay.is_over = true);
        } else if world.random.one_in(3) && port.join(room.endpoint, &room.name) {
            let shared = world.interconnect.directory.find(&room);
            let shared = shared.expect("a room that was joined");
            self.stays.push(Stay {
                room,
                epoch: shared.epoch,
                joined_at: shared.tickets.take(0).0,
                got: Vec::new(),
                is_over: false,
            });
        }
    }

    fn publish(&mut self, world: &mut World) {
        let Some(port) = &mut self.port else {
            return;
        };
        self.is_busy = false;
        for _ in 0..world.random.below(4).min(self.to_publish) {
            let room = world.any_room();
            let epoch = world.interconnect.directory.find(&room);
            let number = world.published.len() as u64;
            let is_restricted = world.random.one_in(3);
            let nobody = ConnectionId {
                index: 0,
                generation: 0,
                shard: u16::MAX,
            };
            let recipients = match is_restricted {
                true => Recipients::Except(nobody),
                false => Recipients::All,
            };
            let (kind, payload) = (MessageKind::Binary, number.to_be_bytes());
            let published = port.publish(room.endpoint, &room.name, recipients, kind, &payload);
            if published == Err(PortError::Busy) {
                self.is_busy = true;
                return;
            }
            self.to_publish -= 1;
            if let (Ok(()), Some(room)) = (published, epoch) {
                world.published.push(room.epoch);
                self.own.insert(number);
                if is_restricted {
                    self.restricted.insert(number);
                }
            }
        }
    }

    fn begin_sealing(&mut self) -> PortStep {
        let sealing = self.port.as_mut().and_then(Port::begin_sealing);
        sealing.map_or(PortStep::Deliver, PortStep::Seal)
    }

    fn deliver(&mut self) {
        let (stays, own, restricted) = (&mut self.stays, &self.own, &self.restricted);
        let mut visit = |delivery: Delivery<'_>| {
            let mut stays = stays.iter_mut();
            let stay = stays.find(|stay| !stay.is_over && stay.epoch == delivery.epoch());
            let stay = stay.expect("a room that the port is in");
            assert_eq!(stay.room.name[..], *delivery.room());
            let ticket = stay.joined_at + stay.got.len() as u64;
            assert_eq!(delivery.first_ticket(), ticket, "a gap or a repeat");
            for frame in delivery.frames() {
                let number = frame.payload.try_into().map(u64::from_be_bytes);
                let number = number.expect("a number");
                assert_eq!(delivery.is_own(), own.contains(&number));
                let is_restricted = restricted.contains(&number);
                assert!(frame.is_restricted == is_restricted || !delivery.is_own());
                stay.got.push(number);
            }
        };
        if let Some(port) = &mut self.port {
            port.deliver(&mut visit);
        }
    }

    fn end_turn(&mut self, world: &mut World) -> PortStep {
        if world.random.one_in(10) {
            self.nap = world.random.below(300);
        }
        let has_work = self.port.as_ref().is_some_and(Port::has_work);
        match has_work || (self.to_publish > 0 && !self.is_busy) {
            true => PortStep::TakeMail,
            false => PortStep::Announce,
        }
    }

    /// Checks that it got all the frames that it should have, in its room's order, and that it has
    /// nothing left to do.
    pub(super) fn check(&self, world: &World) {
        for stay in &self.stays {
            let order = world.order.get(&stay.epoch);
            let order = &order.map_or(&[][..], Vec::as_slice)[stay.joined_at as usize..];
            assert!(order.starts_with(&stay.got), "one order for everybody");
            if !stay.is_over {
                assert_eq!(stay.got.len(), order.len(), "a frame was missed");
            }
        }
        if let Some(port) = &self.port {
            assert!(!port.has_work(), "a port sleeps on work");
            assert_eq!(self.to_publish, 0, "a port sleeps on what it publishes");
        }
    }
}
