//! Sets of events, by number.

/// A set of numbers below a bound.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    /// An empty set for numbers below `end`.
    pub(super) fn new(end: usize) -> Self {
        Self(vec![0; end.div_ceil(64)].into())
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.0[number as usize / 64] & bit(number) != 0
    }

    /// Returns true if it was absent.
    pub(super) fn add(&mut self, number: u32) -> bool {
        let is_new = !self.has(number);
        self.0[number as usize / 64] |= bit(number);
        is_new
    }

    /// True unless it is empty.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|word| *word != 0)
    }

    /// The number of members that all sets share.
    pub(super) fn common(sets: [&Self; 2]) -> u64 {
        let [one, other] = sets.map(|set| set.0.iter());
        let pairs = one.zip(other);
        pairs.map(|(a, b)| u64::from((a & b).count_ones())).sum()
    }

    /// The number of members of both sets of `wanted` that `got` lacks.
    pub(super) fn missing(wanted: [&Self; 2], got: &Self) -> u64 {
        let [one, other] = wanted.map(|set| set.0.iter());
        let each = one.zip(other).zip(&got.0);
        each.map(|((a, b), got)| u64::from((a & b & !got).count_ones()))
            .sum()
    }
}

fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_count_common_and_missing_members() {
        let of = |numbers: &[u32]| {
            let mut bits = Bits::new(130);
            assert!(numbers.iter().all(|number| bits.add(*number)));
            bits
        };
        let (one, other) = (of(&[0, 1, 64, 129]), of(&[1, 63, 64, 129]));
        assert_eq!(Bits::common([&one, &other]), 3);
        assert_eq!(Bits::missing([&one, &other], &of(&[64])), 2);
        assert!(one.has(129) && !one.has(128) && !one.clone().add(0));
    }
}
