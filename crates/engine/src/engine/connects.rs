//! Limits how often each client address does something, such as connecting, with a token bucket for
//! each address. Messages never use it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::addresses::counted_as;
use crate::engine::rate::{TokenBucket, TokenRate};
use crate::limits::CONNECT_BUCKETS_MAX;
use crate::sparse::Sparse as _;

/// The number of locks, each for a share of the addresses.
const PARTS: usize = 64;

/// The largest number of addresses in one part.
const PART_MAX: usize = CONNECT_BUCKETS_MAX / PARTS;

/// A token bucket for each key that has taken tokens recently. A full bucket holds no information,
/// and is soon forgotten. If more than [`CONNECT_BUCKETS_MAX`] keys take tokens at once, the
/// buckets that are nearest to full are forgotten first, so the key that takes most is remembered
/// longest.
#[derive(Debug)]
pub struct Buckets<K> {
    parts: [Mutex<HashMap<K, TokenBucket>>; PARTS],
    hasher: RandomState,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Buckets {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    /// Takes a token of this key. Returns whether there was one.
    pub fn take(&self, key: K, rate: &TokenRate, now_ns: u64) -> bool {
        self.with(key, now_ns, |bucket| bucket.take(rate, now_ns))
    }

    /// Takes a token of this key even if it has none: it is owed then.
    pub fn spend(&self, key: K, rate: &TokenRate, now_ns: u64) {
        self.with(key, now_ns, |bucket| bucket.spend(rate, now_ns, 1));
    }

    fn with<T>(&self, key: K, now_ns: u64, act: impl FnOnce(&mut TokenBucket) -> T) -> T {
        let mut part = self.part(key);
        if let Some(bucket) = part.get_mut(&key) {
            return act(bucket);
        }
        if part.len() >= PART_MAX {
            forget(&mut part, now_ns);
        }
        let mut bucket = TokenBucket::default();
        let result = act(&mut bucket);
        part.insert(key, bucket);
        result
    }

    /// How long until this key has a token, in nanoseconds; 0 if it has one now.
    pub fn wait_ns(&self, key: K, rate: &TokenRate, now_ns: u64) -> u64 {
        let part = self.part(key);
        let next_ns = part.get(&key).map(|bucket| bucket.next_token_ns(rate));
        next_ns.unwrap_or_default().saturating_sub(now_ns)
    }

    /// Forgets the full buckets of one part. Calls with consecutive numbers visit all parts in
    /// turn.
    pub fn forget_some(&self, number: usize, now_ns: u64) {
        let part = &self.parts[number % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if !part.is_empty() {
            part.retain(|_, bucket| bucket.full_at_ns() > now_ns);
            part.shrink_sparse();
        }
    }

    /// The number of keys that are remembered.
    pub fn len(&self) -> usize {
        let parts = self.parts.iter();
        let lock =
            |part: &Mutex<HashMap<_, _>>| part.lock().unwrap_or_else(PoisonError::into_inner).len();
        parts.map(lock).sum()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, key: K) -> MutexGuard<'_, HashMap<K, TokenBucket>> {
        let part = &self.parts[self.hasher.hash_one(key) as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`Buckets`] of client addresses; an IPv6 network of 64 bits counts as one address.
#[derive(Debug, Default)]
pub struct AddressBuckets(Buckets<IpAddr>);

impl AddressBuckets {
    /// Takes a token of this address, for example for a connect. Returns whether there was one.
    pub fn take(&self, address: IpAddr, rate: &TokenRate, now_ns: u64) -> bool {
        self.0.take(counted_as(address), rate, now_ns)
    }

    /// How long until this address has a token, in nanoseconds; 0 if it has one now.
    pub fn wait_ns(&self, address: IpAddr, rate: &TokenRate, now_ns: u64) -> u64 {
        self.0.wait_ns(counted_as(address), rate, now_ns)
    }

    /// Forgets the full buckets of one part. Calls with consecutive numbers visit all parts in
    /// turn.
    pub fn forget_some(&self, number: usize, now_ns: u64) {
        self.0.forget_some(number, now_ns);
    }

    /// The number of addresses that are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no address is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes room. Forgets all full buckets and, if that is not enough, the quarter that will be full
/// next, so that it has to run only now and then.
fn forget<K: Copy + Eq + Hash>(part: &mut HashMap<K, TokenBucket>, now_ns: u64) {
    const FREE: usize = PART_MAX / 4;
    part.retain(|_, bucket| bucket.full_at_ns() > now_ns);
    if part.len() <= PART_MAX - FREE {
        return;
    }
    let mut times: Vec<u64> = part.values().map(TokenBucket::full_at_ns).collect();
    let (_, latest_ns, _) = times.select_nth_unstable(FREE - 1);
    part.retain(|_, bucket| bucket.full_at_ns() > *latest_ns);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const RATE: TokenRate = TokenRate::new(1, 3);
    const NOW: u64 = 1_000_000_000;

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_ipv4_address_and_each_ipv6_64_has_its_own_bucket() {
        let buckets = AddressBuckets::default();
        let taken = |address: &str, now_ns| {
            let tries = (0..10).filter(|_| buckets.take(at(address), &RATE, now_ns));
            tries.count()
        };
        assert_eq!(taken("192.0.2.1", NOW), 3);
        assert_eq!(taken("::ffff:192.0.2.1", NOW), 0);
        assert_eq!(taken("192.0.2.2", NOW), 3);
        assert_eq!(taken("2001:db8:0:1::1", NOW), 3);
        assert_eq!(taken("2001:db8:0:1:ffff::2", NOW), 0);
        assert_eq!(taken("2001:db8:0:2::1", NOW), 3);
        let wait_ns = |address| buckets.wait_ns(at(address), &RATE, NOW);
        assert_eq!(
            (wait_ns("192.0.2.1"), wait_ns("192.0.2.3")),
            (1_000_000_000, 0)
        );
        assert_eq!(taken("192.0.2.1", NOW + 2_000_000_000), 2);
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_addresses_are_remembered() {
        let buckets = AddressBuckets::default();
        let flooder = at("198.51.100.1");
        while buckets.take(flooder, &RATE, NOW) {}
        for number in 0..3 * CONNECT_BUCKETS_MAX as u32 {
            let address = Ipv4Addr::from_bits(0x0A00_0000 + number).into();
            assert!(buckets.take(address, &RATE, NOW));
        }
        assert!(buckets.len() <= CONNECT_BUCKETS_MAX, "{}", buckets.len());
        assert!(!buckets.take(flooder, &RATE, NOW), "it was forgotten");
    }

    #[test]
    fn a_token_that_is_spent_without_asking_is_owed() {
        let buckets = Buckets::<u8>::default();
        for _ in 0..5 {
            buckets.spend(1, &RATE, NOW);
        }
        assert_eq!(buckets.wait_ns(1, &RATE, NOW), 3_000_000_000);
        assert_eq!(buckets.wait_ns(2, &RATE, NOW), 0);
    }

    #[test]
    fn a_bucket_that_is_full_again_makes_room() {
        let buckets = AddressBuckets::default();
        for number in 0..2 * CONNECT_BUCKETS_MAX as u32 {
            let address = Ipv4Addr::from_bits(0x0A00_0000 + number).into();
            buckets.take(address, &RATE, NOW);
        }
        let later = NOW + 3_600_000_000_000;
        for number in 0..64 * 64_u32 {
            let address = Ipv4Addr::from_bits(0x0B00_0000 + number).into();
            assert!(buckets.take(address, &RATE, later));
        }
        assert!(
            buckets.len() <= CONNECT_BUCKETS_MAX / 2,
            "{}",
            buckets.len()
        );
    }
}
