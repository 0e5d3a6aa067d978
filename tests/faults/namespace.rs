//! A separate network, connected to the relay's by one link that can be cut, throttled or made
//! lossy.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::stage::{skip, succeeds};
use crate::support::client::Client;

/// The end of the link inside.
const INSIDE: &str = "inside";

/// A network namespace. It is deleted, and its link with it, when it is dropped.
pub(crate) struct Namespace {
    name: String,
    /// The end of the link outside.
    pub(crate) outside: String,
    /// Its address: the relay's, as seen from inside.
    host: Ipv4Addr,
}

impl Namespace {
    /// Creates one. Prints a line and returns `None` if it is not permitted.
    pub(crate) fn new() -> Option<Namespace> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // One of the 32,768 networks of four addresses in 198.18.0.0/15, which is reserved for such
        // tests (RFC 2544): a different one for each namespace of this process, and of others.
        let place = process.wrapping_mul(16).wrapping_add(number) % 32_768;
        let network = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + place * 4;
        let namespace = Namespace {
            name: format!("corecast-{process}-{number}"),
            // At most 15 letters.
            outside: format!("cc{process}-{number}"),
            host: Ipv4Addr::from(network + 1),
        };
        let Namespace {
            name,
            outside,
            host,
        } = &namespace;
        let guest = Ipv4Addr::from(network + 2);
        let script = format!(
            "set -e\n\
             ip netns add {name}\n\
             ip link add {outside} type veth peer name {INSIDE} netns {name}\n\
             ip address add {host}/30 dev {outside}\n\
             ip link set {outside} up\n\
             ip -n {name} address add {guest}/30 dev {INSIDE}\n\
             ip -n {name} link set {INSIDE} up"
        );
        if succeeds(&["sh", "-c", &script]) {
            return Some(namespace);
        }
        skip("there is no right to make network namespaces, or no `ip`");
        None
    }

    /// Runs a closure in the network inside.
    fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let moved = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{}", self.name)).expect("a namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("the right to enter what was made");
                act()
            });
            moved.join().expect("it is done")
        })
    }

    /// Connects from inside to the relay, which listens on `port` of all addresses. The socket
    /// stays inside.
    pub(crate) fn connect(&self, port: u16) -> TcpStream {
        let address = SocketAddr::from((self.host, port));
        self.inside(|| TcpStream::connect(address).expect("a connection"))
    }

    /// Opens a WebSocket from inside.
    pub(crate) fn open(&self, port: u16, path: &str) -> Client {
        Client::from(self.connect(port)).upgraded(path)
    }

    /// Cuts the link: packets are lost silently.
    pub(crate) fn cut(&self) {
        let cut = ["ip", "-n", &self.name, "link", "set", INSIDE, "down"];
        assert!(succeeds(&cut), "the link is cut");
    }

    /// Runs a program inside. Returns its output; `None` if it cannot run or fails.
    pub(crate) fn run(&self, command: &[&str]) -> Option<String> {
        let enter = ["netns", "exec", &self.name];
        let output = Command::new("ip").args(enter).args(command).output().ok()?;
        let is_done = output.status.success();
        is_done.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The outer end of the link is deleted at once; the namespace only with the last socket
        // inside.
        succeeds(&["ip", "link", "delete", &self.outside]);
        succeeds(&["ip", "netns", "delete", &self.name]);
    }
}
