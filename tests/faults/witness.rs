//! Clients that must not be affected: a publisher and members that exchange numbered messages all
//! the time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tungstenite::{Message, WebSocket};

use crate::support::{DEADLINE, eventually};

/// Messages that the publisher sends at once.
const BURST: usize = 4;

/// The publisher's pause between two bursts: a light load that leaves the machine to the faults.
const PACE: Duration = Duration::from_millis(10);

/// The room of the witness.
pub(crate) const ROOM: &str = "/witness";

/// The transport of a member's messages: TCP or TLS.
pub(crate) trait Stream: Read + Write + Send + 'static {}

impl<T: Read + Write + Send + 'static> Stream for T {}

/// A publisher and the members of its room.
pub(crate) struct Witness {
    publisher: JoinHandle<End>,
    /// Dropped to end the publishing.
    goes_on: Sender<()>,
    published: Arc<AtomicUsize>,
    members: Vec<Member>,
}

struct Member {
    /// The number of the next expected message.
    next: Arc<AtomicUsize>,
    thread: JoinHandle<End>,
}

/// How a client's messages ended, with the number of the first that did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// With the publisher's last one.
    AllCame(usize),
    /// With a Close of the relay.
    Closed(usize, u16),
}

impl Witness {
    /// Joins `streams` to the room: the first is the publisher's.
    pub(crate) fn gather(streams: impl IntoIterator<Item = TcpStream>) -> Witness {
        let mut streams = streams.into_iter();
        let publisher = open(timely(streams.next().expect("a publisher")));
        let members = streams.map(|stream| Member::join(timely(stream), true));
        let members = members.collect();
        let published = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&published);
        let (goes_on, is_over) = mpsc::channel::<()>();
        let publisher = thread::Builder::new()
            .name("the witness's publisher".to_owned())
            .spawn(move || {
                let over = || is_over.recv_timeout(PACE) != Err(mpsc::RecvTimeoutError::Timeout);
                publish(publisher, &counter, over)
            })
            .expect("a thread");
        Witness {
            publisher,
            goes_on,
            published,
            members,
        }
    }

    /// One more member, which gets the messages published from now on.
    pub(crate) fn join(&mut self, stream: impl Stream) {
        self.members.push(Member::join(stream, false));
    }

    /// Waits until every member has received messages that are published from now on.
    pub(crate) fn goes_on(&self) {
        let from = self.published.load(Ordering::Relaxed) + BURST;
        eventually("the witness goes on", || {
            let has_more = |each: &Member| each.next.load(Ordering::Relaxed) > from;
            self.members.iter().all(has_more)
        });
    }

    /// Publishes the last message, and expects that all members have all messages then.
    pub(crate) fn end(self) {
        drop(self.goes_on);
        let End::AllCame(published) = self.publisher.join().expect("the publisher") else {
            panic!("the publisher was closed");
        };
        for member in self.members {
            let end = member.thread.join().expect("every message in order");
            assert_eq!(end, End::AllCame(published));
        }
    }

    /// Expects that the relay shuts down, after all members have got the same messages.
    pub(crate) fn end_by_shutdown(self) {
        let published = self.publisher.join().expect("the publisher");
        let End::Closed(_, 1001) = published else {
            panic!("{published:?}");
        };
        for member in self.members {
            let end = member.thread.join().expect("every message in order");
            assert_eq!(end, published);
        }
    }
}

impl Member {
    /// Joins a member. One that is there `from_the_start` gets the first message.
    fn join(stream: impl Stream, from_the_start: bool) -> Member {
        let mut socket = open(stream);
        let next = Arc::new(AtomicUsize::new(0));
        let expected = Arc::clone(&next);
        let thread = thread::Builder::new()
            .name("a member of the witness".to_owned())
            .spawn(move || {
                if !from_the_start && let Ok((number, _)) = next_number(&mut socket) {
                    expected.store(number + 1, Ordering::Relaxed);
                }
                take_all(socket, &expected)
            })
            .expect("a thread");
        Member { next, thread }
    }
}

/// A stream on which every operation has a deadline.
pub(crate) fn timely(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream.set_write_timeout(Some(DEADLINE)).expect("a socket");
    stream
}

/// Opens a WebSocket.
fn open<S: Stream>(stream: S) -> WebSocket<S> {
    match tungstenite::client(format!("ws://relay{ROOM}"), stream) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("no WebSocket: {error}"),
    }
}

/// Publishes, burst after burst, until the end or until the relay closes. It waits for its own
/// messages before it continues, so a slow relay is not flooded.
fn publish(
    mut socket: WebSocket<TcpStream>,
    published: &AtomicUsize,
    is_over: impl Fn() -> bool,
) -> End {
    let mut next = 0;
    loop {
        let is_last = is_over();
        let burst = if is_last { 1 } else { BURST };
        for number in next..next + burst {
            let text = if is_last {
                format!("last {number}")
            } else {
                format!("number {number}")
            };
            socket.write(Message::text(text)).expect("the relay reads");
        }
        socket.flush().expect("the relay reads");
        published.store(next + burst, Ordering::Relaxed);
        for number in next..next + burst {
            match next_number(&mut socket) {
                Ok((found, _)) => assert_eq!(found, number, "the publisher's own"),
                Err(code) => return closed(socket, number, code),
            }
        }
        next += burst;
        if is_last {
            return all_came(socket, next);
        }
    }
}

/// Reads up to the last message, or a Close, and expects consecutive numbers.
fn take_all(mut socket: WebSocket<impl Stream>, expected: &AtomicUsize) -> End {
    loop {
        let next = expected.load(Ordering::Relaxed);
        let (number, is_last) = match next_number(&mut socket) {
            Ok(message) => message,
            Err(code) => return closed(socket, next, code),
        };
        assert_eq!(number, next, "out of order, or a gap");
        expected.store(next + 1, Ordering::Relaxed);
        if is_last {
            return all_came(socket, next + 1);
        }
    }
}

/// The next message's number, and whether it is the last. A Close is an error, with its code.
fn next_number(socket: &mut WebSocket<impl Stream>) -> Result<(usize, bool), u16> {
    loop {
        match socket.read().expect("a message in time") {
            Message::Text(text) => {
                let (word, number) = text.split_once(' ').expect("two words");
                return Ok((number.parse().expect("a number"), word == "last"));
            }
            // This also sends its answer.
            Message::Ping(_) => socket.flush().expect("the relay reads"),
            Message::Close(frame) => return Err(frame.map_or(1005, |frame| frame.code.into())),
            other => panic!("{other:?}"),
        }
    }
}

/// Closes after the last message.
fn all_came(mut socket: WebSocket<impl Stream>, next: usize) -> End {
    socket.close(None).expect("the relay reads");
    while socket.read().is_ok() {}
    End::AllCame(next)
}

/// The end that the relay has begun.
fn closed(mut socket: WebSocket<impl Stream>, next: usize, code: u16) -> End {
    while socket.read().is_ok() {}
    End::Closed(next, code)
}
