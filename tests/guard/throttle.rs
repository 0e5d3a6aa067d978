//! Invalid credentials: each ends its connection, and an address that sends too many is refused
//! without verification, except for credentials known to be valid.

use corecast::engine::{Network, Refusal, Settings};
use corecast::guard::{self, ApiKey, AuthSettings, GuardSettings};

use super::support::client::{Answer, Client, upgrade_with};
use super::support::{Server, eventually, settings};
use super::{bearer, guarded_with, plain_token, refused, secret_auth, signed, signed_by};

const KEY: &str = "a-key-of-0123456789";

/// The burst of an address.
const BURST: usize = 20;

/// A hub without exemptions, unless `change` adds some.
fn server(auth: AuthSettings, change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings();
    change(&mut settings);
    guarded_with(
        settings,
        GuardSettings {
            auth: Some(auth),
            ..GuardSettings::default()
        },
    )
}

fn ask_from(from: u8, server: &Server, headers: &str) -> Answer {
    let mut client = Client::connect_from(from, server.address);
    client.send(upgrade_with("/", headers).as_bytes());
    let answer = client.answer();
    if answer.status != 101 {
        client.expect_end();
    }
    answer
}

/// A token that was not used before.
fn fresh_token(number: usize) -> String {
    let mut token = plain_token();
    token.user = Some(format!("user {number}"));
    bearer(&signed(&token))
}

/// Sends invalid ones until the address is refused for that. Returns how many were judged.
fn exhaust(from: u8, server: &Server, bad: &str) -> usize {
    let judged = (0..200).take_while(|_| match ask_from(from, server, bad) {
        answer if answer.status == 429 => {
            let seconds = answer.header("Retry-After").expect("when to come again");
            assert_eq!(seconds, "1");
            false
        }
        answer => {
            assert_eq!(answer.status, 401);
            true
        }
    });
    judged.count()
}

#[test]
fn keys_that_are_guessed_as_bearers_count_against_their_address() {
    let auth = AuthSettings {
        keys: vec![KEY.parse::<ApiKey>().expect("a key")],
        ..AuthSettings::default()
    };
    let server = server(auth, |_| {});
    assert!(exhaust(1, &server, &bearer("a-guess-0123456789")) >= BURST);
    assert_eq!(ask_from(1, &server, &bearer(KEY)).status, 101);
}

#[test]
fn an_address_with_many_failures_gets_429_unverified() {
    let auth = AuthSettings {
        keys: vec![KEY.parse::<ApiKey>().expect("a key")],
        ..secret_auth()
    };
    let server = server(auth, |_| {});
    let known = bearer(&signed(&plain_token()));
    let key = format!("X-API-Key: {KEY}\r\n");
    assert_eq!(ask_from(1, &server, &known).status, 101);
    let forged = bearer(&signed_by(
        "another secret, which is long enough",
        &plain_token(),
    ));
    // A new token is not verified, or it would be accepted.
    let mut unseen = (0..200).filter(|number| {
        let judged = exhaust(1, &server, &forged);
        assert!(*number > 0 || judged >= BURST, "{judged}");
        // A token known to be valid is accepted, and so is a key, which costs nothing to compare.
        assert_eq!(ask_from(1, &server, &known).status, 101);
        assert_eq!(ask_from(1, &server, &key).status, 101);
        ask_from(1, &server, &fresh_token(*number)).status == 429
    });
    assert!(unseen.next().is_some(), "it was verified each time");
    assert!(refused(&server, Refusal::CredentialRate) >= 2);
    assert!(refused(&server, guard::TOKEN_SIGNATURE) >= BURST as u64);
    // Others are still judged.
    assert_eq!(ask_from(2, &server, &forged).status, 401);
    assert_eq!(ask_from(2, &server, &fresh_token(1_000)).status, 101);
    // It lasts as long as the bucket needs to refill.
    eventually("it is judged again", || {
        ask_from(1, &server, &fresh_token(1_001)).status == 101
    });
}

#[test]
fn guessing_keys_gets_429_and_asking_without_one_does_not() {
    let auth = AuthSettings {
        keys: vec![KEY.parse::<ApiKey>().expect("a key")],
        ..AuthSettings::default()
    };
    let server = server(auth, |_| {});
    for _ in 0..2 * BURST {
        assert_eq!(ask_from(1, &server, "").status, 401);
    }
    assert!(exhaust(1, &server, "X-API-Key: a-guess\r\n") >= BURST);
    assert_eq!(ask_from(1, &server, "").status, 401);
    assert_eq!(
        refused(&server, guard::NO_CREDENTIALS),
        2 * BURST as u64 + 1
    );
    let good = format!("X-API-Key: {KEY}\r\n");
    assert_eq!(ask_from(1, &server, &good).status, 101);
}

#[test]
fn exempt_networks_are_exempt_and_a_proxys_clients_count_each() {
    let exempt = server(secret_auth(), |settings| {
        settings.exempt_networks = vec![Network::LOOPBACK_V4];
    });
    for _ in 0..2 * BURST {
        assert_eq!(ask_from(1, &exempt, &bearer("x.y.z")).status, 401);
    }
    let proxied = server(secret_auth(), |settings| {
        settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
    });
    let by = |client: &str| format!("X-Forwarded-For: {client}\r\n{}", bearer("x.y.z"));
    assert!(exhaust(1, &proxied, &by("192.0.2.1")) >= BURST);
    assert_eq!(ask_from(1, &proxied, &by("192.0.2.2")).status, 401);
    // Addresses of one IPv6 network are one client.
    assert!(exhaust(1, &proxied, &by("2001:db8::1")) >= BURST);
    let near = exhaust(1, &proxied, &by("2001:db8::2"));
    assert!(near < BURST, "{near}");
}

#[test]
fn an_invalid_token_in_a_plain_request_ends_the_connection() {
    let server = server(secret_auth(), |_| {});
    let request = format!("GET /a HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer("x.y.z"));
    let mut client = Client::connect(server.address);
    client.send(request.repeat(5).as_bytes());
    let answer = client.answer();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("Connection"), Some("close"));
    client.expect_end();
    assert_eq!(refused(&server, guard::TOKEN_MALFORMED), 1);
}
