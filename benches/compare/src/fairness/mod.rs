//! Fairness: a well-behaved pair on the same shard as each possible disturbance, and the memory
//! that clients can make a relay hold.
//!
//! ```text
//! rows ──▶ each relay: stand ──▶ figures ──▶ table | fairness.json
//!                        │
//!        relay (a CPU of its own) · pair, disturbance or burner (another CPU)
//! ```
//!
//! The pair runs beside the disturbance, and then, as a control, beside a process that takes the
//! same CPU time without using the relay: any loss in the control is caused by the machine. With
//! `--against` a second relay takes turns with the first.

mod burn;
mod client;
mod disturb;
mod pair;
mod rows;
mod scrape;
mod stand;
mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::rows::{Figure, Limit, Outcome, Row};
use self::stand::Stand;
use crate::machine::{Machine, Quiet};
use crate::measure::Lab;
use crate::results;
use crate::table::digits;

pub(crate) use self::burn::{Args as BurnArgs, COMMAND as BURN, run as burn};
pub(crate) use self::disturb::{Args as DisturbArgs, COMMAND as DISTURB, run as disturb};
pub(crate) use self::pair::{Args as PairArgs, COMMAND as PAIR, run as pair};

/// Public keys for verifying tokens: a token that does not name its key is tried with each.
const TOKEN_KEYS: usize = 8;
const BEFORE: &str = "before";
const VERSION: u32 = 1;

/// The rows to measure, and the relays.
pub(crate) struct Plan {
    pub(crate) relay: PathBuf,
    /// Another relay, which takes turns with it.
    pub(crate) against: Option<PathBuf>,
    /// The rows to run; if empty, all.
    pub(crate) rows: Vec<String>,
    pub(crate) is_quick: bool,
    /// The file for all results.
    pub(crate) file: Option<PathBuf>,
}

/// A whole run.
#[derive(Debug, Serialize)]
struct Run {
    version: u32,
    kind: &'static str,
    machine: Machine,
    quiet: Quiet,
    is_quick: bool,
    seconds: u64,
    rows: Vec<RowResult>,
}

#[derive(Debug, Serialize)]
struct RowResult {
    name: &'static str,
    title: &'static str,
    relays: Vec<RelayResult>,
}

#[derive(Debug, Serialize)]
struct RelayResult {
    name: String,
    verdict: Verdict,
    /// Why it could not be measured.
    failure: Option<String>,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Missed,
    /// The reading measured something other than the relay.
    Invalid,
    Failed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missed => "MISSED",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

/// Names and titles of all rows, for `--list`.
pub(crate) fn list() -> String {
    let lines = rows::ALL.iter();
    let lines = lines.map(|row| format!("{:<12} {}", row.name, row.title));
    lines.collect::<Vec<_>>().join("\n")
}

/// Measures, prints and stores the results. True if every figure of the relay is within its limit.
///
/// # Errors
/// An unknown row, an interrupt, or a file that cannot be written.
pub(crate) fn run(lab: &Lab, plan: &Plan) -> Result<bool> {
    let rows = chosen(&plan.rows)?;
    write_token_keys(&lab.folder)?;
    let mut run = Run {
        version: VERSION,
        kind: "fairness",
        machine: Machine::describe(&lab.generator.cpus),
        quiet: Quiet::default(),
        is_quick: plan.is_quick,
        seconds: 0,
        rows: Vec::new(),
    };
    println!("{}", run.machine.text());
    let mut stands = vec![Stand::new(lab, &plan.relay, "corecast", plan.is_quick)];
    if let Some(before) = &plan.against {
        stands.push(Stand::new(lab, before, BEFORE, plan.is_quick));
    }
    let began = Instant::now();
    for (index, row) in rows.into_iter().enumerate() {
        run.quiet.watch(&lab.generator.interrupt)?;
        let result = measure(row, &stands, index)?;
        println!("{}", text(&result));
        run.rows.push(result);
        run.seconds = began.elapsed().as_secs();
        if let Some(file) = &plan.file {
            results::write_whole(file, &(serde_json::to_string_pretty(&run)? + "\n"))?;
        }
    }
    if let Some(causes) = run.quiet.disturbance(&run.machine) {
        println!("\nDISTURBED, figures are rough: {causes}");
    }
    println!("\n{} s", run.seconds);
    let own = run.rows.iter().filter_map(|row| row.relays.first());
    Ok(own.into_iter().all(|relay| relay.verdict == Verdict::Ok))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    let is_known = |name: &&String| rows::ALL.iter().any(|row| row.name == **name);
    let unknown = names.iter().find(|name| !is_known(name));
    ensure!(
        unknown.is_none(),
        "no row {:?}; --list names them",
        unknown.map_or("", |name| name)
    );
    let is_chosen = |row: &&Row| names.is_empty() || names.iter().any(|name| name == row.name);
    Ok(rows::ALL.iter().filter(is_chosen).collect())
}

/// The public keys of relays with signed tokens, in the folder where they run.
fn write_token_keys(folder: &Path) -> Result<()> {
    let mut text = String::new();
    for _ in 0..TOKEN_KEYS {
        text += &rcgen::KeyPair::generate()?.public_key_pem();
    }
    let file = folder.join(rows::PUBLIC_KEYS);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// One row with each relay. Every second row begins with the other one.
fn measure(row: &Row, stands: &[Stand<'_>], index: usize) -> Result<RowResult> {
    let mut order: Vec<usize> = (0..stands.len()).collect();
    if index % 2 == 1 {
        order.reverse();
    }
    let mut outcomes: Vec<Option<Result<Outcome>>> = stands.iter().map(|_| None).collect();
    for at in order {
        let stand = &stands[at];
        outcomes[at] = Some((row.measure)(stand));
        // An interrupt ends the whole run and is not a failure of the row.
        stand.wait(std::time::Duration::ZERO)?;
        crate::process::pause(&stand.lab.generator.interrupt)?;
    }
    let outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
    let before: Vec<Figure> = match outcomes.get(1) {
        Some(Ok(before)) => before.figures.clone(),
        _ => Vec::new(),
    };
    let relays = stands.iter().zip(outcomes).map(|(stand, outcome)| {
        let (outcome, failure) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::default(), Some(format!("{error:#}"))),
        };
        RelayResult {
            name: stand.name.to_owned(),
            verdict: verdict(&outcome, failure.is_some(), &before),
            failure,
            outcome,
        }
    });
    Ok(RowResult {
        name: row.name,
        title: row.title,
        relays: relays.collect(),
    })
}

fn verdict(outcome: &Outcome, has_failed: bool, before: &[Figure]) -> Verdict {
    let is_kept = |figure: &Figure| is_kept(figure, before);
    match () {
        () if has_failed => Verdict::Failed,
        () if !outcome.invalid.is_empty() => Verdict::Invalid,
        () if !outcome.figures.iter().all(is_kept) => Verdict::Missed,
        () => Verdict::Ok,
    }
}

/// Whether a figure is within its limit. It passes if there is nothing to compare it with.
fn is_kept(figure: &Figure, before: &[Figure]) -> bool {
    match figure.limit {
        Limit::Told => true,
        Limit::AtMost(most) => figure.value <= most,
        Limit::NoLessThanBefore(share) => before
            .iter()
            .filter(|other| other.what == figure.what)
            .all(|other| figure.value >= (1.0 - share) * other.value),
    }
}

/// For a terminal: the row, and its figures on lines below each relay.
fn text(row: &RowResult) -> String {
    let mut lines = vec![format!("\n{} [{}]", row.title, row.name)];
    for relay in &row.relays {
        let told: Vec<String> = relay.outcome.figures.iter().map(figure_text).collect();
        let mut line = format!("  {:<9} {:<8}", relay.name, relay.verdict.word());
        for each in &told {
            if line.chars().count() + each.chars().count() > 98 {
                lines.push(line);
                line = " ".repeat(20);
            }
            line += &format!(" {each};");
        }
        lines.push(line.trim_end_matches(';').to_owned());
        let failure = relay.failure.iter();
        lines.extend(failure.map(|why| format!("            failed: {why}")));
        let invalid = relay.outcome.invalid.iter();
        lines.extend(invalid.map(|why| format!("            invalid: {why}")));
    }
    lines.join("\n")
}

fn figure_text(figure: &Figure) -> String {
    let value = format!("{} {} {}", figure.what, digits(figure.value), figure.unit);
    let value = value.trim_end();
    match figure.limit {
        Limit::AtMost(most) if figure.value > most => format!("{value} (OVER {most})"),
        Limit::AtMost(most) => format!("{value} (≤ {most})"),
        Limit::Told | Limit::NoLessThanBefore(_) => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, limit: Limit) -> Figure {
        Figure {
            what: "taken in",
            value,
            unit: "MiB/s",
            limit,
        }
    }

    #[test]
    fn a_figure_is_held_against_its_limit_or_the_relay_before() {
        let before = [figure(100.0, Limit::Told)];
        let is_kept = |value, limit| is_kept(&figure(value, limit), &before);
        assert!(is_kept(3.0, Limit::AtMost(3.0)) && !is_kept(3.1, Limit::AtMost(3.0)));
        let limit = Limit::NoLessThanBefore(0.05);
        assert!(is_kept(96.0, limit) && !is_kept(94.0, limit));
        assert!(super::is_kept(&figure(1.0, limit), &[]));
    }

    #[test]
    fn invalid_readings_give_no_verdict() {
        let mut outcome = Outcome::default();
        assert_eq!(verdict(&outcome, false, &[]), Verdict::Ok);
        outcome.figures.push(figure(2.0, Limit::AtMost(1.0)));
        assert_eq!(verdict(&outcome, false, &[]), Verdict::Missed);
        outcome
            .invalid
            .push("the generator was the limit".to_owned());
        assert_eq!(verdict(&outcome, false, &[]), Verdict::Invalid);
        assert_eq!(verdict(&outcome, true, &[]), Verdict::Failed);
    }

    #[test]
    fn rows_are_chosen_by_name_and_an_unknown_one_is_an_error() {
        assert_eq!(chosen(&[]).expect("all").len(), rows::ALL.len());
        assert_eq!(chosen(&["flood".to_owned()]).expect("one").len(), 1);
        assert!(chosen(&["nonsense".to_owned()]).is_err());
        let mut names: Vec<_> = rows::ALL.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows::ALL.len());
    }
}
