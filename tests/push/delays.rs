//! Delayed pushes: their time and receivers, and how they are listed, cancelled and limited.

use corecast::config::{EndpointConfig, EndpointKind};

use crate::support::client::Answer;
use crate::support::eventually;
use crate::{KEY, Relay, ask, config, frame, now_ms, push_of, split_ts};

fn delayed(event: &str, seconds: u64, token: &str) -> String {
    format!("{{\"event_name\":\"{event}\",\"delay_seconds\":{seconds},\"token\":\"{token}\"}}")
}

fn text(answer: Answer) -> String {
    String::from_utf8(answer.body).expect("UTF-8")
}

/// The numbers of the pushes in an answer, in order.
fn ids(body: &str) -> Vec<String> {
    let parts = body.split("\"id\":\"").skip(1);
    parts
        .filter_map(|part| Some(part.split_once('"')?.0.to_owned()))
        .collect()
}

/// Pushes and returns the push's number.
fn schedule(relay: &Relay, body: &str) -> String {
    let answer = relay.push(body);
    assert_eq!(answer.status, 200, "{answer:?}");
    ids(&text(answer)).remove(0)
}

#[test]
fn a_delayed_push_reaches_the_clients_connected_when_due() {
    let relay = Relay::default();
    let mut late = relay.join("");
    let began_ms = now_ms();
    let answer = text(relay.push(&delayed("e", 1, "me")));
    let id = ids(&answer).remove(0);
    let expected = format!(
        "{{\"code\":0,\"msg\":\"ok\",\"data\":{{\"event_name\":\"e\",\"delay_seconds\":1,\
         \"target_user_id\":\"me\",\"broadcast\":false,\"parsed_user_raw\":\"me\",\"queued\":0,\
         \"id\":\"{id}\"}}}}"
    );
    assert_eq!(answer, expected);
    late.text("{\"event\":\"identify\",\"data\":{\"token\":\"me\"}}");
    let (got, ts) = split_ts(&late.expect_text());
    assert_eq!(got, frame("\"e\"", "null", "\"me\""));
    assert!(ts >= began_ms + 1_000, "the time is that of sending");
    assert!(now_ms() >= ts);
    eventually("it is counted", || {
        relay.metric("corecast_pushes_ended_total{result=\"sent\"}") == 1.0
    });
    assert_eq!(relay.metric("corecast_pushes_total{kind=\"delayed\"}"), 1.0);
    assert_eq!(relay.metric("corecast_pushes_pending"), 0.0);
    assert_eq!(relay.metric("corecast_pushes_pending_bytes"), 0.0);
}

#[test]
fn pending_pushes_are_listed_and_can_be_cancelled() {
    let relay = Relay::default();
    let mut me = relay.join("me");
    let before_ms = now_ms();
    let gone = schedule(&relay, &delayed("gone", 1, "me"));
    let all = schedule(
        &relay,
        "{\"event_name\":\"\\\"all\\\"\",\"delay_seconds\":2}",
    );
    let list = relay.ask("GET", "/api/push/pending", "");
    assert_eq!(list.header("content-type"), Some("application/json"));
    let list = text(list);
    let due = |body: &str, event: &str| -> u64 {
        let (before, _) = body.split_once(event).expect("it is listed");
        let digits = before.rsplit_once("\"due_ms\":").expect("a time").1;
        digits
            .split_once(',')
            .expect("more")
            .0
            .parse()
            .expect("a number")
    };
    let (due_gone, due_all) = (due(&list, "\"gone\""), due(&list, "\\\"all\\\""));
    assert!((before_ms + 1_000..=now_ms() + 1_000).contains(&due_gone));
    assert!(due_all > due_gone);
    let expected = format!(
        "{{\"code\":0,\"msg\":\"ok\",\"data\":{{\"pending\":[{{\"id\":\"{gone}\",\"due_ms\":\
         {due_gone},\"event_name\":\"gone\",\"target_user_id\":\"me\",\"broadcast\":false}},\
         {{\"id\":\"{all}\",\"due_ms\":{due_all},\"event_name\":\"\\\"all\\\"\",\
         \"target_user_id\":\"\",\"broadcast\":true}}],\"count\":2,\"next\":null}}}}"
    );
    assert_eq!(list, expected);
    let one = format!("/api/push/pending/{gone}");
    let cancelled = text(relay.ask("DELETE", &one, ""));
    let expected = format!("{{\"code\":0,\"msg\":\"ok\",\"data\":{{\"id\":\"{gone}\"}}}}");
    assert_eq!(cancelled, expected);
    let again = relay.ask("DELETE", &one, "");
    let expected = b"{\"code\":-1,\"msg\":\"no such pending push\"}";
    assert_eq!((again.status, &*again.body), (404, &expected[..]));
    assert_eq!(relay.metric("corecast_pushes_pending"), 1.0);
    assert_eq!(
        relay.metric("corecast_pushes_ended_total{result=\"cancelled\"}"),
        1.0
    );
    // The one that was due first never comes.
    let (got, _) = split_ts(&me.expect_text());
    assert_eq!(got, frame("\"\\\"all\\\"\"", "null", "null"));
    me.round_trip();
}

#[test]
fn a_long_list_comes_in_pages() {
    let relay = Relay::default();
    let batch = vec![delayed("e", 3_600, "me"); 5].join(",");
    let accepted = ids(&text(relay.push(&format!("[{batch}]"))));
    assert_eq!(accepted.len(), 5);
    let mut listed = Vec::new();
    let mut after = String::new();
    for page in [2, 2, 1] {
        let body = text(relay.ask("GET", &format!("/api/push/pending?limit=2{after}"), ""));
        assert!(body.contains("\"count\":5"), "{body}");
        assert_eq!(ids(&body).len(), page);
        listed.extend(ids(&body));
        after = format!("&after={}", listed.last().expect("one"));
        let next = match listed.len() {
            5 => "\"next\":null".to_owned(),
            _ => format!("\"next\":\"{}\"", listed.last().expect("one")),
        };
        assert!(body.contains(&next), "{body}");
    }
    assert_eq!(listed, accepted);
    for bad in ["limit=0", "limit=x", "limit=-1", "after=x", "limit="] {
        let answer = relay.ask("GET", &format!("/api/push/pending?{bad}"), "");
        assert_eq!(
            answer.body, b"{\"code\":-1,\"msg\":\"invalid query\"}",
            "{bad}"
        );
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[test]
fn pages_are_limited_in_size_without_omissions() {
    let relay = Relay::default();
    let name = "n".repeat(600_000);
    let accepted: Vec<String> = (0..5)
        .map(|_| schedule(&relay, &delayed(&name, 3_600, "me")))
        .collect();
    let (mut listed, mut after) = (Vec::new(), String::new());
    for page in [2, 2, 1] {
        let body = text(relay.ask("GET", &format!("/api/push/pending?{after}"), ""));
        assert_eq!(ids(&body).len(), page);
        listed.extend(ids(&body));
        after = format!("after={}", listed.last().expect("one"));
        assert_eq!(body.ends_with("\"next\":null}}"), page == 1);
    }
    assert_eq!(listed, accepted);
}

#[test]
fn everything_about_pending_pushes_needs_the_key_and_its_method() {
    let relay = Relay::default();
    let id = schedule(&relay, &delayed("e", 3_600, "me"));
    let one = format!("/api/push/pending/{id}");
    for (method, path) in [("GET", "/api/push/pending"), ("DELETE", &one)] {
        let answer = ask(relay.address, method, path, "API-KEY: wrong\r\n", "");
        assert_eq!(
            (answer.status, answer.body.len()),
            (401, 35),
            "{method} {path}"
        );
        let target = format!("{path}?api_key={KEY}");
        let answer = ask(relay.address, "PATCH", &target, "", "");
        assert_eq!(answer.status, 405, "{path}");
    }
    let methods = |path: &str| {
        let answer = relay.ask("POST", path, "{}");
        (answer.status, answer.header("allow").map(str::to_owned))
    };
    let allow = |methods: &str| (405, Some(methods.to_owned()));
    assert_eq!(methods("/api/push/pending"), allow("GET, HEAD, OPTIONS"));
    assert_eq!(methods(&one), allow("DELETE, OPTIONS"));
    assert_eq!(relay.ask("HEAD", "/api/push/pending", "").status, 200);
    for path in [
        "/api/push/pending/x",
        "/api/push/pending/-1",
        "/api/push/pending/1%20",
    ] {
        assert_eq!(relay.ask("DELETE", path, "").status, 404, "{path}");
    }
    assert_eq!(relay.metric("corecast_pushes_pending"), 1.0);
}

#[test]
fn pending_pushes_are_bounded_in_number_and_taken_all_or_none() {
    let mut config = config();
    push_of(&mut config).pending_max = 3;
    let relay = Relay::start(&config);
    let mut me = relay.join("me");
    let full = |body: &str| {
        let answer = relay.push(body);
        let expected = b"{\"code\":-1,\"msg\":\"too many pending pushes\"}";
        assert_eq!((answer.status, &*answer.body), (503, &expected[..]));
        assert_eq!(answer.header("retry-after"), Some("1"));
    };
    let push = delayed("e", 3_600, "me");
    let id = schedule(&relay, &push);
    // Not even the immediate part is sent if there is no room for the rest.
    let now = "{\"event_name\":\"now\",\"token\":\"me\"}";
    full(&format!("[{now},{push},{push},{push}]"));
    me.round_trip();
    assert_eq!(relay.push(&format!("[{now},{push},{push}]")).status, 200);
    me.expect_text();
    full(&push);
    assert_eq!(
        relay
            .ask("DELETE", &format!("/api/push/pending/{id}"), "")
            .status,
        200
    );
    schedule(&relay, &push);
    full(&push);
    assert_eq!(relay.metric("corecast_pushes_pending"), 3.0);
    let refused = "corecast_push_requests_refused_total{reason=\"full\"}";
    assert_eq!(relay.metric(refused), 3.0);
}

#[test]
fn pending_pushes_are_bounded_in_memory_and_in_delay() {
    let mut config = config();
    push_of(&mut config).pending_bytes = 10_000;
    push_of(&mut config).delay_max = std::time::Duration::from_secs(60);
    let relay = Relay::start(&config);
    let large = |bytes: usize| {
        let subject = "x".repeat(bytes);
        format!("{{\"event_name\":\"e\",\"delay_seconds\":60,\"subject\":\"{subject}\"}}")
    };
    assert_eq!(relay.push(&large(10_000)).status, 503);
    assert_eq!(relay.push(&large(9_000)).status, 200);
    assert_eq!(relay.push(&large(9_000)).status, 503);
    let too_long = "{\"code\":-1,\"msg\":\"delay_seconds is too large\"";
    for seconds in ["61", "9223372036854775807"] {
        let body = delayed("e", 0, "me").replace(":0,", &format!(":{seconds},"));
        let answer = relay.push(&body);
        assert_eq!(answer.status, 400, "{seconds}");
        assert_eq!(text(answer), format!("{too_long}}}"), "{seconds}");
        let answer = relay.push(&format!("[{},{body}]", delayed("e", 1, "me")));
        assert_eq!(
            text(answer),
            format!("{too_long},\"index\":1}}"),
            "{seconds}"
        );
    }
}

#[test]
fn many_that_are_due_at_once_all_come_in_their_order() {
    const BATCHES: usize = 5;
    let relay = Relay::default();
    let mut me = relay.join("me");
    for batch in 0..BATCHES {
        let pushes: Vec<String> = (0..1_000)
            .map(|number| delayed(&format!("{}", batch * 1_000 + number), 1, "me"))
            .collect();
        assert_eq!(relay.push(&format!("[{}]", pushes.join(","))).status, 200);
    }
    for number in 0..BATCHES * 1_000 {
        let (got, _) = split_ts(&me.expect_text());
        assert_eq!(got, frame(&format!("\"{number}\""), "null", "\"me\""));
    }
}

#[test]
fn pending_pushes_of_endpoints_are_limited_separately() {
    let mut config = config();
    let mut other = EndpointConfig::new(EndpointKind::Push, "/other");
    other.push_path = Some("/api/other".to_owned());
    for endpoint in [push_of(&mut config), &mut other] {
        endpoint.pending_max = 1;
        endpoint.pending_bytes = 1_000;
    }
    config.endpoints.insert("other".to_owned(), other);
    let relay = Relay::start(&config);
    let push = delayed("e", 3_600, "me");
    for (path, status) in [
        ("/api/push", 200),
        ("/api/push", 503),
        ("/api/other", 200),
        ("/api/other", 503),
    ] {
        assert_eq!(relay.ask("POST", path, &push).status, status, "{path}");
    }
    assert_eq!(relay.metric("corecast_pushes_pending"), 2.0);
}
