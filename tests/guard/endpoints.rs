//! A token's user and rooms, enforced by endpoints other than the hub, in a relay built from a
//! configuration.

use corecast::config::{Config, EndpointConfig, EndpointKind};
use corecast::engine::CloseReason;
use corecast::guard::Secret;
use corecast::guard::token::NewToken;
use corecast::guard::{self, Pattern};

use super::support::client::{Answer, Client};
use super::support::{Server, config};
use super::{SECRET, ask, closed, open, plain_token, refused, signed};

/// All kinds of endpoints, which require tokens by [`SECRET`].
fn relay() -> Server {
    let mut config: Config = config(2);
    config.auth.jwt.secret = Some(Secret::new(SECRET));
    let pubsub = EndpointConfig::new(EndpointKind::PubSub, "/pubsub");
    config.endpoints.insert("pubsub".to_owned(), pubsub);
    Server::relay(&config)
}

fn token(user: &str, read: &[&str], write: &[&str]) -> String {
    let patterns = |texts: &[&str]| -> Vec<Pattern> {
        let texts = texts.iter();
        texts.map(|text| text.parse().expect("a pattern")).collect()
    };
    signed(&NewToken {
        user: Some(user.to_owned()),
        rooms: Some((patterns(read), patterns(write))),
        ..plain_token()
    })
}

fn status(server: &Server, path: &str, token: &str) -> u16 {
    ask(server, path, &super::bearer(token)).1.status
}

#[test]
fn a_name_is_for_its_user_alone() {
    let server = relay();
    let ada = signed(&plain_token());
    assert_eq!(status(&server, "/ws/bob", &ada), 403);
    assert_eq!(refused(&server, guard::FORBIDDEN), 1);
    let mut bob = open(&server, "/ws/bob", &token("bob", &["/"], &["/"]));
    let mut ada = open(&server, "/ws/ada", &ada);
    ada.text("from ada");
    assert_eq!(bob.expect_text(), "from ada");
    bob.text("from bob");
    assert_eq!(ada.expect_text(), "from bob");
}

#[test]
fn a_token_without_a_name_is_for_no_user_and_a_key_for_any() {
    const KEY: &str = "a-key-of-0123456789";
    let mut config: Config = config(1);
    config.auth.jwt.secret = Some(Secret::new(SECRET));
    config.auth.keys = Some(vec![KEY.parse().expect("a key")]);
    let server = Server::relay(&config);
    for (number, user) in [(1, None), (2, Some(String::new()))] {
        let token = signed(&NewToken {
            user,
            ..plain_token()
        });
        assert_eq!(status(&server, "/ws/bob", &token), 403);
        assert_eq!(refused(&server, guard::FORBIDDEN), number);
        // An endpoint without names accepts it.
        assert_eq!(status(&server, "/room", &token), 101);
    }
    let key = format!("X-API-Key: {KEY}\r\n");
    let (_bob, answer) = ask(&server, "/ws/bob", &key);
    assert_eq!(answer.status, 101);
}

#[test]
fn guard_refusals_carry_the_endpoints_cors_headers() {
    let server = relay();
    for (path, headers, status) in [
        ("/ws/ada", "", 401),
        ("/ws/ada", "Authorization: Bearer x\r\n", 401),
    ] {
        let (_client, answer) = ask(&server, path, headers);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"));
    }
}

#[test]
fn a_user_may_be_let_read_or_write_alone() {
    let server = relay();
    let mut reader = open(&server, "/ws/reader", &token("reader", &["/"], &[]));
    let mut writer = open(&server, "/ws/writer", &token("writer", &[], &["/"]));
    let mut other = open(&server, "/ws/ada", &signed(&plain_token()));
    assert_eq!(
        status(&server, "/ws/bob", &token("bob", &["/x"], &["/x"])),
        403
    );
    writer.text("one way");
    assert_eq!(reader.expect_text(), "one way");
    assert_eq!(other.expect_text(), "one way");
    reader.text("no");
    assert_eq!(reader.expect_close(1008), "auth: not allowed");
    reader.close(1008);
    reader.expect_end();
    assert_eq!(closed(&server, &CloseReason::Forbidden), 1);
    // No other message came before its pong.
    other.text("for nobody");
    other.round_trip();
    writer.round_trip();
}

#[test]
fn a_group_of_pushes_is_for_those_who_may_read_it() {
    let server = relay();
    let ada = token("ada", &["orders-*"], &[]);
    assert_eq!(status(&server, "/ws?token=secrets", &ada), 403);
    assert_eq!(refused(&server, guard::FORBIDDEN), 1);
    let _in_its_group = open(&server, "/ws?token=orders-7", &ada);
    let mut later = open(&server, "/ws", &ada);
    later.text(r#"{"event":"identify","data":{"token":"orders-8"}}"#);
    later.round_trip();
    later.text(r#"{"event":"identify","data":{"token":"secrets"}}"#);
    assert_eq!(later.expect_close(1008), "auth: not allowed");
}

#[test]
fn a_room_of_pubsub_is_for_those_who_may_read_or_write_it() {
    let server = relay();
    let token = token("ada", &["news", "chat/*"], &["chat/*"]);
    let mut ada = open(&server, "/pubsub", &token);
    let forbidden = concat!(
        r#"{"type":"error","id":1,"code":"forbidden","#,
        r#""error":"this client may not do that in this room"}"#
    );
    for (request, answer) in [
        (
            r#"{"type":"subscribe","room":"news","id":1}"#,
            r#"{"type":"ok","id":1,"members":1}"#,
        ),
        (
            r#"{"type":"publish","room":"news","data":1,"id":1}"#,
            forbidden,
        ),
        (
            r#"{"type":"subscribe","room":"salaries","id":1}"#,
            forbidden,
        ),
        (
            r#"{"type":"publish","room":"chat/a","data":1,"id":1}"#,
            r#"{"type":"ok","id":1}"#,
        ),
        (
            r#"{"type":"subscribe","room":"chat/a","id":1}"#,
            r#"{"type":"ok","id":1,"members":1}"#,
        ),
    ] {
        ada.text(request);
        assert_eq!(ada.expect_text(), answer, "{request}");
    }
}

/// The answer to a plain request.
fn plain(server: &Server, method: &str, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(server.address);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n").as_bytes());
    client.answer()
}

#[test]
fn unauthorised_clients_cannot_list_users() {
    let server = relay();
    let ada = signed(&plain_token());
    let _ada = open(&server, "/ws/ada", &ada);
    let bob = token("bob", &["/"], &["/"]);
    for path in ["/ws/ada", "/ws/nobody"] {
        for (headers, status, code) in [
            (String::new(), 401, "no_credentials"),
            (super::bearer("x"), 401, "token_malformed"),
            (super::bearer(&bob), 403, "forbidden"),
        ] {
            let answer = plain(&server, "GET", path, &headers);
            assert_eq!(answer.status, status, "{path} {code}");
            let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(body["code"], code, "{path}");
            assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"));
        }
    }
    for refusal in [
        guard::NO_CREDENTIALS,
        guard::TOKEN_MALFORMED,
        guard::FORBIDDEN,
    ] {
        assert_eq!(refused(&server, refusal), 2, "{}", refusal.label());
    }
    // An authorised client is told why its WebSocket is refused; and everyone may ask for the
    // requests that pages make.
    assert_eq!(
        plain(&server, "GET", "/ws/ada", &super::bearer(&ada)).status,
        409
    );
    assert_eq!(
        plain(&server, "GET", "/ws/bob", &super::bearer(&bob)).status,
        426
    );
    assert_eq!(plain(&server, "OPTIONS", "/ws/ada", "").status, 200);
}

#[test]
fn every_refusal_of_a_guarded_endpoint_is_json_with_its_code() {
    let server = relay();
    let stranger = token("ada", &["/x"], &["/x"]);
    for (path, headers, status, code) in [
        ("/ws/ada", String::new(), 401, "no_credentials"),
        ("/ws/bob", super::bearer(&stranger), 403, "forbidden"),
        ("/lobby", super::bearer(&stranger), 403, "forbidden"),
        ("/ws?token=y", super::bearer(&stranger), 403, "forbidden"),
        ("/pubsub", super::bearer("x"), 401, "token_malformed"),
    ] {
        let (_client, answer) = ask(&server, path, &headers);
        assert_eq!(answer.status, status, "{path}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["code"], code, "{path}: {body}");
    }
}
