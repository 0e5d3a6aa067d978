//! Waking threads that sleep until there is mail.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::sleep::SleepFlag;

/// Ends the sleep of one thread, from any thread. It is called in the middle of an engine thread's
/// other work, so it must not wait: it writes to an `eventfd`, for example, or unparks. A panic in
/// it ends the process, as any panic of a shard does.
///
/// A wake that comes before the thread sleeps must end its next sleep. A superfluous wake does no
/// harm.
pub trait Wake: Send + Sync {
    /// # Errors
    ///
    /// The sleeper could not be woken: it finds its mail when it wakes by itself.
    fn wake(&self) -> io::Result<()>;
}

/// Wakes a thread that waits for a message on the channel, which must hold at least one
/// (`std::sync::mpsc::sync_channel(1)`). If it is full, the thread has not yet seen an earlier
/// wake.
impl Wake for SyncSender<()> {
    fn wake(&self) -> io::Result<()> {
        match self.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Disconnected(())) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// A thread that sleeps now and then.
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

    /// Wakes it.
    pub(super) fn rouse(&self) {
        if let Err(error) = self.waker.wake() {
            // An eventfd that cannot be written to: the sleeper wakes at its own timeout.
            tracing::error!(%error, "cannot wake a shard or port");
        }
    }
}
