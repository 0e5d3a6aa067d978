//! From the place that a builder gives to a port, to the port.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::Interconnect;
use super::port::Port;

/// What the seats of an engine know of it; empty until it has started.
#[derive(Clone, Default)]
pub(crate) struct Link(Arc<OnceLock<Started>>);

struct Started {
    interconnect: Arc<Interconnect>,
    /// The participant behind the shards.
    first: u16,
    /// Nanoseconds count from here.
    origin: Instant,
}

impl Link {
    /// A seat, the one with this number.
    pub(crate) fn seat(&self, number: u16) -> Seat {
        Seat {
            link: self.clone(),
            number,
        }
    }

    /// Says that the engine, which has so many shards, has started.
    pub(crate) fn started(&self, interconnect: &Arc<Interconnect>, shards: u16, origin: Instant) {
        self.0.get_or_init(|| Started {
            interconnect: Arc::clone(interconnect),
            first: shards,
            origin,
        });
    }
}

/// The place of a [`Port`] in an engine that is yet to start. It goes to the thread that is to
/// drive the port, and is opened there. A seat that is never opened is in no room, so it costs
/// nobody anything.
pub struct Seat {
    link: Link,
    number: u16,
}

impl Seat {
    /// Opens the port, on the thread that will drive it: a port cannot go to another one.
    ///
    /// # Errors
    ///
    /// The engine has not started yet, or never will: [`OpenError::NotStarted`], with the seat, so
    /// that it can be tried again. It has stopped: [`OpenError::Ended`].
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

/// Why a [`Seat`] could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine has not started. The seat may be tried again when it has.
    #[error("the engine has not started")]
    NotStarted(Seat),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Ended,
}
