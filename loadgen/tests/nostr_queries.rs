//! Queries of stored events: at the relay of this workspace, which is correct, and at a stand-in
//! with planted faults.

use corecast::engine::{EndpointSettings, Engine, Settings};
use corecast::relay::nostr::{self, Nostr, NostrSettings};
use corecast_nostr::{Event, Filter, ParsedEvent, reply};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use corecast_test::generator::{count, error, errors, number, report, run};
use corecast_test::stand_in::{Hub, Message, StandIn, frame};
use tungstenite::protocol::frame::coding::Data;

/// 50 queries for the newest 10 of 300 events.
const QUERIES: &str = "--scenario nostr-query --clients 4 --rate 100 --duration 500ms --warmup 0 \
                       --keys 5 --authors 2 --events 300 --rows 10 --seed 3";

// ---- the relay of this workspace ----

/// A Nostr relay in this process, as long as the engine lives.
fn relay(change: impl FnOnce(&mut NostrSettings)) -> (Engine, String) {
    let mut settings = NostrSettings::default();
    change(&mut settings);
    let mut builder = Engine::builder().settings(Settings {
        shards: 2,
        ..Settings::default()
    });
    let endpoint = EndpointSettings::default();
    let id = builder.endpoint_and_service(endpoint, Nostr::new(settings));
    builder.render_refusals(id, nostr::rendered);
    builder.route("/", id).expect("a path");
    let engine = builder.start().expect("an engine on a free port");
    let url = format!("ws://{}", engine.addresses()[0]);
    (engine, url)
}

#[test]
fn every_shape_of_query_is_answered_to_the_last_row() {
    let (engine, url) = relay(|_| {});
    for (seed, filters) in (1..).zip(["authors", "kinds", "tags", "ids", "all", "mixed"]) {
        let load = "--scenario nostr-query --clients 5 --rate 200 --duration 300ms --warmup 100ms \
                    --keys 30 --authors 3 --events 400 --rows 20 --same-second 3 --threads 2";
        let load = format!("{load} --filters {filters} --seed {seed}");
        let (code, report) = report(&url, &load);
        let queries = &report["nostr"]["queries"];
        let wrong = errors(&report);
        // The events of an earlier seed are not of these kinds.
        assert_eq!((code, wrong), (0, Vec::new()), "{filters}: {queries:#}");
        assert_eq!(count(queries, "/answered"), 80, "{filters}");
        assert_eq!(queries["rows"], queries["expected_rows"], "{filters}");
        assert!(count(queries, "/rows") > 80 && number(queries, "/rows_per_second") > 0.0);
        let nostr = &report["nostr"];
        assert_eq!(
            (count(nostr, "/accepted"), count(nostr, "/ok_ns/count")),
            (400, 400)
        );
        assert_eq!(
            count(&report, "/latency_ns/count"),
            count(&report, "/delivered")
        );
        assert_eq!(report["config"]["nostr"]["rows"], 20);
    }
    engine.stop();
}

#[test]
fn a_closed_loop_asks_again_after_each_answer() {
    let (engine, url) = relay(|_| {});
    let load = QUERIES
        .replace("--rate 100", "--rate max")
        .replace("500ms", "300ms");
    for load in [load.clone(), format!("{load} --nagle --stored")] {
        let (code, report) = report(&url, &load);
        assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
        assert!(count(&report, "/nostr/queries/answered") > 8, "{report:#}");
        assert_eq!(report["config"]["nagle"], load.contains("--nagle"));
        assert_eq!(report["nostr"]["ran_out"], false);
    }
    engine.stop();
}

#[test]
fn stored_events_are_queried_again_without_publishing() {
    let (engine, url) = relay(|_| {});
    let (code, first) = report(&url, QUERIES);
    assert_eq!((code, count(&first, "/nostr/accepted")), (0, 300));
    let (code, again) = report(&url, &format!("{QUERIES} --stored"));
    assert_eq!((code, errors(&again)), (0, Vec::new()), "{again:#}");
    assert_eq!(count(&again, "/nostr/sent"), 0);
    let rows = |report: &Value| count(report, "/nostr/queries/rows");
    assert_eq!(rows(&again), rows(&first));
    // Publishing them again is not a fault either: they are duplicates.
    let (code, third) = report(&url, QUERIES);
    assert_eq!((code, count(&third, "/nostr/accepted")), (0, 300));
    engine.stop();
}

#[test]
fn rows_that_the_relay_forgot_are_missing() {
    // Of 300 events the newest 200 are kept, and the queries ask for all.
    let (engine, url) = relay(|settings| settings.memory_events = 200);
    let load = QUERIES.replace("--rows 10", "--rows 300 --filters all");
    let (code, report) = report(&url, &load);
    let missing = errors(&report);
    assert_eq!((code, missing), (3, error("missing_rows", 50 * 100)));
    assert_eq!(count(&report, "/nostr/queries/wrong"), 50);
    engine.stop();
}

#[test]
fn an_event_that_is_refused_ends_the_run_with_the_reason() {
    let (engine, url) = relay(|settings| settings.events.bytes = 550);
    let output = run(&url, QUERIES);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("the relay refused an event: invalid:"),
        "{told}"
    );
    engine.stop();
}

#[test]
fn the_text_says_how_many_rows_were_right() {
    let (engine, url) = relay(|_| {});
    let told = String::from_utf8(run(&url, QUERIES).stdout).expect("text");
    for line in [
        "answered 50   wrong 0   closed 0",
        "missing 0   unasked 0   repeated 0",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    engine.stop();
}

// ---- a stand-in with planted faults ----

/// The right answer to a query, or another one.
struct Answer<'a> {
    /// From 1.
    number: u64,
    name: &'a str,
    rows: Vec<&'a Event>,
    all: &'a [Event],
}

impl Answer<'_> {
    fn row(&self, event: &Event) -> String {
        format!("[\"EVENT\",\"{}\",{}]", self.name, event.json())
    }

    fn rows(&self) -> Vec<String> {
        self.rows.iter().map(|event| self.row(event)).collect()
    }

    fn end(&self) -> String {
        json!(["EOSE", self.name]).to_string()
    }

    fn right(&self) -> Vec<String> {
        [self.rows(), vec![self.end()]].concat()
    }

    fn other(&self) -> &Event {
        let is_other = |event: &&Event| self.rows.iter().all(|row| row.id() != event.id());
        self.all.iter().find(is_other).expect("another event")
    }
}

/// A store that answers in the way of `answer`.
fn load(
    mut answer: impl FnMut(&Answer<'_>) -> Vec<String> + Send + 'static,
    arguments: &str,
) -> (i32, Value) {
    let (mut all, mut number) = (Vec::new(), 0);
    let server = StandIn::with(move |hub: &mut Hub, message: &Message| {
        let text = std::str::from_utf8(&message.payload).expect("text");
        let items: Vec<&RawValue> = serde_json::from_str(text).expect("a list");
        let name = |at: usize| serde_json::from_str::<String>(items[at].get()).expect("a name");
        let said = match &*name(0) {
            "EVENT" => {
                let parsed = ParsedEvent::parse(items[1].get()).expect("an event");
                let event = parsed.into_unverified().verify().expect("signed");
                let told = reply::ok(&corecast_nostr::to_hex(event.id()), true, "");
                all.push(event);
                all.sort_by_key(|event: &Event| {
                    (std::cmp::Reverse(event.created_at()), *event.id())
                });
                vec![told]
            }
            "REQ" => {
                let filter = Filter::parse(items[2].get()).expect("a filter");
                let limit: Value = serde_json::from_str(items[2].get()).expect("JSON");
                let limit = limit["limit"].as_u64().expect("a limit") as usize;
                number += 1;
                let matching = all.iter().filter(|event| filter.matches(event));
                answer(&Answer {
                    number,
                    name: &name(1),
                    rows: matching.take(limit).collect(),
                    all: &all,
                })
            }
            _ => Vec::new(),
        };
        for text in said {
            hub.send(message.from, &frame(Data::Text, true, text.as_bytes()));
        }
    });
    report(&server.url, arguments)
}

/// The errors if one answer is another one.
fn errors_of(
    mut instead: impl FnMut(&Answer<'_>) -> Vec<String> + Send + 'static,
) -> Vec<(String, u64)> {
    let planted = move |answer: &Answer<'_>| match answer.number {
        20 => instead(answer),
        _ => answer.right(),
    };
    let (code, report) = load(planted, QUERIES);
    let errors = errors(&report);
    assert_eq!(code, if errors.is_empty() { 0 } else { 3 }, "{report:#}");
    errors
}

#[test]
fn a_faultless_store_is_right() {
    let (code, report) = load(|answer: &Answer<'_>| answer.right(), QUERIES);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    let queries = &report["nostr"]["queries"];
    assert_eq!(
        (&queries["answered"], &queries["wrong"]),
        (&json!(50), &json!(0))
    );
    assert_eq!(queries["rows"], queries["expected_rows"]);
}

#[test]
fn a_wrong_answer_is_found_row_by_row() {
    let without = |answer: &Answer<'_>| answer.rows()[1..].to_vec();
    let missing = errors_of(move |answer| [without(answer), vec![answer.end()]].concat());
    assert_eq!(missing, error("missing_rows", 1));
    let empty = errors_of(|answer| vec![answer.end()]);
    assert_eq!(empty, error("missing_rows", 10));
    let twice = errors_of(|answer| [vec![answer.rows()[0].clone()], answer.right()].concat());
    assert_eq!(twice, error("repeated_rows", 1));
    let swapped = errors_of(|answer| {
        let mut all = answer.right();
        all.swap(3, 4);
        all
    });
    assert_eq!(swapped, error("reordered_rows", 1));
    let unasked = errors_of(|answer| [vec![answer.row(answer.other())], answer.right()].concat());
    assert_eq!(unasked, error("unasked_rows", 1));
}

#[test]
fn rows_after_the_end_or_with_other_content_are_wrong() {
    let late = errors_of(|answer| [answer.right(), vec![answer.row(answer.rows[0])]].concat());
    assert_eq!(late, error("unasked_rows", 1));
    let changed = errors_of(|answer| {
        let mut all = answer.right();
        let at = all[2].find("\"content\":\"").expect("a content") + 11;
        all[2].replace_range(at..=at, "~");
        all
    });
    assert_eq!(changed, error("damaged_rows", 1));
}

#[test]
fn an_answer_without_end_is_lost_and_a_refusal_is_closed() {
    let endless = errors_of(|answer: &Answer<'_>| answer.rows());
    assert_eq!(endless, error("lost", 1));
    let closed = errors_of(|answer| vec![reply::closed(answer.name, "error: too busy")]);
    assert_eq!(closed, error("closed", 1));
}

#[test]
fn the_formatting_of_rows_does_not_matter() {
    let own_way = |answer: &Answer<'_>| {
        let pretty = |text: String| {
            let value: Value = serde_json::from_str(&text).expect("JSON");
            serde_json::to_string_pretty(&value).expect("JSON")
        };
        answer.right().into_iter().map(pretty).collect()
    };
    let (code, report) = load(own_way, QUERIES);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
}

// ---- the command line ----

#[test]
fn options_that_do_not_fit_queries_are_refused() {
    for arguments in [
        "--rows 3",
        "--same-second 3",
        "--stored --seed 1",
        "--scenario nostr-publish --rows 3",
        "--scenario nostr-fanout --filters ids",
        "--scenario nostr-query --stored",
        "--scenario nostr-query --rows 0",
        "--scenario nostr-query --same-second 0",
        "--scenario nostr-query --publishers 2",
        "--scenario nostr-query --subscriptions 2",
        "--scenario nostr-query --events 0",
    ] {
        let output = run("ws://127.0.0.1:1/", arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {told}");
        assert!(told.contains("--"), "{arguments}: {told}");
    }
}
