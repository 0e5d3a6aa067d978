//! The blocked-sender flag: a sender whose mail does not fit is woken when it does.
//!
//! The mailbox counts like `engine/mailbox.rs`, with room for one mail; the steps of both sides are
//! those of `engine/shard.rs`: `push_unsent_to`, `poll`, `take_mail` and `wake_blocked_senders`.

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

/// The mailbox from one shard to the other, with room for one mail.
#[derive(Default)]
struct Mailbox {
    /// What was pushed and not released.
    mails: AtomicUsize,
    /// What was pushed and not taken.
    queued: AtomicUsize,
    blocked: SleepFlag,
}

impl Mailbox {
    fn push(&self) -> bool {
        let has_room = self.mails.load(Ordering::Acquire) == 0;
        if has_room {
            self.mails.fetch_add(1, Ordering::Relaxed);
            self.queued.fetch_add(1, Ordering::Release);
        }
        has_room
    }

    /// Takes and delivers one mail.
    fn take(&self) -> bool {
        let is_waiting = self.queued.load(Ordering::Acquire) > 0;
        if is_waiting {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.mails.fetch_sub(1, Ordering::Release);
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
    /// Pushes what fits. Returns what does not.
    fn push_unsent(&self, mut unsent: usize) -> usize {
        let before = unsent;
        let mut has_announced = false;
        while unsent > 0 {
            if self.mailbox.push() {
                unsent -= 1;
            } else if has_announced {
                break;
            } else {
                self.mailbox.blocked.announce();
                has_announced = true;
            }
        }
        if has_announced && unsent == 0 {
            self.mailbox.blocked.withdraw();
        }
        if unsent < before {
            self.receiver.wake();
        }
        unsent
    }

    fn send(&self, mut unsent: usize, looks_once_more: bool) {
        loop {
            unsent = self.push_unsent(unsent);
            if unsent == 0 {
                return;
            }
            self.sender.sleeping.announce();
            if self.mailbox.blocked.is_announced() || !looks_once_more {
                self.sender.poll.wait();
            }
            self.sender.sleeping.withdraw();
        }
    }

    fn receive(&self, mails: usize) {
        let mut received = 0;
        loop {
            let before = received;
            while self.mailbox.take() {
                received += 1;
            }
            if received > before && self.mailbox.blocked.must_wake() {
                self.sender.wake();
            }
            if received == mails {
                return;
            }
            self.receiver.sleeping.announce();
            if self.mailbox.queued.load(Ordering::Acquire) == 0 {
                self.receiver.poll.wait();
            }
            self.receiver.sleeping.withdraw();
        }
    }
}

/// A sender has more mail than fits; both sides sleep whenever they can do nothing else. With
/// `looks_once_more` it looks whether the receiver has answered its flag before it sleeps, as it
/// has to: the wake may have come when it was not asleep yet.
pub fn full_mailbox(mails: usize, looks_once_more: bool) {
    let world = Arc::new(World::default());
    let sender = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.send(mails, looks_once_more))
    };
    world.receive(mails);
    sender.join().unwrap();
    assert_eq!(world.mailbox.mails.load(Ordering::Relaxed), 0);
}
