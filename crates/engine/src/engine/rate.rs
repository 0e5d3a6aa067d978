//! Token buckets: an average rate per second, and a number of tokens at once.
//!
//! A bucket is one number, the time at which it will be full (the generic cell rate algorithm of
//! [ATM](https://www.itu.int/rec/T-REC-I.371), as a virtual schedule). No timer refills it, and an
//! idle bucket costs nothing. Time is an argument, in nanoseconds.
//!
//! A request passes if at least one token is left, and may overdraw the bucket. So a large message
//! is never stuck in front of a bucket that is too small for it; the tokens that it overdrew are
//! awaited afterwards. The average always holds, and a burst exceeds the bucket by one message at
//! most.
//! message at the most.

use std::time::Duration;

/// Bucket time: 16 units are a nanosecond, so that a rate of gigabytes is not rounded to nothing.
/// 64 bits hold 36 years.
const UNITS_PER_NS: u64 = 16;
const UNITS_PER_SECOND: u64 = 1_000_000_000 * UNITS_PER_NS;

/// How fast a token bucket fills, and how much it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenRate {
    per_second: u64,
    burst: u64,
    /// The time in which one token is added, in units.
    token: u64,
}

impl TokenRate {
    /// `per_second` tokens a second on average, `burst` at once. Both are clamped to 1..=2^30.
    /// Above 100 million a second, rounding makes the rate up to 7 % lower.
    pub const fn new(per_second: u64, burst: u64) -> TokenRate {
        let (per_second, burst) = (bounded(per_second), bounded(burst));
        TokenRate {
            per_second,
            burst,
            token: UNITS_PER_SECOND.div_ceil(per_second),
        }
    }

    /// `tokens` tokens in each `interval` on average, for rates below one a second; `burst` at
    /// once. The numbers are clamped to 1..=2^30, and the interval to one millisecond to a day.
    pub fn per(tokens: u64, interval: Duration, burst: u64) -> TokenRate {
        const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3_600);
        let tokens = bounded(tokens);
        let interval = interval.clamp(Duration::from_millis(1), INTERVAL_MAX);
        let token = (interval.as_nanos() as u64 * UNITS_PER_NS).div_ceil(tokens);
        TokenRate {
            per_second: UNITS_PER_SECOND / token,
            burst: bounded(burst),
            token,
        }
    }

    /// Tokens per second on average, rounded down.
    pub fn per_second(&self) -> u64 {
        self.per_second
    }

    /// Tokens at once, in a full bucket.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// The time for one token in whole seconds, at least 1, for `Retry-After` in a refusal (RFC
    /// 9110 §10.2.3).
    pub fn retry_after_s(&self) -> u64 {
        self.token.div_ceil(UNITS_PER_SECOND)
    }
}

const fn bounded(value: u64) -> u64 {
    const MAX: u64 = 1 << 30;
    match value {
        0 => 1,
        1..=MAX => value,
        _ => MAX,
    }
}

/// A token bucket. The default is a full one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TokenBucket {
    /// When the bucket will be full, in units.
    full_at: u64,
}

impl TokenBucket {
    /// Takes a token if there is one.
    #[inline]
    pub fn take(&mut self, rate: &TokenRate, now_ns: u64) -> bool {
        let has_token = self.has_token(rate, now_ns);
        if has_token {
            self.spend(rate, now_ns, 1);
        }
        has_token
    }

    /// Whether at least one token is left.
    #[inline]
    pub fn has_token(&self, rate: &TokenRate, now_ns: u64) -> bool {
        self.next_token(rate) <= units(now_ns)
    }

    /// Takes `tokens` tokens, even if fewer are left.
    #[inline]
    pub fn spend(&mut self, rate: &TokenRate, now_ns: u64, tokens: u64) {
        let from = self.full_at.max(units(now_ns));
        self.full_at = from.saturating_add(rate.token.saturating_mul(tokens));
    }

    /// When the next token will be there, or since when one has been, in nanoseconds.
    pub fn next_token_ns(&self, rate: &TokenRate) -> u64 {
        self.next_token(rate).div_ceil(UNITS_PER_NS)
    }

    /// When the bucket will be full, in nanoseconds. From then on it equals one that was never
    /// used.
    pub fn full_at_ns(&self) -> u64 {
        self.full_at.div_ceil(UNITS_PER_NS)
    }

    #[inline]
    fn next_token(&self, rate: &TokenRate) -> u64 {
        let before_full = rate.token.saturating_mul(rate.burst - 1);
        self.full_at.saturating_sub(before_full)
    }
}

#[inline]
fn units(ns: u64) -> u64 {
    ns.saturating_mul(UNITS_PER_NS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_burst_at_once_and_then_as_many_as_the_rate_says() {
        let rate = TokenRate::new(10, 20);
        let mut bucket = TokenBucket::default();
        let mut taken = |from_ns: u64| {
            let tries = (0..100).filter(|_| bucket.take(&rate, from_ns));
            tries.count()
        };
        let start = 5 * SECOND_NS;
        assert_eq!(taken(start), 20);
        assert_eq!(taken(start + SECOND_NS / 10 - 1), 0);
        assert_eq!(taken(start + SECOND_NS / 10), 1);
        assert_eq!(taken(start + SECOND_NS), 9);
        assert_eq!(taken(start + 60 * SECOND_NS), 20, "it holds no more");
    }

    #[test]
    fn overdrawn_tokens_are_awaited() {
        let rate = TokenRate::new(1_000, 100);
        let mut bucket = TokenBucket::default();
        let now = SECOND_NS;
        assert!(bucket.has_token(&rate, now));
        bucket.spend(&rate, now, 2_099);
        assert_eq!(bucket.next_token_ns(&rate), now + 2 * SECOND_NS);
        assert!(!bucket.has_token(&rate, now + 2 * SECOND_NS - 1));
        assert!(bucket.has_token(&rate, now + 2 * SECOND_NS));
        assert_eq!(bucket.full_at_ns(), now + 2_099_000_000);
    }

    #[test]
    fn retry_after_is_a_whole_second_at_the_least() {
        assert_eq!(TokenRate::new(10, 20).retry_after_s(), 1);
        assert_eq!(TokenRate::new(1, 1).retry_after_s(), 1);
        assert_eq!(TokenRate::new(0, 0), TokenRate::new(1, 1));
        let most = TokenRate::new(u64::MAX, u64::MAX);
        assert_eq!((most.per_second(), most.burst()), (1 << 30, 1 << 30));
    }

    #[test]
    fn a_rate_may_be_lower_than_one_a_second() {
        let rate = TokenRate::per(2, Duration::from_secs(180), 10);
        assert_eq!((rate.per_second(), rate.retry_after_s()), (0, 90));
        let mut bucket = TokenBucket::default();
        let mut taken = |at_s: u64| {
            let tries = (0..100).filter(|_| bucket.take(&rate, at_s * SECOND_NS));
            tries.count()
        };
        assert_eq!(taken(1_000), 10);
        assert_eq!((taken(1_089), taken(1_090), taken(1_180)), (0, 1, 1));
        assert_eq!(taken(10_000), 10);
        let second = Duration::from_secs(1);
        assert_eq!(TokenRate::per(10, second, 20), TokenRate::new(10, 20));
        let least = TokenRate::per(0, Duration::ZERO, 0);
        assert_eq!((least.per_second(), least.burst()), (1_000, 1));
    }

    proptest! {
        /// Whatever is tried when: never more than a burst and what the elapsed time is worth, and
        /// for a client that tries all the time hardly less.
        #[test]
        fn the_average_holds_over_any_span(
            per_second in 1_u64..5_000,
            burst in 1_u64..500,
            steps in proptest::collection::vec((0_u64..50_000_000, 1_u64..20), 1..200),
        ) {
            let rate = TokenRate::new(per_second, burst);
            let mut bucket = TokenBucket::default();
            let (mut now, mut taken) = (SECOND_NS, 0_u64);
            for (step_ns, tries) in steps {
                now += step_ns;
                taken += (0..tries).filter(|_| bucket.take(&rate, now)).count() as u64;
                let elapsed = u128::from(now - SECOND_NS);
                let worth = elapsed * u128::from(per_second) / u128::from(SECOND_NS);
                prop_assert!(u128::from(taken) <= u128::from(burst) + worth);
            }
            let waited = bucket.full_at_ns();
            prop_assert!((0..burst).all(|_| bucket.take(&rate, waited)));
            prop_assert!(!bucket.take(&rate, waited));
        }
    }
}
