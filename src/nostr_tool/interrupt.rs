//! SIGINT and SIGTERM: the work ends at the next commit. A second signal ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code of a process that SIGINT has ended, as shells report it.
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// Whether the process has been asked to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Handles the signals from now on.
    ///
    /// # Errors
    ///
    /// The system does not permit it.
    pub(super) fn on_signals() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            // The order decides: at the first signal the flag is not set yet.
            let second = Arc::clone(&interrupt.0);
            flag::register_conditional_shutdown(signal, i32::from(EXIT_INTERRUPTED), second)?;
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// Whether a signal has come.
    pub(super) fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// As a signal does.
    #[cfg(test)]
    pub(super) fn come(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
