//! The report as Markdown, and the table of docs/benchmarks.md.

use super::words::{
    JUDGED, Tally, circumstances, interval, losses, median, peers, remarks, standing, warnings,
};
use crate::measure::{P50, P99, PEAK, RATE};
use crate::results::{CaseResult, ContenderResult, Run, Standing};
use crate::scaling::Scaling;
use crate::syscalls::Counts;
use crate::table::digits;

const HOW: &str = "How it is measured is said in [benches/README.md](../README.md). Each \
reading is of a fresh process; contenders take turns in every round, in another order each; ratios \
are taken within a round, and the figure is their median with its 95 % confidence interval \
(bootstrap over the rounds). Less is better everywhere but in deliveries a second.";

/// The whole report.
pub(super) fn page(run: &Run, scalings: &[Scaling], name: &str) -> String {
    let mut out = String::from("# Corecast beside others\n\n");
    for warning in warnings(run) {
        out += &format!("> **{warning}**\n\n");
    }
    for line in circumstances(run) {
        out += &format!("- {line}\n");
    }
    out += &format!(
        "- made of the readings in `{name}.json`, which are not in the repository\n\n{HOW}\n\n"
    );
    out += &format!("![ratios](report.svg)\n\n{}\n\n", Tally::of(run).text());
    out += "## Where Corecast loses\n\n";
    match &losses(run)[..] {
        [] => out += "In no case of this run.\n",
        losses => losses.iter().for_each(|loss| out += &format!("- {loss}\n")),
    }
    for case in &run.cases {
        out += &format!("\n## {}\n\n{}", cell(&case.title), case_table(case));
    }
    out += &syscalls(run);
    scalings.iter().for_each(|one| out += &scaling(one));
    out
}

fn scaling(one: &Scaling) -> String {
    let title = format!("{} cores", one.cpus.len());
    let mut out = format!("\n## Shards on a machine with {title}\n\n");
    if let Some(causes) = one.quiet.disturbance(&one.machine) {
        out += &format!("> **Disturbed, so that the figures are rough: {causes}.**\n\n");
    }
    out += &format!("{}\n\n", one.machine.text().replace('\n', "; "));
    let rule = "---|".repeat(Scaling::HEAD.len());
    out += &format!("| {} |\n|{rule}\n", Scaling::HEAD.join(" | "));
    for step in &one.steps {
        out += &format!("| {} |\n", step.cells().join(" | "));
    }
    out
}

fn case_table(case: &CaseResult) -> String {
    let mut out = format!(
        "`--case {}`, in {}. Must be {}: **{}**.\n\n",
        case.name, case.unit, case.target, case.verdict
    );
    out += "| server | value (quartiles) | × base (95 %) | × Corecast (95 %) | p50 µs | p99 µs | \
            deliveries/s | MiB |\n|---|---|---|---|---|---|---|---|\n";
    for (index, one) in case.contenders.iter().enumerate() {
        let value = one.value.map_or_else(
            || "–".to_owned(),
            |value| {
                let [low, high] = [value.low, value.high].map(digits);
                format!("{} ({low}–{high})", digits(value.median))
            },
        );
        let base = one
            .ratio
            .filter(|_| index > 0)
            .map_or_else(String::new, interval);
        let judged = match index > JUDGED {
            true => to_judged(one),
            false => String::new(),
        };
        let beside = [P50, P99, RATE, PEAK].map(|what| median(one.beside.get(what)));
        out += &format!(
            "| {} | {value} | {base} | {judged} | {} |\n",
            cell(&one.name),
            beside.join(" | ")
        );
    }
    let remarks = remarks(case);
    let remarks = remarks.iter().map(|remark| {
        format!(
            "
- {}",
            cell(remark)
        )
    });
    let remarks = remarks.collect::<String>();
    match remarks.is_empty() {
        true => out,
        false => format!(
            "{out}{remarks}
"
        ),
    }
}

fn to_judged(one: &ContenderResult) -> String {
    let is = one.standing();
    match (one.to_judged, is) {
        (None, _) => "–".to_owned(),
        (Some(ratio), Standing::Dearer) => interval(ratio),
        (Some(ratio), _) => format!("**{}, {}**", interval(ratio), standing(is)),
    }
}

fn syscalls(run: &Run) -> String {
    if run.syscalls.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = run.syscalls.iter().map(Counts::text).collect();
    format!(
        "\n## System calls in steady state\n\n```text\n{}\n```\n",
        lines.join("\n")
    )
}

/// The table of docs/benchmarks.md: a line for each case, a column for each peer.
pub(super) fn section(run: &Run) -> String {
    let mut names: Vec<&str> = Vec::new();
    for peer in run.cases.iter().flat_map(peers) {
        let name = plain_name(&peer.name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut out = String::from(
        "![Cost of a delivery as a multiple of Corecast's](../benches/results/report.svg)\n\n",
    );
    for warning in warnings(run) {
        out += &format!("**{warning}**\n\n");
    }
    out += &format!(
        "{}. {}\n\n",
        circumstances(run).join(". "),
        Tally::of(run).text()
    );
    out += &format!(
        "| case (`scripts/bench --case …`) | Corecast | × base (95 %) | must be | {} |\n\
         |---|---|---|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for case in &run.cases {
        let Some(judged) = case.contenders.get(JUDGED) else {
            continue;
        };
        let value = median(judged.value.as_ref());
        let ratio = judged.ratio.map_or_else(|| "–".to_owned(), interval);
        let met = if case.is_ok() { "" } else { ", **missed**" };
        let cells: Vec<String> = names.iter().map(|name| peer_cell(case, name)).collect();
        out += &format!(
            "| {} (`{}`) | {value} {} | {ratio} | {}{met} | {} |\n",
            cell(&case.title),
            case.name,
            case.unit,
            case.target,
            cells.join(" | ")
        );
    }
    out + "\nThe columns of the peers are multiples of Corecast's value; bold: Corecast is not \
           shown to be cheaper.\n"
}

fn peer_cell(case: &CaseResult, name: &str) -> String {
    let Some(peer) = peers(case)
        .iter()
        .find(|peer| plain_name(&peer.name) == name)
    else {
        return "–".to_owned();
    };
    match (peer.standing(), peer.to_judged) {
        (Standing::Wrong, _) => "**wrong**".to_owned(),
        (Standing::Dearer, Some(ratio)) => format!("{:.2}", ratio.median),
        (_, Some(ratio)) => format!("**{}**", interval(ratio)),
        (_, None) => "–".to_owned(),
    }
}

/// `Bun publish` of `Bun publish, tls`.
fn plain_name(name: &str) -> &str {
    name.split(',').next().unwrap_or(name)
}

/// Escapes a text, so that it does not end a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('\n', " ")
        .replace('<', "&lt;")
}
