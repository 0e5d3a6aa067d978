//! Every format of a report, from the command line: each agrees with the JSON report.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use corecast_test::generator::{Behaviour, number, run, serve};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use loadgen::report::{RelayReport, Report};
use serde_json::Value;
use tempfile::TempDir;

const LOAD: &str = "--clients 3 --rate 200 --duration 1500ms --warmup 100ms --size 100";
/// A label that breaks every output that does not escape it.
const HOSTILE: &str = "<script>alert('\"')</script>|a,b&c";

/// The command with arguments that may have spaces.
fn loadgen(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the generator starts")
}

#[track_caller]
fn told(folder: &Path, arguments: &[&str]) -> String {
    let output = loadgen(folder, arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// One run that writes `files` into a folder and stores itself in `runs.db` there.
fn run_into(url: &str, folder: &Path, files: &[&str]) -> String {
    let mut arguments = vec!["--url", url, "--label", HOSTILE, "--history", "runs.db"];
    arguments.extend(LOAD.split(' '));
    for file in files {
        arguments.extend(["--report", file]);
    }
    told(folder, &arguments)
}

/// A folder with every format of one run.
fn all_forms() -> (TempDir, RelayReport) {
    let folder = TempDir::new().expect("a folder");
    let files = ["a.txt", "a.json", "a.csv", "a.md", "a.hdr", "a.html"];
    run_into(&serve(Behaviour::default()), folder.path(), &files);
    let report = read_report(&folder.path().join("a.json"));
    (folder, report)
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect("written")
}

fn read_report(path: &Path) -> RelayReport {
    match Report::read(&fs::read(path).expect("written")) {
        Ok(Report::Relay(report)) => *report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_writes_its_report_in_every_form_that_was_asked_for() {
    let (folder, report) = all_forms();
    assert_eq!(report.head.label.as_deref(), Some(HOSTILE));
    assert!(read(&folder, "a.txt").contains("every delivery right"));
    assert!(read(&folder, "a.csv").starts_with("row,started_at,"));
    assert!(read(&folder, "a.md").starts_with("# "));
    assert!(read(&folder, "a.hdr").starts_with("#["));
    assert!(read(&folder, "a.html").starts_with("<!DOCTYPE html>"));
}

#[test]
fn output_says_the_form_on_standard_output() {
    let url = serve(Behaviour::default());
    let begin = |form: &str| {
        let load = "--clients 2 --rate 100 --duration 100 --warmup 0";
        let output = run(&url, &format!("{load} --output {form}"));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.chars().take(6).collect::<String>()
    };
    assert_eq!(begin("text"), "target");
    assert_eq!(begin("json"), "{\n  \"k");
    assert_eq!(begin("csv"), "row,st");
    assert_eq!(begin("markdown"), "# broa");
    assert_eq!(begin("hdr"), "#[load");
    assert_eq!(begin("html"), "<!DOCT");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_run() {
    let folder = TempDir::new().expect("a folder");
    for file in ["there/is/none.html", "what.pdf", "none"] {
        let output = loadgen(folder.path(), &["--report", file]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(file), "{told}");
    }
}

#[test]
fn hdrhistogram_reads_the_log_and_its_sum_is_the_report() {
    let (folder, report) = all_forms();
    let text = read(&folder, "a.hdr");
    let mut sum = Histogram::<u64>::new(3).expect("a histogram");
    let mut tags = Vec::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        let LogEntry::Interval(interval) = entry.expect("a line of a log") else {
            continue;
        };
        if let Some(tag) = interval.tag() {
            tags.push(tag.as_str().to_owned());
            continue;
        }
        let bytes = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            interval.encoded_histogram(),
        );
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.expect("base64").as_slice())
            .expect("a histogram");
        sum.add(histogram).expect("within bounds");
    }
    assert_eq!(sum.len(), report.latency_ns.count);
    assert_eq!(sum.len(), report.measured.delivered);
    let rounded = sum.max() as f64 / report.latency_ns.max as f64;
    assert!((0.99..1.01).contains(&rounded), "{rounded}");
    for tag in ["first", "last", "uncorrected", "lateness", "connect"] {
        assert!(tags.iter().any(|one| one == tag), "no {tag} in {tags:?}");
    }
}

#[test]
fn every_format_lists_the_runs_of_a_series() {
    let folder = TempDir::new().expect("a folder");
    let url = serve(Behaviour::default());
    let load = "--clients 2 --rate 100 --duration 200 --warmup 0 --report";
    let mut arguments = vec!["--url", &url];
    arguments.extend(load.split(' '));
    told(folder.path(), &[&arguments[..], &["old.json"]].concat());
    let series = "a.csv --report a.md --report a.html --repeat 2 --compare old.json";
    arguments.extend(series.split(' '));
    let output = loadgen(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "two runs decide nothing");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.contains("\n2 runs ") && text.contains("\ncompared  "),
        "{text}"
    );
    let rows = cells(&read(&folder, "a.csv"));
    assert_eq!(rows.iter().filter(|row| row[0] == "repeat").count(), 2);
    let markdown = read(&folder, "a.md");
    assert!(
        markdown.contains("## 2 runs") && markdown.contains("## Compared"),
        "{markdown}"
    );
    let page = read(&folder, "a.html");
    assert!(page.contains("<h2>All runs of this series</h2>"));
    assert!(page.contains("<h2>Compared with the earlier run</h2>"));
}

#[test]
fn every_format_lists_the_steps_of_a_walk() {
    let folder = TempDir::new().expect("a folder");
    let url = serve(Behaviour::default());
    let load = "--clients 2 --duration 200 --warmup 0 --rate-steps 50,100";
    let mut arguments = vec!["--url", &url, "--report", "a.csv", "--report", "a.html"];
    arguments.extend(load.split(' '));
    let text = told(folder.path(), &arguments);
    assert!(
        text.contains("\nrates ") && text.contains("\nknee "),
        "{text}"
    );
    let rows = cells(&read(&folder, "a.csv"));
    assert_eq!(rows.iter().filter(|row| row[0] == "step").count(), 2);
    assert!(read(&folder, "a.html").contains("<figcaption>Latency by messages a second"));
}

/// The cells of a table (RFC 4180).
fn cells(table: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut is_quoted = false;
    let mut letters = table.chars().peekable();
    while let Some(letter) = letters.next() {
        let row = rows.last_mut().expect("a row");
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                row.last_mut().expect("a cell").push('"');
                letters.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(String::new()),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => rows.push(vec![String::new()]),
            _ => row.last_mut().expect("a cell").push(letter),
        }
    }
    rows.retain(|row| row.len() > 1);
    rows
}

#[test]
fn the_table_has_a_row_for_the_run_and_one_for_each_second() {
    let (folder, report) = all_forms();
    let table = cells(&read(&folder, "a.csv"));
    let (head, rows) = table.split_first().expect("a head");
    assert!(rows.iter().all(|row| row.len() == head.len()), "{table:?}");
    let cell = |row: &[String], name: &str| {
        let column = head.iter().position(|column| column == name);
        row[column.unwrap_or_else(|| panic!("no column {name}"))].clone()
    };
    assert_eq!(cell(&rows[0], "row"), "run");
    assert_eq!(cell(&rows[0], "label"), HOSTILE);
    let (sent, p99) = (report.measured.sent, report.latency_ns.p99);
    assert_eq!(cell(&rows[0], "sent"), sent.to_string());
    assert_eq!(cell(&rows[0], "latency_p99_ns"), p99.to_string());
    let seconds: Vec<_> = rows.iter().filter(|row| row[0] == "second").collect();
    assert_eq!(seconds.len(), report.timeline.len());
    assert!(seconds.len() >= 2, "1.5 seconds have two rows");
    // Deliveries after the last second have a row too, if there were any.
    let drain: Vec<_> = rows.iter().filter(|row| row[0] == "drain").collect();
    assert_eq!(drain.len(), usize::from(report.drain.received > 0));
    let latencies = seconds.iter().chain(&drain);
    let latencies = latencies.map(|row| cell(row, "latency_count"));
    let latencies: u64 = latencies
        .map(|count| count.parse::<u64>().expect("a count"))
        .sum();
    assert_eq!(latencies, report.measured.delivered);
}

#[test]
fn the_markdown_has_the_figures_and_a_label_that_stays_text() {
    let (folder, report) = all_forms();
    let text = read(&folder, "a.md");
    assert!(!text.contains("<script>"), "{text}");
    assert!(
        text.contains(&format!("| delivered | {} |", report.measured.delivered)),
        "{text}"
    );
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| each receiver |"));
    assert_eq!(rows.count(), 1, "{text}");
}

/// Checks that every element is closed in order, and returns all tags with their attributes.
#[track_caller]
fn tags(page: &str) -> Vec<String> {
    let style = page.find("<style>").expect("a style") + 7;
    let end = page.find("</style>").expect("its end");
    let page = format!("{}{}", &page[..style], &page[end..]);
    let (mut open, mut all) = (Vec::new(), Vec::new());
    let mut rest = page
        .strip_prefix("<!DOCTYPE html>")
        .expect("a page of HTML");
    while let Some(begin) = rest.find('<') {
        let length = rest[begin..].find('>').expect("the end of a tag");
        let tag = &rest[begin + 1..begin + length];
        rest = &rest[begin + length + 1..];
        let name = tag.split([' ', '\n']).next().expect("a name");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed.to_owned()), "before {rest:.60}");
        } else if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
        all.push(tag.to_owned());
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    all
}

/// The page makes no requests: no script, image or stylesheet, and no address that a browser would
/// open.
#[track_caller]
fn assert_self_contained(tags: &[String]) {
    for tag in tags {
        let name = tag.split(' ').next().unwrap_or_default();
        let fetches = [
            "script", "link", "img", "iframe", "object", "use", "image", "base",
        ];
        assert!(!fetches.contains(&name), "{tag}");
        for attribute in ["src=", "url(", "@import", "xlink", "onload", "javascript:"] {
            assert!(!tag.contains(attribute), "{tag}");
        }
        assert!(!tag.contains("href=\"http"), "{tag}");
    }
    assert!(
        tags.iter().any(|tag| tag.contains("default-src 'none'")),
        "no policy"
    );
}

#[test]
fn the_page_is_well_formed_asks_for_nothing_and_has_the_figures() {
    let (folder, report) = all_forms();
    let page = read(&folder, "a.html");
    let tags = tags(&page);
    assert_self_contained(&tags);
    assert!(page.contains("&lt;script&gt;alert(&#39;&quot;&#39;)&lt;/script&gt;|a,b&amp;c"));
    for (name, shown) in [
        ("delivered", report.measured.delivered.to_string()),
        ("URL", report.config.url.clone()),
        ("seed", report.config.seed.to_string()),
        ("begin", report.head.started_at.clone()),
    ] {
        assert!(page.contains(&shown), "no {name}: {shown}");
    }
    let titles = [
        "Latency by percentile",
        "Deliveries a second",
        "Latency over time",
    ];
    for title in titles
        .into_iter()
        .chain(["Clients, from the best", "Connect times"])
    {
        assert!(
            page.contains(&format!("<figcaption>{title}")),
            "no chart {title}"
        );
    }
    let charts = tags.iter().filter(|tag| tag.starts_with("svg")).count();
    assert_eq!(charts, 5, "a first run has nothing before it");
}

#[test]
fn a_history_returns_reports_and_the_next_page_shows_them() {
    let folder = TempDir::new().expect("a folder");
    let url = serve(Behaviour::default());
    run_into(&url, folder.path(), &["1.json"]);
    run_into(&url, folder.path(), &["2.html"]);
    let shown = told(folder.path(), &["history", "show", "1", "--output", "json"]);
    assert_eq!(shown, read(&folder, "1.json"), "kept as it was written");
    let page = read(&folder, "2.html");
    assert!(
        page.contains("Latency from run to run"),
        "the earlier run is on the page"
    );
    let list = told(folder.path(), &["history"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("<script>alert('\"')<…"), "{list}");
    let none = told(folder.path(), &["history", "list", "--scenario", "echo"]);
    assert_eq!(none.lines().count(), 1, "{none}");
    let last = told(folder.path(), &["history", "list", "--last", "1"]);
    assert!(
        last.lines().count() == 2 && last.contains("   2  "),
        "{last}"
    );
    let labelled = told(folder.path(), &["history", "list", "--label", "another"]);
    assert_eq!(labelled.lines().count(), 1, "{labelled}");
    let chart = told(folder.path(), &["history", "chart", "rate"]);
    assert_eq!(
        chart.lines().filter(|line| line.contains('█')).count(),
        2,
        "{chart}"
    );
    let compared = told(folder.path(), &["history", "compare", "1", "2"]);
    assert!(compared.contains("latency p99"), "{compared}");
}

#[test]
fn the_earlier_load_tests_table_keeps_its_columns() {
    let folder = TempDir::new().expect("a folder");
    run_into(&serve(Behaviour::default()), folder.path(), &["a.json"]);
    let report = read_report(&folder.path().join("a.json"));
    let db = rusqlite::Connection::open(folder.path().join("runs.db")).expect("a history");
    let query = "SELECT test_type, num_clients, message_size, messages_sent, messages_received,
                 errors, p99_latency_ms, timestamp FROM test_runs";
    db.query_row(query, [], |row| {
        assert_eq!(row.get::<_, String>(0)?, "broadcast");
        assert_eq!((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?), (3, 100));
        assert_eq!(row.get::<_, i64>(3)?, report.measured.sent as i64);
        assert_eq!(row.get::<_, i64>(4)?, report.measured.delivered as i64);
        assert_eq!(row.get::<_, i64>(5)?, 0);
        assert_eq!(row.get::<_, f64>(6)?, report.latency_ns.p99 as f64 / 1e6);
        let began = row.get::<_, String>(7)?;
        assert_eq!(
            began,
            report.head.started_at.replace('T', " ").replace('Z', "")
        );
        Ok(())
    })
    .expect("one row");
}

#[test]
fn an_invalid_history_or_unknown_run_is_refused() {
    let folder = TempDir::new().expect("a folder");
    fs::write(
        folder.path().join("text.db"),
        "no history at all, but a text",
    )
    .expect("written");
    for (arguments, why) in [
        (&["history"][..], "runs.db"),
        (&["history", "--history", "text.db"], "text.db"),
        (&["dashboard", "--out", "there"], "runs.db"),
    ] {
        let output = loadgen(folder.path(), arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && told.contains(why),
            "{told}"
        );
    }
    assert!(
        !folder.path().join("runs.db").exists(),
        "reading makes no history"
    );
    run_into(&serve(Behaviour::default()), folder.path(), &["a.json"]);
    let output = loadgen(folder.path(), &["history", "show", "7"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("not contain run 7"), "{told}");
    told_after_adding(&folder);
}

/// A JSON report is added to a history; any other file is refused.
fn told_after_adding(folder: &TempDir) {
    told(folder.path(), &["history", "add", "a.json"]);
    let list = told(folder.path(), &["history"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    let output = loadgen(folder.path(), &["history", "add", "text.db"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_dashboard_is_a_page_over_all_runs_with_a_page_for_each() {
    let folder = TempDir::new().expect("a folder");
    let url = serve(Behaviour::default());
    for _ in 0..2 {
        run_into(&url, folder.path(), &[]);
    }
    let handshakes = ["--url", &url, "--handshakes", "5", "--history", "runs.db"];
    told(folder.path(), &handshakes);
    let title = "Speed & <more>";
    told(
        folder.path(),
        &["dashboard", "--out", "pages/new", "--title", title],
    );
    let page = read(&folder, "pages/new/index.html");
    let tags = tags(&page);
    assert_self_contained(&tags);
    assert!(
        page.contains("<h1>Speed &amp; &lt;more&gt;</h1>"),
        "its own title"
    );
    let links: Vec<_> = tags
        .iter()
        .filter(|tag| tag.starts_with("a href"))
        .collect();
    assert_eq!(links.len(), 3, "{links:?}");
    assert!(
        page.contains("<dt>handshakes a second</dt>"),
        "the third is one of handshakes"
    );
    let handshakes = ["history", "list", "--scenario", "handshakes"];
    assert_eq!(told(folder.path(), &handshakes).lines().count(), 2);
    for run in ["1", "2", "3"] {
        assert!(page.contains(&format!("<a href=\"runs/{run}.html\">")));
        let own = read(&folder, &format!("pages/new/runs/{run}.html"));
        assert_self_contained(&self::tags(&own));
        let json = read(&folder, &format!("pages/new/runs/{run}.json"));
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(number(&json, "/version"), 1.0);
    }
    let charts = tags.iter().filter(|tag| tag.starts_with("svg")).count();
    assert_eq!(charts, 2, "one load has two runs, the other has one");
    told(folder.path(), &["dashboard", "--out", "one", "--last", "1"]);
    assert!(!folder.path().join("one/runs/1.html").exists());
}
