//! Named loads. A scenario only changes the defaults of other options.

use std::time::Duration;

use clap::ValueEnum;

use super::{Payload, Rate};
use crate::plan::Expect;

/// JSON of a hand-written Nostr event, with its id and signature.
const EVENT_BYTES: usize = 600;

/// `--scenario`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Everybody gets every message.
    #[default]
    Broadcast,
    /// A server that sends every message back to its sender.
    Echo,
    /// 100 clients in 10 rooms.
    Rooms,
    /// 10 named users who each send 1 KB of JSON every 10 ms to all others, for 5 seconds.
    Named,
    /// Messages go in over HTTP and out to every client.
    Push,
    /// 1,000 connections that are held and say nothing.
    Idle,
    /// 950 of 1,000 connections break at once every 2 seconds and reconnect at once.
    Storm,
    /// A broadcast while 100 connections a second are replaced.
    Churn,
    /// Nostr events of 4 publishers to 50 clients; each client's filters decide which it gets.
    NostrFanout,
    /// 50 clients that each send a Nostr event and wait for its OK before the next.
    NostrPublish,
    /// 8 clients query stored Nostr events, 100 times a second, 20 rows each; the events are stored
    /// first.
    NostrQuery,
    /// 8 clients that each synchronize their set of Nostr events with the relay's, again and again.
    NostrSync,
    /// 10 speakers that each send 8 KiB of sound 12 times a second to all others.
    Audio,
}

/// The defaults of a scenario; `None` keeps the general default.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Preset {
    /// Used if the URL has no path.
    pub(super) path: Option<&'static str>,
    pub(super) clients: Option<u32>,
    pub(super) publishers: Option<u32>,
    pub(super) rate: Option<Rate>,
    pub(super) size: Option<usize>,
    pub(super) payload: Option<Payload>,
    pub(super) expect: Option<Expect>,
    pub(super) rooms: Option<u32>,
    pub(super) duration: Option<Duration>,
    pub(super) churn: Option<f64>,
    pub(super) storm_every: Option<Duration>,
    pub(super) push: bool,
    /// A Nostr load with this many subscriptions per client; 0 if the clients publish.
    pub(super) nostr: Option<u32>,
    /// The clients of this Nostr load query stored events.
    pub(super) queries: bool,
    /// It synchronizes.
    pub(super) is_sync: bool,
    pub(super) window: Option<u32>,
}

impl Preset {
    /// A Nostr load with this many subscriptions per client.
    fn nostr(subscriptions: u32) -> Self {
        Self {
            size: Some(EVENT_BYTES),
            window: Some(1),
            nostr: Some(subscriptions),
            ..Self::default()
        }
    }
}

impl Scenario {
    /// The name that is typed and reported.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn preset(self) -> Preset {
        let none = Preset::default();
        match self {
            Self::Broadcast => none,
            Self::Echo => Preset {
                path: Some("/echo{i}"),
                expect: Some(Expect::Own),
                ..none
            },
            Self::Rooms => Preset {
                path: Some("/room{room}"),
                clients: Some(100),
                rooms: Some(10),
                ..none
            },
            Self::Named => Preset {
                path: Some("/ws/user{i}"),
                clients: Some(10),
                rate: Some(Rate::Each(100.0)),
                size: Some(1024),
                payload: Some(Payload::Json),
                expect: Some(Expect::Others),
                duration: Some(Duration::from_secs(5)),
                ..none
            },
            Self::Push => Preset {
                path: Some("/ws?token=room{room}"),
                publishers: Some(4),
                rate: Some(Rate::PerSecond(100.0)),
                payload: Some(Payload::Json),
                push: true,
                ..none
            },
            Self::Idle => Preset {
                clients: Some(1000),
                publishers: Some(0),
                ..none
            },
            Self::Storm => Preset {
                clients: Some(1000),
                rate: Some(Rate::PerSecond(100.0)),
                storm_every: Some(Duration::from_secs(2)),
                ..none
            },
            Self::Churn => Preset {
                clients: Some(100),
                churn: Some(100.0),
                ..none
            },
            Self::NostrFanout | Self::NostrPublish | Self::NostrQuery | Self::NostrSync => {
                self.nostr_preset()
            }
            Self::Audio => Preset {
                path: Some("/ws/speaker{i}"),
                clients: Some(10),
                rate: Some(Rate::Each(12.0)),
                size: Some(8192),
                expect: Some(Expect::Others),
                ..none
            },
        }
    }

    fn nostr_preset(self) -> Preset {
        match self {
            Self::NostrFanout => Preset {
                publishers: Some(4),
                rate: Some(Rate::PerSecond(100.0)),
                ..Preset::nostr(1)
            },
            Self::NostrPublish => Preset {
                rate: Some(Rate::Max),
                expect: Some(Expect::Own),
                ..Preset::nostr(0)
            },
            Self::NostrQuery => Preset {
                clients: Some(8),
                rate: Some(Rate::PerSecond(100.0)),
                expect: Some(Expect::Own),
                queries: true,
                ..Preset::nostr(0)
            },
            Self::NostrSync => Preset {
                clients: Some(8),
                rate: Some(Rate::Max),
                expect: Some(Expect::Own),
                is_sync: true,
                ..Preset::nostr(0)
            },
            _ => Preset::default(),
        }
    }
}
