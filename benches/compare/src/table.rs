//! The result as a table: figures, ratios, verdicts; for a terminal of 100 columns and as Markdown.

use crate::results::{CaseResult, ContenderResult, Run, Standing};

const COLUMNS: usize = 5;
const HEAD: [&str; COLUMNS] = ["case, server", "value", "ratio (95 %)", "target", "verdict"];
/// At most 100 together with the gaps.
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
        let told = told(case, contender);
        lines.extend((!told.is_empty()).then(|| wrapped(&told.join(", "))));
        lines.extend(contender.notes.iter().map(|note| wrapped(note)));
    }
    lines.join("\n")
}

/// Each case compared with another build of the relay, and where it is worse.
pub(crate) fn against(run: &Run) -> String {
    let mut lines = vec!["before to now (95 %): under 1 it was cheaper before".to_owned()];
    for case in &run.cases {
        let before = case.before();
        let Some((before, ratio)) = before.and_then(|one| Some((one, one.to_judged?))) else {
            continue;
        };
        let word = match before.standing() {
            Standing::Cheaper => "WORSE NOW",
            Standing::Dearer => "better now",
            Standing::Even => "no difference",
            Standing::Wrong | Standing::NotMeasured => "not measured",
        };
        let interval = format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high);
        lines.push(format!("  {:<22} {interval:<19} {word}", case.name));
    }
    lines.join("\n")
}

/// The whole table as Markdown.
pub(crate) fn markdown(run: &Run) -> String {
    let rule = "|---|---|---|---|---|\n";
    let mut out = format!("{}\n\n| {} |\n{rule}", run.machine.text(), HEAD.join(" | "));
    for case in &run.cases {
        out += &format!("| **{}** | | | | |\n", case.title);
        for (index, contender) in case.contenders.iter().enumerate() {
            let mut cells = cells(case, index);
            if let (Some(failure), None) = (contender.failure(), contender.value) {
                cells[1] = failure.replace(['|', '\n'], " ");
            }
            cells[0] = [vec![cells[0].clone()], told(case, contender)]
                .concat()
                .join("<br>");
            out += &format!("| {} |\n", cells.join(" | "));
        }
    }
    out
}

/// The additional measurements that are to be shown.
pub(crate) fn told(case: &CaseResult, contender: &ContenderResult) -> Vec<String> {
    let figures = case.tells.iter();
    figures
        .filter_map(|what| Some((what, contender.beside.get(what)?)))
        .map(|(what, figure)| format!("{} {what}", digits(figure.median)))
        .collect()
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

/// Three significant digits, as a person would write them.
pub(crate) fn digits(value: f64) -> String {
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

/// A remark below a line, wrapped to the table's width.
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

    #[test]
    fn no_line_is_longer_than_100_columns() {
        let widest = WIDTHS.map(|width| "x".repeat(width));
        assert!(text_line(&widest).chars().count() <= 100);
        let remark = wrapped(&"a remark of many words ".repeat(20));
        assert!(remark.lines().all(|line| line.chars().count() <= 100));
        assert!(head().lines().all(|line| line.chars().count() <= 100));
    }
}
