//! How often the verdicts are right, by simulated runs: noise with heavy tails, correlated between
//! successive runs and between the metrics of one run.

use rand_distr::{Distribution, Exp1, StandardNormal, StandardUniform};
use rand_pcg::Pcg64Mcg;

use super::{Judged, Metric, RUNS_MIN, Verdict, of_pairs, of_samples, orders};

const METRICS: usize = 4;
const TRIALS: u64 = 500;
/// The last metric is a throughput.
const LOWER_IS_BETTER: [bool; METRICS] = [true, true, true, false];

/// A machine: each run's values depend on the run before.
struct Machine {
    random: Pcg64Mcg,
    /// Logarithm of the common slowdown of all metrics at present.
    mood: f64,
    /// The share of it that stays from run to run.
    stays: f64,
}

impl Machine {
    fn new(seed: u64, stays: f64) -> Self {
        let state = (u128::from(seed) * 0x1_0000_0001_b3d4_27a1) | 1;
        Self {
            random: Pcg64Mcg::new(state.wrapping_mul(state)),
            mood: 0.0,
            stays,
        }
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.random)
    }

    /// The values of one run, with a slowdown of each metric.
    fn run(&mut self, slowdown: &[f64; METRICS]) -> [f64; METRICS] {
        let push = 0.12 * self.normal();
        self.mood = self.stays * self.mood + (1.0 - self.stays.powi(2)).sqrt() * push;
        let chance: f64 = StandardUniform.sample(&mut self.random);
        let long: f64 = Exp1.sample(&mut self.random);
        let hiccup = if chance < 0.08 { long } else { 0.0 };
        std::array::from_fn(|at| {
            let own = 0.06 * self.normal();
            let slower = slowdown[at].ln() + self.mood + hiccup + own;
            if LOWER_IS_BETTER[at] { slower } else { -slower }.exp()
        })
    }
}

fn metrics(runs: &[([f64; METRICS], [f64; METRICS])]) -> Vec<Metric> {
    let metric = |at: usize| Metric {
        a: runs.iter().map(|(a, _)| a[at]).collect(),
        b: runs.iter().map(|(_, b)| b[at]).collect(),
        lower_is_better: LOWER_IS_BETTER[at],
    };
    (0..METRICS).map(metric).collect()
}

fn paired(machine: &mut Machine, order: &[bool], slowdown: &[f64; METRICS]) -> Vec<Metric> {
    let alike = [1.0; METRICS];
    let runs: Vec<_> = order
        .iter()
        .map(|is_b_first| match is_b_first {
            true => {
                let b = machine.run(slowdown);
                (machine.run(&alike), b)
            }
            false => (machine.run(&alike), machine.run(slowdown)),
        })
        .collect();
    metrics(&runs)
}

fn any(judged: &[Judged], verdict: Verdict) -> bool {
    judged.iter().any(|one| one.verdict == verdict)
}

/// The share of comparisons of `pairs` pairs in which some metric got this verdict.
fn share(
    pairs: usize,
    stays: f64,
    slowdown: &[f64; METRICS],
    tolerance: f64,
    verdict: Verdict,
) -> f64 {
    let found = (0..TRIALS).filter(|trial| {
        let order = orders(pairs, *trial);
        let mut machine = Machine::new(trial * 31 + pairs as u64, stays);
        let metrics = paired(&mut machine, &order, slowdown);
        any(&of_pairs(&metrics, &order, tolerance), verdict)
    });
    found.count() as f64 / TRIALS as f64
}

#[test]
fn equal_servers_differ_in_at_most_5_percent_of_comparisons() {
    for (pairs, stays) in [(5, 0.0), (5, 0.9), (7, 0.6), (10, 0.9)] {
        for verdict in [Verdict::Worse, Verdict::Better] {
            let bare = share(pairs, stays, &[1.0; METRICS], 0.0, verdict);
            let found = share(pairs, stays, &[1.0; METRICS], 0.1, verdict);
            println!("{pairs} pairs, {stays}: {verdict:?} {bare:.3}, tolerating 10 % {found:.3}");
            // 5 %, plus three standard deviations for this number of trials.
            assert!(bare <= 0.08, "{pairs} {stays} {verdict:?}: {bare}");
            assert!(found <= 0.055, "{pairs} {stays} {verdict:?}: {found}");
        }
    }
}

#[test]
fn twenty_percent_are_found_in_most_comparisons_of_ten_pairs() {
    for (slowdown, name) in [
        ([1.2; METRICS], "all"),
        ([1.0, 1.2, 1.2, 1.0], "two"),
        ([1.0, 1.2, 1.0, 1.0], "one"),
    ] {
        let of = |pairs, verdict| share(pairs, 0.6, &slowdown, 0.1, verdict);
        let (five, ten) = (of(5, Verdict::Worse), of(10, Verdict::Worse));
        println!("20 % in {name}: {five:.3} with 5 pairs, {ten:.3} with 10");
        assert!(ten > 0.55, "{name}: {ten}");
        assert!(of(10, Verdict::Better) <= 0.05);
    }
}

#[test]
fn more_pairs_never_make_a_difference_harder_to_find() {
    let found = [5, 8, 12].map(|pairs| share(pairs, 0.6, &[1.25; METRICS], 0.1, Verdict::Worse));
    println!("25 %: {found:.3?} with 5, 8 and 12 pairs");
    assert!(found[0] < found[1] && found[1] < found[2], "{found:?}");
}

#[test]
fn unpaired_runs_under_equal_conditions_are_distinguished() {
    let share = |runs: usize, slowdown: f64| {
        let found = (0..TRIALS).filter(|trial| {
            let mut machine = Machine::new(*trial, 0.0);
            let mut runs = |slowdown| -> Vec<_> {
                (0..runs)
                    .map(|_| machine.run(&[slowdown; METRICS]))
                    .collect()
            };
            let (a, b) = (runs(1.0), runs(slowdown));
            let pairs: Vec<_> = a.into_iter().zip(b).collect();
            any(&of_samples(&metrics(&pairs), 0.1), Verdict::Worse)
        });
        found.count() as f64 / TRIALS as f64
    };
    let (same, slower) = (share(5, 1.0), share(7, 1.5));
    println!("unpaired: {same:.3} of alike, {slower:.3} of 50 % slower");
    assert!(same <= 0.06, "{same}");
    assert!(slower > 0.8, "{slower}");
}

#[test]
fn swapping_sides_inverts_the_verdict_and_units_do_not_matter() {
    for seed in 0..200 {
        let order = orders(RUNS_MIN + 1, seed);
        let there = paired(&mut Machine::new(seed, 0.5), &order, &[1.3; METRICS]);
        let back = there.iter().map(|metric| Metric {
            a: metric.b.clone(),
            b: metric.a.iter().map(|value| value * 1024.0).collect(),
            ..metric.clone()
        });
        let back: Vec<_> = back
            .map(|metric| Metric {
                a: metric.a.iter().map(|value| value * 1024.0).collect(),
                ..metric
            })
            .collect();
        let order_back: Vec<_> = order.iter().map(|first| !first).collect();
        let there = of_pairs(&there, &order, 0.1);
        let back = of_pairs(&back, &order_back, 0.1);
        for (one, other) in there.iter().zip(&back) {
            assert!((one.shift.ratio * other.shift.ratio - 1.0).abs() < 1e-9);
            assert!((one.shift.low * other.shift.high - 1.0).abs() < 1e-9);
            let turned = match one.verdict {
                Verdict::Better => Verdict::Worse,
                Verdict::Worse => Verdict::Better,
                other => other,
            };
            assert_eq!(turned, other.verdict);
        }
    }
}

#[test]
fn a_gain_counts_however_much_the_runs_before_differed() {
    // The runs of A differ among themselves by more than a factor of two; all of B are far below.
    let metric = Metric {
        a: vec![1.0, 0.9, 2.1, 1.2, 1.4],
        b: vec![0.0005; 5],
        lower_is_better: true,
    };
    let judged = of_samples(std::slice::from_ref(&metric), 0.1);
    assert_eq!(judged[0].verdict, Verdict::Better);
    let judged = of_pairs(&[metric], &[true, false, true, false, true], 0.1);
    assert_eq!(judged[0].verdict, Verdict::Better);
    let still = Metric {
        a: vec![1.0, 1.01, 0.99, 1.0, 1.02],
        b: vec![1.03, 1.02, 1.01, 1.03, 1.04],
        lower_is_better: true,
    };
    assert_eq!(of_samples(&[still], 0.1)[0].verdict, Verdict::Same);
    assert!(of_samples(&[], 0.1).is_empty());
}
