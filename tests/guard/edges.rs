//! Checks before a client is identified: networks and origins.

use corecast::engine::{EndpointSettings, Network, Networks, Refusal, Settings};
use corecast::guard::{self, GuardSettings, Origins};

use super::support::client::{Client, upgrade, upgrade_with};
use super::support::{Server, eventually, settings};
use super::{ask, guarded, refused};

fn networks(texts: &[&str]) -> Vec<Network> {
    let each = texts.iter().map(|text| text.parse().expect("a network"));
    each.collect()
}

fn hub(change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings();
    change(&mut settings);
    Server::hub(settings, EndpointSettings::default())
}

#[test]
fn a_network_that_is_denied_gets_no_answer_and_counts() {
    let server = hub(|settings| {
        settings.networks = Networks {
            allow: networks(&["127.0.0.0/30"]),
            deny: networks(&["127.0.0.2"]),
        };
    });
    // Not allowed, and denied although allowed.
    for (number, from) in [(1, 9), (2, 2)] {
        let mut client = Client::connect_from(from, server.address);
        let _ = client.try_send(upgrade("/").as_bytes());
        assert_eq!(client.try_answer(), None, "127.0.0.{from}");
        assert_eq!(refused(&server, Refusal::Network), number);
    }
    let allowed = Client::connect_from(1, server.address);
    allowed.upgraded("/").round_trip();
    assert_eq!(refused(&server, Refusal::Network), 2);
    eventually("nobody else is there", || server.view.connections() <= 1);
}

#[test]
fn behind_a_proxy_it_is_about_its_clients() {
    let lists = Networks {
        allow: networks(&["192.0.2.0/24"]),
        deny: networks(&["192.0.2.66"]),
    };
    let server = hub(|settings| {
        settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
        settings.networks = lists.clone();
    });
    // One connection may carry requests of many clients.
    let mut proxy = Client::connect(server.address);
    for client in ["192.0.2.66", "203.0.113.1"] {
        let headers = format!("X-Forwarded-For: {client}\r\n");
        proxy.send(upgrade_with("/", &headers).as_bytes());
        assert_eq!(proxy.answer().status, 403, "{client}");
    }
    proxy.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n");
    assert_eq!(proxy.answer().status, 403);
    assert_eq!(refused(&server, Refusal::Network), 3);
    proxy.send(upgrade_with("/", "X-Forwarded-For: 192.0.2.1\r\n").as_bytes());
    assert_eq!(proxy.answer().status, 101);

    let server = hub(|settings| {
        settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
        settings.proxy_protocol = true;
        settings.networks = lists;
    });
    let with_header = |client: &str| {
        let mut proxy = Client::connect(server.address);
        let header = format!("PROXY TCP4 {client} 192.0.2.9 1 2\r\n{}", upgrade("/"));
        let _ = proxy.try_send(header.as_bytes());
        proxy.try_answer().map(|answer| answer.status)
    };
    assert_eq!(with_header("192.0.2.66"), None);
    assert_eq!(with_header("203.0.113.1"), None);
    assert_eq!(refused(&server, Refusal::Network), 2);
    assert_eq!(with_header("192.0.2.1"), Some(101));
}

/// Values of a trusted proxy that name no client.
const NOBODY: [&str; 9] = [
    "X-Forwarded-For: garbage\r\n",
    "X-Forwarded-For: unix:\r\n",
    "X-Forwarded-For: unknown\r\n",
    "X-Forwarded-For: 192.0.2.1, garbage\r\n",
    "X-Forwarded-For: \r\n",
    "X-Forwarded-For: 192.0.2.1%eth0\r\n",
    "Forwarded: for=_hidden\r\n",
    "Forwarded: for=unknown\r\n",
    "Forwarded: proto=https\r\n",
];

#[test]
fn network_rules_refuse_clients_that_a_proxy_does_not_name() {
    for is_denying in [false, true] {
        let lists = Networks {
            allow: networks(if is_denying {
                &[]
            } else {
                &["192.0.2.0/24", "fe80::/10"]
            }),
            deny: networks(if is_denying { &["203.0.113.0/24"] } else { &[] }),
        };
        let server = hub(|settings| {
            settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
            settings.networks = lists.clone();
        });
        let mut proxy = Client::connect(server.address);
        for headers in NOBODY {
            proxy.send(upgrade_with("/", headers).as_bytes());
            assert_eq!(proxy.answer().status, 403, "{headers}");
            proxy.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes());
            assert_eq!(proxy.answer().status, 403, "{headers}");
        }
        let counted = 2 * NOBODY.len() as u64;
        assert_eq!(refused(&server, Refusal::UnknownClient), counted);
        // The zone of an address is the proxy's own.
        proxy.send(upgrade_with("/", "X-Forwarded-For: fe80::1%eth0\r\n").as_bytes());
        assert_eq!(proxy.answer().status, 101);
        assert_eq!(refused(&server, Refusal::UnknownClient), counted);
    }
}

/// The proxy names no client: its own address must be allowed, as for any client.
#[test]
fn a_proxys_own_requests_are_judged_by_its_own_address() {
    let behind = |allow: &[&str]| {
        hub(|settings| {
            settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
            settings.networks.allow = networks(allow);
        })
    };
    let server = behind(&["192.0.2.0/24"]);
    let mut proxy = Client::connect(server.address);
    proxy.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(proxy.answer().status, 426);
    proxy.send(upgrade("/").as_bytes());
    assert_eq!(proxy.answer().status, 403);
    assert_eq!(refused(&server, Refusal::Network), 1);
    let server = behind(&["192.0.2.0/24", "127.0.0.0/8"]);
    Client::open(server.address, "/").round_trip();
}

#[test]
fn network_rules_refuse_a_proxy_header_without_address() {
    let server = hub(|settings| {
        settings.trusted_proxies.networks = vec![Network::LOOPBACK_V4];
        settings.proxy_protocol = true;
        settings.networks.deny = networks(&["203.0.113.0/24"]);
    });
    let mut unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0".to_vec();
    let mut unix = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xD8".to_vec();
    unix.extend([0; 216]);
    let mut nobody = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C".to_vec();
    nobody.extend([0; 12]);
    unspecified.truncate(16);
    let headers = [b"PROXY UNKNOWN\r\n".to_vec(), unspecified, unix, nobody];
    for header in &headers {
        // The client may have written the headers that the proxy passes on.
        for forwarded in ["", "X-Forwarded-For: 192.0.2.1\r\n"] {
            let mut proxy = Client::connect(server.address);
            proxy.send(&[header, upgrade_with("/", forwarded).as_bytes()].concat());
            assert_eq!(proxy.answer().status, 403, "{header:?} {forwarded}");
        }
    }
    assert_eq!(
        refused(&server, Refusal::UnknownClient),
        2 * headers.len() as u64
    );
    // The proxy's own checks.
    let mut local = Client::connect(server.address);
    local.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(local.answer().status, 426);
}

#[test]
fn a_page_of_another_origin_is_refused_before_the_upgrade() {
    let allow = ["https://app.example", "https://*.pages.example", "same"];
    let server = guarded(GuardSettings {
        origins: Origins {
            allow: allow.map(|text| text.parse().expect("an origin")).to_vec(),
            allow_missing: true,
        },
        auth: None,
    });
    for (origin, status) in [
        ("https://app.example", 101),
        ("https://a.pages.example", 101),
        // The Host of these requests.
        ("http://test", 101),
        ("https://evil.example", 403),
        ("http://app.example", 403),
        ("null", 403),
    ] {
        let before = refused(&server, guard::ORIGIN);
        let (_client, answer) = ask(&server, "/", &format!("Origin: {origin}\r\n"));
        assert_eq!(answer.status, status, "{origin}");
        let counted = u64::from(status == 403);
        assert_eq!(refused(&server, guard::ORIGIN), before + counted);
    }
    assert_eq!(ask(&server, "/", "").1.status, 101);
}

#[test]
fn a_missing_origin_is_refused_if_only_pages_may_connect() {
    let server = guarded(GuardSettings {
        origins: Origins {
            allow_missing: false,
            ..Origins::default()
        },
        auth: None,
    });
    assert_eq!(ask(&server, "/", "").1.status, 403);
    assert_eq!(refused(&server, guard::ORIGIN), 1);
    assert_eq!(
        ask(&server, "/", "Origin: https://any.example\r\n")
            .1
            .status,
        101
    );
}
