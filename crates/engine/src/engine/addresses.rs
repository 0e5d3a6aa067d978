//! The number of connections of each client address. Used on connect and disconnect only.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sparse::Sparse as _;

/// The number of locks, each for a share of the addresses.
const PARTS: usize = 64;

/// Connections of each address. An IPv6 client usually has a whole /64 and can choose any address
/// in it, so such a network counts as one address.
#[derive(Debug)]
pub(super) struct Addresses {
    parts: [Mutex<HashMap<IpAddr, u32>>; PARTS],
    hasher: RandomState,
}

impl Default for Addresses {
    fn default() -> Self {
        Addresses {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Addresses {
    /// Counts one more connection, unless the address has `max` connections already.
    pub(super) fn enter(&self, address: IpAddr, max: usize) -> bool {
        let address = counted_as(address);
        let mut part = self.part(address);
        let count = part.entry(address).or_insert(0);
        if *count as usize >= max {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts one connection less.
    pub(super) fn leave(&self, address: IpAddr) {
        let address = counted_as(address);
        let mut part = self.part(address);
        if let Some(count) = part.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                part.remove(&address);
                part.shrink_sparse();
            }
        } else {
            debug_assert!(false, "an address left that had not entered");
        }
    }

    fn part(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let part = &self.parts[self.hasher.hash_one(address) as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address that a client is counted under: an IPv4 address itself, or the IPv6 network of 64
/// bits.
pub(super) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_limited_to_its_number_of_connections() {
        let addresses = Addresses::default();
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert!(addresses.enter(a, 2) && addresses.enter(a, 2));
        assert!(!addresses.enter(a, 2) && addresses.enter(b, 2));
        addresses.leave(a);
        assert!(addresses.enter(a, 2));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let addresses = Addresses::default();
        assert!(addresses.enter("2001:db8:0:1::1".parse().unwrap(), 1));
        assert!(!addresses.enter("2001:db8:0:1:ffff::2".parse().unwrap(), 1));
        assert!(addresses.enter("2001:db8:0:2::1".parse().unwrap(), 1));
        assert!(addresses.enter("::ffff:192.0.2.1".parse().unwrap(), 1));
        assert!(!addresses.enter("192.0.2.1".parse().unwrap(), 1));
    }
}
