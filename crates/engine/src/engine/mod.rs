//! The engine: shards, each of which is one thread with its own poll, its own connections and its
//! own part of every room.
//!
//! It knows endpoints only as a trait. [`Engine::builder`] configures an engine, and [`Engine`]
//! stops it. A [`Handle`] reaches it from any thread, and a [`Port`] is a member of rooms on a
//! thread of the embedder. The hot path is `shard/mod.rs`, top to bottom.
//!
//! | directory | content |
//! |---|---|
//! | `shard/` | the loop: polls, accepts, and runs the phases of a turn |
//! | `edge/` | bytes before there is a WebSocket: PROXY, TLS, HTTP, refusals |
//! | `clients/` | connections: frames in and out, rooms, closing, endpoint code |
//! | the files here | code that several of them share: settings, counters, handles, mailboxes |
//!
//! A directory uses those below it in this table, and none above.

mod addresses;
mod answer;
mod clients;
mod close_reason;
mod connects;
mod control;
mod edge;
mod files;
mod handle;
mod holders;
mod ids;
mod lagging;
mod listener;
mod network;
mod notice;
mod over_limit;
mod places;
mod questions;
mod rate;
mod refusal;
mod reload;
mod reload_stats;
mod settings;
mod shard;
mod spare;
mod start;
mod start_error;
mod stats;
mod stream;
mod tls;
mod view;

pub use self::answer::{
    Accept, Admission, Answer, Authorizer, Context, EndpointError, HeadVerdict, OwnedRequest,
    Pending, Request, Terms,
};
pub use self::clients::asking::RoomEntry;
pub use self::clients::client::Client;
pub use self::clients::endpoint::{DeferredAdmission, DeferredResponse, Endpoint, Responder};
pub use self::clients::local::{Ended, Local, Mailer, OnShard};
pub use self::clients::pulse::Pulse;
pub use self::clients::service::{Service, upgrade_required};
pub use self::clients::session::Session;
pub use self::clients::tries::Throttled;
pub use self::close_reason::CloseReason;
pub use self::connects::{AddressBuckets, Buckets};
pub use self::control::HandleError;
pub use self::edge::router::PatternError;
pub use self::files::{FileBudget, FileNeeds};
pub use self::handle::Handle;
pub use self::ids::{JoinError, RoomId};
pub use self::lagging::LaggingClient;
pub use self::listener::Inherited;
pub use self::network::{Network, NetworkError, Networks};
pub use self::rate::{TokenBucket, TokenRate};
pub use self::refusal::{Refusal, Refusals, Refused};
pub use self::reload::ReloadError;
pub use self::settings::{
    Deflate, EndpointSettings, Keepalive, Limits, Listen, ListenAddress, Rate, RatePolicy,
    Settings, Shutdown, SlowClient, SlowPolicy, Timeouts, TrustedProxies,
};
pub use self::start::{Builder, Engine};
pub use self::start_error::StartError;
pub use self::stats::{Counts, Durations, ShardStats, SlowAction};
pub use self::tls::{Tls, TlsError, TlsFiles};
pub use self::view::View;
pub use crate::counter::Counter;
pub use crate::exchange::{
    Delivery, ExchangeStats, Frame, OpenError, Port, PortError, PortTurn, Seat, Wake,
};
pub use crate::fanout::shared_body::SharedBody;
pub use crate::peer::Peer;
pub use crate::work::TurnPhase;
