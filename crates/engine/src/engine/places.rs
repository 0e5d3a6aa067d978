//! The connections of the process: how many it serves, and how many it keeps apart because they are
//! refused or linger. The two are counted separately, so that refused connections do not take the
//! places of served ones. Used on connect and disconnect only.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::addresses::Addresses;
use crate::limits::REFUSING_PER_ADDRESS_MAX;

/// Counts of the relaying shards' connections.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Connections that are served.
    connections: AtomicUsize,
    /// Of these, those of each client address.
    pub(super) addresses: Addresses,
    /// Connections that are kept until they were told that they cannot stay, or that linger.
    refusing: AtomicUsize,
    refusing_addresses: Addresses,
}

impl Places {
    /// Whether `max` connections are served.
    pub(super) fn are_taken(&self, max: Option<usize>) -> bool {
        max.is_some_and(|max| self.connections.load(Ordering::Relaxed) >= max)
    }

    /// Takes a place, unless all are taken.
    pub(super) fn enter(&self, max: Option<usize>) -> bool {
        take(&self.connections, max.unwrap_or(usize::MAX))
    }

    /// Gives a place back.
    pub(super) fn leave(&self) {
        give_back(&self.connections);
    }

    /// Takes a place for a connection that is refused.
    ///
    /// # Errors
    ///
    /// All of them are taken, or this address has as many as one may have.
    pub(super) fn enter_refusing(&self, address: Option<IpAddr>, max: usize) -> Result<(), Taken> {
        if !take(&self.refusing, max) {
            return Err(Taken::All);
        }
        let of_address_max = REFUSING_PER_ADDRESS_MAX.min(max.div_ceil(2));
        if let Some(address) = address
            && !self.refusing_addresses.enter(address, of_address_max)
        {
            give_back(&self.refusing);
            return Err(Taken::OfAddress(address));
        }
        Ok(())
    }

    /// Gives such a place back.
    pub(super) fn leave_refusing(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.refusing_addresses.leave(address);
        }
        give_back(&self.refusing);
    }
}

/// The reason why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// All are taken.
    All,
    /// This address has as many as one may have.
    OfAddress(IpAddr),
}

/// Exact even if other shards do the same at that moment: no client is refused a place that is
/// free.
fn take(places: &AtomicUsize, max: usize) -> bool {
    let more = |taken: usize| (taken < max).then_some(taken + 1);
    let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
    places.fetch_update(set, fetch, more).is_ok()
}

fn give_back(places: &AtomicUsize) {
    let taken = places.fetch_sub(1, Ordering::Relaxed);
    debug_assert!(taken > 0, "a place was given back twice");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited() {
        let places = Places::default();
        assert!(places.enter(Some(2)) && !places.are_taken(Some(2)));
        assert!(places.enter(Some(2)) && places.are_taken(Some(2)));
        assert!(!places.enter(Some(2)) && places.enter(None));
        assert!(!places.are_taken(None));
        places.leave();
        places.leave();
        assert!(places.enter(Some(2)));
    }

    #[test]
    fn refused_connections_share_places_of_their_own_by_address() {
        let places = Places::default();
        let address = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let entered = |address| {
            (0..100)
                .filter(|_| places.enter_refusing(address, 40).is_ok())
                .count()
        };
        assert_eq!(entered(address(1)), REFUSING_PER_ADDRESS_MAX);
        assert_eq!(entered(address(2)), REFUSING_PER_ADDRESS_MAX);
        assert_eq!(entered(None), 40 - 2 * REFUSING_PER_ADDRESS_MAX);
        assert_eq!(entered(address(3)), 0);
        assert!(!places.are_taken(Some(1)), "they count as connections");
        let taken = places.enter_refusing(address(1), 40);
        assert_eq!(taken, Err(Taken::All));
        places.leave_refusing(address(1));
        let taken = places.enter_refusing(address(2), 40);
        assert_eq!(taken.err(), address(2).map(Taken::OfAddress));
        assert_eq!(entered(address(2)), 0);
        assert_eq!(entered(address(3)), 1);
    }

    #[test]
    fn one_address_gets_half_of_a_few_places_for_refusals() {
        let places = Places::default();
        let entered = |last: u8| {
            let address = Some(IpAddr::from([192, 0, 2, last]));
            let entered = (0..100).filter(|_| places.enter_refusing(address, 5).is_ok());
            entered.count()
        };
        assert_eq!([entered(1), entered(2), entered(3)], [3, 2, 0]);
    }
}
