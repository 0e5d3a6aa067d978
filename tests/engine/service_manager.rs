//! The binary under a service manager: passed sockets, and notifications. The test plays the
//! manager, with a shell that puts the sockets in place.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use rustls::version::TLS13;

use crate::certificates::{Authority, Folder};
use crate::support::client::Client;
use crate::support::{DEADLINE, eventually};
use crate::tls_client::{self, client_config};

/// Standard input and output become the sockets 3 and 4, as a service manager passes them.
const PASS: &str = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";

/// The binary with these sockets and variables.
struct Service(Child);

impl Service {
    fn start(sockets: [Stdio; 2], variables: &[(&str, &str)], arguments: &[&str]) -> Service {
        let [input, output] = sockets;
        let child = Command::new("bash")
            .args(["-c", PASS, env!("CARGO_BIN_EXE_corecast")])
            .args(["--host", "127.0.0.1", "--port", "0", "--shards", "2"])
            .args(["--set", "metrics.port=0"])
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash and the binary");
        Service(child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    /// Its exit code and what it wrote, once it has ended.
    fn end(mut self) -> (Option<i32>, String) {
        eventually("the process ends", || {
            self.0.try_wait().expect("a child").is_some()
        });
        let mut text = String::new();
        let mut errors = self.0.stderr.take().expect("a pipe");
        std::io::Read::read_to_string(&mut errors, &mut text).expect("UTF-8");
        (self.0.wait().expect("a status").code(), text)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn passed(socket: impl Into<OwnedFd>) -> Stdio {
    Stdio::from(socket.into())
}

/// Where notifications arrive.
struct Inbox(UnixDatagram);

impl Inbox {
    fn at(path: &Path) -> Inbox {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Inbox(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4_096];
        let received = self.0.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..received].to_vec()).expect("UTF-8")
    }

    /// The next notification with this line; earlier ones are skipped.
    fn until(&self, line: &str) -> String {
        loop {
            let text = self.next();
            if text.lines().any(|each| each == line) {
                return text;
            }
        }
    }
}

#[test]
fn sockets_that_are_passed_take_the_place_of_host_and_port() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("its address");
    // Activation: this client connects before the service starts.
    let early = Client::from(TcpStream::connect(address).expect("a queue"));
    let unix = UnixListener::bind(&path).expect("a socket");
    let service = Service::start(
        [passed(tcp), passed(unix)],
        &[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web:local")],
        &["--set", "server.listen=systemd"],
    );
    let mut early = early.upgraded("/");
    early.round_trip();
    Client::open(address, "/").round_trip();
    let stream = UnixStream::connect(&path).expect("somebody listens");
    tungstenite::client("ws://relay/", stream).expect("an upgrade");
    service.signal(Signal::TERM);
    early.expect_close(1001);
    early.close(1001);
    let (code, log) = service.end();
    assert_eq!(code, Some(0), "{log}");
    let listening: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("listening"))
        .collect();
    assert_eq!(listening.len(), 2, "{log}");
    assert!(listening[0].contains(&address.to_string()), "{log}");
    assert!(path.exists(), "the file is the service manager's");
}

#[test]
fn a_passed_socket_with_tls_in_its_name_needs_a_certificate() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("its address");
    let service = Service::start(
        [passed(tcp), Stdio::null()],
        &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web-tls")],
        &["--set", "server.listen=systemd"],
    );
    let (code, log) = service.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&format!("{address} speaks TLS")), "{log}");
}

#[test]
fn a_passed_socket_uses_tls_if_its_name_says_so() {
    let authority = Authority::new("the relay's");
    let files = Folder::new(&authority.server(2100));
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("its address");
    let cert_file = format!("server.tls.cert_file={}", files.path("cert.pem").display());
    let key_file = format!("server.tls.key_file={}", files.path("key.pem").display());
    let service = Service::start(
        [passed(tcp), Stdio::null()],
        &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web-tls")],
        &[
            "--set",
            "server.listen=systemd",
            "--set",
            &cert_file,
            "--set",
            &key_file,
        ],
    );
    let config = Arc::new(client_config(&authority, &TLS13, None));
    let mut client = tls_client::Client::open(address, &config, "/");
    client.text("hello");
    assert_eq!(client.expect_text(), "hello");
    client.0.close(None).expect("the relay reads");
    service.signal(Signal::TERM);
    let (code, log) = service.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn sockets_that_are_promised_and_not_passed_are_an_error() {
    let start = |variables: &[(&str, &str)]| {
        let nothing = [Stdio::null(), Stdio::null()];
        Service::start(nothing, variables, &["--set", "server.listen=systemd"]).end()
    };
    let (code, log) = start(&[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("passed no sockets"), "{log}");
    let (code, log) = start(&[("LISTEN_FDS", "1")]);
    assert_eq!(code, Some(1), "what is passed is no socket: {log}");
    assert!(
        log.contains("cannot use a socket of the service manager"),
        "{log}"
    );
}

#[test]
fn sockets_for_another_process_are_not_touched() {
    // Not through the shell, which would name itself.
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_corecast"))
        .args(["--set", "server.listen=systemd"])
        .env_clear()
        .envs([("LISTEN_FDS", "1"), ("LISTEN_PID", "1")])
        .output()
        .expect("the binary runs");
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stderr).contains("passed no sockets"));
}

#[test]
fn the_service_manager_is_notified_of_ready_watchdog_and_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let inbox = Inbox::at(&path);
    let service = Service::start(
        [Stdio::null(), Stdio::null()],
        &[
            ("NOTIFY_SOCKET", path.to_str().expect("UTF-8")),
            ("WATCHDOG_USEC", "100000"),
        ],
        &[],
    );
    let ready = inbox.until("READY=1");
    // It is ready when it listens, and reports the address.
    let (_, address) = ready.split_once("STATUS=listening on ").expect(&ready);
    let address: SocketAddr = address.trim().parse().expect("an address");
    Client::open(address, "/").round_trip();
    for _ in 0..3 {
        inbox.until("WATCHDOG=1");
    }
    service.signal(Signal::HUP);
    let reloading = inbox.until("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    inbox.until("READY=1");
    service.signal(Signal::TERM);
    assert!(inbox.until("STOPPING=1").contains("STATUS=shutting down"));
    let (code, log) = service.end();
    assert_eq!(code, Some(0), "{log}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_notification_socket_may_be_abstract_or_missing() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("corecast-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let inbox = Inbox(socket);
    let start = |name: &str| {
        let variables = [("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "100000")];
        Service::start([Stdio::null(), Stdio::null()], &variables, &[])
    };
    let service = start(&format!("@{name}"));
    inbox.until("READY=1");
    service.signal(Signal::TERM);
    assert_eq!(service.end().0, Some(0));
    // Without a manager the notification fails, and the relay runs nevertheless.
    let directory = tempfile::tempdir().expect("a directory");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("its address");
    let nobody = directory.path().join("nobody");
    let variables = [
        ("NOTIFY_SOCKET", nobody.to_str().expect("UTF-8")),
        ("LISTEN_FDS", "1"),
    ];
    let sockets = [passed(tcp), Stdio::null()];
    let service = Service::start(sockets, &variables, &["--set", "server.listen=systemd"]);
    Client::open(address, "/").round_trip();
    service.signal(Signal::TERM);
    assert_eq!(service.end().0, Some(0));
}
