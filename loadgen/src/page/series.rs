//! The page's sections on several runs: a walk over rates, repeats, a comparison, earlier runs.

use super::chart::{Chart, Points};
use super::parts::{class, title, when};
use super::scale::Scale;
use super::text::{escape, table};
use crate::phrases;
use crate::report::{Comparison, RelayReport, Repeats, Step, Walk};
use crate::units::{amount, ratio, short, tick, time};

/// Latency over the rates of a walk.
pub(super) fn walk(walk: &Walk) -> String {
    let mut steps: Vec<&Step> = walk.steps.iter().collect();
    let rate = |step: &Step| step.summary.rate.unwrap_or_default();
    steps.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
    let times = steps.iter().map(|step| &step.summary.latency_ns);
    let least = times.clone().map(|times| times.p50).min().unwrap_or(1);
    let most = times.map(|times| times.p99).max().unwrap_or(1);
    let knee = format!("knee {}", phrases::knee(walk));
    let target = walk.target.as_deref().unwrap_or("right and valid");
    let said = format!("{} runs with the target {target}: {knee}.", steps.len());
    let highest = steps.last().map_or(1.0, |step| rate(step));
    let x = Scale::from_zero(highest, short);
    let y = Scale::log(least as f64, most as f64, tick);
    let mut chart = Chart::new("Latency by messages a second", &said, x, y);
    let points = |kept: &dyn Fn(&Step) -> bool, value: fn(&Step) -> u64| -> Points {
        let kept = steps.iter().filter(|step| kept(step));
        kept.map(|step| (rate(step), value(step) as f64)).collect()
    };
    let p99 = |step: &Step| step.summary.latency_ns.p99;
    chart.line(
        "s2",
        "median",
        &points(&|_| true, |step| step.summary.latency_ns.p50),
    );
    chart.line("s1", "99 %", &points(&|_| true, p99));
    chart.dots("s1", "", &points(&|step| step.met, p99));
    chart.dots(
        "s3",
        &format!("misses {target}"),
        &points(&|step| !step.met, p99),
    );
    if let Some(value) = walk.knee {
        chart.mark_x("s4", &knee, value);
    }
    let half = highest / 2.0 / steps.len().max(1) as f64;
    let told: Vec<_> = steps
        .iter()
        .map(|step| {
            let text = format!(
                "{} messages/s: p50 {}, p99 {}, {} deliveries/s\n{}",
                amount(rate(step), "1/s"),
                time(step.summary.latency_ns.p50 as f64),
                time(step.summary.latency_ns.p99 as f64),
                amount(step.summary.deliveries_per_second, "1/s"),
                step.reasons.join("; ")
            );
            (rate(step) - half, rate(step) + half, text)
        })
        .collect();
    chart.tell(&told);
    chart.html()
}

/// The figures over all repeats.
pub(super) fn repeats(repeats: &Repeats) -> String {
    let rows: Vec<_> = repeats
        .figures
        .iter()
        .map(|figure| {
            vec![
                figure.name.clone(),
                amount(figure.median, &figure.unit),
                amount(figure.min, &figure.unit),
                amount(figure.max, &figure.unit),
                format!("{:.1} %", figure.spread * 100.0),
            ]
        })
        .collect();
    let count = format!("of {}", repeats.runs.len());
    table(&[&count, "median", "min", "max", "spread"], &rows)
}

/// This run against an earlier one, figure by figure.
pub(super) fn comparison(comparison: &Comparison) -> String {
    let baseline = &comparison.baseline;
    let mut out = format!(
        "<p>{} of {}</p>",
        escape(baseline.label.as_deref().unwrap_or("run")),
        escape(&when(&baseline.started_at))
    );
    for caveat in &comparison.caveats {
        out += &format!("<p class=\"doubtful\">{}</p>", escape(caveat));
    }
    out += "<div class=\"wide\" tabindex=\"0\"><table><thead><tr><td></td>\
            <th scope=\"col\">before</th><th scope=\"col\">now</th>\
            <th scope=\"col\">change</th>\
            <th class=\"interval\" scope=\"col\">interval</th></tr></thead><tbody>";
    for figure in &comparison.figures {
        out += &format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"{}\">{} {}</td>\
             <td class=\"interval\">{}</td></tr>",
            escape(&figure.name),
            escape(&amount(figure.before, &figure.unit)),
            escape(&amount(figure.after, &figure.unit)),
            class(phrases::mood(figure.change)),
            escape(&ratio(figure.ratio)),
            phrases::change(figure.change),
            escape(&phrases::interval(figure.interval))
        );
    }
    out + "</tbody></table></div>"
}

/// The trend of the figures from run to run; this one is the last.
pub(super) fn trend(earlier: &[RelayReport], this: &RelayReport) -> String {
    let runs: Vec<&RelayReport> = earlier.iter().chain([this]).collect();
    format!(
        "<div class=\"pair\">{}{}</div>",
        latency_trend(&runs),
        rate_trend(&runs)
    )
}

/// Latency from run to run.
pub(super) fn latency_trend(runs: &[&RelayReport]) -> String {
    let times = runs.iter().map(|run| &run.latency_ns);
    let least = times.clone().map(|times| times.p50).min().unwrap_or(1);
    let most = times.map(|times| times.p99).max().unwrap_or(1);
    let said = format!("Latency of the last {} runs of this load.", runs.len());
    let y = Scale::log(least as f64, most as f64, tick);
    let title = "Latency from run to run";
    let mut chart = Chart::new(title, &said, numbers(runs.len()), y).low();
    let points = |value: fn(&RelayReport) -> u64| -> Points {
        let runs = runs.iter().enumerate();
        runs.map(|(number, run)| (number as f64 + 1.0, value(run) as f64))
            .collect()
    };
    let p99 = points(|run| run.latency_ns.p99);
    let p50 = points(|run| run.latency_ns.p50);
    chart.line("s1", "99 %", &p99);
    chart.dots("s1", "", &p99);
    chart.line("s2", "median", &p50);
    chart.dots("s2", "", &p50);
    chart.tell(&told(runs));
    chart.html()
}

/// Deliveries a second from run to run.
pub(super) fn rate_trend(runs: &[&RelayReport]) -> String {
    let rate = |run: &&RelayReport| run.throughput.deliveries_per_second;
    let most = runs.iter().map(rate).fold(1.0, f64::max);
    let said = format!(
        "Deliveries a second of the last {} runs of this load.",
        runs.len()
    );
    let y = Scale::from_zero(most, short);
    let title = "Deliveries a second from run to run";
    let mut chart = Chart::new(title, &said, numbers(runs.len()), y).low();
    let bars: Vec<_> = runs
        .iter()
        .enumerate()
        .map(|(number, run)| (number as f64 + 0.6, number as f64 + 1.4, rate(run)))
        .collect();
    chart.bars("s1", "", &bars);
    chart.tell(&told(runs));
    chart.html()
}

/// An axis of runs from 1.
fn numbers(count: usize) -> Scale {
    let mut scale = Scale::between(0.5, count as f64 + 0.5, short);
    // Runs have whole numbers.
    scale.ticks.retain(|(value, _)| value.fract() == 0.0);
    if let Some((_, label)) = scale
        .ticks
        .last_mut()
        .filter(|(value, _)| *value == count as f64)
    {
        "this run".clone_into(label);
    }
    scale
}

fn told(runs: &[&RelayReport]) -> Vec<(f64, f64, String)> {
    let told = |(number, run): (usize, &&RelayReport)| {
        let text = format!(
            "{}, {}\np50 {}, p99 {}, {} deliveries/s",
            title(&run.head),
            when(&run.head.started_at),
            time(run.latency_ns.p50 as f64),
            time(run.latency_ns.p99 as f64),
            amount(run.throughput.deliveries_per_second, "1/s")
        );
        (number as f64 + 0.5, number as f64 + 1.5, text)
    };
    runs.iter().enumerate().map(told).collect()
}
