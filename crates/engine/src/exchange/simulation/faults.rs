//! Faults that are planted into a run of the simulation. An invariant of the exchange or a check of
//! the simulation must catch each of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::mailbox::{Credit, Mail};
use super::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// Mail is taken, and its mailbox never has room for it again.
    CreditLost,
    /// A member leaves twice, so another one leaves in its place.
    LeftTwice,
    /// A member ends without leaving its room, so its key is stale.
    LeftInSilence,
    /// A shard gives its members the same frames twice.
    RunDeliveredTwice,
    /// A shard that has mail is not woken.
    WakeNotSent,
    /// A shard that has members gets no mail.
    MailNotSent,
    /// A ticket is taken without a frame.
    TicketLost,
    /// A run is delivered to another room.
    RunOfAnotherRoom,
    /// A publisher's own members do not get its frames.
    OwnPartForgotten,
    /// A room with frames for its members is not served any more.
    PendingRoomForgotten,
    /// Bytes are counted that no room waits for.
    PendingBytesMiscounted,
    /// Mail that did not fit is dropped.
    UnsentMailForgotten,
    /// Mail of an endpoint is taken and not handed out.
    EndpointMailForgotten,
    /// A sender that waits for room is not told that there is room.
    BlockedSenderNotWoken,
    /// A shard leaves a room that it has members of.
    RoomLeftTooEarly,
    /// A port ends without closing.
    PortGoneInSilence,
    /// A sender does not discard its mail for a port that has ended.
    MailToClosedPortKept,
}

const FAULTS: [Fault; 17] = [
    Fault::CreditLost,
    Fault::LeftTwice,
    Fault::LeftInSilence,
    Fault::RunDeliveredTwice,
    Fault::WakeNotSent,
    Fault::MailNotSent,
    Fault::TicketLost,
    Fault::RunOfAnotherRoom,
    Fault::OwnPartForgotten,
    Fault::PendingRoomForgotten,
    Fault::PendingBytesMiscounted,
    Fault::UnsentMailForgotten,
    Fault::EndpointMailForgotten,
    Fault::BlockedSenderNotWoken,
    Fault::RoomLeftTooEarly,
    Fault::PortGoneInSilence,
    Fault::MailToClosedPortKept,
];

impl Fault {
    /// Whether it is planted repeatedly: a single lost wake is made up for by the next one.
    fn lasts(self) -> bool {
        matches!(
            self,
            Fault::WakeNotSent | Fault::BlockedSenderNotWoken | Fault::MailToClosedPortKept
        )
    }

    /// Whether it needs a port.
    fn is_of_ports(self) -> bool {
        matches!(self, Fault::PortGoneInSilence | Fault::MailToClosedPortKept)
    }

    /// Plants it before a step of the shard. Returns whether that step gave an opportunity.
    fn plant(self, shard: &mut Shard, world: &mut World) -> bool {
        match self {
            Fault::CreditLost => shard.lose_credit(world),
            Fault::LeftTwice => shard.leave_twice(world),
            Fault::LeftInSilence => {
                let member = shard.any_member(world);
                member.is_some_and(|number| {
                    shard.members[number].is_gone = true;
                    true
                })
            }
            Fault::PendingRoomForgotten => shard.exchange.pending.pop_front().is_some(),
            Fault::PendingBytesMiscounted => {
                shard.exchange.pending_bytes += 1;
                true
            }
            Fault::UnsentMailForgotten => {
                let mut unsent = shard.exchange.unsent.iter_mut();
                unsent.any(|mails| mails.pop_front().is_some())
            }
            Fault::EndpointMailForgotten => shard.exchange.next_arrived().is_some(),
            Fault::BlockedSenderNotWoken => {
                let mailbox = |from| world.interconnect.mailbox(from, shard.id);
                let mut others = shard.exchange.others();
                others.any(|from| mailbox(from).blocked.must_wake())
            }
            Fault::RoomLeftTooEarly => {
                let room = shard.any_member(world).map(|number| {
                    let place = shard.members[number].place;
                    Arc::clone(shard.exchange.room(place))
                });
                let directory = &world.interconnect.directory;
                room.is_some_and(|room| {
                    directory.leave(&room, shard.id);
                    true
                })
            }
            Fault::PortGoneInSilence => {
                let is_new = !world.forgets_ports;
                world.forgets_ports = true;
                is_new
            }
            Fault::MailToClosedPortKept => {
                let interconnect = &world.interconnect;
                let mut ports = world.shards..interconnect.participants();
                ports.any(|port| {
                    interconnect.is_closed(port) && interconnect.sleeper(port).sleeping.must_wake()
                })
            }
            _ => self.plant_in_sealing(shard, world),
        }
    }

    fn plant_in_sealing(self, shard: &mut Shard, world: &mut World) -> bool {
        let Step::Seal(sealing) = &mut shard.step else {
            return false;
        };
        match (self, sealing) {
            (Fault::WakeNotSent, Sealing::Wakes { left, .. })
            | (Fault::MailNotSent, Sealing::Mail { left, .. }) => left.take_first().is_some(),
            (Fault::TicketLost, Sealing::Tickets { batch, next, .. }) => {
                let run = batch.runs.get(*next);
                run.is_some_and(|run| {
                    run.room.tickets.take(1);
                    true
                })
            }
            (Fault::RunOfAnotherRoom, Sealing::Tickets { batch, next, .. }) => {
                let other = shard.exchange.find_anywhere(&world.any_room());
                let run = batch.runs.get_mut(*next);
                let both = run.zip(other);
                both.is_some_and(|(run, other)| {
                    let is_other = run.room.epoch != other.epoch;
                    run.room = other;
                    is_other
                })
            }
            (Fault::RunDeliveredTwice, Sealing::Own { batch }) => {
                let mut twice = batch.runs[0].clone();
                twice.take_tickets();
                shard
                    .exchange
                    .accept_own(&Mail::Batch(Arc::clone(batch)), 0);
                let own = Arc::clone(&shard.exchange.own_mailbox);
                let mail = Mail::Batch(Arc::clone(batch));
                let hold = || Rc::new(Credit::reserve(&own, &mail));
                shard.exchange.accept_run(&twice, 0, hold);
                true
            }
            (Fault::OwnPartForgotten, Sealing::Own { batch }) => {
                let rooms = &shard.exchange.rooms;
                let has_part = rooms.of_epoch(batch.runs[0].room.epoch).is_some();
                if has_part {
                    shard.step = Step::Deliver;
                }
                has_part
            }
            _ => false,
        }
    }
}

impl Shard {
    fn lose_credit(&mut self, world: &World) -> bool {
        for from in self.exchange.others() {
            let mailbox = world.interconnect.mailbox(from, self.id);
            if let Some(mail) = mailbox.pop() {
                let credit = Rc::new(Credit::new(mailbox, &mail));
                for run in mail.runs() {
                    self.exchange.accept_run(run, 0, || Rc::clone(&credit));
                }
                std::mem::forget(credit);
                return true;
            }
        }
        false
    }

    fn leave_twice(&mut self, world: &mut World) -> bool {
        let Some(number) = self.any_member(world) else {
            return false;
        };
        let Member { place, seat, .. } = self.members[number];
        self.members[number].is_gone = true;
        for _ in 0..2 {
            let has_seat = self.exchange.get_room(place).is_some()
                && seat.index() < self.exchange.local_members(place);
            if !has_seat {
                return false;
            }
            let moved = self.exchange.leave(place, seat, false);
            for moved in moved.into_iter().flatten() {
                self.members[moved.connection as usize].seat = moved.seat;
            }
        }
        true
    }
}

const SEEDS: u64 = 30;

/// How often a fault was planted, and how often it was caught, in runs with different seeds.
fn plant(fault: Fault) -> (u32, u32) {
    let (mut planted, mut caught) = (0, 0);
    for seed in 0..SEEDS {
        let ports = u16::from(fault.is_of_ports());
        let mut world = World::with_ports(seed, 3, ports, 2, 8 * FRAME_BYTES);
        world.fate = Some(Fate::IsDropped);
        let (mut wait, mut is_planted) = (100 + 7 * seed, false);
        let disturb = |shard: &mut Shard, world: &mut World| {
            wait = wait.saturating_sub(1);
            if wait == 0 && (!is_planted || fault.lasts()) {
                is_planted |= fault.plant(shard, world);
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| run(world, disturb)));
        planted += u32::from(is_planted);
        caught += u32::from(is_planted && result.is_err());
        assert!(
            is_planted || result.is_ok(),
            "a run without the fault fails"
        );
    }
    (planted, caught)
}

#[test]
fn every_planted_fault_is_caught() {
    let mut missed = Vec::new();
    for fault in FAULTS {
        let (planted, caught) = plant(fault);
        println!("{fault:?}: planted {planted} times, caught {caught} times");
        if planted < 5 || caught * 3 < planted {
            missed.push(fault);
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
