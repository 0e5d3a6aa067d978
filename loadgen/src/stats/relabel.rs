//! The other ways to assign values to the two sides, and how often one of them shows as large a
//! difference.

use rand_distr::{Distribution, StandardUniform, Uniform};
use rand_pcg::Pcg64Mcg;

/// At least this many pairs run in either order, so that an effect of running second does not fall
/// on one side alone.
const EITHER_ORDER_MIN: usize = 2;
/// Up to this many values, all labels are enumerated.
const PAIRS_EXACT_MAX: usize = 13;
const RUNS_EXACT_MAX: usize = 15;
/// For more values, this many labels are drawn.
const DRAWS: usize = 9_999;
/// The draws are fixed, so that judging a report again gives the same verdict.
const DRAWS_SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
/// Sums that differ by less are equal but for rounding.
const ROUNDING: f64 = 1e-9;

/// Draws for each pair whether B runs first; all sequences with two of either order are equally
/// likely.
pub(crate) fn orders(pairs: usize, seed: u64) -> Vec<bool> {
    // PCG's low bits need an odd state, and the multiplication spreads seeds such as 1, 2 and 3.
    let mut random = Pcg64Mcg::new(DRAWS_SEED.wrapping_mul(u128::from(seed) * 2 + 1) | 1);
    loop {
        let drawn: Vec<bool> = (0..pairs)
            .map(|_| StandardUniform.sample(&mut random))
            .collect();
        if has_either_order(&drawn) || pairs < 2 * EITHER_ORDER_MIN {
            return drawn;
        }
    }
}

fn has_either_order(is_b_first: &[bool]) -> bool {
    let count = is_b_first.iter().filter(|first| **first).count();
    count.min(is_b_first.len() - count) >= EITHER_ORDER_MIN
}

/// Signs of the pairs: −1 for a pair that is swapped. The first set is the observed one; each leads
/// to an order that [`orders`] could have drawn.
pub(super) fn flips(is_b_first: &[bool]) -> Vec<Vec<i8>> {
    let pairs = is_b_first.len();
    let could_be = |signs: &[i8]| {
        let flipped = signs.iter().zip(is_b_first);
        let order: Vec<bool> = flipped.map(|(sign, first)| (*sign < 0) != *first).collect();
        has_either_order(&order) || !has_either_order(is_b_first)
    };
    let mut all = vec![vec![1; pairs]];
    if pairs <= PAIRS_EXACT_MAX {
        let signs = |mask: usize| (0..pairs).map(move |at| sign(mask >> at & 1 == 0));
        let others = (1..1 << pairs).map(|mask| signs(mask).collect::<Vec<_>>());
        all.extend(others.filter(|signs| could_be(signs)));
        return all;
    }
    let mut random = Pcg64Mcg::new(DRAWS_SEED);
    while all.len() <= DRAWS {
        let drawn = (0..pairs).map(|_| sign(StandardUniform.sample(&mut random)));
        let drawn: Vec<i8> = drawn.collect();
        if could_be(&drawn) {
            all.push(drawn);
        }
    }
    all
}

/// Signs of `a` runs and `b` runs, −1 for those of A. The first set is the observed one.
pub(super) fn exchanges(a: usize, b: usize) -> Vec<Vec<i8>> {
    let runs = a + b;
    let observed: Vec<i8> = (0..runs).map(|at| sign(at >= a)).collect();
    let mut all = vec![observed.clone()];
    if runs <= RUNS_EXACT_MAX {
        let masks = (0_usize..1 << runs).filter(|mask| mask.count_ones() as usize == b);
        let signs = |mask: usize| (0..runs).map(move |at| sign(mask >> at & 1 == 1));
        let others = masks.map(|mask| signs(mask).collect::<Vec<_>>());
        all.extend(others.filter(|signs| *signs != observed));
        return all;
    }
    let mut random = Pcg64Mcg::new(DRAWS_SEED);
    let mut dealt = observed;
    for _ in 0..DRAWS {
        for at in 1..runs {
            if let Ok(until) = Uniform::new_inclusive(0, at) {
                dealt.swap(at, until.sample(&mut random));
            }
        }
        all.push(dealt.clone());
    }
    all
}

fn sign(is_plus: bool) -> i8 {
    if is_plus { 1 } else { -1 }
}

/// For each metric, the share of the labels under which the largest sum of scores, among this
/// metric and those that show less, is at least its own sum under the observed labels.
pub(super) fn chances(scores: &[Vec<f64>], labels: &[Vec<i8>]) -> Vec<f64> {
    let sum = |scores: &[f64], signs: &[i8]| {
        let terms = scores.iter().zip(signs);
        terms
            .map(|(score, sign)| score * f64::from(*sign))
            .sum::<f64>()
    };
    let seen: Vec<f64> = scores.iter().map(|one| sum(one, &labels[0])).collect();
    let mut rising: Vec<usize> = (0..scores.len()).collect();
    rising.sort_by(|one, other| seen[*one].total_cmp(&seen[*other]));
    let mut largest = vec![f64::NEG_INFINITY; labels.len()];
    let mut chances = vec![1.0; scores.len()];
    for at in &rising {
        for (largest, signs) in largest.iter_mut().zip(labels) {
            *largest = largest.max(sum(&scores[*at], signs));
        }
        let as_large = largest.iter().filter(|one| **one >= seen[*at] - ROUNDING);
        chances[*at] = as_large.count() as f64 / labels.len() as f64;
    }
    // A metric is never more certain than one that shows a larger difference.
    let mut least = 0.0_f64;
    for at in rising.iter().rev() {
        least = least.max(chances[*at]);
        chances[*at] = least;
    }
    chances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_orders_are_balanced_and_all_occur() {
        let all: Vec<_> = (0..2000).map(|seed| orders(5, seed)).collect();
        assert!(all.iter().all(|order| has_either_order(order)));
        let mut kinds = all.clone();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), 20);
        for kind in &kinds {
            let count = all.iter().filter(|order| *order == kind).count();
            assert!((60..140).contains(&count), "{kind:?}: {count}");
        }
        assert_eq!(orders(5, 7), orders(5, 7));
    }

    #[test]
    fn labels_are_all_those_that_could_have_been_each_once() {
        let count = |labels: Vec<Vec<i8>>| {
            let mut sorted = labels.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), labels.len());
            labels.len()
        };
        let order = [true, false, true, false, true];
        assert_eq!(count(flips(&order)), 20);
        assert_eq!(flips(&order)[0], [1; 5]);
        assert_eq!(count(exchanges(5, 5)), 252);
        assert_eq!(exchanges(2, 3)[0], [-1, -1, 1, 1, 1]);
        assert_eq!(flips(&[[true, false]; 20].concat()).len(), DRAWS + 1);
        assert_eq!(exchanges(10, 10).len(), DRAWS + 1);
        for signs in exchanges(8, 12) {
            assert_eq!(signs.iter().filter(|sign| **sign > 0).count(), 12);
        }
    }

    #[test]
    fn a_chance_is_the_share_of_labels_that_show_as_much() {
        let labels = flips(&[true, false, true, false, true]);
        let even = vec![1.0; 5];
        let odd = vec![1.0, -1.0, 1.0, -1.0, 1.0];
        assert_eq!(chances(std::slice::from_ref(&even), &labels), [1.0 / 20.0]);
        // The other metric shows as much under labels of its own, and afterwards less.
        let both = chances(&[even, odd], &labels);
        assert!(both[0] <= both[1] && both[0] >= 1.0 / 20.0, "{both:?}");
        assert_eq!(chances(&[vec![0.0; 5]], &labels), [1.0]);
        assert!(chances(&[], &labels).is_empty());
    }
}
