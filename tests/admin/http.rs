//! A plain HTTP client on a real socket.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use socket2::{Domain, Socket, Type};

/// Every wait of a test ends within this time, or the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A connection that is kept alive.
pub(crate) struct Client(BufReader<TcpStream>);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Client {
        Client::of(TcpStream::connect(to).expect("a connection"))
    }

    /// Connects from 127.0.0.`last`, which is an address of this machine only on Linux.
    #[cfg(target_os = "linux")]
    pub(crate) fn connect_from(last: u8, to: SocketAddr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let own = SocketAddr::from(([127, 0, 0, last], 0));
        socket
            .bind(&own.into())
            .expect("an address of this machine");
        socket.connect(&to.into()).expect("a connection");
        Client::of(socket.into())
    }

    fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Client(BufReader::new(stream))
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("sent");
    }

    /// Requests `path` and reads the answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> Reply {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n\r\n").as_bytes());
        self.reply(method)
    }

    /// Reads the answer to a request with `method`.
    pub(crate) fn reply(&mut self, method: &str) -> Reply {
        let status_line = self.line();
        let status = status_line.split(' ').nth(1).expect("a status");
        let mut reply = Reply {
            status: status.parse().expect("a number"),
            headers: Vec::new(),
            body: String::new(),
        };
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").expect("a header");
            reply.headers.push((name.to_owned(), value.to_owned()));
        }
        if method != "HEAD" {
            let length = reply.header("Content-Length").expect("a length");
            let mut body = vec![0; length.parse().expect("a number")];
            self.0.read_exact(&mut body).expect("the body");
            reply.body = String::from_utf8(body).expect("UTF-8");
        }
        reply
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        let line = line.strip_suffix("\r\n").expect("a whole line");
        line.to_owned()
    }
}

impl Reply {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Sends one request, on a connection of its own.
pub(crate) fn ask(to: SocketAddr, method: &str, path: &str) -> Reply {
    Client::connect(to).ask(method, path)
}

/// Repeats the request until the answer has `status`, and returns it.
pub(crate) fn ask_until(to: SocketAddr, path: &str, status: u16) -> Reply {
    poll(
        || ask(to, "GET", path),
        |reply| reply.status == status,
        path,
    )
}

/// Polls until `holds`, and returns the last value.
pub(crate) fn poll<T: Debug>(
    mut look: impl FnMut() -> T,
    holds: impl Fn(&T) -> bool,
    what: &str,
) -> T {
    let begun = Instant::now();
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < DEADLINE, "never: {what}; {seen:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
