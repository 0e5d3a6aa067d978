//! The wake flag: a push is never lost to a sleeping receiver, and one sleep costs one wake.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::sleep::SleepFlag;

/// A shard that receives: its mailbox, its flag, its poll.
#[derive(Default)]
struct Receiver {
    /// Number of pushed mails. The order is no stronger than a queue itself needs.
    mails: AtomicUsize,
    sleeping: SleepFlag,
    poll: Poll,
    wakes: AtomicUsize,
}

/// A poll with its waker: an early wake ends the next wait.
#[derive(Default)]
pub(crate) struct Poll {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Poll {
    pub(crate) fn wait(&self) {
        let mut is_woken = self.is_woken.lock().unwrap();
        while !*is_woken {
            is_woken = self.changed.wait(is_woken).unwrap();
        }
        *is_woken = false;
    }

    pub(crate) fn wake(&self) {
        *self.is_woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Receiver {
    fn push(&self) {
        self.mails.fetch_add(1, Ordering::Release);
        if self.sleeping.must_wake() {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.poll.wake();
        }
    }

    /// Runs until `mails` have come. Returns how often it announced that it would sleep.
    fn run(&self, mails: usize) -> usize {
        let mut sleeps = 0;
        while self.mails.load(Ordering::Acquire) < mails {
            let seen = self.mails.load(Ordering::Acquire);
            sleeps += 1;
            self.sleeping.announce();
            if self.mails.load(Ordering::Acquire) == seen && seen < mails {
                self.poll.wait();
            }
            self.sleeping.withdraw();
        }
        sleeps
    }
}

/// Two senders push one mail each to a receiver that sleeps when idle. A lost wake leaves it asleep
/// for ever, which loom reports.
pub fn two_senders() {
    let receiver = Arc::new(Receiver::default());
    let senders = [0, 1].map(|_| {
        let receiver = Arc::clone(&receiver);
        thread::spawn(move || receiver.push())
    });
    let sleeps = receiver.run(2);
    for sender in senders {
        sender.join().unwrap();
    }
    let wakes = receiver.wakes.load(Ordering::Relaxed);
    assert!(wakes <= sleeps, "{wakes} wakes for {sleeps} sleeps");
}

/// A receiver that is awake costs no wake.
pub fn awake() {
    let receiver = Arc::new(Receiver::default());
    let sender = {
        let receiver = Arc::clone(&receiver);
        thread::spawn(move || receiver.push())
    };
    sender.join().unwrap();
    assert_eq!(receiver.run(1), 0);
    assert_eq!(receiver.wakes.load(Ordering::Relaxed), 0);
}
