//! The results of a run, and the figures computed from them. Written as JSON as the run progresses.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::contenders::{CORECAST, Contender, Durability, base};
use super::reading::Reading;
use crate::machine::{Machine, Quiet};
use crate::results::write_whole;
use crate::stats::{Figure, paired_ratios};

/// The version of the file. It changes if a field changes its meaning, not for a new field.
const VERSION: u32 = 1;
/// The name of the row of bare synced writes.
pub(super) const FLOOR: &str = "pwrite and fdatasync";

/// A whole run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    version: u32,
    kind: &'static str,
    pub(super) machine: Machine,
    pub(super) quiet: Quiet,
    pub(super) rounds: u32,
    pub(super) window_ms: u64,
    /// Stored events that are queried.
    pub(super) events: u32,
    /// Its duration up to now.
    pub(super) seconds: u64,
    /// False while it runs, and permanently if it was cut off.
    pub(super) is_finished: bool,
    pub(super) contenders: Vec<Outcome>,
    pub(super) targets: Vec<Target>,
}

/// All readings of one relay.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    /// `None` for the floor.
    pub(super) durability: Option<Durability>,
    pub(super) settings: &'static str,
    /// Why it was not measured.
    pub(super) skipped: Option<String>,
    /// By round; null for a missing one.
    pub(super) readings: Vec<Option<Reading>>,
    /// By measure: the median with its quartiles.
    pub(super) values: BTreeMap<String, Figure>,
    /// By measure: its value by that of Corecast with the same durability, with the 95 % interval.
    pub(super) ratios: BTreeMap<String, Figure>,
}

/// A target of our own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Target {
    pub(super) what: String,
    pub(super) measured: String,
    /// `None`: it could not be measured.
    pub(super) is_reached: Option<bool>,
}

/// A row of the table.
pub(super) struct Measure {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) is_more_better: bool,
}

impl Measure {
    /// The load that it comes from, as faults are named.
    pub(super) fn load(&self) -> &str {
        let end = ["-p50", "-p99", "-rate", "-cpu", "-memory"];
        let end = end.iter().find_map(|end| self.name.strip_suffix(end));
        end.unwrap_or(&self.name)
    }
}

/// The rows of the table, in order.
pub(super) fn measures(fanouts: &[u32]) -> Vec<Measure> {
    let mut all = of_publishing();
    all.extend(of_queries());
    for subscribers in fanouts {
        let who = format!("an event to {subscribers} subscribers");
        let load = format!("fanout-{subscribers}");
        let title = format!("{who}: server CPU");
        all.push(less(&format!("{load}-cpu"), title, "µs/delivery"));
        all.push(less(&format!("{load}-p99"), format!("{who}, p99"), "µs"));
        let title = format!("most memory with {subscribers} subscribers");
        all.push(less(&format!("{load}-memory"), title, "MiB"));
    }
    let title = "most memory of all loads but 10,000 subscribers".to_owned();
    all.push(less("memory", title, "MiB"));
    let title = "disk space per stored event of 600 bytes".to_owned();
    all.push(less("disk", title, "bytes"));
    all
}

fn of_publishing() -> Vec<Measure> {
    let mut all = Vec::new();
    for clients in [1, 8, 128] {
        let who = match clients {
            1 => "1 waiting client".to_owned(),
            _ => format!("{clients} waiting clients"),
        };
        for quantile in ["p50", "p99"] {
            let name = format!("publish-{clients}-{quantile}");
            let title = format!("publish to OK, {who}, {quantile}");
            all.push(less(&name, title, "µs"));
        }
        let name = format!("publish-{clients}-rate");
        all.push(more(&name, format!("published, {who}"), "events/s"));
    }
    let title = "published, 128 waiting clients: server CPU".to_owned();
    all.push(less("publish-128-cpu", title, "µs/event"));
    all
}

fn of_queries() -> Vec<Measure> {
    let mut all = Vec::new();
    for (load, request) in [
        ("query-20", "REQ of 20 rows, mixed filters"),
        ("query-20-nagle", "the same, client without TCP_NODELAY"),
        ("query-500", "REQ of 500 rows by authors"),
    ] {
        for quantile in ["p50", "p99"] {
            let title = format!("{request}, to EOSE, {quantile}");
            all.push(less(&format!("{load}-{quantile}"), title, "µs"));
        }
    }
    for rows in ["20", "500"] {
        let title = format!("REQ of {rows} rows, 8 clients");
        all.push(more(&format!("rows-{rows}-rate"), title.clone(), "rows/s"));
        let title = format!("{title}: server CPU");
        all.push(less(&format!("rows-{rows}-cpu"), title, "µs/row"));
    }
    all
}

fn less(name: &str, title: String, unit: &'static str) -> Measure {
    Measure {
        name: name.to_owned(),
        title,
        unit,
        is_more_better: false,
    }
}

fn more(name: &str, title: String, unit: &'static str) -> Measure {
    Measure {
        is_more_better: true,
        ..less(name, title, unit)
    }
}

impl Run {
    pub(super) fn new(machine: Machine, rounds: u32, window_ms: u64, events: u32) -> Self {
        Self {
            version: VERSION,
            kind: "nostr",
            machine,
            quiet: Quiet::default(),
            rounds,
            window_ms,
            events,
            seconds: 0,
            is_finished: false,
            contenders: Vec::new(),
            targets: Vec::new(),
        }
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        write_whole(file, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// Computes the figures of the readings up to now.
    pub(super) fn compute(&mut self, measures: &[Measure]) {
        let mut done = self.contenders.clone();
        for outcome in &mut done {
            let durability = outcome.durability.unwrap_or(Durability::Disk);
            let of_base = self
                .contenders
                .iter()
                .find(|one| one.name == base(durability));
            for measure in measures {
                let own = outcome.by_round(&measure.name);
                let Some(value) = Figure::of(&own) else {
                    continue;
                };
                outcome.values.insert(measure.name.clone(), value);
                let bases = of_base.map(|base| base.by_round(&measure.name));
                let ratios = bases.map(|bases| paired_ratios(&own, &bases));
                if let Some(ratio) = ratios.and_then(|ratios| Figure::bootstrapped(&ratios)) {
                    outcome.ratios.insert(measure.name.clone(), ratio);
                }
            }
        }
        self.contenders = done;
        self.targets = self.targets();
    }

    fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.contenders.iter().find(|one| one.name == name)
    }

    /// Peers whose OK means the same as that of the store on disk.
    fn durable_peers(&self) -> impl Iterator<Item = &Outcome> {
        let is_peer =
            |one: &&Outcome| one.durability == Some(Durability::Disk) && one.name != CORECAST;
        self.contenders.iter().filter(is_peer)
    }

    fn targets(&self) -> Vec<Target> {
        let own = |measure: &str| self.outcome(CORECAST)?.values.get(measure).copied();
        let target =
            |what: String, figure: Option<(f64, &str)>, holds: &dyn Fn(f64) -> bool| Target {
                what,
                measured: figure.map_or_else(
                    || "not measured".to_owned(),
                    |(value, unit)| format!("{} {unit}", number(value)),
                ),
                is_reached: figure.map(|(value, _)| holds(value)),
            };
        let rate = own("publish-128-rate").map(|one| (one.median, "events/s"));
        let what = "128 waiting clients publish at least 4,000 durable events/s".to_owned();
        let mut all = vec![target(what, rate, &|value| value >= 4_000.0)];
        for peer in self.durable_peers() {
            let ratio = peer
                .ratios
                .get("publish-128-rate")
                .map(|one| (one.high, "×"));
            let what = format!(
                "{} publishes fewer: the interval's upper end is below 1",
                peer.name
            );
            all.push(target(what, ratio, &|value| value < 1.0));
        }
        for (quantile, most) in [("p50", 1.5), ("p99", 2.0)] {
            let measure = format!("publish-1-{quantile}");
            let floor = self.outcome(FLOOR).and_then(|one| one.ratios.get(&measure));
            let ratio = floor.map(|one| (1.0 / one.median, "×"));
            let what = format!("publish to OK, one client: {quantile} at most {most} × {FLOOR}");
            all.push(target(what, ratio, &|value| value <= most));
        }
        let p50 = own("query-500-p50").map(|one| (one.median / 1e3, "ms"));
        let what = "REQ of 500 stored events: p50 at most 5 ms".to_owned();
        all.push(target(what, p50, &|value| value <= 5.0));
        let fastest = self.contenders.iter().filter(|one| {
            one.durability.is_some() && base(one.durability.unwrap_or(Durability::Disk)) != one.name
        });
        let fastest = fastest.filter_map(|one| one.values.get("rows-500-rate"));
        let fastest = fastest.map(|one| one.median).max_by(f64::total_cmp);
        let rows = own("rows-500-rate").zip(fastest);
        let ratio = rows.map(|(own, fastest)| (own.median / fastest, "×"));
        let what = "REQ of 500 rows: rows/s at least 3 × the fastest peer's".to_owned();
        all.push(target(what, ratio, &|value| value >= 3.0));
        all
    }

    /// True if every target was reached, and every answer and delivery of our own was right.
    pub(super) fn is_ok(&self) -> bool {
        let own = self
            .outcome(CORECAST)
            .into_iter()
            .flat_map(|one| &one.readings);
        self.targets.iter().all(|one| one.is_reached != Some(false))
            && own.flatten().all(|reading| reading.faults.is_empty())
    }
}

impl Outcome {
    pub(super) fn of(contender: &Contender) -> Self {
        Self {
            durability: Some(contender.durability),
            settings: contender.settings,
            skipped: contender.program.as_ref().err().cloned(),
            ..Self::named(contender.name)
        }
    }

    /// Bare synced writes.
    pub(super) fn of_floor() -> Self {
        Self {
            settings: "600 bytes appended to a file, and synced",
            ..Self::named(FLOOR)
        }
    }

    /// Without readings.
    pub(super) fn named(name: &'static str) -> Self {
        Self {
            name,
            durability: None,
            settings: "",
            skipped: None,
            readings: Vec::new(),
            values: BTreeMap::new(),
            ratios: BTreeMap::new(),
        }
    }

    fn by_round(&self, measure: &str) -> Vec<Option<f64>> {
        let each = self.readings.iter();
        each.map(|reading| reading.as_ref()?.values.get(measure).copied())
            .collect()
    }

    /// Whether some answer or delivery of this load was wrong.
    pub(super) fn is_wrong(&self, load: &str) -> bool {
        let mut all = self.readings.iter().flatten();
        all.any(|reading| reading.faults.contains_key(load))
    }

    /// Whether the generator was the bottleneck of this load in most rounds.
    pub(super) fn is_limited(&self, load: &str) -> bool {
        let all = self.readings.iter().flatten();
        let limited = all.filter(|reading| reading.limited.iter().any(|one| one == load));
        2 * limited.count() > self.readings.len()
    }
}

/// A figure with three digits that count.
pub(super) fn number(value: f64) -> String {
    match value {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => grouped(value.round() as u64),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = (digits.len() - 1) % 3 + 1;
    let (mut out, rest) = (digits[..first].to_owned(), &digits[first..]);
    for at in (0..rest.len()).step_by(3) {
        out += ",";
        out += &rest[at..at + 3];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::sample;

    fn reading(values: &[(&str, f64)]) -> Option<Reading> {
        let values = values.iter();
        Some(Reading {
            values: values
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            ..Reading::default()
        })
    }

    fn run(own: &[f64], peer: &[f64]) -> Run {
        let mut run = Run::new(sample(0.0), own.len() as u32, 1_000, 100);
        for (name, values) in [(CORECAST, own), ("peer", peer)] {
            let rates = values.iter();
            run.contenders.push(Outcome {
                durability: Some(Durability::Disk),
                readings: rates
                    .map(|rate| {
                        reading(&[("publish-128-rate", *rate), ("rows-500-rate", 10.0 * rate)])
                    })
                    .collect(),
                ..Outcome::named(name)
            });
        }
        run.compute(&measures(&[1_000]));
        run
    }

    #[test]
    fn a_peer_publishes_fewer_only_if_the_whole_interval_says_so() {
        let reached = |run: &Run| {
            let all = run.targets.iter();
            all.map(|one| one.is_reached).collect::<Vec<_>>()
        };
        let clear = run(&[5_000.0, 5_100.0, 4_900.0], &[1_000.0, 1_100.0, 900.0]);
        let not = None;
        assert_eq!(
            reached(&clear),
            [Some(true), Some(true), not, not, not, Some(true)]
        );
        assert!(clear.is_ok());
        let unclear = run(&[5_000.0, 5_000.0, 3_000.0], &[1_000.0, 5_100.0, 900.0]);
        assert_eq!(reached(&unclear)[..2], [Some(true), Some(false)]);
        assert!(!unclear.is_ok());
    }

    #[test]
    fn every_measure_belongs_to_a_load() {
        let all = measures(&[1_000, 10_000]);
        let loads: std::collections::BTreeSet<_> = all.iter().map(Measure::load).collect();
        for load in [
            "publish-1",
            "query-20-nagle",
            "rows-500",
            "fanout-10000",
            "memory",
        ] {
            assert!(loads.contains(load), "{load}: {loads:?}");
        }
    }
}
