//! PROXY headers in front of TLS.

use std::io::Write;

use corecast::engine::{EndpointSettings, Network, Refusal, TrustedProxies};
use rustls::StreamOwned;

use crate::Secure;
use crate::client::{Client, session, tcp};
use crate::support::{eventually, settings};

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 127.0.0.1 1111 443\r\n";

fn secure() -> Secure {
    let mut settings = settings();
    settings.proxy_protocol = true;
    settings.connections_per_ip_max = Some(1);
    settings.trusted_proxies = TrustedProxies {
        networks: vec![Network::LOOPBACK_V4],
        unix: false,
    };
    Secure::start(settings, EndpointSettings::default())
}

#[test]
fn a_proxy_header_comes_before_the_handshake_in_whatever_pieces() {
    let secure = secure();
    for cut in [0, 1, HEADER.len() - 1, HEADER.len(), HEADER.len() + 20] {
        let mut session = session(&secure.config());
        let mut bytes = HEADER.to_vec();
        session.write_tls(&mut bytes).expect("a ClientHello");
        let mut stream = tcp(secure.server.address);
        stream.write_all(&bytes[..cut]).expect("sent");
        // Usually makes the two halves be read separately; the result does not depend on it.
        eventually("it is accepted", || secure.server.view.connections() == 1);
        stream.write_all(&bytes[cut..]).expect("sent");
        let mut client = Client::upgraded(StreamOwned::new(session, stream), "/");
        client.text("hello");
        assert_eq!(client.expect_text(), "hello", "cut at {cut}");
        // The limit is the client's: a second connection is refused after its handshake.
        let mut second = tcp(secure.server.address);
        second.write_all(HEADER).expect("sent");
        let second = StreamOwned::new(crate::client::session(&secure.config()), second);
        let refused = tungstenite::client("wss://localhost/", second).expect_err("too many");
        assert!(refused.to_string().contains("429"), "{refused}");
        drop(client);
        drop(refused);
        secure.server.expect_empty();
    }
}

#[test]
fn a_handshake_without_the_header_that_is_due_ends_at_once() {
    let secure = secure();
    let stream = StreamOwned::new(session(&secure.config()), tcp(secure.server.address));
    assert!(tungstenite::client("wss://localhost/", stream).is_err());
    let refusals = || {
        secure
            .server
            .sum(|stats| stats.refused.get(Refusal::BadProxyHeader))
    };
    eventually("it is counted", || refusals() == 1);
    secure.server.expect_empty();
}
