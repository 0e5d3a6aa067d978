//! Plain HTTP requests to the path.

use corecast_nostr::RelayUrls;
use serde_json::{Value, json};

use crate::Relay;
use crate::support::client::{Answer, Client};

pub(crate) fn ask(relay: &Relay, method: &str, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(relay.server.address);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
    client.send(request.as_bytes());
    match method {
        "HEAD" => client.answer_to_head(),
        _ => client.answer(),
    }
}

#[test]
fn the_information_document_says_what_the_settings_do() {
    let relay = Relay::with(1, |settings| {
        settings.info.name = Some("A relay".to_owned());
        settings.info.self_key = Some("ab".repeat(32));
        settings.urls = RelayUrls::new(vec!["wss://relay.example/nostr".to_owned()]);
        settings.events.pow = 8;
        settings.events.content_chars = Some(1_000);
        settings.queries.limit_max = 77;
        settings.filter_syntax.and_tags = true;
        settings.auth_read = true;
    });
    for accept in [
        "application/nostr+json",
        "APPLICATION/Nostr+JSON;q=0.9",
        "text/html, application/nostr+json ; x=y",
    ] {
        let answer = ask(&relay, "GET", "/nostr", &format!("Accept: {accept}\r\n"));
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/nostr+json"))
        );
        let document: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(document["name"], "A relay");
        assert_eq!(document["self"], "ab".repeat(32));
        assert_eq!(
            document["supported_nips"],
            json!([1, 9, 11, 13, 40, 42, 45, 59, 62, 67, 70, 77, 91])
        );
        assert!(document.get("description").is_none());
        let limitation = &document["limitation"];
        assert_eq!(limitation["max_limit"], 77);
        assert_eq!(limitation["max_message_length"], 512_000);
        assert_eq!(limitation["max_content_length"], 1_000);
        assert_eq!(limitation["min_pow_difficulty"], 8);
        assert_eq!(limitation["auth_required"], true);
    }
    let plain = Relay::start();
    let answer = ask(
        &plain,
        "GET",
        "/nostr",
        "Accept: application/nostr+json\r\n",
    );
    let document: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(
        document["supported_nips"],
        json!([1, 9, 11, 40, 45, 62, 67, 77])
    );
}

#[test]
fn people_see_a_page_and_other_pages_may_read_it_all() {
    let relay = Relay::with(1, |settings| {
        settings.info.name = Some("<b>Bold</b>".to_owned());
    });
    let page = ask(&relay, "GET", "/nostr", "Accept: text/html\r\n");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let text = String::from_utf8(page.body.clone()).expect("text");
    assert!(
        text.contains("&lt;b&gt;Bold&lt;/b&gt;") && !text.contains("<b>"),
        "{text}"
    );
    let options = ask(&relay, "OPTIONS", "/nostr", "");
    let head = ask(
        &relay,
        "HEAD",
        "/nostr",
        "Accept: application/nostr+json\r\n",
    );
    let post = ask(
        &relay,
        "POST",
        "/nostr",
        "Content-Type: text/plain\r\nContent-Length: 1\r\n",
    );
    assert_eq!((options.status, head.status, post.status), (204, 200, 415));
    for answer in [page, options, head, post] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert!(
            answer
                .header("access-control-allow-headers")
                .is_some_and(|h| h.contains("Authorization"))
        );
        assert!(
            answer
                .header("access-control-allow-methods")
                .is_some_and(|m| m.contains("GET"))
        );
        assert_eq!(answer.header("vary"), Some("Accept"));
    }
    assert_eq!(ask(&relay, "GET", "/nostr/x", "").status, 404);
    assert_eq!(ask(&relay, "PUT", "/nostr", "").status, 405);
}

#[test]
fn an_upgrade_of_any_case_is_a_websocket() {
    let relay = Relay::start();
    let mut client = Client::connect(relay.server.address);
    client.send(
        b"GET /nostr HTTP/1.1\r\nHost: relay\r\nconnection: UPGRADE\r\nupgrade: WebSocket\r\n\
          accept: application/nostr+json\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.answer_to_head().status, 101);
}
