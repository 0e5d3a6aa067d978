//! How long connections took to open, as a histogram.

use super::chart::Chart;
use super::scale::Scale;
use crate::report::{Distribution, Quantiles};
use crate::units::{grouped, short, tick, time};

const BINS: u32 = 48;

/// The chart; `None` if nothing connected.
pub(super) fn chart(connect: &Distribution, tcp: Option<&Quantiles>) -> Option<String> {
    let histogram = connect.histogram()?;
    let of = &connect.quantiles;
    let least = tcp.map_or(of.min, |tcp| tcp.p50.clamp(1, of.min.max(1)));
    let x = Scale::log(least as f64, of.max as f64, tick);
    let (first, last) = (x.ticks.first()?.0, x.ticks.last()?.0);
    let edge = |bin: u32| first * (last / first).powf(f64::from(bin) / f64::from(BINS));
    let bins: Vec<(f64, f64, f64)> = (0..BINS)
        .map(|bin| {
            let (from, to) = (edge(bin), edge(bin + 1));
            let count = histogram.count_between(from as u64, (to as u64).saturating_sub(1));
            (from, to, count as f64)
        })
        .collect();
    let most = bins.iter().map(|bin| bin.2).fold(1.0, f64::max);
    let said = format!(
        "Of {} connections half took at most {}, the slowest {}.",
        grouped(of.count),
        time(of.p50 as f64),
        time(of.max as f64)
    );
    let mut chart = Chart::new("Connect times", &said, x, Scale::from_zero(most, short));
    chart.bars("s1", "connections, to upgraded", &bins);
    if let Some(tcp) = tcp.filter(|tcp| tcp.count > 0) {
        chart.mark_x("s4", "median of TCP alone", tcp.p50 as f64);
    }
    chart.mark_x("s2", "median", of.p50 as f64);
    chart.mark_x("s3", "99 %", of.p99 as f64);
    let told: Vec<_> = bins
        .iter()
        .filter(|bin| bin.2 > 0.0)
        .map(|(from, to, count)| {
            (
                *from,
                *to,
                format!(
                    "{} to {}: {}",
                    time(*from),
                    time(*to),
                    grouped(*count as u64)
                ),
            )
        })
        .collect();
    chart.tell(&told);
    Some(chart.html())
}
