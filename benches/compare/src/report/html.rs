//! The report as one self-contained page, without requests.

use super::chart::{self, Chart, escaped};
use super::words::{
    JUDGED, Tally, circumstances, interval, losses, median, peers, remarks, standing, warnings,
};
use crate::measure::{P50, P99, PEAK, RATE};
use crate::results::{CaseResult, ContenderResult, Run, Standing};
use crate::scaling::Scaling;
use crate::table::digits;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(run: &Run, scalings: &[Scaling], name: &str) -> String {
    let warnings: Vec<String> = warnings(run)
        .iter()
        .map(|warning| format!("<p class=\"warning\">{}</p>\n", escaped(warning)))
        .collect();
    let lines: Vec<String> = circumstances(run)
        .iter()
        .map(|line| format!("<li>{}</li>", escaped(line)))
        .collect();
    let cases: String = run.cases.iter().map(case_section).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Corecast beside others</title>\n\
         <style>{STYLE}{}</style>\n</head>\n<body>\n<main>\n<h1>Corecast beside others</h1>\n{}\
         <ul class=\"where\">{}</ul>\n{}\n{}\n{}<h2 id=\"cases\">Every case</h2>\n{HOW}\n\
         {}\n{cases}{}{}\
         <footer>Made of the readings in {name}.json; \
         <code>scripts/bench report</code> makes this page of it.</footer>\n</main>\n\
         </body>\n</html>\n",
        chart::STYLE,
        warnings.concat(),
        lines.concat(),
        cards(run),
        losses_section(run),
        charts(run),
        contents(run),
        syscalls(run),
        scalings.iter().map(scaling).collect::<String>(),
    )
}

fn scaling(one: &Scaling) -> String {
    let disturbed = one
        .quiet
        .disturbance(&one.machine)
        .map_or_else(String::new, |causes| {
            format!("<p class=\"warning\">Disturbed, so that the figures are rough: {causes}.</p>")
        });
    let head: String = Scaling::HEAD
        .iter()
        .map(|cell| format!("<th>{cell}</th>"))
        .collect();
    let rows = one.steps.iter().map(|step| {
        let cells = step.cells();
        let rest: String = cells[1..]
            .iter()
            .map(|cell| format!("<td>{cell}</td>"))
            .collect();
        format!("<tr><th>{}</th>{rest}</tr>", cells[0])
    });
    format!(
        "<h2>Shards on a machine with {} cores</h2>{disturbed}<p class=\"where\">{}</p>\
         <div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{}</tbody></table>\
         </div>\n",
        one.cpus.len(),
        escaped(&one.machine.text()),
        rows.collect::<String>()
    )
}

const HOW: &str = "<p>Each reading is of a fresh process. Contenders take turns in every round, in \
another order each. Ratios are taken within a round; the figure is their median, with its 95 % \
confidence interval (bootstrap over the rounds). The case’s base is its first line. Less is better \
everywhere but in deliveries a second.</p>";

fn cards(run: &Run) -> String {
    let tally = Tally::of(run);
    let met = run.cases.iter().filter(|case| case.is_ok()).count();
    let card = |figure: String, what: &str| {
        format!("<div class=\"card\"><b>{figure}</b><span>{what}</span></div>")
    };
    let cards = [
        card(tally.dearer.to_string(), "peers dearer than Corecast"),
        card(tally.cheaper.to_string(), "peers cheaper than Corecast"),
        card(tally.even.to_string(), "no difference shown"),
        card(tally.wrong.to_string(), "peers that lost deliveries"),
        card(
            format!("{met} of {}", run.cases.len()),
            "cases that met their target",
        ),
    ];
    format!("<div class=\"cards\">{}</div>", cards.concat())
}

fn losses_section(run: &Run) -> String {
    let losses = losses(run);
    let body = match &losses[..] {
        [] => "<p>In no case of this run.</p>".to_owned(),
        losses => {
            let items = losses
                .iter()
                .map(|loss| format!("<li>{}</li>", escaped(loss)));
            format!("<ul>{}</ul>", items.collect::<String>())
        }
    };
    format!("<section class=\"losses\"><h2>Where Corecast loses</h2>{body}</section>")
}

fn charts(run: &Run) -> String {
    let is_delivery = |case: &&CaseResult| case.unit == "µs/delivery" && !peers(case).is_empty();
    let deliveries = || run.cases.iter().filter(is_delivery);
    let is_fixed = |case: &&CaseResult| case.tells.iter().any(|what| what == P99);
    let is_bytes = |case: &&CaseResult| case.unit == "bytes";
    let latency = run
        .cases
        .iter()
        .filter(|case| case.unit == "µs" && case.contenders.len() > 2);
    let latency = latency.filter(|case| case.name != "handshake");
    let all = [
        (
            "What a delivery costs the server",
            chart::ratios(deliveries()),
        ),
        (
            "Latency at a fixed rate, p99",
            chart::figures(
                deliveries().filter(is_fixed),
                "p99 by server",
                "µs, p99",
                |one| one.beside.get(P99).copied(),
            ),
        ),
        (
            "Latency of those that read, while others never do",
            chart::figures(latency, "p99 by server", "µs, p99", |one| one.value),
        ),
        (
            "Memory of an idle connection",
            chart::figures(
                run.cases.iter().filter(is_bytes),
                "bytes by server",
                "bytes",
                |one| one.value,
            ),
        ),
        (
            "Most memory under load",
            chart::figures(deliveries(), "MiB by server", "MiB", |one| {
                one.beside.get(PEAK).copied()
            }),
        ),
    ];
    let is_there = |(_, chart): &&(&str, Chart)| !chart.rows.is_empty();
    let sections = all.iter().filter(is_there).map(|(title, chart)| {
        format!(
            "<h2>{title}</h2>\n<div class=\"wide\">{}</div>\n",
            chart.html()
        )
    });
    sections.collect()
}

fn contents(run: &Run) -> String {
    let links = run.cases.iter().map(|case| {
        let class = if case.is_ok() {
            ""
        } else {
            " class=\"missed\""
        };
        format!("<a{class} href=\"#{0}\">{0}</a> ", escaped(&case.name))
    });
    format!("<nav>{}</nav>", links.collect::<String>())
}

fn case_section(case: &CaseResult) -> String {
    let class = if case.is_ok() { "met" } else { "missed" };
    let mut rows = String::new();
    for (index, one) in case.contenders.iter().enumerate() {
        rows += &contender_row(index, one);
    }
    let remarks = remarks(case);
    let remarks = remarks
        .iter()
        .map(|remark| format!("<li>{}</li>", escaped(remark)));
    let remarks = remarks.collect::<String>();
    format!(
        "<section id=\"{0}\"><h3>{1} <code>{0}</code></h3>\n<p>In {2}; must be {3}: \
         <b class=\"{class}\">{4}</b></p>\n<div class=\"wide\"><table><thead><tr><th>server</th>\
         <th>value</th><th>quartiles</th><th>× base</th><th>× Corecast</th><th></th><th>p50 µs</th>\
         <th>p99 µs</th><th>deliveries/s</th><th>MiB</th></tr></thead><tbody>{rows}</tbody>\
         </table></div>\
         <ul class=\"remarks\">{remarks}</ul></section>\n",
        escaped(&case.name),
        escaped(&case.title),
        escaped(&case.unit),
        escaped(&case.target),
        escaped(&case.verdict),
    )
}

fn contender_row(index: usize, one: &ContenderResult) -> String {
    let is_peer = index > JUDGED;
    let stands = one.standing();
    let class = match (index, stands) {
        (JUDGED, _) => "judged",
        (_, Standing::Cheaper | Standing::Wrong) if is_peer => "notable",
        _ => "",
    };
    let value = one
        .value
        .map_or_else(|| "–".to_owned(), |value| digits(value.median));
    let spread = one.value.map_or_else(String::new, |value| {
        format!("{}–{}", digits(value.low), digits(value.high))
    });
    let base = one
        .ratio
        .filter(|_| index > 0)
        .map_or_else(String::new, interval);
    let judged = one
        .to_judged
        .filter(|_| is_peer)
        .map_or_else(String::new, interval);
    let said = if is_peer { standing(stands) } else { "" };
    let beside =
        [P50, P99, RATE, PEAK].map(|what| format!("<td>{}</td>", median(one.beside.get(what))));
    format!(
        "<tr class=\"{class}\"><th>{}</th><td>{value}</td><td>{spread}</td><td>{base}</td>\
         <td>{judged}</td><td class=\"said\">{said}</td>{}</tr>",
        escaped(&one.name),
        beside.concat()
    )
}

fn syscalls(run: &Run) -> String {
    if run.syscalls.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = run
        .syscalls
        .iter()
        .map(|one| escaped(&one.text()))
        .collect();
    format!(
        "<h2>System calls in steady state</h2><pre>{}</pre>\n",
        lines.join("\n")
    )
}
