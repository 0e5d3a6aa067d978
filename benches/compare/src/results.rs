//! The results of a run: every reading, and the figures computed from them. Written as JSON as the
//! run progresses, and read by `report`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cases::{BEFORE, Case, Goal};
use crate::machine::{Machine, Quiet};
use crate::measure::Reading;
use crate::stats::{Figure, paired_ratios};
use crate::syscalls::Counts;

/// The version of the result files. It changes if a field changes its meaning, not for a new field.
const VERSION: u32 = 2;
const KIND: &str = "comparison";

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    version: u32,
    kind: String,
    pub(crate) machine: Machine,
    pub(crate) quiet: Quiet,
    pub(crate) rounds: u32,
    pub(crate) window_ms: u64,
    /// Its duration up to now.
    pub(crate) seconds: u64,
    /// False while it runs, and permanently if it was cut off.
    pub(crate) is_finished: bool,
    pub(crate) cases: Vec<CaseResult>,
    pub(crate) syscalls: Vec<Counts>,
}

impl Run {
    pub(crate) fn new(machine: Machine, rounds: u32, window_ms: u64) -> Self {
        Self {
            version: VERSION,
            kind: KIND.to_owned(),
            machine,
            quiet: Quiet::default(),
            rounds,
            window_ms,
            seconds: 0,
            is_finished: false,
            cases: Vec::new(),
            syscalls: Vec::new(),
        }
    }

    /// True if every target was reached.
    pub(crate) fn is_ok(&self) -> bool {
        self.cases.iter().all(CaseResult::is_ok) && self.syscalls.iter().all(Counts::is_ok)
    }

    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let run: Self =
            serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        ensure!(
            run.version == VERSION && run.kind == KIND,
            "{} is a {} of version {}",
            file.display(),
            run.kind,
            run.version
        );
        Ok(run)
    }

    /// Replaces the file as a whole, so that a run that is cut off leaves the last state.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        write_whole(file, &(serde_json::to_string_pretty(self)? + "\n"))
    }
}

/// Writes a temporary file beside `file` and renames it, so that readers never see a partial file.
pub(crate) fn write_whole(file: &Path, text: &str) -> Result<()> {
    let beside = file.with_extension("part");
    fs::write(&beside, text).with_context(|| format!("writing {}", beside.display()))?;
    fs::rename(&beside, file).with_context(|| format!("writing {}", file.display()))
}

/// A file's name without its extension and path.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('.') {
        true => Ok(text.to_owned()),
        false => Err("expected letters, digits, dashes and dots".to_owned()),
    }
}

/// All readings of one case.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) target: String,
    pub(crate) verdict: String,
    /// The additional figures to show first.
    pub(crate) tells: Vec<String>,
    pub(crate) contenders: Vec<ContenderResult>,
}

/// All readings of one contender.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ContenderResult {
    pub(crate) name: String,
    /// By round; null for a missing one.
    pub(crate) readings: Vec<Option<Reading>>,
    /// Why it could not be measured.
    pub(crate) unavailable: Option<String>,
    pub(crate) value: Option<Figure>,
    /// Ratio to the case's base, paired by round, with the 95 % confidence interval.
    pub(crate) ratio: Option<Figure>,
    /// Ratio to the judged contender: over 1 this one is dearer.
    pub(crate) to_judged: Option<Figure>,
    /// Medians of the additional measurements.
    pub(crate) beside: BTreeMap<String, Figure>,
    pub(crate) notes: Vec<String>,
}

/// How a contender compares with the judged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The whole interval is below 1: the judged one loses.
    Cheaper,
    /// The whole interval is above 1.
    Dearer,
    /// 1 is within the interval: these rounds show no difference.
    Even,
    /// It lost deliveries or changed their order, so its figure is meaningless.
    Wrong,
    NotMeasured,
}

impl ContenderResult {
    pub(crate) fn standing(&self) -> Standing {
        if self.readings.iter().flatten().any(|one| !one.is_right) {
            return Standing::Wrong;
        }
        match self.to_judged {
            None => Standing::NotMeasured,
            Some(ratio) if ratio.high < 1.0 => Standing::Cheaper,
            Some(ratio) if ratio.low > 1.0 => Standing::Dearer,
            Some(_) => Standing::Even,
        }
    }

    /// A remark on missing readings.
    pub(crate) fn failure(&self) -> Option<String> {
        let why = self.unavailable.as_ref()?;
        let failed = self
            .readings
            .iter()
            .filter(|reading| reading.is_none())
            .count();
        let rounds = self.readings.len();
        Some(match failed == rounds {
            true => format!("not available: {why}"),
            false => format!("without a reading in {failed} of {rounds} rounds: {why}"),
        })
    }
}

/// Readings of one contender, by round, and why they are missing.
pub(crate) type Readings = (Vec<Option<Reading>>, Option<String>);

impl CaseResult {
    /// Evaluates the readings of `case`, in the order of its contenders.
    pub(crate) fn new(case: &Case, readings: Vec<Readings>) -> Self {
        let values: Vec<Vec<Option<f64>>> = (readings.iter())
            .map(|(all, _)| {
                all.iter()
                    .map(|one| one.as_ref().map(|one| one.value))
                    .collect()
            })
            .collect();
        let is_wrong = |reading: &Reading| !reading.is_right;
        let verdict = match readings[1].0.iter().flatten().any(is_wrong) {
            true => "WRONG".to_owned(),
            false => verdict(case.goal, &of_peers(case, &values)),
        };
        let contenders = (case.contenders.iter().zip(readings).zip(&values))
            .map(
                |((contender, (readings, unavailable)), own)| ContenderResult {
                    name: contender.name.clone(),
                    beside: beside(&readings),
                    notes: notes(&readings),
                    readings,
                    unavailable,
                    value: Figure::of(own),
                    ratio: Figure::bootstrapped(&paired_ratios(own, &values[0])),
                    to_judged: Figure::bootstrapped(&paired_ratios(own, &values[1])),
                },
            )
            .collect();
        Self {
            name: case.name.clone(),
            title: case.title.clone(),
            unit: case.unit.to_owned(),
            tells: case.tells.iter().map(|what| (*what).to_owned()).collect(),
            target: target(case.goal),
            verdict,
            contenders,
        }
    }

    /// The result of another build of the relay.
    pub(crate) fn before(&self) -> Option<&ContenderResult> {
        self.contenders.iter().find(|one| one.name == BEFORE)
    }

    /// False if the target was missed or could not be measured.
    pub(crate) fn is_ok(&self) -> bool {
        self.verdict == OK || self.verdict == TOLD
    }
}

/// The peers, without another build of the relay.
fn of_peers(case: &Case, values: &[Vec<Option<f64>>]) -> Vec<Vec<Option<f64>>> {
    let all = case.contenders.iter().zip(values);
    let peers = all.filter(|(contender, _)| contender.name != BEFORE);
    peers.map(|(_, values)| values.clone()).collect()
}

const OK: &str = "ok";
/// The verdict of a case that the relay must win, but did not.
pub(crate) const PEER_CHEAPER: &str = "MISSED: a peer";
/// The verdict of a case without a target.
const TOLD: &str = "–";

fn target(goal: Goal) -> String {
    match goal {
        Goal::Ratio(max) | Goal::RatioAndCheapest(max) => format!("≤ {max:.2} ×"),
        Goal::AtMost(max) => format!("≤ {max}"),
        Goal::Told => TOLD.to_owned(),
    }
}

/// Judges the second contender. The median decides, and the spread beside it shows how certain that
/// is.
fn verdict(goal: Goal, values: &[Vec<Option<f64>>]) -> String {
    let ratio = |one: usize, base: usize| Figure::of(&paired_ratios(&values[one], &values[base]));
    let (measured, max) = match goal {
        Goal::Ratio(max) | Goal::RatioAndCheapest(max) => (ratio(1, 0), max),
        Goal::AtMost(max) => (Figure::of(&values[1]), max),
        Goal::Told => (Figure::of(&values[1]), f64::INFINITY),
    };
    let Some(measured) = measured else {
        return "not measured".to_owned();
    };
    let is_dearer = |peer: usize| ratio(1, peer).is_some_and(|ratio| ratio.median >= 1.0);
    if goal == Goal::Told {
        TOLD.to_owned()
    } else if measured.median > max {
        "MISSED".to_owned()
    } else if matches!(goal, Goal::RatioAndCheapest(_)) && (2..values.len()).any(is_dearer) {
        PEER_CHEAPER.to_owned()
    } else {
        OK.to_owned()
    }
}

fn beside(readings: &[Option<Reading>]) -> BTreeMap<String, Figure> {
    let mut all: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    for reading in readings.iter().flatten() {
        for (what, figure) in &reading.beside {
            all.entry(what.clone()).or_default().push(Some(*figure));
        }
    }
    let figures = all.into_iter();
    figures
        .filter_map(|(what, figures)| Some((what, Figure::of(&figures)?)))
        .collect()
}

/// Each note once, with the number of rounds that had it.
fn notes(readings: &[Option<Reading>]) -> Vec<String> {
    let mut all: Vec<&String> = readings
        .iter()
        .flatten()
        .flat_map(|one| &one.notes)
        .collect();
    all.sort();
    let rounds = readings.len();
    let count = |same: &[&String]| format!("{} ({} of {rounds} rounds)", same[0], same.len());
    all.chunk_by(|one, next| one == next).map(count).collect()
}

/// A run for tests of the output.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    fn contender(name: &str, values: &[f64], to_judged: f64, is_right: bool) -> ContenderResult {
        let reading = |value: &f64| Reading {
            value: *value,
            is_right,
            count: 1,
            beside: BTreeMap::new(),
            notes: Vec::new(),
        };
        let figure = |factor: f64| {
            let scaled: Vec<_> = values.iter().map(|value| Some(value * factor)).collect();
            Figure::bootstrapped(&scaled)
        };
        ContenderResult {
            name: name.to_owned(),
            readings: values.iter().map(|value| Some(reading(value))).collect(),
            unavailable: values.is_empty().then(|| "it is not there".to_owned()),
            value: figure(1.0),
            ratio: figure(1.0),
            to_judged: figure(to_judged),
            beside: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// One case with one of each kind of peer, on a machine where others were active.
    pub(crate) fn run() -> Run {
        let mut run = Run::new(crate::machine::sample(3.0), 5, 1_000);
        let values = [1.0, 1.1, 1.05, 1.02, 1.08];
        run.is_finished = true;
        run.cases.push(CaseResult {
            name: "a-case".to_owned(),
            title: "50 clients, 64 B".to_owned(),
            unit: "µs/delivery".to_owned(),
            target: "≤ 1.05 ×".to_owned(),
            verdict: "MISSED".to_owned(),
            tells: Vec::new(),
            contenders: vec![
                contender("floor, one send per message", &values, 0.9, true),
                contender("corecast", &values, 1.0, true),
                contender("a cheap peer", &values, 0.5, true),
                contender("a dear peer <dear>", &values, 3.0, true),
                contender("a wrong peer", &values, 0.4, false),
                contender("a missing peer", &[], 1.0, true),
            ],
        });
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[&[f64]]) -> Vec<Vec<Option<f64>>> {
        all.iter()
            .map(|one| one.iter().copied().map(Some).collect())
            .collect()
    }

    #[test]
    fn the_median_of_the_paired_ratios_decides() {
        let goal = Goal::Ratio(1.05);
        assert_eq!(
            verdict(goal, &values(&[&[1.0, 1.0, 1.0], &[1.0, 1.04, 9.0]])),
            OK
        );
        assert_eq!(
            verdict(goal, &values(&[&[1.0, 1.0, 1.0], &[1.0, 1.06, 9.0]])),
            "MISSED"
        );
    }

    #[test]
    fn a_cheaper_peer_misses_a_target_to_be_the_cheapest() {
        let with_peer = values(&[&[1.0], &[1.1], &[1.0]]);
        assert_eq!(
            verdict(Goal::RatioAndCheapest(1.15), &with_peer),
            PEER_CHEAPER
        );
        assert_eq!(verdict(Goal::Ratio(1.15), &with_peer), OK);
        let without = vec![vec![Some(1.0)], vec![Some(1.1)], vec![None]];
        assert_eq!(verdict(Goal::RatioAndCheapest(1.15), &without), OK);
    }

    #[test]
    fn a_relay_that_loses_deliveries_is_wrong_however_cheap_it_is() {
        let programs = crate::cases::Programs {
            relay: "corecast".into(),
            floor: "floor".into(),
            peers: Vec::new(),
            against: None,
        };
        let case = &programs.cases(true)[0];
        let result = |is_right| {
            let reading = |value, is_right| Reading {
                value,
                is_right,
                count: 1,
                beside: BTreeMap::new(),
                notes: Vec::new(),
            };
            let base: Readings = (vec![Some(reading(1.0, true)); 2], None);
            let judged = vec![Some(reading(0.5, true)), Some(reading(0.5, is_right))];
            CaseResult::new(case, vec![base, (judged, None)])
        };
        assert!(result(true).is_ok());
        assert_eq!(result(false).verdict, "WRONG");
        assert!(!result(false).is_ok());
    }

    #[test]
    fn cheaper_and_dearer_need_the_whole_interval() {
        let standing = |ratios: &[f64], is_right| {
            let reading = |value: &f64| Reading {
                value: *value,
                is_right,
                count: 1,
                beside: BTreeMap::new(),
                notes: Vec::new(),
            };
            ContenderResult {
                name: String::new(),
                readings: ratios.iter().map(|ratio| Some(reading(ratio))).collect(),
                unavailable: None,
                value: None,
                ratio: None,
                to_judged: Figure::bootstrapped(&values(&[ratios])[0]),
                beside: BTreeMap::new(),
                notes: Vec::new(),
            }
            .standing()
        };
        assert_eq!(
            standing(&[0.8, 0.9, 0.7, 0.9, 0.8], true),
            Standing::Cheaper
        );
        assert_eq!(standing(&[1.2, 1.3, 1.1, 1.2, 1.5], true), Standing::Dearer);
        assert_eq!(standing(&[0.8, 1.3, 0.9, 1.2, 1.5], true), Standing::Even);
        assert_eq!(standing(&[0.8, 0.9, 0.7], false), Standing::Wrong);
        assert_eq!(standing(&[], true), Standing::NotMeasured);
    }

    #[test]
    fn additional_figures_are_medians_of_their_rounds() {
        let reading = |figure: Option<f64>| Reading {
            value: 1.0,
            is_right: true,
            count: 1,
            beside: (figure
                .map(|figure| ("bytes".to_owned(), figure))
                .into_iter())
            .collect(),
            notes: Vec::new(),
        };
        let readings = [Some(3.0), None, Some(1.0), Some(8.0)];
        let readings: Vec<_> = readings.into_iter().map(|one| Some(reading(one))).collect();
        assert_eq!(beside(&readings)["bytes"].median, 3.0);
        assert!(beside(&[None]).is_empty());
    }

    #[test]
    fn missing_measurements_do_not_pass() {
        let missing = vec![vec![Some(1.0)], vec![None]];
        assert_eq!(verdict(Goal::Ratio(1.05), &missing), "not measured");
        assert_eq!(verdict(Goal::AtMost(320.0), &missing), "not measured");
        assert_eq!(
            verdict(Goal::AtMost(320.0), &values(&[&[9.0], &[320.0]])),
            OK
        );
        assert_eq!(
            verdict(Goal::AtMost(320.0), &values(&[&[9.0], &[321.0]])),
            "MISSED"
        );
    }
}
