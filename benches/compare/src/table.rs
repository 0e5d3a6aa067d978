//! The result as a table: figures, ratios, verdicts; for a terminal of 100 columns and as Markdown.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cases::{Case, Goal};
use crate::measure::Reading;
use crate::stats::{Figure, paired_ratios};

/// All readings of one case.
#[derive(Debug, Serialize)]
pub(crate) struct CaseResult {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) target: String,
    pub(crate) verdict: String,
    pub(crate) contenders: Vec<ContenderResult>,
}

/// All readings of one contender.
#[derive(Debug, Serialize)]
pub(crate) struct ContenderResult {
    pub(crate) name: String,
    /// By round; null where there was none.
    pub(crate) readings: Vec<Option<Reading>>,
    /// Why it could not be measured.
    pub(crate) unavailable: Option<String>,
    pub(crate) value: Option<Figure>,
    /// To the case's base, paired by round.
    pub(crate) ratio: Option<Figure>,
    /// Medians of what was measured beside it.
    pub(crate) beside: BTreeMap<&'static str, Figure>,
    pub(crate) notes: Vec<String>,
}

impl ContenderResult {
    fn beside(&self) -> Vec<String> {
        let figures = self.beside.iter();
        figures
            .map(|(what, figure)| format!("{} {what}", digits(figure.median)))
            .collect()
    }

    /// What there is to say about readings that are missing.
    fn failure(&self) -> Option<String> {
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

/// Readings of one contender, by round, and why there are none.
pub(crate) type Readings = (Vec<Option<Reading>>, Option<String>);

impl CaseResult {
    /// Evaluates the readings of `case`, which come in the order of its contenders.
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
            false => verdict(case.goal, &values),
        };
        let contenders = (case.contenders.iter().zip(readings).zip(&values))
            .map(
                |((contender, (readings, unavailable)), own)| ContenderResult {
                    name: contender.name.clone(),
                    beside: match case.tells_beside {
                        true => beside(&readings),
                        false => BTreeMap::new(),
                    },
                    notes: notes(&readings),
                    readings,
                    unavailable,
                    value: Figure::of(own),
                    ratio: Figure::of(&paired_ratios(own, &values[0])),
                },
            )
            .collect();
        Self {
            name: case.name,
            title: case.title,
            unit: case.unit,
            target: target(case.goal),
            verdict,
            contenders,
        }
    }

    /// False where the target was missed or could not be measured.
    pub(crate) fn is_ok(&self) -> bool {
        self.verdict == OK
    }
}

const OK: &str = "ok";

fn target(goal: Goal) -> String {
    match goal {
        Goal::Ratio(max) | Goal::RatioAndCheapest(max) => format!("≤ {max:.2} ×"),
        Goal::AtMost(max) => format!("≤ {max}"),
    }
}

/// Judges the second contender. The median decides, and the spread beside it says how sure that is.
fn verdict(goal: Goal, values: &[Vec<Option<f64>>]) -> String {
    let ratio = |one: usize, base: usize| Figure::of(&paired_ratios(&values[one], &values[base]));
    let (measured, max) = match goal {
        Goal::Ratio(max) | Goal::RatioAndCheapest(max) => (ratio(1, 0), max),
        Goal::AtMost(max) => (Figure::of(&values[1]), max),
    };
    let Some(measured) = measured else {
        return "not measured".to_owned();
    };
    let is_dearer = |peer: usize| ratio(1, peer).is_some_and(|ratio| ratio.median >= 1.0);
    if measured.median > max {
        "MISSED".to_owned()
    } else if matches!(goal, Goal::RatioAndCheapest(_)) && (2..values.len()).any(is_dearer) {
        "MISSED: a peer".to_owned()
    } else {
        OK.to_owned()
    }
}

fn beside(readings: &[Option<Reading>]) -> BTreeMap<&'static str, Figure> {
    let mut all: BTreeMap<&'static str, Vec<Option<f64>>> = BTreeMap::new();
    for reading in readings.iter().flatten() {
        for (what, figure) in &reading.beside {
            all.entry(what).or_default().push(Some(*figure));
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

const COLUMNS: usize = 5;
const HEAD: [&str; COLUMNS] = [
    "case, server",
    "value",
    "ratio (quartiles)",
    "target",
    "verdict",
];
/// Together with the gaps at most 100.
const WIDTHS: [usize; COLUMNS] = [32, 19, 19, 8, 14];

/// For a terminal, without line end.
pub(crate) fn head() -> String {
    let line = WIDTHS.map(|width| "─".repeat(width)).join("  ");
    format!("{}\n{line}", text_line(&HEAD.map(str::to_owned)))
}

/// For a terminal: a line of title and one per contender.
pub(crate) fn text(case: &CaseResult) -> String {
    let mut lines = vec![format!("{} [{}]", case.title, case.name)];
    for (index, contender) in case.contenders.iter().enumerate() {
        let mut cells = cells(case, index);
        cells[0] = format!("  {}", cells[0]);
        lines.push(text_line(&cells));
        lines.extend(contender.failure().map(|remark| wrapped(&remark)));
        lines.extend(contender.beside().iter().map(|figure| wrapped(figure)));
        lines.extend(contender.notes.iter().map(|note| wrapped(note)));
    }
    lines.join("\n")
}

/// The whole as Markdown.
pub(crate) fn markdown(machine: &str, cases: &[CaseResult]) -> String {
    let rule = "|---|---|---|---|---|\n";
    let mut out = format!("{machine}\n\n| {} |\n{rule}", HEAD.join(" | "));
    for case in cases {
        out += &format!("| **{}** | | | | |\n", case.title);
        for (index, contender) in case.contenders.iter().enumerate() {
            let mut cells = cells(case, index);
            if let (Some(failure), None) = (contender.failure(), contender.value) {
                cells[1] = failure.replace(['|', '\n'], " ");
            }
            cells[0] = [vec![cells[0].clone()], contender.beside()]
                .concat()
                .join("<br>");
            out += &format!("| {} |\n", cells.join(" | "));
        }
    }
    out
}

fn cells(case: &CaseResult, index: usize) -> [String; COLUMNS] {
    let contender = &case.contenders[index];
    let value = contender
        .value
        .map(|figure| format!("{} {}", digits(figure.median), case.unit));
    let ratio = contender
        .ratio
        .filter(|_| index > 0)
        .map(|ratio| format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high));
    let judged = |text: &str| {
        if index == 1 {
            text.to_owned()
        } else {
            String::new()
        }
    };
    [
        contender.name.clone(),
        value.unwrap_or_else(|| "–".to_owned()),
        ratio.unwrap_or_default(),
        judged(&case.target),
        judged(&case.verdict),
    ]
}

/// Three digits that matter, as a person would write them.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0..1.0 => format!("{value:.3}"),
        1.0..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

fn text_line(cells: &[String; COLUMNS]) -> String {
    let padded = cells
        .iter()
        .zip(WIDTHS)
        .map(|(cell, width)| format!("{cell:<width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// A remark below a line, cut into lines of the table's width.
fn wrapped(remark: &str) -> String {
    let mut lines = vec![String::from("   ")];
    for word in remark.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].chars().count() + 1 + word.chars().count() > 100 {
            lines.push(format!("    {word}"));
        } else {
            lines[last] += &format!(" {word}");
        }
    }
    lines.join("\n")
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
    fn a_cheaper_peer_is_a_miss_where_the_relay_has_to_be_the_cheapest() {
        let with_peer = values(&[&[1.0], &[1.1], &[1.0]]);
        assert_eq!(
            verdict(Goal::RatioAndCheapest(1.15), &with_peer),
            "MISSED: a peer"
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
    fn what_is_told_beside_is_the_median_of_the_rounds_that_have_it() {
        let reading = |figure: Option<f64>| Reading {
            value: 1.0,
            is_right: true,
            count: 1,
            beside: figure.map(|figure| ("bytes", figure)).into_iter().collect(),
            notes: Vec::new(),
        };
        let readings = [Some(3.0), None, Some(1.0), Some(8.0)];
        let readings: Vec<_> = readings.into_iter().map(|one| Some(reading(one))).collect();
        assert_eq!(beside(&readings)["bytes"].median, 3.0);
        assert!(beside(&[None]).is_empty());
    }

    #[test]
    fn what_was_not_measured_is_not_ok() {
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

    #[test]
    fn no_line_is_longer_than_100_columns() {
        let widest = WIDTHS.map(|width| "x".repeat(width));
        assert!(text_line(&widest).chars().count() <= 100);
        let remark = wrapped(&"a remark of many words ".repeat(20));
        assert!(remark.lines().all(|line| line.chars().count() <= 100));
        assert!(head().lines().all(|line| line.chars().count() <= 100));
    }
}
