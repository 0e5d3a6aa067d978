//! The results as a table in Markdown, which is also what a terminal shows.

use super::results::{Measure, Outcome, Run, number};

/// The whole page.
pub(super) fn markdown(run: &Run, measures: &[Measure]) -> String {
    let machine = run.machine.text().replace('\n', ". ");
    let mut out = format!(
        "# Nostr relays\n\n{machine}. {} rounds with readings of {} ms, {} queried events, \
         {} minutes.\n\n",
        run.rounds,
        run.window_ms,
        run.events,
        run.seconds.div_ceil(60)
    );
    if !run.is_finished {
        out += "**Not finished.**\n\n";
    }
    if let Some(causes) = run.quiet.disturbance(&run.machine) {
        out += &format!("**Disturbed**, figures are rough: {causes}.\n\n");
    }
    out += &table(run, measures);
    out += "\nIn brackets: the ratio to Corecast with a store of the same durability, taken within \
            a round, with its 95 % confidence interval. ≥: the load generator was the bottleneck. \
            **wrong**: some answer or delivery was not right.\n\n";
    out += &targets(run);
    out += &settings(run);
    out += &faults(run);
    out
}

fn measured(run: &Run) -> Vec<&Outcome> {
    let all = run.contenders.iter();
    all.filter(|one| !one.values.is_empty()).collect()
}

fn table(run: &Run, measures: &[Measure]) -> String {
    let columns = measured(run);
    let names: Vec<_> = columns.iter().map(|one| one.name).collect();
    let mut out = format!("| | unit | {} |\n", names.join(" | "));
    out += &format!("|---|---|{}\n", "---|".repeat(columns.len()));
    for measure in measures {
        let cells: Vec<_> = columns.iter().map(|one| cell(one, measure)).collect();
        if cells.iter().all(|cell| cell == "–") {
            continue;
        }
        let Measure { title, unit, .. } = measure;
        let better = if measure.is_more_better {
            ", more is better"
        } else {
            ""
        };
        out += &format!("| {title}{better} | {unit} | {} |\n", cells.join(" | "));
    }
    out
}

fn cell(outcome: &Outcome, measure: &Measure) -> String {
    let Some(value) = outcome.values.get(&measure.name) else {
        return "–".to_owned();
    };
    let at_least = match measure.is_more_better && outcome.is_limited(measure.load()) {
        true => "≥ ",
        false => "",
    };
    let mut text = format!("{at_least}{}", number(value.median));
    // Corecast's ratio to itself is 1.
    let ratio = outcome.ratios.get(&measure.name);
    if let Some(ratio) = ratio.filter(|ratio| ratio.low != 1.0 || ratio.high != 1.0) {
        let [median, low, high] = [ratio.median, ratio.low, ratio.high].map(number);
        text += &format!(" ({median}; {low}–{high})");
    }
    if outcome.is_wrong(measure.load()) {
        text += " **wrong**";
    }
    text
}

fn targets(run: &Run) -> String {
    let mut out = "| target | measured | |\n|---|---|---|\n".to_owned();
    for target in &run.targets {
        let verdict = match target.is_reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "–",
        };
        out += &format!("| {} | {} | {verdict} |\n", target.what, target.measured);
    }
    out + "\n"
}

fn settings(run: &Run) -> String {
    let mut out = "| relay | settings |\n|---|---|\n".to_owned();
    for outcome in &run.contenders {
        let skipped = outcome.skipped.as_ref();
        let skipped = skipped.map(|why| format!("; **skipped**: {}", plain(why)));
        let skipped = skipped.unwrap_or_default();
        out += &format!("| {} | {}{skipped} |\n", outcome.name, outcome.settings);
    }
    out + "\n"
}

/// Faults by relay and load, each with the first round that had one.
fn faults(run: &Run) -> String {
    let mut lines = Vec::new();
    for outcome in &run.contenders {
        let mut told = std::collections::BTreeMap::new();
        for (round, reading) in (1..).zip(&outcome.readings) {
            for (load, what) in reading.iter().flat_map(|reading| &reading.faults) {
                told.entry(load).or_insert((round, what));
            }
        }
        let name = outcome.name;
        let each = told.iter().map(|(load, (round, what))| {
            format!(
                "- {name}, `{load}`, first in round {round}: {}",
                plain(what)
            )
        });
        lines.extend(each);
    }
    match lines.is_empty() {
        true => "Every answer of every relay was right, event by event.\n".to_owned(),
        false => format!("Wrong answers and deliveries:\n\n{}\n", lines.join("\n")),
    }
}

fn plain(text: &str) -> String {
    text.replace(['|', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::super::contenders::CORECAST;
    use super::super::reading::Reading;
    use super::super::results::{Outcome, Run, measures};
    use super::*;
    use crate::machine::sample;

    #[test]
    fn the_table_tells_ratios_faults_and_skipped_relays() {
        let mut run = Run::new(sample(0.0), 1, 1_000, 100);
        let reading = |rate: f64, faults: &[(&str, &str)]| {
            let faults = faults.iter();
            Some(Reading {
                values: [("publish-128-rate".to_owned(), rate)].into(),
                faults: faults
                    .map(|(load, what)| ((*load).to_owned(), (*what).to_owned()))
                    .collect(),
                limited: Vec::new(),
            })
        };
        let outcome = |name, readings| Outcome {
            durability: Some(super::super::contenders::Durability::Disk),
            readings,
            ..Outcome::named(name)
        };
        run.contenders = vec![
            outcome(CORECAST, vec![reading(4_200.0, &[])]),
            outcome("peer", vec![reading(420.0, &[("publish-128", "3 lost")])]),
            Outcome {
                skipped: Some("no | compiler".to_owned()),
                ..Outcome::named("other")
            },
        ];
        let measures = measures(&[1_000]);
        run.compute(&measures);
        let page = markdown(&run, &measures);
        for line in [
            "| | unit | corecast | peer |\n",
            "| events/s | 4,200 | 420 (0.10; 0.10–0.10) **wrong** |\n",
            "- peer, `publish-128`, first in round 1: 3 lost\n",
            "| other | ; **skipped**: no   compiler |\n",
            "| 4,200 events/s | reached |\n",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
    }
}
