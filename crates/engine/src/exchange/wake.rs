//! Waking whoever sleeps until there is mail.

use std::io;

use super::sleep::SleepFlag;

/// Ends the sleep of one thread, from any thread.
pub(crate) trait Wake: Send + Sync {
    /// # Errors
    ///
    /// The sleeper could not be told: it finds its mail when it wakes by itself.
    fn wake(&self) -> io::Result<()>;
}

/// One who sleeps now and then.
pub(crate) struct Sleeper {
    pub(crate) sleeping: SleepFlag,
    waker: Box<dyn Wake>,
}

impl Sleeper {
    pub(crate) fn new(waker: impl Wake + 'static) -> Sleeper {
        Sleeper {
            sleeping: SleepFlag::default(),
            waker: Box::new(waker),
        }
    }

    /// Wakes it if it sleeps. Called after there is something for it. Returns whether it had to be
    /// woken.
    pub(crate) fn wake(&self) -> bool {
        let asleep = self.sleeping.must_wake();
        if asleep && let Err(error) = self.waker.wake() {
            // An eventfd that cannot be written to: the sleeper's own timeout will have to do.
            tracing::error!(%error, "a shard could not be woken");
        }
        asleep
    }
}
