//! Listeners of every kind, side by side.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use corecast::engine::{
    Endpoint, EndpointSettings, Engine, Inherited, Listen, ListenAddress, Session, StartError,
};
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;

use crate::support::client::Client;
use crate::support::relay::Relay;
use crate::support::{Server, eventually, settings};

fn unix(path: &Path) -> Listen {
    Listen {
        address: ListenAddress::Unix(path.to_path_buf()),
        tls: false,
    }
}

fn on(listen: Vec<Listen>) -> Server {
    let mut settings = settings();
    settings.listen.extend(listen);
    Server::hub(settings, EndpointSettings::default())
}

/// Why an engine does not start, with the whole chain of causes.
fn refusal(listen: Listen) -> String {
    let mut settings = settings();
    settings.listen = vec![listen];
    match Engine::builder().settings(settings).start() {
        Err(error @ StartError::Listen { .. }) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn a_unix_socket_has_permissions_and_is_removed_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let mut settings = settings();
    settings.listen = vec![unix(&path)];
    settings.unix_mode = 0o600;
    let mut builder = Engine::builder().settings(settings);
    let hub = builder.endpoint(EndpointSettings::default(), Hub { echo: true });
    builder.route("/**", hub).expect("a path");
    let engine = builder.start().expect("a socket");
    assert!(engine.addresses().is_empty());
    assert_eq!(
        engine.listening()[0].address,
        ListenAddress::Unix(path.clone())
    );
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    UnixStream::connect(&path).expect("somebody listens");
    assert!(engine.stop());
    assert!(!path.exists());
}

#[test]
fn only_a_stale_socket_file_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "the file outlives its process");
    let server = on(vec![unix(&path)]);
    UnixStream::connect(&path).expect("somebody listens");
    let second = refusal(unix(&path));
    assert!(
        second.starts_with(&format!("cannot listen on unix:{}", path.display())),
        "{second}"
    );
    assert!(second.to_lowercase().contains("in use"), "{second}");
    UnixStream::connect(&path).expect("the first one still listens");
    server.stop();
    std::fs::write(&path, "precious").expect("a file");
    assert!(refusal(unix(&path)).to_lowercase().contains("in use"));
    assert_eq!(std::fs::read(&path).expect("untouched"), b"precious");
    let nowhere = directory.path().join("no/such/folder");
    assert!(refusal(unix(&nowhere)).contains("no/such/folder"));
}

#[test]
fn a_successors_socket_survives_the_end_of_the_one_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let first = on(vec![unix(&path)]);
    std::fs::remove_file(&path).expect("its file");
    let second = on(vec![unix(&path)]);
    first.stop();
    UnixStream::connect(&path).expect("the second one listens");
    second.stop();
    assert!(!path.exists());
}

#[test]
fn all_of_ipv4_and_all_of_ipv6_stand_side_by_side_on_one_port() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return eprintln!("skipped: this machine has no ::1");
    }
    // A port that was free a moment ago in both families.
    let port = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let four = SocketAddr::from(([0, 0, 0, 0], port));
    let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    for order in [[four, six], [six, four]] {
        let server = on(order.map(Listen::from).to_vec());
        let mut by_four = Client::open(([127, 0, 0, 1], port).into(), "/");
        let mut by_six = Client::open((Ipv6Addr::LOCALHOST, port).into(), "/");
        by_four.text("hello");
        assert_eq!(by_six.expect_text(), "hello");
        assert_eq!(by_four.expect_text(), "hello");
        drop((by_four, by_six));
        server.expect_empty();
        assert!(server.stop());
    }
}

#[test]
fn a_bind_that_fails_names_the_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    assert!(refusal(address.into()).starts_with(&format!("cannot listen on {address}: ")));
}

/// Reports its shard.
struct ShardNumber;

impl Endpoint for ShardNumber {
    type State = ();
    type Local = ();

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let shard = session.id().shard.to_string();
        session.send(message.kind, shard.as_bytes());
    }
}

#[test]
fn inherited_listeners_serve_on_all_shards() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("its address");
    let still_held = tcp.try_clone().expect("as a service manager does");
    let unix = UnixListener::bind(&path).expect("a socket");
    let mut settings = settings();
    settings.shards = 2;
    settings.listen.clear();
    let server = Server::start(settings, |builder| {
        let id = builder.endpoint(EndpointSettings::default(), ShardNumber);
        builder.route("/**", id).expect("a path");
        builder.inherit(Inherited::Tcp(tcp), false);
        builder.inherit(Inherited::Unix(unix), false);
    });
    assert_eq!(server.address, address);
    let mut clients: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    let mut shards: Vec<String> = clients
        .iter_mut()
        .map(|client| {
            client.text("where?");
            client.expect_text()
        })
        .collect();
    shards.sort_unstable();
    assert_eq!(shards, ["0", "0", "1", "1"]);
    let stream = UnixStream::connect(&path).expect("somebody listens");
    tungstenite::client("ws://relay/", stream).expect("an upgrade");
    drop(clients);
    eventually("they are gone", || server.view.connections() == 0);
    assert!(server.stop());
    assert!(path.exists(), "the file is not ours");
    // A new client waits for a successor instead of being refused.
    let waiting = std::net::TcpStream::connect(address).expect("the queue is still there");
    let (_accepted, peer) = still_held.accept().expect("it waited");
    assert_eq!(peer, waiting.local_addr().expect("its address"));
}

#[test]
fn the_keys_for_listeners_reach_the_relay() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    // A port that was free a moment ago.
    let further = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let further = further.expect("a free port");
    let listen = format!("server.listen=http://{further},unix:{}", path.display());
    let relay = Relay::start(&["--set", &listen, "--set", "server.unix_mode=600"]);
    let mut first = Client::open(relay.address, "/");
    let mut second = Client::open(further, "/");
    first.text("hello");
    assert_eq!(second.expect_text(), "hello");
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    relay.signal(rustix::process::Signal::TERM);
    drop((first, second));
    assert_eq!(relay.exit_code(), Some(0));
    assert!(!path.exists());
}
