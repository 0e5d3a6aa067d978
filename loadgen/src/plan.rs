//! The checked plan of a run: it does not fail later for a reason that could be known before.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::ValueEnum;
use tungstenite::http::Uri;

use crate::condition::Condition;
use crate::push::Push;
use crate::report::RelayReport;
use crate::stamp::Form;
use crate::tls::Tls;

pub use crate::error::PlanError;

/// A checked plan for one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the scenario, for the report.
    pub scenario: String,
    /// The user's name for this run, for the report.
    pub label: Option<String>,
    /// Where to connect.
    pub target: Target,
    /// For a `wss://` target.
    pub tls: Option<Tls>,
    /// Offer permessage-deflate without context takeover (RFC 7692 §7.1.1).
    pub deflate: bool,
    /// Leave Nagle's algorithm on (RFC 1122 §4.2.3.4).
    pub nagle: bool,
    /// Threads that share the connections.
    pub threads: u32,
    /// How these threads are scheduled.
    pub priority: Priority,
    /// A connection that is not upgraded within this time fails the run.
    pub connect_timeout: Duration,
    /// Payload bytes of every message.
    pub size: usize,
    /// The form of a message.
    pub form: Form,
    /// Seed of payloads and mask.
    pub seed: u64,
    /// Messages go in through this API instead of the clients' connections.
    pub push: Option<Push>,
    /// The relay's metrics, scraped before and after.
    pub metrics_url: Option<String>,
    /// Addresses that the connections come from in turn; empty: the system chooses.
    pub source_ips: Vec<IpAddr>,
    /// Ends the run early if one of them holds.
    pub abort_if: Vec<Condition>,
    /// How many runs, and at which rates.
    pub series: Series,
    /// An earlier run to compare with.
    pub baseline: Option<Box<RelayReport>>,
    /// A difference up to this share counts as no change: 0.05 is 5 %.
    pub tolerance: f64,
    /// The kind of run.
    pub work: Work,
}

/// A checked plan for two servers under the same load.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// For the server to compare with.
    pub a: Plan,
    /// For the server to judge.
    pub b: Plan,
    /// Pairs of runs.
    pub count: u32,
    /// A difference up to this share counts as no change: 0.05 is 5 %.
    pub tolerance: f64,
}

/// How many runs.
#[derive(Clone, Debug)]
pub enum Series {
    /// One run.
    Once,
    /// The same run this many times.
    Repeat(u32),
    /// One run at each of several rates.
    Walk(Rates),
}

/// The rates of a walk, in messages a second.
#[derive(Clone, Debug)]
pub struct Rates {
    /// These, in this order. If empty, the rates are searched from `first` on: doubled until one
    /// fails in two of three runs, then halved in between.
    pub listed: Vec<f64>,
    /// The first rate of a search.
    pub first: f64,
    /// The conditions that a step must meet.
    pub target: Vec<Condition>,
}

/// The kind of run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Publish and receive.
    Relay(Relay),
    /// Open, upgrade and close.
    Handshakes(Handshakes),
}

/// Publish and receive.
///
/// Clients are numbered by kind: those that read all the time, of which the first ones publish;
/// slow readers; those that reconnect; those that never read. If messages go in over HTTP, the
/// connections that push them come last, and no client publishes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relay {
    /// Connections of clients, including slow, churning and stalled ones.
    pub clients: u32,
    /// Clients that read no faster than [`slow_bytes_per_second`](Self::slow_bytes_per_second).
    pub slow: u32,
    /// The rate of a slow reader.
    pub slow_bytes_per_second: u32,
    /// Clients that are replaced by new ones now and then.
    pub churning: u32,
    /// When they are replaced; `None` if there are none.
    pub churn: Option<Churn>,
    /// Clients that never read.
    pub stalled: u32,
    /// Clients that publish.
    pub publishers: u32,
    /// Messages go in by connections of their own: over HTTP, unless they are Nostr events.
    pub is_pushed: bool,
    /// When messages are sent.
    pub pace: Pace,
    /// Messages are Nostr events; if clients subscribe to them, others publish them.
    pub nostr: Option<Nostr>,
    /// The receivers of a message.
    pub expect: Expect,
    /// Rooms that the clients are spread over, in turn.
    pub rooms: u32,
    /// Before the warm-up the rate rises from zero over this time.
    pub ramp: Duration,
    /// Load before the measurement, at the full rate.
    pub warmup: Duration,
    /// Load that is measured.
    pub duration: Duration,
}

/// Events and subscriptions of a Nostr relay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nostr {
    /// Subscriptions of each client; 0 means that the clients publish.
    pub subscriptions: u32,
    /// The filters that they ask for.
    pub filters: Filters,
    /// Keys that sign events.
    pub keys: u32,
    /// Keys of a filter that has authors.
    pub authors: u32,
    /// Events that are signed for a closed loop, or that are stored and queried.
    pub events: u32,
    /// The clients query stored events.
    pub query: Option<Query>,
    /// The clients synchronize their sets of events.
    pub sync: Option<NostrSync>,
}

/// Synchronizations (NIP-77) with a Nostr relay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NostrSync {
    /// Events that either only the client has or only the relay.
    pub differences: u32,
}

/// Queries of stored events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Query {
    /// The limit of each query.
    pub rows: u32,
    /// An earlier run has stored the events.
    pub is_stored: bool,
    /// Events that share a `created_at`.
    pub same_second: u32,
}

/// Kinds of filters of Nostr subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Filters {
    /// An equal part each of kinds, authors and tags, and for queries ids.
    Mixed,
    /// One or two kinds of four.
    Kinds,
    /// Some authors, by Zipf's law.
    Authors,
    /// One topic of 64.
    Tags,
    /// Ids of stored events, only of `nostr-query`.
    Ids,
    /// Everything.
    All,
}

impl Filters {
    /// As it is typed and reported.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// When clients that reconnect are replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Churn {
    /// One after the other, at this rate for all of them together.
    Steady {
        /// Connections a second.
        per_second: f64,
    },
    /// All at once, as when a network fails or a server restarts.
    Storms {
        /// From one storm to the next.
        every: Duration,
    },
}

/// The members of a room that get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// Everybody.
    All,
    /// Everybody but its publisher.
    Others,
    /// Only its publisher.
    #[value(name = "self")]
    Own,
    /// Nobody: only the sending is measured.
    Nobody,
}

impl Expect {
    /// As it is typed and reported.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Others => "others",
            Self::Own => "self",
            Self::Nobody => "nobody",
        }
    }
}

/// The task of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads all the time; may publish.
    Full,
    /// Reads slowly.
    Slow,
    /// Is replaced now and then.
    Churning,
    /// Never reads.
    Stalled,
    /// Pushes messages over HTTP.
    Pusher,
    /// Publishes over a WebSocket of its own, and receives only answers.
    Publisher,
}

impl Relay {
    /// The same load at another rate.
    pub(crate) fn at_rate(&self, per_second: f64) -> Self {
        let pace = match self.pace {
            Pace::Open { arrivals, .. } => Pace::Open {
                per_second,
                arrivals,
            },
            closed @ Pace::Closed { .. } => closed,
        };
        Self { pace, ..*self }
    }

    /// Clients that read all the time: their deliveries are checked in full.
    pub(crate) fn full(&self) -> u32 {
        self.clients - self.slow - self.churning - self.stalled
    }

    /// Whether many connections are dropped at once, with time left to recover.
    pub(crate) fn has_storms(&self) -> bool {
        let time = self.ramp + self.warmup + self.duration;
        matches!(self.churn, Some(Churn::Storms { every }) if 2 * every <= time)
    }

    /// Connections of any kind.
    pub(crate) fn connections(&self) -> u32 {
        self.clients + if self.is_pushed { self.publishers } else { 0 }
    }

    /// The role of connection number `index`.
    pub(crate) fn role(&self, index: u32) -> Role {
        let slow_from = self.full();
        let churning_from = slow_from + self.slow;
        let stalled_from = churning_from + self.churning;
        match index {
            _ if index < slow_from => Role::Full,
            _ if index < churning_from => Role::Slow,
            _ if index < stalled_from => Role::Churning,
            _ if index < self.clients => Role::Stalled,
            _ if self.nostr.is_some() => Role::Publisher,
            _ => Role::Pusher,
        }
    }

    /// The connection of a publisher.
    pub(crate) fn index_of(&self, publisher: u32) -> u32 {
        match self.is_pushed {
            true => self.clients + publisher,
            false => publisher,
        }
    }

    /// The publisher's number of connection number `index`.
    pub(crate) fn publisher_at(&self, index: u32) -> Option<u32> {
        match self.is_pushed {
            true => index.checked_sub(self.clients),
            false => Some(index).filter(|index| *index < self.publishers),
        }
    }

    /// Rooms whose messages do not mix.
    #[inline]
    pub(crate) fn rooms_apart(&self) -> u32 {
        match self.expect {
            Expect::Own => self.full(),
            _ => self.rooms,
        }
    }

    /// The room of a client, or of a publisher by its own number.
    #[inline]
    pub(crate) fn room_of(&self, number: u32) -> u32 {
        match self.rooms_apart() {
            1 => 0,
            rooms => number % rooms,
        }
    }

    /// Clients that a message of `publisher` should reach.
    pub(crate) fn receivers_of(&self, publisher: u32) -> u32 {
        let rooms = self.rooms_apart();
        let room = self.room_of(publisher);
        let members = self.full().saturating_sub(room).div_ceil(rooms);
        match self.expect {
            Expect::All | Expect::Own => members,
            Expect::Others => members.saturating_sub(1),
            Expect::Nobody => 0,
        }
    }
}

/// Open, upgrade and close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handshakes {
    /// Connections in all.
    pub count: u32,
    /// Connections at a time.
    pub concurrency: u32,
    /// Reset instead of a closing handshake.
    pub reset: bool,
    /// Open at most so many connections a second.
    pub per_second: Option<f64>,
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At fixed times, whatever the relay does.
    Open {
        /// Messages a second, of all publishers together.
        per_second: f64,
        /// How far apart.
        arrivals: Arrivals,
    },
    /// Whenever fewer than `window` messages of a publisher are in flight.
    Closed {
        /// Messages of one publisher in flight.
        window: u32,
    },
}

/// Scheduling of the generator's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Priority {
    /// Real-time in an open loop, if the system permits it.
    Auto,
    /// Real-time, or the run fails.
    Realtime,
    /// Normal, like every other thread.
    Normal,
}

/// Spacing of messages in an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// A Poisson process: the times between two messages of a publisher are exponentially
    /// distributed, and the seed repeats them.
    Poisson,
}

impl Arrivals {
    /// As it is typed and reported.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    is_tls: bool,
    host: String,
    port: u16,
    authority: String,
    /// Path and query; `{i}` stands for the client's number, `{room}` for that of its room.
    path: String,
}

impl Target {
    /// Parses a `ws://` or `wss://` URL.
    ///
    /// # Errors
    /// Not a URL, another scheme, or no host.
    pub fn parse(url: &str) -> Result<Self, PlanError> {
        let bad = |why: &str| PlanError::new(format!("--url {url}: {why}"));
        // Braces are not allowed in a URI, so a valid marker stands in for them.
        let uri: Uri = url
            .replace("{i}", CLIENT_MARK)
            .replace("{room}", ROOM_MARK)
            .parse()
            .map_err(|_| bad("not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(bad("must start with ws:// or wss://")),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("no host"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            url: url.to_owned(),
            is_tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: uri.authority().map_or(host, |all| all.as_str()).to_owned(),
            path: path
                .replace(CLIENT_MARK, "{i}")
                .replace(ROOM_MARK, "{room}"),
        })
    }

    /// Replaces the path if the URL has none.
    pub(crate) fn or_path(mut self, path: Option<&str>) -> Self {
        if self.path == "/"
            && let Some(path) = path
        {
            self.url = format!("{}{path}", self.url.trim_end_matches('/'));
            self.path = path.to_owned();
        }
        self
    }

    /// The address to connect to; an IPv4 one if the host has both.
    ///
    /// # Errors
    /// The name does not resolve.
    pub fn resolve(&self) -> Result<SocketAddr, PlanError> {
        let bad = |why: String| PlanError::new(format!("--url {}: {why}", self.url));
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let all: Vec<_> = found.map_err(|error| bad(error.to_string()))?.collect();
        let first = all.iter().find(|address| address.is_ipv4()).or(all.first());
        first
            .copied()
            .ok_or_else(|| bad(format!("{} has no address", self.host)))
    }

    /// True for `wss://`.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Name or address of the server, without its port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The `Host` header.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query for one client.
    pub(crate) fn path_for(&self, client: u32, room: u32) -> String {
        let path = self.path.replace("{i}", &client.to_string());
        path.replace("{room}", &room.to_string())
    }
}

const CLIENT_MARK: &str = "loadgen-client-number";
const ROOM_MARK: &str = "loadgen-room-number";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan for `clients` that all read and publish.
    pub(crate) fn relay(clients: u32, expect: Expect) -> Relay {
        Relay {
            clients,
            slow: 0,
            slow_bytes_per_second: 0,
            churning: 0,
            churn: None,
            stalled: 0,
            publishers: clients,
            is_pushed: false,
            nostr: None,
            pace: Pace::Open {
                per_second: 1000.0,
                arrivals: Arrivals::Constant,
            },
            expect,
            rooms: 1,
            ramp: Duration::ZERO,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
        }
    }

    #[test]
    fn each_connection_has_one_role_and_messages_have_receivers() {
        let relay = Relay {
            slow: 1,
            churning: 2,
            stalled: 3,
            publishers: 4,
            rooms: 3,
            ..relay(16, Expect::Others)
        };
        let roles: Vec<_> = (0..relay.connections())
            .map(|index| relay.role(index))
            .collect();
        assert_eq!(roles[..10], [Role::Full; 10]);
        assert_eq!(roles[10..13], [Role::Slow, Role::Churning, Role::Churning]);
        assert_eq!(roles[13..], [Role::Stalled; 3]);
        // Rooms of 4, 3 and 3.
        let receivers = [0, 1, 2, 3].map(|publisher| relay.receivers_of(publisher));
        assert_eq!(receivers, [3, 2, 2, 3]);
        let own = Relay {
            expect: Expect::Own,
            ..relay
        };
        assert_eq!([0, 3].map(|publisher| own.receivers_of(publisher)), [1, 1]);
    }

    #[test]
    fn pushers_are_connections_of_their_own() {
        let relay = Relay {
            is_pushed: true,
            publishers: 2,
            ..relay(5, Expect::All)
        };
        assert_eq!((relay.connections(), relay.role(5)), (7, Role::Pusher));
        assert_eq!((relay.index_of(1), relay.publisher_at(6)), (6, Some(1)));
        assert_eq!((relay.publisher_at(4), relay.receivers_of(1)), (None, 5));
    }

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("ws://[::1]:8443/ws/user{i}?a=b").expect("a good URL");
        assert_eq!((target.host.as_str(), target.port), ("::1", 8443));
        assert_eq!(target.authority(), "[::1]:8443");
        assert_eq!(target.path_for(7, 0), "/ws/user7?a=b");
        let plain = Target::parse("ws://localhost").expect("a good URL");
        assert_eq!((plain.port, plain.path_for(0, 0).as_str()), (80, "/"));
        let tls = Target::parse("wss://localhost/chat").expect("a good URL");
        assert!(tls.is_tls() && tls.port == 443 && !plain.is_tls());
    }
}
