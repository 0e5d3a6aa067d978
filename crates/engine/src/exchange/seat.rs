//! The seat that a builder reserves for a port, until the port is opened.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::Interconnect;
use super::port::Port;

/// The engine's data that its seats need; empty until it has started.
#[derive(Clone, Default)]
pub(crate) struct Link(Arc<OnceLock<Started>>);

struct Started {
    interconnect: Arc<Interconnect>,
    /// The first participant after the shards.
    first: u16,
    /// The instant at which the engine's nanoseconds are 0.
    origin: Instant,
}

impl Link {
    /// The seat of this number.
    pub(crate) fn seat(&self, number: u16) -> Seat {
        Seat {
            link: self.clone(),
            number,
        }
    }

    /// Records that the engine has started, with so many shards.
    pub(crate) fn started(&self, interconnect: &Arc<Interconnect>, shards: u16, origin: Instant) {
        self.0.get_or_init(|| Started {
            interconnect: Arc::clone(interconnect),
            first: shards,
            origin,
        });
    }
}

/// The place of a [`Port`] in an engine that has not started yet. Send it to the thread that will
/// drive the port, and open it there. A seat that is never opened is in no room and costs nothing.
pub struct Seat {
    link: Link,
    number: u16,
}

impl Seat {
    /// Opens the port, on the thread that will drive it: a port cannot move to another thread.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotStarted`] if the engine has not started, or never will; it returns the seat
    /// for another attempt. [`OpenError::Ended`] if the engine has stopped.
    pub fn open(self) -> Result<Port, OpenError> {
        let Some(started) = self.link.0.get() else {
            return Err(OpenError::NotStarted(self));
        };
        if started.interconnect.has_ended() {
            return Err(OpenError::Ended);
        }
        let interconnect = Arc::clone(&started.interconnect);
        let id = started.first + self.number;
        Ok(Port::new(id, interconnect, started.origin))
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

/// The reason why a [`Seat`] could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine has not started. The seat can be opened once it has.
    #[error("the engine has not started")]
    NotStarted(Seat),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Ended,
}
