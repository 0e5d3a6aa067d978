//! Plain requests that go astray on the relaying port.

use std::net::SocketAddr;

use base64::Engine as _;
use corecast::config::{Config, EndpointConfig, EndpointKind};
use ring::digest::{SHA256, digest};

use crate::http::{Client, Reply, ask};
use crate::{Relay, config, try_join};

/// The Accept header of browsers.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

fn ask_with(to: SocketAddr, method: &str, path: &str, headers: &str) -> Reply {
    let mut client = Client::connect(to);
    let request = format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
    client.send(request.as_bytes());
    client.reply(method)
}

fn front_page(config: &Config) -> Reply {
    let relay = Relay::start(config);
    ask_with(relay.main, "GET", "/", BROWSER)
}

#[test]
fn only_browsers_get_the_front_page_at_the_root() {
    let relay = Relay::start(&config());
    let page = ask_with(relay.main, "GET", "/", BROWSER);
    assert_eq!(page.status, 200);
    let html = Some("text/html; charset=utf-8");
    assert_eq!(page.header("Content-Type"), html);
    assert_eq!(page.header("Vary"), Some("Accept"));
    for part in [
        "<!doctype html>",
        "/**",
        "/ws/{username}",
        "pages.enabled",
        "admin port",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let head = ask_with(relay.main, "HEAD", "/", BROWSER);
    assert_eq!((head.status, head.header("Content-Type")), (200, html));
    for (method, headers) in [
        ("GET", ""),
        ("GET", "Accept: */*\r\n"),
        ("GET", "Accept: application/json\r\n"),
    ] {
        let reply = ask_with(relay.main, method, "/", headers);
        assert_eq!(reply.status, 426, "{headers}");
        assert_eq!(reply.header("Upgrade"), Some("websocket"));
    }
    assert_eq!(ask_with(relay.main, "POST", "/", BROWSER).status, 405);
    // Other paths are rooms for browsers too, and so is this one.
    assert_eq!(ask_with(relay.main, "GET", "/room", BROWSER).status, 426);
    assert!(try_join(relay.main, "/").is_ok());
}

#[test]
fn the_front_page_loads_nothing_and_has_a_strict_policy() {
    let page = front_page(&config());
    let policy = page.header("Content-Security-Policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let style = page.body.split_once("<style>").expect("a style").1;
    let style = style.split_once("</style>").expect("its end").0;
    let hash = digest(&SHA256, style.as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(hash);
    assert!(policy.contains(&format!("style-src 'sha256-{hash}'")));
    for other in ["script-src", "connect-src", "unsafe"] {
        assert!(!policy.contains(other), "{policy}");
    }
    for loaded in ["src=", "<script", "@import", "url(", "style="] {
        assert!(!page.body.contains(loaded), "{loaded}");
    }
    let linked: Vec<&str> = page.body.split("<link ").skip(1).collect();
    assert!(linked.iter().all(|link| link.contains("href=\"data:,\"")));
}

#[test]
fn the_front_page_lists_open_services_but_no_path_with_a_key() {
    let mut config = config();
    config.pages.enabled = true;
    let page = front_page(&config);
    assert!(page.body.contains("href=\"/demo/\""), "{}", page.body);
    config.auth.keys = Some(vec!["a-key-of-0123456789".parse().expect("a key")]);
    let page = front_page(&config);
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("/ws/{username}"), "{}", page.body);
    assert!(page.body.contains("Need a key or a token"), "{}", page.body);
}

#[test]
fn a_service_at_the_root_keeps_it() {
    let mut config = config();
    let nostr = EndpointConfig::new(EndpointKind::Nostr, "/");
    config.endpoints.insert("nostr".to_owned(), nostr);
    let page = front_page(&config);
    assert!(!page.body.contains("<h2>Connect</h2>"), "{}", page.body);
    // Without an endpoint there the page is of more use than that nothing is there.
    let mut config = crate::config();
    config.endpoints.get_mut("hub").expect("a hub").enabled = false;
    let page = front_page(&config);
    assert!(page.body.contains("<h2>Connect</h2>"), "{}", page.body);
}

#[test]
fn a_misspelt_path_of_the_api_is_told_the_nearest_one() {
    let mut config = config();
    let push = config.endpoints.get_mut("push").expect("it is built in");
    push.push_path = Some("/back/push".to_owned());
    let below = EndpointConfig::new(EndpointKind::Hub, "/api/rooms/**");
    config.endpoints.insert("below".to_owned(), below);
    let relay = Relay::start(&config);
    for (path, nearest) in [
        ("/api/publsh", Some("/api/publish")),
        ("/api/Info", Some("/api/info")),
        ("/api/room", Some("/api/rooms")),
        ("/back/pusj", Some("/back/push")),
        ("/back/push/pendin", Some("/back/push/pending")),
        ("/api/something/else/altogether", None),
        ("/api", None),
        ("/api/", None),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let reply = ask_with(relay.main, method, path, "Content-Length: 0\r\n");
            assert_eq!(reply.status, 404, "{method} {path}");
            assert_eq!(reply.header("Content-Type"), Some("application/json"));
            let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
            assert_eq!(body["code"], "not_found");
            let told = body["error"].as_str().expect("a text");
            match nearest {
                Some(nearest) => assert!(told.contains(&format!("mean {nearest}?")), "{told}"),
                None => assert!(!told.contains("mean"), "{told}"),
            }
        }
        assert!(try_join(relay.main, path).is_ok(), "{path} is a room");
    }
    // An endpoint of somebody's own below the API's folder, and rooms elsewhere.
    for path in ["/api/rooms/a", "/apis/x", "/publsh"] {
        assert_eq!(ask(relay.main, "GET", path).status, 426, "{path}");
    }
    assert_eq!(ask(relay.main, "GET", "/api/info").status, 401);
}

#[test]
fn the_main_port_names_admin_paths_and_disabled_services() {
    let mut config = config();
    config.api.enabled = false;
    let relay = Relay::start(&config);
    for (path, hint) in [
        ("/metrics", "the admin port"),
        ("/dashboard", "the admin port"),
        ("/dashboard/snapshot", "the admin port"),
        ("/demo", "pages.enabled"),
        ("/demo/chat.html", "pages.enabled"),
        ("/api/publish", "api.enabled"),
    ] {
        let reply = ask(relay.main, "GET", path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.body.contains(hint), "{path}: {}", reply.body);
        assert!(try_join(relay.main, path).is_ok(), "{path} is a room");
    }
    let mut named = crate::config();
    named.metrics.port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let port = named.metrics.port.to_string();
    let relay = Relay::start(&named);
    assert!(ask(relay.main, "GET", "/metrics").body.contains(&port));
}
