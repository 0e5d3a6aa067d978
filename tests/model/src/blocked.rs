//! The blocked-sender flag: a sender whose mail does not fit is woken when it does.
//!
//! The mailbox counts like `exchange/mailbox.rs`, with room for two bytes; the steps of both sides
//! are those of `Mailbox::push_all` and, in `engine/shard/mod.rs`, of `poll`, `take_mail` and
//! `wake_blocked_senders`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::sleep::SleepFlag;
use crate::wake::Poll;

/// A shard's flag and poll.
#[derive(Default)]
struct Door {
    sleeping: SleepFlag,
    poll: Poll,
}

impl Door {
    fn wake(&self) {
        if self.sleeping.must_wake() {
            self.poll.wake();
        }
    }
}

/// The last check of a blocked sender before it sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastLook {
    /// Whether the receiver has answered its flag, as the relay does.
    Flag,
    /// Whether its mail would fit.
    Room,
    /// Nothing.
    Nothing,
}

/// The bytes that fit into the mailbox. An empty one takes any one mail.
const BYTES_MAX: usize = 2;

/// The mailbox from one shard to the other.
#[derive(Default)]
struct Mailbox {
    /// Bytes that were pushed and not released.
    bytes: AtomicUsize,
    /// Mails that were pushed and not taken.
    queued: AtomicUsize,
    blocked: SleepFlag,
}

impl Mailbox {
    fn has_room_for(&self, mail: usize) -> bool {
        let bytes = self.bytes.load(Ordering::Acquire);
        bytes == 0 || bytes + mail <= BYTES_MAX
    }

    fn push(&self, mail: usize) -> bool {
        let has_room = self.has_room_for(mail);
        if has_room {
            self.bytes.fetch_add(mail, Ordering::Relaxed);
            self.queued.fetch_add(1, Ordering::Release);
        }
        has_room
    }

    /// Takes and delivers one mail.
    fn take(&self, mail: usize) -> bool {
        let is_waiting = self.queued.load(Ordering::Acquire) > 0;
        if is_waiting {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(mail, Ordering::Release);
        }
        is_waiting
    }
}

#[derive(Default)]
struct World {
    mailbox: Mailbox,
    sender: Door,
    receiver: Door,
}

impl World {
    /// Pushes the mail that fits. Returns the rest.
    fn push_unsent<'m>(&self, mut unsent: &'m [usize]) -> &'m [usize] {
        let before = unsent.len();
        let mut has_announced = false;
        while let [mail, rest @ ..] = unsent {
            if self.mailbox.push(*mail) {
                unsent = rest;
            } else if has_announced {
                break;
            } else {
                self.mailbox.blocked.announce();
                has_announced = true;
            }
        }
        if has_announced && unsent.is_empty() {
            self.mailbox.blocked.withdraw();
        }
        if unsent.len() < before {
            self.receiver.wake();
        }
        unsent
    }

    fn send(&self, mut unsent: &[usize], last_look: LastLook) {
        loop {
            unsent = self.push_unsent(unsent);
            let Some(mail) = unsent.first() else {
                return;
            };
            self.sender.sleeping.announce();
            let may_sleep = match last_look {
                LastLook::Flag => self.mailbox.blocked.is_announced(),
                LastLook::Room => !self.mailbox.has_room_for(*mail),
                LastLook::Nothing => true,
            };
            if may_sleep {
                self.sender.poll.wait();
            }
            self.sender.sleeping.withdraw();
        }
    }

    /// Takes one mail a turn.
    fn receive(&self, mut mails: &[usize]) {
        while let [mail, rest @ ..] = mails {
            if self.mailbox.take(*mail) {
                mails = rest;
                if self.mailbox.blocked.must_wake() {
                    self.sender.wake();
                }
                continue;
            }
            self.receiver.sleeping.announce();
            if self.mailbox.queued.load(Ordering::Acquire) == 0 {
                self.receiver.poll.wait();
            }
            self.receiver.sleeping.withdraw();
        }
    }
}

/// A sender has more mail than fits, of these sizes; both sides sleep whenever they can do nothing
/// else. A sender that does not check once more before it sleeps misses a wake that came earlier.
/// Checking for room is not enough either: the receiver may have answered the flag for less room
/// than the mail needs, and does not know that more is needed.
pub fn full_mailbox(mails: &'static [usize], last_look: LastLook) {
    let world = Arc::new(World::default());
    let sender = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.send(mails, last_look))
    };
    world.receive(mails);
    sender.join().unwrap();
    assert_eq!(world.mailbox.bytes.load(Ordering::Relaxed), 0);
}
