//! The pages below `/demo/`.

use crate::http::{Client, ask};
use crate::{Relay, config, try_join};

fn relay() -> Relay {
    let mut config = config();
    config.pages.enabled = true;
    Relay::start(&config)
}

#[test]
fn the_pages_are_served_with_their_types_and_a_strict_policy() {
    let relay = relay();
    for (path, media_type, begins) in [
        ("", "text/html; charset=utf-8", "<!doctype html>"),
        ("index.html", "text/html; charset=utf-8", "<!doctype html>"),
        ("chat.html", "text/html; charset=utf-8", "<!doctype html>"),
        ("audio.html", "text/html; charset=utf-8", "<!doctype html>"),
        ("push.html", "text/html; charset=utf-8", "<!doctype html>"),
        ("assets/look.css", "text/css; charset=utf-8", "/* "),
        (
            "assets/worklets.js",
            "text/javascript; charset=utf-8",
            "'use strict';",
        ),
        ("assets/icon.svg", "image/svg+xml", "<svg "),
    ] {
        let reply = ask(relay.main, "GET", &format!("/demo/{path}"));
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("Content-Type"), Some(media_type), "{path}");
        assert!(reply.body.starts_with(begins), "{path}: {}", reply.body);
        let policy = reply.header("Content-Security-Policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(reply.header("Cache-Control"), Some("no-cache"));
    }
}

#[test]
fn a_cached_page_gets_304() {
    let relay = relay();
    let mut client = Client::connect(relay.main);
    let reply = client.ask("GET", "/demo/chat.html");
    let etag = reply.header("ETag").expect("a tag").to_owned();
    let other = client.ask("GET", "/demo/push.html");
    assert_ne!(other.header("ETag"), Some(&*etag));
    for (known, status) in [
        (&*etag, 304),
        ("*", 304),
        (&*format!("\"x\", W/{etag}"), 304),
        ("\"x\"", 200),
    ] {
        let head = format!(
            "GET /demo/chat.html HTTP/1.1\r\nHost: relay\r\nIf-None-Match: {known}\r\n\r\n"
        );
        client.send(head.as_bytes());
        // A 304 has no body, nor a length (RFC 9110 §15.4.5).
        let reply = client.reply(if status == 304 { "HEAD" } else { "GET" });
        assert_eq!(reply.status, status, "{known}");
        assert_eq!(reply.header("ETag"), Some(&*etag), "{known}");
    }
}

#[test]
fn the_head_alone_has_the_length_of_the_page() {
    let relay = relay();
    let page = ask(relay.main, "GET", "/demo/chat.html");
    let head = ask(relay.main, "HEAD", "/demo/chat.html");
    assert_eq!((head.status, &*head.body), (200, ""));
    for name in ["Content-Length", "Content-Type", "ETag"] {
        assert_eq!(head.header(name), page.header(name), "{name}");
    }
}

#[test]
fn below_the_pages_there_is_nothing_else() {
    let relay = relay();
    for path in ["x", "chat", "assets/", "assets/../chat.html", "chat.html/"] {
        let reply = ask(relay.main, "GET", &format!("/demo/{path}"));
        assert_eq!(reply.status, 404, "{path}");
    }
    let moved = ask(relay.main, "GET", "/demo");
    assert_eq!(
        (moved.status, moved.header("Location")),
        (308, Some("/demo/"))
    );
    for path in ["/demo", "/demo/", "/demo/x"] {
        assert_eq!(try_join(relay.main, path).err(), Some(400), "{path}");
        assert_eq!(ask(relay.main, "POST", path).status, 405, "{path}");
    }
}

#[test]
fn paths_of_disabled_pages_are_rooms_with_a_hint() {
    let relay = Relay::start(&config());
    let reply = ask(relay.main, "GET", "/demo/");
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("pages.enabled"), "{reply:?}");
    assert!(try_join(relay.main, "/demo/chat.html").is_ok());
}
