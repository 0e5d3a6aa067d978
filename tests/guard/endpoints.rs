//! What a token says about its user and rooms, held by the endpoints other than the hub, of a relay
//! that is made from a config.

use corecast::config::{Config, EndpointConfig, EndpointKind};
use corecast::engine::{CloseReason, Refusal};
use corecast::guard::Pattern;
use corecast::guard::Secret;
use corecast::guard::token::NewToken;

use super::support::{Server, config};
use super::{SECRET, ask, closed, open, plain_token, refused, signed};

/// All kinds of endpoints, which want tokens by [`SECRET`].
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
    assert_eq!(refused(&server, Refusal::Forbidden), 1);
    let mut bob = open(&server, "/ws/bob", &token("bob", &["/"], &["/"]));
    let mut ada = open(&server, "/ws/ada", &ada);
    ada.text("from ada");
    assert_eq!(bob.expect_text(), "from ada");
    bob.text("from bob");
    assert_eq!(ada.expect_text(), "from bob");
}

#[test]
fn a_refusal_of_the_guard_says_which_pages_may_read_it_where_the_endpoint_does() {
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
    // Nothing of the others came before its pong.
    other.text("for nobody");
    other.round_trip();
    writer.round_trip();
}

#[test]
fn a_group_of_pushes_is_for_those_who_may_read_it() {
    let server = relay();
    let ada = token("ada", &["orders-*"], &[]);
    assert_eq!(status(&server, "/ws?token=secrets", &ada), 403);
    assert_eq!(refused(&server, Refusal::Forbidden), 1);
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
