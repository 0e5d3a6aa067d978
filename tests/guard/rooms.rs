//! A token's rooms, enforced by the hub: joining is reading, publishing is writing.

use corecast::engine::CloseReason;
use corecast::guard::token::NewToken;
use corecast::guard::{self, Pattern};

use super::support::eventually;
use super::{ask, bearer, closed, guarded_by_secret, open, plain_token, refused, signed};

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts
        .iter()
        .map(|text| text.parse().expect("a pattern"))
        .collect()
}

fn token(read: &[&str], write: &[&str]) -> String {
    signed(&NewToken {
        rooms: Some((patterns(read), patterns(write))),
        ..plain_token()
    })
}

#[test]
fn a_room_that_the_token_does_not_name_is_403() {
    let server = guarded_by_secret();
    let token = token(&["/chat/*"], &["/chat/a"]);
    for (path, status) in [
        ("/chat/a", 101),
        ("/chat/b", 101),
        ("/chat", 403),
        ("/", 403),
        ("/other", 403),
        // The hub and the guard take room names as sent.
        ("/%63hat/a", 403),
    ] {
        let before = refused(&server, guard::FORBIDDEN);
        let (_client, answer) = ask(&server, path, &bearer(&token));
        assert_eq!(answer.status, status, "{path}");
        let counted = u64::from(status == 403);
        assert_eq!(refused(&server, guard::FORBIDDEN), before + counted);
    }
}

#[test]
fn a_read_only_client_is_closed_when_it_writes() {
    let server = guarded_by_secret();
    let mut writer = open(&server, "/a", &token(&["*"], &["*"]));
    let mut reader = open(&server, "/a", &token(&["/a"], &["/b"]));
    writer.text("for all");
    assert_eq!(writer.expect_text(), "for all");
    assert_eq!(reader.expect_text(), "for all");
    reader.text("no");
    reader.text("no");
    let reason = reader.expect_close(1008);
    assert_eq!(reason, "auth: not allowed");
    reader.close(1008);
    reader.expect_end();
    assert_eq!(closed(&server, &CloseReason::Forbidden), 1);
    writer.text("still here");
    assert_eq!(writer.expect_text(), "still here");
}

#[test]
fn a_write_only_client_gets_no_messages() {
    let server = guarded_by_secret();
    let mut reader = open(&server, "/a", &token(&["/a"], &[]));
    let mut writer = open(&server, "/a", &token(&[], &["/a"]));
    writer.text("one way");
    assert_eq!(reader.expect_text(), "one way");
    // Its own message would have come before the pong.
    writer.round_trip();
    writer.close(1000);
    assert_eq!(writer.expect_close(1000), "");
    eventually("it is gone", || server.sum(|stats| stats.open.get()) == 1);
    reader.round_trip();
}
