//! Loads of a Nostr relay: of the one in this workspace, which is correct, and of a stand-in with
//! planted faults.

use corecast::engine::{Deflate, EndpointSettings, Engine, Settings};
use corecast::relay::nostr::{self, Nostr, NostrSettings};
use corecast_nostr::{Event, Filter, ParsedEvent, reply};
use serde_json::{Value, json};

use corecast_test::generator::{self, count, error, errors, number, report, run};
use corecast_test::stand_in::{Hub, Message, StandIn, frame};
use tungstenite::protocol::frame::coding::Data;

/// 100 events to 4 clients that subscribe to all of them.
const FANOUT: &str = "--scenario nostr-fanout --clients 4 --publishers 2 --filters all \
                      --rate 200 --duration 500ms --warmup 0 --keys 5";
/// 100 events of 4 clients.
const PUBLISH: &str = "--scenario nostr-publish --clients 4 --rate 200 --duration 500ms \
                       --warmup 0 --keys 5";
const EVENTS: u64 = 100;
const DELIVERIES: u64 = 400;

// ---- the relay of this workspace ----

/// A Nostr relay in this process, as long as the engine lives.
fn relay(change: impl FnOnce(&mut NostrSettings)) -> (Engine, String) {
    let mut settings = NostrSettings::default();
    change(&mut settings);
    let endpoint = EndpointSettings {
        deflate: settings.deflate,
        ..EndpointSettings::default()
    };

    let shards = Settings {
        shards: 2,
        ..Settings::default()
    };
    let mut builder = Engine::builder().settings(shards);
    let id = builder.endpoint_and_service(endpoint, Nostr::new(settings));
    builder.render_refusals(id, nostr::rendered);
    builder.route("/", id).expect("a path");
    let engine = builder.start().expect("an engine on a free port");
    let url = format!("ws://{}", engine.addresses()[0]);
    (engine, url)
}

#[test]
fn a_fanout_through_the_relay_is_right_to_the_last_event() {
    let (engine, url) = relay(|_| {});
    let load = "--scenario nostr-fanout --clients 30 --subscriptions 3 --publishers 3 --keys 50 \
                --authors 4 --rate 300 --duration 1s --warmup 200ms --seed 7 --threads 2";
    let (code, first) = report(&url, load);
    assert_eq!((code, errors(&first)), (0, Vec::new()), "{first:#}");
    let nostr = &first["nostr"];
    assert_eq!(
        (&nostr["subscriptions"], &nostr["sent"]),
        (&json!(90), &json!(360))
    );
    assert_eq!(
        (&nostr["accepted"], &nostr["unanswered"]),
        (&json!(360), &json!(0))
    );
    assert!(count(nostr, "/filters") < 90 && nostr["notices"] == 0);
    let sums = |report: &Value| {
        ["expected", "delivered"].map(|name| {
            count(report, &format!("/{name}")) + count(report, &format!("/warmup/{name}"))
        })
    };
    let [expected, delivered] = sums(&first);
    assert!(expected == delivered && expected > 360, "{first:#}");
    // Some filters belong to a single subscription.
    assert!((2..90).contains(&count(&first, "/order/compared")));
    assert_eq!(
        count(&first, "/latency_ns/count"),
        count(&first, "/delivered")
    );
    // The seed decides the receivers.
    assert_eq!(sums(&report(&url, load).1), [expected; 2]);
    engine.stop();
}

#[test]
fn every_kind_of_filter_is_served() {
    let (engine, url) = relay(|_| {});
    for filters in ["all", "kinds", "authors", "tags"] {
        let load = "--scenario nostr-fanout --clients 10 --rate 200 --duration 300ms --warmup 0 \
                    --keys 30 --authors 10";
        let (code, report) = report(&url, &format!("{load} --filters {filters}"));
        assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
        assert_eq!(report["config"]["nostr"]["filters"], filters);
        assert!(count(&report, "/delivered") > 0, "{filters}: {report:#}");
    }
    engine.stop();
}

#[test]
fn compressed_messages_are_checked_like_others() {
    let (engine, url) = relay(|settings| {
        settings.deflate = Deflate {
            enabled: true,
            min_bytes: 0,
            level: 1,
        };
    });
    let (code, report) = report(&url, &format!("{FANOUT} --deflate"));
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    assert_eq!(count(&report, "/delivered"), DELIVERIES);
    assert!(
        count(&report, "/wire/compressed") >= DELIVERIES,
        "{report:#}"
    );
    engine.stop();
}

#[test]
fn a_closed_loop_of_fanout_continues_with_each_answer() {
    let (engine, url) = relay(|_| {});
    let load = "--scenario nostr-fanout --clients 3 --filters all --rate max --window 4 \
                --publishers 2 --events 60 --duration 20s --warmup 0 --keys 3";
    let (code, report) = report(&url, load);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    assert!(count(&report, "/delivered") >= 3 * 30, "{report:#}");
    assert!(number(&report, "/measured_ms") < 20_000.0);
    engine.stop();
}

#[test]
fn clients_publish_and_wait_for_the_answer() {
    let (engine, url) = relay(|_| {});
    let load = "--scenario nostr-publish --clients 5 --events 200 --duration 20s --warmup 0 \
                --keys 10";
    let (code, report) = report(&url, load);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    let nostr = &report["nostr"];
    assert_eq!(nostr["signed"], 200);
    assert_eq!(nostr["sent"], nostr["accepted"]);
    assert_eq!(count(nostr, "/ok_ns/count"), count(&report, "/delivered"));
    assert_eq!(report["sent"], report["delivered"]);
    assert_eq!(report["config"]["window"], 1);
    let stored = json!({"by": "count", "accepted": 200, "found": 200, "missing": 0});
    assert_eq!(nostr["stored"], stored);
    assert_eq!(
        (&nostr["ran_out"], &nostr["sent"]),
        (&json!(true), &json!(200))
    );
    engine.stop();
}

#[test]
fn clients_publish_at_a_rate() {
    let (engine, url) = relay(|_| {});
    let load = "--scenario nostr-publish --clients 5 --rate 200 --duration 500ms --warmup 0 \
                --keys 10";
    let (code, report) = report(&url, load);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    assert_eq!(count(&report, "/delivered"), 100);
    assert_eq!(count(&report, "/latency_ns/count"), 100);
    engine.stop();
}

#[test]
fn refused_events_are_reported_by_prefix() {
    let (engine, url) = relay(|settings| settings.events.bytes = 700);
    let load = "--scenario nostr-publish --clients 2 --rate 100 --duration 200ms --warmup 0 \
                --keys 3 --size 900";
    let (code, report) = report(&url, load);
    let nostr = &report["nostr"];
    assert_eq!(
        (code, errors(&report)),
        (3, error("refused", 20)),
        "{report:#}"
    );
    assert_eq!(nostr["refused"].as_array().map(Vec::len), Some(1));
    assert_eq!(nostr["refused"][0]["count"], 20);
    engine.stop();
}

#[test]
fn a_refused_subscription_ends_the_run_with_the_reason() {
    let (engine, url) = relay(|settings| settings.subscriptions_max = 2);
    let output = run(&url, &format!("{FANOUT} --subscriptions 3"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("the relay closed subscription"), "{told}");
    engine.stop();
}

/// Three clients that synchronize with a relay that has 600 events.
const SYNC: &str = "--scenario nostr-sync --clients 3 --events 600 --differences 41 --keys 5 \
                    --warmup 0";

#[test]
fn synchronizing_clients_find_what_their_sets_differ_in() {
    let (engine, url) = relay(|_| {});
    let (code, first) = report(&url, &format!("{SYNC} --duration 500ms --threads 2"));
    assert_eq!((code, errors(&first)), (0, Vec::new()), "{first:#}");
    let nostr = &first["nostr"];
    assert_eq!(
        (&nostr["signed"], &nostr["unanswered"]),
        (&json!(600), &json!(0))
    );
    let ended = count(nostr, "/accepted");
    assert!(
        ended > 0 && count(&first, "/delivered") == ended,
        "{first:#}"
    );
    assert_eq!(count(&first, "/latency_ns/count"), ended);
    // More differences than fit one message of ids.
    assert!(count(nostr, "/syncs/rounds") > ended, "{nostr:#}");
    let digits = ["/syncs/bytes_sent", "/syncs/bytes_received"].map(|path| count(nostr, path));
    assert!(digits.iter().all(|sum| *sum > 1_000 * ended), "{nostr:#}");
    let config = &first["config"]["nostr"];
    assert_eq!(
        (&config["events"], &config["differences"]),
        (&json!(600), &json!(41))
    );
    let (code, second) = report(
        &url,
        &format!("{SYNC} --duration 500ms --rate 20 --window 4"),
    );
    assert_eq!((code, errors(&second)), (0, Vec::new()), "{second:#}");
    assert_eq!(count(&second, "/delivered"), 10);
    engine.stop();
}

#[test]
fn refused_synchronizations_are_reported_by_prefix() {
    let (engine, url) = relay(|settings| settings.sync.events_max = Some(599));
    let (code, report) = report(&url, &format!("{SYNC} --duration 500ms --rate 20"));
    assert_eq!(
        (code, errors(&report)),
        (3, error("refused", 10)),
        "{report:#}"
    );
    let refused = json!([{"prefix": "blocked", "count": 10}]);
    assert_eq!(report["nostr"]["refused"], refused);
    engine.stop();
}

/// The relay forgets what it has acknowledged.
#[test]
fn wrong_differences_are_damaged_answers() {
    let (engine, url) = relay(|settings| settings.memory_events = 300);
    let (code, report) = report(&url, &format!("{SYNC} --duration 500ms --rate 20"));
    assert_eq!(
        (code, errors(&report)),
        (3, error("damaged", 10)),
        "{report:#}"
    );
    engine.stop();
}

#[test]
fn events_that_cannot_be_stored_end_the_run() {
    let (engine, url) = relay(|settings| settings.events.bytes = 100);
    let output = run(&url, SYNC);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("storing events: the relay refused one"),
        "{told}"
    );
    engine.stop();
    for (load, wrong) in [
        ("--scenario nostr-publish --differences 5", "--differences"),
        ("--differences 5", "--differences"),
        ("--scenario nostr-sync --stored --seed 1", "--stored"),
        (
            "--scenario nostr-sync --events 5 --differences 6",
            "--differences",
        ),
    ] {
        let output = run(&url, load);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{load}: {told}");
        assert!(told.contains(wrong), "{load}: {told}");
    }
}

// ---- a stand-in with planted faults ----

/// A correct relay, except for a fault's changes to deliveries and answers.
struct Stand<F> {
    subscriptions: Vec<(usize, String, Filter)>,
    deliveries: u64,
    events: u64,
    fault: F,
}

/// The arguments of a fault.
struct Turn<'a> {
    /// From 1, over all clients; for an answer from 1 over all events.
    number: u64,
    client: usize,
    /// For a delivery.
    name: &'a str,
    event: &'a Event,
    is_answer: bool,
    /// Names of other subscriptions of the same client.
    others: Vec<String>,
}

impl Turn<'_> {
    fn to(&self, name: &str) -> String {
        format!("[\"EVENT\",\"{name}\",{}]", self.event.json())
    }

    fn id(&self) -> String {
        corecast_nostr::to_hex(self.event.id())
    }

    /// The correct messages.
    fn right(&self) -> Vec<String> {
        match self.is_answer {
            true => vec![reply::ok(&self.id(), true, "")],
            false => vec![self.to(self.name)],
        }
    }
}

fn say(hub: &mut Hub, client: usize, text: &str) {
    hub.send(client, &frame(Data::Text, true, text.as_bytes()));
}

impl<F: FnMut(&Turn<'_>) -> Vec<String>> Stand<F> {
    fn hear(&mut self, hub: &mut Hub, message: &Message) {
        let text = std::str::from_utf8(&message.payload).expect("text");
        let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).expect("a list");
        let name = |at: usize| serde_json::from_str::<String>(items[at].get()).expect("a name");
        match &*name(0) {
            "REQ" => {
                let filter = Filter::parse(items[2].get()).expect("a filter");
                self.subscriptions.push((message.from, name(1), filter));
                say(hub, message.from, &json!(["EOSE", name(1)]).to_string());
            }
            "EVENT" => self.publish(hub, message.from, items[1].get()),
            _ => {}
        }
    }

    fn publish(&mut self, hub: &mut Hub, from: usize, json: &str) {
        let parsed = ParsedEvent::parse(json).expect("an event");
        let event = parsed.into_unverified().verify().expect("signed");
        self.events += 1;
        let mut turn = Turn {
            number: self.events,
            client: from,
            name: "",
            event: &event,
            is_answer: true,
            others: Vec::new(),
        };
        for text in (self.fault)(&turn) {
            say(hub, from, &text);
        }
        turn.is_answer = false;
        for (client, name, filter) in &self.subscriptions {
            if !filter.matches(&event) {
                continue;
            }
            self.deliveries += 1;
            let others = self.subscriptions.iter();
            let others = others.filter(|one| one.0 == *client && one.1 != *name);
            let turn = Turn {
                number: self.deliveries,
                client: *client,
                name,
                event: &event,
                is_answer: false,
                others: others.map(|one| one.1.clone()).collect(),
            };
            for text in (self.fault)(&turn) {
                say(hub, *client, &text);
            }
        }
    }
}

/// Loads such a relay.
fn load(
    fault: impl FnMut(&Turn<'_>) -> Vec<String> + Send + 'static,
    arguments: &str,
) -> (i32, Value) {
    let mut stand = Stand {
        subscriptions: Vec::new(),
        deliveries: 0,
        events: 0,
        fault,
    };
    let server = StandIn::with(move |hub, message| stand.hear(hub, message));
    report(&server.url, arguments)
}

/// Replaces the messages of one delivery.
fn at(
    number: u64,
    mut instead: impl FnMut(&Turn<'_>) -> Vec<String>,
) -> impl FnMut(&Turn<'_>) -> Vec<String> {
    move |turn| match turn.number == number && !turn.is_answer {
        true => instead(turn),
        false => turn.right(),
    }
}

#[test]
fn a_faultless_stand_in_is_right() {
    let (code, report) = load(|turn: &Turn<'_>| turn.right(), FANOUT);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    let counts = ["sent", "expected", "delivered", "lost"];
    let counts = counts.map(|name| count(&report, &format!("/{name}")));
    assert_eq!(counts, [EVENTS, DELIVERIES, DELIVERIES, 0]);
}

#[test]
fn an_event_that_is_dropped_is_lost() {
    let (code, report) = load(at(50, |_| Vec::new()), FANOUT);
    assert_eq!((code, errors(&report)), (3, error("lost", 1)), "{report:#}");
    assert_eq!(count(&report, "/delivered"), DELIVERIES - 1);
    assert_eq!(count(&report, "/order/compared"), 3);
    assert_eq!(count(&report, "/latency/untracked"), 1);
}

#[test]
fn an_event_that_comes_twice_is_repeated() {
    let twice = at(50, |turn| [turn.right(), turn.right()].concat());
    let (code, report) = load(twice, FANOUT);
    assert_eq!(
        (code, errors(&report)),
        (3, error("repeated", 1)),
        "{report:#}"
    );
    assert_eq!(count(&report, "/delivered"), DELIVERIES);
}

#[test]
fn an_event_at_a_nonmatching_subscription_is_misrouted() {
    let load_of = "--scenario nostr-fanout --clients 4 --subscriptions 4 --filters tags \
                   --rate 200 --duration 500ms --warmup 0 --keys 5 --seed 3";
    let wrong = at(5, |turn| {
        [turn.right(), vec![turn.to(&turn.others[0])]].concat()
    });
    let (code, report) = load(wrong, load_of);
    assert_eq!(
        (code, errors(&report)),
        (3, error("misrouted", 1)),
        "{report:#}"
    );
    // And one for an unknown subscription.
    let unknown = at(5, |turn| [turn.right(), vec![turn.to("who?")]].concat());
    let (code, report) = load(unknown, load_of);
    assert_eq!(
        (code, errors(&report)),
        (3, error("misrouted", 1)),
        "{report:#}"
    );
}

/// Gives the next delivery to the same client before the one with this number.
fn swapped(number: u64) -> impl FnMut(&Turn<'_>) -> Vec<String> {
    let mut held: Option<(usize, String)> = None;
    move |turn| {
        if turn.is_answer {
            return turn.right();
        }
        if turn.number == number {
            held = Some((turn.client, turn.to(turn.name)));
            return Vec::new();
        }
        let late = held.take_if(|(client, _)| *client == turn.client);
        let late = late.map(|(_, text)| text);
        [turn.right(), Vec::from_iter(late)].concat()
    }
}

#[test]
fn events_of_one_publisher_that_change_places_are_reordered() {
    let (code, report) = load(
        swapped(50),
        &FANOUT.replace("--publishers 2", "--publishers 1"),
    );
    let mut told = error("reordered", 1);
    told.extend(error("order", 1));
    assert_eq!((code, errors(&report)), (3, told), "{report:#}");
    assert_eq!(count(&report, "/delivered"), DELIVERIES);
}

#[test]
fn order_is_compared_between_equal_filters() {
    let (code, report) = load(swapped(50), FANOUT);
    assert_eq!(
        (code, errors(&report)),
        (3, error("order", 1)),
        "{report:#}"
    );
    let order = &report["order"];
    assert_eq!(
        (&order["compared"], &order["differing"]),
        (&json!(4), &json!(1))
    );
}

#[test]
fn a_negative_ok_counts_as_refused_without_deliveries() {
    let refusing = |turn: &Turn<'_>| match (turn.is_answer, turn.number % 50) {
        (true, 0) => vec![reply::ok(&turn.id(), false, "blocked: not you")],
        _ => turn.right(),
    };
    for (scenario, wrong) in [
        ("nostr-publish --clients 4", vec![("refused", 2)]),
        // It is delivered nevertheless.
        (
            "nostr-fanout --clients 4 --filters all",
            vec![("misrouted", 8), ("refused", 2)],
        ),
    ] {
        let arguments =
            format!("--scenario {scenario} --rate 200 --duration 500ms --warmup 0 --keys 5");
        let (code, report) = load(refusing, &arguments);
        let wrong: Vec<_> = wrong
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        assert_eq!((code, errors(&report)), (3, wrong), "{report:#}");
        let refused = json!([{"prefix": "blocked", "count": 2}]);
        assert_eq!(report["nostr"]["refused"], refused);
        assert_eq!(report["nostr"]["texts"][0], "OK false blocked: not you");
    }
}

#[test]
fn an_answer_that_does_not_come_is_lost_or_unanswered() {
    let silent = |turn: &Turn<'_>| match (turn.is_answer, turn.number) {
        (true, 70) => Vec::new(),
        _ => turn.right(),
    };
    let (code, report) = load(silent, FANOUT);
    assert_eq!(
        (code, errors(&report)),
        (3, error("unanswered", 1)),
        "{report:#}"
    );
    let (code, report) = load(silent, PUBLISH);
    assert_eq!((code, errors(&report)), (3, error("lost", 1)), "{report:#}");
}

#[test]
fn events_that_were_acknowledged_and_are_not_there_are_missing() {
    // 60 are kept of 100.
    let (engine, url) = relay(|settings| settings.memory_events = 60);
    let (code, report) = generator::report(&url, PUBLISH);
    let stored = json!({"by": "count", "accepted": 100, "found": 60, "missing": 40});
    assert_eq!(report["nostr"]["stored"], stored);
    assert_eq!((code, errors(&report)), (3, error("missing", 40)));
    engine.stop();
}

#[test]
fn without_count_stored_events_are_queried() {
    // Answers to COUNT and REQ, and the report's conclusion.
    for (knows_count, kept, by, missing) in [
        (true, 30, "count", 70),
        (false, 30, "query", 0),
        (false, 0, "query", 100),
    ] {
        let mut events = Vec::new();
        let server = StandIn::with(move |hub, message| {
            let text = std::str::from_utf8(&message.payload).expect("text");
            let items: Vec<Value> = serde_json::from_str(text).expect("a list");
            let mut answers = Vec::new();
            match items[0].as_str() {
                Some("EVENT") => {
                    let id = items[1]["id"].as_str().expect("an id");
                    answers.push(reply::ok(id, true, ""));
                    events.push(items[1].clone());
                }
                Some("COUNT") if knows_count => {
                    answers.push(json!(["COUNT", items[1], {"count": kept}]).to_string());
                }
                Some("COUNT") => answers.push(reply::notice("unknown command")),
                _ => {
                    let kept = events.iter().take(kept);
                    answers.extend(kept.map(|one| json!(["EVENT", items[1], one]).to_string()));
                    answers.push(json!(["EOSE", items[1]]).to_string());
                }
            }
            for text in answers {
                say(hub, message.from, &text);
            }
        });
        let (_, report) = generator::report(&server.url, PUBLISH);
        let told = json!({"by": by, "accepted": 100, "found": kept, "missing": missing});
        assert_eq!(report["nostr"]["stored"], told, "{report:#}");
    }
}

#[test]
fn the_text_says_what_the_relay_said() {
    let (engine, url) = relay(|_| {});
    let told = |arguments: &str| String::from_utf8(run(&url, arguments).stdout).expect("text");
    let fanout = told(FANOUT);
    for line in [
        "answers     OK true 100   false 0   none 0   notices 0",
        "subscribed  4   different filters 1   closed 0",
        "order       the same at all 4 subscriptions with the same filter",
        "every delivery right",
    ] {
        assert!(fanout.contains(line), "{line}: {fanout}");
    }
    let publish = told(PUBLISH);
    let line = "stored      100 of 100 acknowledged events, by COUNT";
    assert!(publish.contains(line), "{publish}");
    let markdown = told(&format!("{PUBLISH} --output markdown"));
    assert!(markdown.contains("| stored | 100 of 100"), "{markdown}");
    let page = told(&format!("{FANOUT} --output html"));
    assert!(
        page.contains("Answers of the relay") && page.contains("OK true 100"),
        "{page}"
    );
    let log = told(&format!("{FANOUT} --output hdr"));
    assert!(log.contains("Tag=answer,"), "{log}");
    engine.stop();
}

#[test]
fn a_walk_and_repeats_sign_new_events_for_every_run() {
    let (engine, url) = relay(|_| {});
    let (code, repeated) = report(&url, &format!("{PUBLISH} --repeat 2"));
    assert_eq!((code, errors(&repeated)), (0, Vec::new()), "{repeated:#}");
    assert_eq!(count(&repeated, "/sent"), 200);
    let fanout = "--scenario nostr-fanout --clients 4 --publishers 2 --filters all --keys 5 \
                  --duration 200ms --warmup 0 --rate-steps 100,200";
    let (code, walk) = report(&url, fanout);
    assert_eq!((code, errors(&walk)), (0, Vec::new()), "{walk:#}");
    let steps = walk["walk"]["steps"].as_array().expect("a list");
    let sent: Vec<_> = steps.iter().map(|step| count(step, "/sent")).collect();
    assert_eq!(sent, [20, 40]);
    engine.stop();
}

#[test]
fn a_closed_subscription_is_reported_with_its_losses() {
    let mut closed = None;
    let closing = move |turn: &Turn<'_>| match &closed {
        _ if turn.is_answer => turn.right(),
        Some(name) if name == turn.name => Vec::new(),
        None if turn.number == 50 => {
            closed = Some(turn.name.to_owned());
            vec![
                reply::notice("tired"),
                reply::closed(turn.name, "error: too much"),
            ]
        }
        _ => turn.right(),
    };
    let (code, report) = load(closing, FANOUT);
    // Delivery 50 is that of the 13th event.
    let mut told = error("lost", EVENTS - 12);
    told.extend(error("closed", 1));
    assert_eq!((code, errors(&report)), (3, told), "{report:#}");
    let nostr = &report["nostr"];
    assert_eq!(nostr["closed"], json!([{"prefix": "error", "count": 1}]));
    assert_eq!(nostr["notices"], 1);
    assert_eq!(
        nostr["texts"],
        json!(["NOTICE tired", "CLOSED error: too much"])
    );
}

#[test]
fn a_changed_event_is_damaged_and_an_unknown_one_foreign() {
    let changed = at(50, |turn| {
        let text = turn.to(turn.name);
        let from = text.find("\"content\":\"").expect("a content") + 12;
        vec![format!("{}~{}", &text[..from], &text[from + 1..])]
    });
    let (code, report) = load(changed, FANOUT);
    assert_eq!(
        (code, errors(&report)),
        (3, error("damaged", 1)),
        "{report:#}"
    );
    let signer = corecast_nostr::Signer::new([7; 32]).expect("a key");
    let other = signer.sign(corecast_nostr::Draft::default());
    let foreign = at(50, move |turn| {
        let text = format!("[\"EVENT\",\"{}\",{}]", turn.name, other.json());
        [vec![text, "[\"AUTH\",\"who\"]".to_owned()], turn.right()].concat()
    });
    let (code, report) = load(foreign, FANOUT);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    assert_eq!(count(&report, "/foreign"), 2);
}

#[test]
fn a_relay_that_writes_events_in_its_own_way_is_right() {
    let own_way = |turn: &Turn<'_>| match turn.is_answer {
        true => turn.right(),
        false => {
            let event: Value = serde_json::from_str(turn.event.json()).expect("JSON");
            vec![serde_json::to_string_pretty(&json!(["EVENT", turn.name, event])).expect("JSON")]
        }
    };
    let (code, report) = load(own_way, FANOUT);
    assert_eq!((code, errors(&report)), (0, Vec::new()), "{report:#}");
    assert_eq!(count(&report, "/delivered"), DELIVERIES);
}

// ---- the command line ----

#[test]
fn options_that_do_not_fit_are_refused() {
    for arguments in [
        "--subscriptions 2",
        "--filters all",
        "--keys 3",
        "--authors 3",
        "--events 3",
        "--scenario nostr-publish --subscriptions 1",
        "--scenario nostr-publish --publishers 1",
        "--scenario nostr-fanout --events 10",
        "--scenario nostr-fanout --subscriptions 0",
        "--scenario nostr-fanout --churn 10/s",
        "--scenario nostr-fanout --rooms 2",
        "--scenario nostr-fanout --size 100",
        "--scenario nostr-fanout --rate 1000000 --duration 100s",
    ] {
        let output = run("ws://127.0.0.1:1/", arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {told}");
        assert!(told.contains("--"), "{arguments}: {told}");
    }
}
