//! Handshakes: versions, ALPN, tickets, client certificates, and clients that stop halfway.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use corecast::engine::{EndpointSettings, Refusal, Settings};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, HandshakeKind, ProtocolVersion};

use crate::Secure;
use crate::certificates::{Authority, Folder};
use crate::client::{
    BOTH_VERSIONS, Client, client_config, read_to_end, session, shake_hands, stream, tcp,
};
use crate::support::{self, client as raw, eventually};

pub(crate) fn refused(secure: &Secure, refusal: Refusal) -> u64 {
    secure.server.sum(|stats| stats.refused.get(refusal))
}

#[test]
fn both_versions_are_spoken_with_the_one_protocol() {
    let secure = Secure::on_shards(1);
    for (version, name) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut config = client_config(&secure.authority, version, None);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut client = Client::open(secure.server.address, &Arc::new(config), "/");
        client.text("hello");
        assert_eq!(client.expect_text(), "hello");
        let tls = &client.tls().conn;
        assert_eq!(tls.protocol_version(), Some(name));
        assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[test]
fn alpn_and_sni_are_optional_but_another_protocol_is_refused() {
    let secure = Secure::on_shards(1);
    let mut config = client_config(&secure.authority, &TLS13, None);
    config.enable_sni = false;
    let mut client = Client::open(secure.server.address, &Arc::new(config), "/");
    client.text("no name");
    assert_eq!(client.expect_text(), "no name");
    assert_eq!(client.tls().conn.alpn_protocol(), None);

    let mut config = client_config(&secure.authority, &TLS13, None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut other = stream(secure.server.address, &Arc::new(config));
    let alert = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(shake_hands(&mut other), Err(alert));
    eventually("it is counted", || refused(&secure, Refusal::Tls) == 1);
}

#[test]
fn a_tls_ticket_of_one_shard_works_on_the_other() {
    for version in BOTH_VERSIONS {
        let secure = Secure::on_shards(2);
        let config = Arc::new(client_config(&secure.authority, version, None));
        let mut clients = Vec::new();
        for number in 0..4 {
            let mut client = Client::open(secure.server.address, &config, "/");
            // Tickets come with the first data.
            client
                .0
                .send(tungstenite::Message::Ping("".into()))
                .expect("the server reads");
            assert!(matches!(client.0.read(), Ok(tungstenite::Message::Pong(_))));
            let kind = client.tls().conn.handshake_kind();
            let is_first = number == 0;
            assert_eq!(kind == Some(HandshakeKind::Resumed), !is_first, "{number}");
            clients.push(client);
        }
        let shards = [0, 1].map(|shard| secure.server.view.shard_connections(shard));
        assert_eq!(shards, [2, 2]);
        let kinds = [0, 1].map(|kind| secure.server.sum(|stats| stats.tls_handshakes[kind].get()));
        assert_eq!(kinds, [1, 3]);
    }
}

#[test]
fn with_a_client_ca_only_its_certificates_are_let_in() {
    let (authority, clients) = (
        Authority::new("the server's"),
        Authority::new("the clients'"),
    );
    let folder = Folder::new(&authority.server(2100));
    let mut files = folder.files();
    files.client_ca_file = Some(folder.write("ca.pem", &clients.cert));
    let endpoint = EndpointSettings::default();
    let secure = Secure::with_files(authority, &files, support::settings(), endpoint);
    let (good, bad) = (
        clients.client("good"),
        Authority::new("another").client("bad"),
    );
    let outcome = |version, identity| {
        let config = client_config(&secure.authority, version, identity);
        let mut stream = stream(secure.server.address, &Arc::new(config));
        shake_hands(&mut stream)
    };
    let alert = |description| Err(Error::AlertReceived(description));
    for version in BOTH_VERSIONS {
        assert_eq!(outcome(version, Some(&good)), Ok(()));
    }
    for version in BOTH_VERSIONS {
        let told = outcome(version, None);
        assert_eq!(told, alert(AlertDescription::CertificateRequired));
        let told = outcome(version, Some(&bad));
        assert_eq!(told, alert(AlertDescription::UnknownCA));
    }
    eventually("all are counted", || refused(&secure, Refusal::Tls) == 4);
}

#[test]
fn a_plain_request_at_a_tls_listener_gets_an_explanation() {
    let secure = Secure::on_shards(1);
    let mut plain = raw::Client::connect(secure.server.address);
    plain.send(raw::upgrade("/").as_bytes());
    let answer = plain.answer();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, b"This port speaks TLS: https and wss.\n");
    plain.expect_end();

    let mut garbage = tcp(secure.server.address);
    garbage.write_all(&[0xFF; 100]).expect("the server reads");
    let mut received = Vec::new();
    garbage.read_to_end(&mut received).expect("an end");
    assert_eq!(
        (received[0], received.len()),
        (21, 7),
        "an alert: {received:?}"
    );
    eventually("both are counted", || refused(&secure, Refusal::Tls) == 2);
    secure.server.expect_empty();
}

#[test]
fn half_a_handshake_and_silence_end_at_the_deadline() {
    let mut settings = support::settings();
    settings.timeouts.handshake = Duration::from_millis(300);
    let secure = Secure::start(settings, EndpointSettings::default());
    let config = secure.config();
    let mut hello = Vec::new();
    session(&config).write_tls(&mut hello).expect("memory");
    // Nothing, half of the first flight, all of it.
    for (end, counted) in [(0, 0), (hello.len() / 2, 1), (hello.len(), 2)] {
        let mut socket = tcp(secure.server.address);
        socket.write_all(&hello[..end]).expect("the server reads");
        let mut received = Vec::new();
        socket.read_to_end(&mut received).expect("an end");
        let found = refused(&secure, Refusal::HandshakeTimeout);
        assert_eq!(found, counted, "after {end} bytes");
    }
    // The handshake and the request share one deadline.
    let mut silent = stream(secure.server.address, &config);
    silent
        .conn
        .complete_io(&mut silent.sock)
        .expect("a handshake");
    let (bytes, _) = read_to_end(&mut silent);
    assert_eq!(bytes, b"");
    secure.server.expect_empty();
}

#[test]
fn a_full_relay_says_so_within_tls() {
    let settings = Settings {
        connections_max: Some(1),
        ..support::settings()
    };
    let secure = Secure::start(settings, EndpointSettings::default());
    let _first = secure.open("/");
    let mut second = stream(secure.server.address, &secure.config());
    second
        .write_all(raw::upgrade("/").as_bytes())
        .expect("the server reads");
    let (answer, end) = read_to_end(&mut second);
    assert!(answer.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(end, crate::client::End::CloseNotify);
}
