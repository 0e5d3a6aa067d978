//! The performance dashboard: the runs of a history, load by load.

use super::chart::{Chart, Points};
use super::parts::{Card, cards, class, document, panel, when};
use super::scale::Scale;
use super::text::escape;
use crate::history::Row;
use crate::phrases::Mood;
use crate::units::{amount, ratio, short, tick, time};

/// A load with fewer runs has no trend.
const TREND_RUNS_MIN: usize = 2;

/// The page; `rows` are oldest first.
pub(crate) fn render(title: &str, rows: &[Row]) -> String {
    let loads = by_load(rows);
    let mut body = format!(
        "<header><h1>{}</h1><p>{} runs of {} loads{}</p></header>\n",
        escape(title),
        rows.len(),
        loads.len(),
        rows.last().map_or(String::new(), |last| {
            format!(", the last one {}", escape(&when(&last.started_at)))
        })
    );
    body += "<main>";
    for runs in &loads {
        body += &load(runs);
    }
    body += &format!("{}</main>\n", panel(true, "All runs", &table(rows)));
    document("pages", title, &body)
}

/// The runs of each load, the load with the latest run first.
fn by_load(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut loads: Vec<Vec<&Row>> = Vec::new();
    for row in rows.iter().rev() {
        match loads.iter_mut().find(|runs| runs[0].load == row.load) {
            Some(runs) => runs.push(row),
            None => loads.push(vec![row]),
        }
    }
    for runs in &mut loads {
        runs.reverse();
    }
    loads
}

fn name(row: &Row) -> &str {
    row.label.as_deref().unwrap_or(&row.scenario)
}

/// Cards and trends of one load; the last run is the one on the cards.
fn load(runs: &[&Row]) -> String {
    let [earlier @ .., last] = runs else {
        return String::new();
    };
    let before = earlier.last();
    let compared = |value: fn(&Row) -> f64| match before {
        Some(before) if value(before) > 0.0 => {
            format!(
                "{} since the run before",
                ratio(Some(value(last) / value(before)))
            )
        }
        _ => "the first run".to_owned(),
    };
    let mut out = format!(
        "<h2 class=\"load\">{} <small>{}, {} clients, <code>{}</code></small></h2>\n",
        escape(name(last)),
        escape(&last.scenario),
        last.clients,
        escape(&last.url)
    );
    out += &cards(&[
        Card::new(
            per_second(last),
            amount(last.rate, "1/s"),
            compared(|row| row.rate),
        ),
        Card::new(
            "median",
            time(last.p50_ns as f64),
            compared(|row| row.p50_ns as f64),
        ),
        Card::new(
            "99 %",
            time(last.p99_ns as f64),
            compared(|row| row.p99_ns as f64),
        ),
        Card::new(
            "slowest",
            time(last.max_ns as f64),
            compared(|row| row.max_ns as f64),
        ),
        Card::new("faults", amount(last.faults as f64, ""), last.verdict()).in_mood(mood(last)),
    ]);
    if runs.len() >= TREND_RUNS_MIN {
        let (latency, rate) = (
            panel(false, "", &latency(runs)),
            panel(false, "", &rate(runs)),
        );
        out += &format!("<div class=\"panels\">{latency}{rate}</div>\n");
    }
    out
}

fn mood(row: &Row) -> Mood {
    match (row.is_right, row.is_valid) {
        (true, true) => Mood::Good,
        (true, false) => Mood::Doubtful,
        (false, _) => Mood::Bad,
    }
}

fn per_second(row: &Row) -> &'static str {
    match row.is_handshakes {
        true => "handshakes a second",
        false => "deliveries a second",
    }
}

fn latency(runs: &[&Row]) -> String {
    let least = runs.iter().map(|row| row.p50_ns).min().unwrap_or(1);
    let most = runs.iter().map(|row| row.p99_9_ns).max().unwrap_or(1);
    let said = format!("Latency over {} runs.", runs.len());
    let y = Scale::log(least as f64, most as f64, tick);
    let mut chart = Chart::new("Latency from run to run", &said, numbers(runs), y).low();
    for (series, name, value) in [
        ("s3", "99.9 %", (|row| row.p99_9_ns) as fn(&Row) -> i64),
        ("s1", "99 %", |row| row.p99_ns),
        ("s2", "median", |row| row.p50_ns),
    ] {
        let points: Points = numbered(runs)
            .map(|(number, row)| (number, value(row) as f64))
            .collect();
        chart.line(series, name, &points);
        chart.dots(series, "", &points);
    }
    chart.tell(&told(runs));
    chart.html()
}

fn rate(runs: &[&Row]) -> String {
    let most = runs.iter().map(|row| row.rate).fold(1.0, f64::max);
    let said = format!("Rate over {} runs.", runs.len());
    let y = Scale::from_zero(most, short);
    let title = runs.first().map_or("", |row| per_second(row));
    let mut chart = Chart::new(title, &said, numbers(runs), y).low();
    let bars: Vec<_> = numbered(runs)
        .map(|(number, row)| (number - 0.4, number + 0.4, row.rate))
        .collect();
    chart.bars("s1", "", &bars);
    chart.tell(&told(runs));
    chart.html()
}

fn numbered<'a>(runs: &'a [&Row]) -> impl Iterator<Item = (f64, &'a Row)> {
    runs.iter()
        .enumerate()
        .map(|(at, row)| (at as f64 + 1.0, *row))
}

/// An axis with the numbers that the runs have in the history.
fn numbers(runs: &[&Row]) -> Scale {
    let mut scale = Scale::between(0.5, runs.len() as f64 + 0.5, |_| String::new());
    scale.ticks.retain(|(at, _)| at.fract() == 0.0);
    for (at, label) in &mut scale.ticks {
        if let Some(row) = runs.get(*at as usize - 1) {
            *label = format!("#{}", row.id);
        }
    }
    scale
}

fn told(runs: &[&Row]) -> Vec<(f64, f64, String)> {
    let each = numbered(runs).map(|(number, row)| {
        let text = format!(
            "#{} {}, {}\np50 {}, p99 {}, {} a second, {}",
            row.id,
            name(row),
            when(&row.started_at),
            time(row.p50_ns as f64),
            time(row.p99_ns as f64),
            amount(row.rate, "1/s"),
            row.verdict()
        );
        (number - 0.5, number + 0.5, text)
    });
    each.collect()
}

/// All runs, the latest first, each with a link to its own page.
fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">run</th>\
         <th scope=\"col\">began</th><th scope=\"col\">scenario</th><th scope=\"col\">clients</th>\
         <th scope=\"col\">a second</th><th scope=\"col\">median</th><th scope=\"col\">99 %</th>\
         <th scope=\"col\">max</th><th scope=\"col\">verdict</th></tr></thead><tbody>",
    );
    for row in rows.iter().rev() {
        let id = row.id;
        out += &format!(
            "<tr><th scope=\"row\"><a href=\"runs/{id}.html\">#{id} {}</a></th><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"{}\">{}</td></tr>",
            escape(name(row)),
            escape(&when(&row.started_at)),
            escape(&row.scenario),
            row.clients,
            amount(row.rate, "1/s"),
            time(row.p50_ns as f64),
            time(row.p99_ns as f64),
            time(row.max_ns as f64),
            class(mood(row)),
            row.verdict()
        );
    }
    out + "</tbody></table></div>"
}
