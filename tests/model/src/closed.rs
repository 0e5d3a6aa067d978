//! A closed participant: mail pushed to it is discarded, and no sender waits for it.
//!
//! The steps are those of `Interconnect::wake`, `close` and `discard_mail`, and of
//! `Mailbox::push_all`. A closed participant counts as sleeping, so its senders need no additional
//! check.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::sleep::SleepFlag;
use crate::sync::fence;
use crate::wake::Poll;

/// A participant and the mailbox to it.
#[derive(Default)]
struct Receiver {
    /// Mail that was pushed and not taken.
    queued: AtomicUsize,
    is_closed: AtomicBool,
    sleeping: SleepFlag,
    /// Of the sender.
    blocked: SleepFlag,
    sender_sleeping: SleepFlag,
    sender_poll: Poll,
}

impl Receiver {
    fn push(&self) {
        self.queued.fetch_add(1, Ordering::Release);
        if self.sleeping.must_wake() {
            fence(Ordering::Acquire);
            assert!(self.is_closed.load(Ordering::Relaxed), "it never sleeps");
            self.discard();
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.discard();
    }

    fn discard(&self) {
        self.sleeping.announce();
        let mut queued = self.queued.load(Ordering::Acquire);
        while queued > 0 {
            let (taken, failed) = (Ordering::Acquire, Ordering::Acquire);
            let left = queued - 1;
            let result = self.queued.compare_exchange(queued, left, taken, failed);
            queued = result.map_or_else(|found| found, |_| left);
        }
        if self.blocked.must_wake() && self.sender_sleeping.must_wake() {
            self.sender_poll.wake();
        }
    }

    /// Has mail that does not fit, for as long as the receiver exists.
    fn wait_for_room(&self) {
        let is_closed = || self.is_closed.load(Ordering::Relaxed);
        while !is_closed() {
            self.blocked.announce();
            if is_closed() {
                return;
            }
            self.sender_sleeping.announce();
            if self.blocked.is_announced() {
                self.sender_poll.wait();
            }
            self.sender_sleeping.withdraw();
        }
    }
}

/// Two senders push a mail each while the receiver closes: neither mail is left.
pub fn two_senders() {
    let receiver = Arc::new(Receiver::default());
    let senders = [0, 1].map(|_| {
        let receiver = Arc::clone(&receiver);
        thread::spawn(move || receiver.push())
    });
    receiver.close();
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(receiver.queued.load(Ordering::Relaxed), 0, "mail is kept");
}

/// A sender is blocked, or about to be, while the receiver closes.
pub fn blocked_sender() {
    let receiver = Arc::new(Receiver::default());
    let sender = {
        let receiver = Arc::clone(&receiver);
        thread::spawn(move || receiver.wait_for_room())
    };
    receiver.close();
    sender.join().unwrap();
}
