//! The client's address behind proxies: PROXY headers, `Forwarded`, `X-Forwarded-For`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use corecast::engine::{
    Accept, Admission, Answer, Endpoint, EndpointSettings, Listen, ListenAddress, Network, Refusal,
    Refused, Request, Responder, Service, Session, Settings, TokenRate, TrustedProxies,
};
use corecast::wire::decoder::Message;
use corecast::wire::http::Response;

use crate::support::client::{Client, TEXT, frame, upgrade, upgrade_with};
use crate::support::relay::Relay;
use crate::support::{DEADLINE, Server, eventually, settings};

/// Tells clients their address: by an answer, or by a message. Refuses `/refused`, immediately or
/// later.
struct Mirror;

impl Endpoint for Mirror {
    type State = ();
    type Local = ();

    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission {
        match request.head.path {
            "/refused" => Admission::Refuse(Refused::new(403, "no", "no")),
            "/refused/later" => {
                let (admission, token) = responder.admission(Duration::from_secs(10));
                token.refuse(Refused::new(403, "no", "no"));
                admission
            }
            "/later" => {
                let (admission, token) = responder.admission(Duration::from_secs(10));
                token.accept(Accept::new());
                admission
            }
            _ => Admission::Accept(Accept::new()),
        }
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let peer = session.peer().to_string();
        session.send(message.kind, peer.as_bytes());
    }
}

impl Service for Mirror {
    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        Answer::Now(Response::text(200, request.peer.to_string()))
    }
}

/// A server that trusts this machine and Unix sockets.
fn server(change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings();
    settings.trusted_proxies = TrustedProxies {
        networks: vec![Network::LOOPBACK_V4, "10.0.0.0/8".parse().unwrap()],
        unix: true,
    };
    change(&mut settings);
    Server::start(settings, |builder| {
        let id = builder.endpoint_and_service(EndpointSettings::default(), Mirror);
        builder.route("/**", id).unwrap();
    })
}

fn proxied(server: &Server, header: &[u8]) -> Client {
    let mut client = Client::connect(server.address);
    client.send(header);
    client
}

fn line(client: &str) -> String {
    format!("PROXY TCP4 {client} 127.0.0.1 1111 80\r\n")
}

/// A header of version 2 with a TLV after the addresses.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 4, 87, 0, 80]);
    header.extend([4, 0, 2, 0, 0]);
    header
}

fn peer_of(client: &mut Client) -> String {
    client.text("who am I?");
    client.expect_text()
}

fn refused(server: &Server, refusal: Refusal) -> u64 {
    server.sum(|stats| stats.refused.get(refusal))
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_split_proxy_header_gives_the_clients_address() {
    let server = server(|settings| settings.proxy_protocol = true);
    let mut other = proxied(&server, line("192.0.2.2").as_bytes()).upgraded("/");
    for header in [line("192.0.2.1").into_bytes(), binary([192, 0, 2, 1])] {
        let whole = [&header[..], upgrade("/").as_bytes(), &frame(TEXT, b"x")].concat();
        for cut in [
            whole.len(),
            1,
            11,
            14,
            header.len() - 1,
            header.len(),
            header.len() + 5,
        ] {
            let mut client = proxied(&server, &whole[..cut]);
            other.round_trip();
            client.send(&whole[cut..]);
            assert_eq!(client.answer().status, 101, "cut at {cut}");
            assert_eq!(client.expect_text(), "192.0.2.1:1111", "cut at {cut}");
        }
        let mut slow = Client::connect(server.address);
        for byte in &whole {
            slow.send(&[*byte]);
        }
        assert_eq!(slow.answer().status, 101);
        assert_eq!(slow.expect_text(), "192.0.2.1:1111");
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_keeps_its_own_address() {
    let server = server(|settings| settings.proxy_protocol = true);
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = proxied(&server, &[header, GET].concat());
        let own = client.stream.local_addr().unwrap().to_string();
        assert_eq!(client.answer().body, own.as_bytes());
    }
}

#[test]
fn an_invalid_or_missing_proxy_header_ends_the_connection() {
    let server = server(|settings| {
        settings.proxy_protocol = true;
        settings.timeouts.handshake = Duration::from_millis(300);
    });
    let mut ended = 0;
    for bytes in [
        GET,
        b"PROXY TCP4 nobody\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ] {
        let mut client = proxied(&server, bytes);
        client.expect_end();
        ended += 1;
        assert_eq!(
            refused(&server, Refusal::BadProxyHeader),
            ended,
            "{bytes:?}"
        );
    }
    for beginning in [&b""[..], b"PROXY TC"] {
        proxied(&server, beginning).expect_end();
        ended += 1;
        assert_eq!(
            refused(&server, Refusal::BadProxyHeader),
            ended,
            "{beginning:?}"
        );
    }
    server.expect_empty();
}

#[test]
fn half_a_proxy_header_gets_no_answer_when_the_relay_ends() {
    let server = server(|settings| settings.proxy_protocol = true);
    let mut waiting = proxied(&server, b"PROXY TC");
    eventually("it is accepted", || {
        server.sum(|stats| stats.accepted.get()) == 1
    });
    assert!(server.stop(), "in time");
    waiting.expect_end();
}

#[test]
fn a_proxy_header_of_an_untrusted_client_is_a_bad_request() {
    let server = server(|settings| {
        settings.proxy_protocol = true;
        settings.trusted_proxies = TrustedProxies {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            unix: false,
        };
    });
    let mut direct = server.open("/");
    assert!(peer_of(&mut direct).starts_with("127.0.0.1:"));
    let mut spoofer = proxied(&server, line("192.0.2.1").as_bytes());
    assert_eq!(spoofer.answer().status, 400);
    spoofer.expect_end();
}

#[test]
fn connections_behind_a_proxy_header_count_for_their_clients() {
    let server = server(|settings| {
        settings.proxy_protocol = true;
        settings.connections_per_ip_max = Some(1);
    });
    let open = |client: &str| proxied(&server, line(client).as_bytes()).upgraded("/");
    let (first, mut other) = (open("192.0.2.1"), open("192.0.2.2"));
    let mut second = proxied(&server, line("192.0.2.1").as_bytes());
    second.send(upgrade("/").as_bytes());
    assert_eq!(second.answer().status, 429);
    second.expect_end();
    assert_eq!(refused(&server, Refusal::ConnectionsPerAddress), 1);
    drop(first);
    eventually("the first is gone", || server.view.connections() == 1);
    assert_eq!(peer_of(&mut open("192.0.2.1")), "192.0.2.1:1111");
    assert_eq!(peer_of(&mut other), "192.0.2.2:1111");
}

#[test]
fn a_client_over_its_limit_takes_no_place_behind_a_proxy_either() {
    let server = server(|settings| {
        settings.proxy_protocol = true;
        settings.connections_max = Some(2);
        settings.connections_per_ip_max = Some(1);
        settings.refusing_max = 8;
    });
    let mut first = proxied(&server, line("192.0.2.1").as_bytes()).upgraded("/");
    let mut greedy = Vec::new();
    for count in 1..=20 {
        greedy.push(proxied(&server, line("192.0.2.1").as_bytes()));
        eventually("it is judged", || {
            refused(&server, Refusal::ConnectionsPerAddress) == count
        });
    }
    assert_eq!(server.view.connections(), 1);
    let mut other = proxied(&server, line("192.0.2.2").as_bytes()).upgraded("/");
    assert_eq!(peer_of(&mut other), "192.0.2.2:1111");
    for client in &mut greedy {
        assert_eq!(client.answer().status, 429);
        client.expect_end();
    }
    assert_eq!(peer_of(&mut first), "192.0.2.1:1111");
    drop((first, other, greedy));
    server.expect_empty();
}

#[test]
fn a_trusted_proxy_names_its_client_for_each_request() {
    let server = server(|_| {});
    let mut proxy = Client::connect(server.address);
    let own = proxy.stream.local_addr().unwrap().to_string();
    for (headers, client) in [
        ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1:0"),
        (
            "X-Forwarded-For: 6.6.6.6, 192.0.2.2, 10.0.0.1\r\n",
            "192.0.2.2:0",
        ),
        ("Forwarded: for=\"[2001:db8::1]:80\"\r\n", "[2001:db8::1]:0"),
        (
            "Forwarded: for=192.0.2.3\r\nX-Forwarded-For: 192.0.2.3\r\n",
            "192.0.2.3:0",
        ),
        ("", &own),
        ("Forwarded: for=unknown\r\n", &own),
        ("X-Forwarded-For: nonsense\r\n", &own),
    ] {
        proxy.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes());
        let answer = proxy.answer();
        assert_eq!(answer.body, client.as_bytes(), "{headers}");
    }
    assert_eq!(server.sum(|stats| stats.forwarded_malformed.get()), 1);
    for path in ["/", "/later"] {
        let mut proxy = Client::connect(server.address);
        proxy.send(upgrade_with(path, "X-Forwarded-For: 192.0.2.9\r\n").as_bytes());
        assert_eq!(proxy.answer().status, 101);
        assert_eq!(peer_of(&mut proxy), "192.0.2.9:0");
    }
}

#[test]
fn headers_that_contradict_each_other_are_refused() {
    let server = server(|_| {});
    let mut proxy = Client::connect(server.address);
    let headers = "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 192.0.2.3\r\n";
    proxy.send(upgrade_with("/", headers).as_bytes());
    assert_eq!(proxy.answer().status, 400);
    proxy.expect_end();
}

#[test]
fn forwarding_headers_of_untrusted_clients_are_ignored() {
    let server = server(|settings| {
        settings.trusted_proxies = TrustedProxies::default();
        settings.connections_per_ip_max = Some(1);
    });
    let headers = |last: u8| format!("X-Forwarded-For: 192.0.2.{last}\r\n");
    let mut first = Client::connect(server.address);
    first.send(upgrade_with("/", &headers(1)).as_bytes());
    assert_eq!(first.answer().status, 101);
    assert!(peer_of(&mut first).starts_with("127.0.0.1:"));
    let mut second = Client::connect(server.address);
    second.send(upgrade_with("/", &headers(2)).as_bytes());
    assert_eq!(second.answer().status, 429);
}

/// Requests an upgrade on behalf of `client`.
fn ask(proxy: &mut Client, path: &str, client: &str) -> u16 {
    let headers = format!("X-Forwarded-For: {client}\r\n");
    proxy.send(upgrade_with(path, &headers).as_bytes());
    proxy.answer().status
}

#[test]
fn a_forwarded_upgrade_counts_for_its_client() {
    let server = server(|settings| settings.connections_per_ip_max = Some(1));
    let connect = || Client::connect(server.address);
    let (mut first, mut other) = (connect(), connect());
    assert_eq!(ask(&mut first, "/", "192.0.2.1"), 101);
    assert_eq!(ask(&mut other, "/", "192.0.2.2"), 101);
    // A second one of the first client is refused, and the proxy's connection remains usable.
    let mut third = connect();
    assert_eq!(ask(&mut third, "/", "192.0.2.1"), 429);
    assert_eq!(ask(&mut third, "/", "192.0.2.3"), 101);
    // Connections that an endpoint refuses, immediately or later, do not count.
    let mut refused = connect();
    for path in ["/refused", "/refused/later"] {
        for _ in 0..2 {
            assert_eq!(ask(&mut refused, path, "192.0.2.4"), 403, "{path}");
        }
    }
    let mut fourth = connect();
    assert_eq!(ask(&mut fourth, "/later", "192.0.2.4"), 101);
    // IPv4 in IPv6 is IPv4, and a /64 is one client.
    let mut mapped = connect();
    assert_eq!(ask(&mut mapped, "/", "::ffff:192.0.2.1"), 429);
    assert_eq!(ask(&mut mapped, "/", "2001:db8:0:1::1"), 101);
    let mut neighbour = connect();
    assert_eq!(ask(&mut neighbour, "/", "2001:db8:0:1:ffff::2"), 429);
    assert_eq!(ask(&mut neighbour, "/", "2001:db8:0:2::1"), 101);
    drop(first);
    let mut again = connect();
    eventually("its place is free", || ask_once(&mut again, "192.0.2.1"));
    // Proxies themselves are not limited.
    let idle: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    drop((
        idle, other, third, refused, fourth, mapped, neighbour, again,
    ));
    server.expect_empty();
}

/// Twenty clients bypassed a limit of two when the proxy did not name them.
#[test]
fn unnamed_proxied_clients_share_one_limit_even_on_loopback() {
    let limited = |proxy_protocol| {
        server(|settings| {
            settings.connections_per_ip_max = Some(2);
            settings.exempt_networks = vec![Network::LOOPBACK_V4];
            settings.proxy_protocol = proxy_protocol;
        })
    };
    let server = limited(false);
    let unnamed = ["garbage", "unix:", "unknown", "192.0.2.1, garbage", ""];
    let mut connections: Vec<Client> = Vec::new();
    let mut statuses = Vec::new();
    for name in unnamed.iter().cycle().take(20) {
        let mut proxy = Client::connect(server.address);
        // A client that the endpoint refuses does not count.
        assert!([403, 429].contains(&ask(&mut proxy, "/refused", name)));
        statuses.push(ask(&mut proxy, "/", name));
        connections.push(proxy);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 101).count(), 2);
    assert_eq!(statuses[2..], [429; 18]);
    // Named clients are counted separately, and so is the proxy.
    let mut named = Client::connect(server.address);
    assert_eq!(ask(&mut named, "/", "192.0.2.1"), 101);
    let own = [server.open("/"), server.open("/"), server.open("/")];
    drop((connections, named, own));
    server.expect_empty();
    let mut again = Client::connect(server.address);
    assert_eq!(ask(&mut again, "/", "garbage"), 101, "the places came back");

    let server = limited(true);
    let open = |header: &[u8]| {
        let mut proxy = proxied(&server, header);
        proxy.send(upgrade("/").as_bytes());
        (proxy.answer().status, proxy)
    };
    let unknown = || open(b"PROXY UNKNOWN\r\n");
    let connections: Vec<(u16, Client)> = (0..20).map(|_| unknown()).collect();
    assert_eq!(
        connections
            .iter()
            .filter(|(status, _)| *status == 101)
            .count(),
        2
    );
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let own: Vec<(u16, Client)> = (0..4).map(|_| open(local)).collect();
    assert!(
        own.iter().all(|(status, _)| *status == 101),
        "the proxy's own"
    );
    drop((connections, own));
    server.expect_empty();
    assert_eq!(unknown().0, 101, "the places came back");
}

#[test]
fn unnamed_proxied_clients_share_one_connect_rate() {
    let server = server(|settings| {
        settings.connects_per_ip = Some(TokenRate::new(1, 3));
        settings.exempt_networks = vec![Network::LOOPBACK_V4];
    });
    let statuses: Vec<u16> = (0..10)
        .map(|_| ask(&mut Client::connect(server.address), "/", "garbage"))
        .collect();
    assert_eq!(statuses[..3], [101; 3]);
    assert!(statuses[3..].contains(&429), "{statuses:?}");
}

#[test]
fn an_untrusted_local_proxy_is_logged_once() {
    let relay = Relay::start(&[]);
    let warned = || relay.logged("server.trusted_proxies");
    let mut plain = Client::connect(relay.address);
    plain.send(GET);
    assert_eq!(plain.answer().status, 426);
    for header in ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"] {
        for _ in 0..10 {
            plain.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n").as_bytes());
            assert_eq!(plain.answer().status, 426);
        }
    }
    relay.signal(rustix::process::Signal::HUP);
    // All earlier output is in the log with this line.
    eventually("it is reloaded", || relay.logged("are reloaded") == 1);
    assert_eq!(warned(), 1);
    let relay = Relay::start(&["--set", "server.trusted_proxies=127.0.0.0/8"]);
    let mut proxy = Client::connect(relay.address);
    assert_eq!(ask(&mut proxy, "/", "192.0.2.1"), 101);
    relay.signal(rustix::process::Signal::HUP);
    eventually("it is reloaded", || relay.logged("are reloaded") == 1);
    assert_eq!(relay.logged("server.trusted_proxies"), 0);
}

fn ask_once(proxy: &mut Client, client: &str) -> bool {
    ask(proxy, "/", client) == 101
}

#[test]
fn clients_of_a_unix_socket_may_be_trusted_proxies() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let server = server(|settings| {
        settings.proxy_protocol = true;
        settings.listen.push(Listen {
            address: ListenAddress::Unix(path.clone()),
            tls: false,
        });
    });
    let mut stream = UnixStream::connect(&path).expect("somebody listens");
    stream
        .write_all(line("192.0.2.1").as_bytes())
        .expect("sent");
    let (mut socket, _) = tungstenite::client("ws://relay/", stream).expect("an upgrade");
    socket.send("who am I?".into()).expect("sent");
    let client = socket.read().expect("a message").into_text().expect("text");
    assert_eq!(client.as_str(), "192.0.2.1:1111");
    drop(socket);
    server.expect_empty();
}

#[test]
fn a_client_of_a_unix_socket_has_no_address_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let server = server(|settings| {
        settings.trusted_proxies.unix = false;
        settings.connections_per_ip_max = Some(1);
        settings.listen.push(Listen {
            address: ListenAddress::Unix(path.clone()),
            tls: false,
        });
    });
    let sockets = [(); 2].map(|()| {
        let stream = UnixStream::connect(&path).expect("somebody listens");
        let (mut socket, _) = tungstenite::client("ws://relay/", stream).expect("an upgrade");
        socket.send("who am I?".into()).expect("sent");
        let client = socket.read().expect("a message").into_text().expect("text");
        assert_eq!(client.as_str(), "unix");
        socket
    });
    drop(sockets);
    server.expect_empty();
}

#[test]
fn network_rules_refuse_unnamed_clients_of_a_unix_socket_proxy() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listening = |unix| {
        let path = path.clone();
        server(|settings| {
            settings.trusted_proxies.unix = unix;
            settings.networks.allow = vec!["192.0.2.0/24".parse().unwrap()];
            settings.listen.push(Listen {
                address: ListenAddress::Unix(path),
                tls: false,
            });
        })
    };
    let status = |request: &str| {
        let mut stream = UnixStream::connect(&path).expect("somebody listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut line = [0; 12];
        stream.read_exact(&mut line).expect("a status");
        String::from_utf8_lossy(&line[9..]).into_owned()
    };
    let server = listening(true);
    assert_eq!(status(&upgrade("/")), "403");
    assert_eq!(refused(&server, Refusal::UnknownClient), 1);
    let named = upgrade_with("/", "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(status(&named), "101");
    let check = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(status(check), "200", "it may look");
    drop(server);
    // On this machine every client that is not root is untrusted: the file's permissions decide.
    let _server = listening(false);
    assert_eq!(status(&upgrade("/")), "101");
}

#[test]
fn a_dual_stack_listener_reports_ipv4_addresses() {
    let server = server(|settings| {
        settings.trusted_proxies = TrustedProxies::default();
        settings.listen = vec![SocketAddr::from(([0; 16], 0)).into()];
    });
    if !server.address.is_ipv6() {
        return;
    }
    let mut client = Client::open(
        SocketAddr::from(([127, 0, 0, 1], server.address.port())),
        "/",
    );
    assert!(peer_of(&mut client).starts_with("127.0.0.1:"));
}

#[test]
fn the_keys_for_proxies_reach_the_relay() {
    let trusted = ["--set", "server.trusted_proxies=127.0.0.0/8"];
    let headers = "X-Forwarded-For: 192.0.2.1\r\n";
    let ask = |relay: &Relay, begin: &str| {
        let mut client = Client::connect(relay.address);
        client.send((begin.to_owned() + &upgrade_with("/", headers)).as_bytes());
        client.try_answer().map(|answer| answer.status)
    };
    let one_each = [
        "--set",
        "limits.connections_per_ip=1",
        "--set",
        "limits.exempt_networks=[]",
    ];
    let relay = Relay::start(&[&trusted[..], &one_each].concat());
    let _first = Client::open(relay.address, "/");
    let _second = Client::open(relay.address, "/");
    let relay = Relay::start(&[&trusted[..], &["--set", "server.proxy_protocol=true"]].concat());
    assert_eq!(ask(&relay, &line("192.0.2.1")), Some(101));
    assert_eq!(ask(&relay, ""), None);
    eventually("the log says why", || relay.logged("no PROXY header") == 1);
    let relay = Relay::start(&one_each);
    let _first = Client::open(relay.address, "/");
    assert_eq!(
        ask(&relay, ""),
        Some(429),
        "nobody is trusted unless it is said"
    );
}

#[test]
fn the_keys_for_proxies_change_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let write = |server: &str| {
        let limits = "limits: {connections_per_ip: 1, exempt_networks: []}";
        std::fs::write(&file, format!("server: {{{server}}}\n{limits}\n")).expect("a file");
    };
    write("");
    let relay = Relay::start(&["--config-file", file.to_str().expect("UTF-8")]);
    let reload = |times: usize| {
        relay.signal(rustix::process::Signal::HUP);
        eventually("it is reloaded", || {
            relay.logged("config and certificates are reloaded") == times
        });
    };
    let open = |header: &str, client: &str| {
        let mut connection = Client::connect(relay.address);
        let forwarded = format!("X-Forwarded-For: {client}\r\n");
        connection.send((header.to_owned() + &upgrade_with("/", &forwarded)).as_bytes());
        (
            connection.try_answer().map(|answer| answer.status),
            connection,
        )
    };
    let (status, mut first) = open("", "192.0.2.1");
    assert_eq!(status, Some(101));
    assert_eq!(open("", "192.0.2.2").0, Some(429), "it is nobody's proxy");
    write("trusted_proxies: [127.0.0.0/8]");
    reload(1);
    let (status, _second) = open("", "192.0.2.2");
    assert_eq!(status, Some(101));
    assert_eq!(open("", "192.0.2.2").0, Some(429));
    write("trusted_proxies: [127.0.0.0/8], proxy_protocol: true");
    reload(2);
    assert_eq!(open("", "192.0.2.3").0, None, "a header is due");
    let (status, _third) = open(&line("192.0.2.3"), "192.0.2.3");
    assert_eq!(status, Some(101));
    // Existing clients are not affected.
    first.round_trip();
}

#[test]
fn a_proxied_connection_stops_counting_for_the_proxys_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let write = |trusted: &str| {
        let server = format!("server: {{trusted_proxies: [{trusted}]}}");
        let limits = "limits: {connections_per_ip: 1, exempt_networks: []}";
        std::fs::write(&file, format!("{server}\n{limits}\n")).expect("a file");
    };
    write("");
    let relay = Relay::start(&["--config-file", file.to_str().expect("UTF-8")]);
    let reload = |times: usize| {
        relay.signal(rustix::process::Signal::HUP);
        eventually("it is reloaded", || {
            relay.logged("config and certificates are reloaded") == times
        });
    };
    let mut proxy = Client::connect(relay.address);
    proxy.send(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(proxy.answer().status, 200);
    write("127.0.0.0/8");
    reload(1);
    assert_eq!(ask(&mut proxy, "/", "192.0.2.1"), 101);
    drop(proxy);
    write("");
    reload(2);
    eventually("its address may connect", || {
        let mut client = Client::connect(relay.address);
        client.send(upgrade("/").as_bytes());
        client.answer().status == 101
    });
}
