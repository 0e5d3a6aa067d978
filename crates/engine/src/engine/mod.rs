//! The engine: shards, each one thread with its own poll, its own connections and its own part of
//! every room.
//!
//! It knows endpoints only as a trait. [`Engine::builder`] puts one together; [`Engine`] is how it
//! is stopped; a [`Handle`] reaches it from any thread, and a [`Port`] is a member of rooms on a
//! thread of the embedder's. The hot path is `shard.rs`, top to bottom.

mod accepting;
mod addresses;
mod admission;
mod answer;
mod asking;
mod attachments;
mod behind;
mod bodies;
mod busy;
mod client;
mod clients;
mod close_reason;
mod closing;
mod connection;
mod connects;
mod control;
mod core;
mod delivery;
mod edge;
mod endpoint;
mod erased;
mod evicting;
mod extras;
mod files;
mod flushing;
mod frames;
mod handle;
mod held;
mod holders;
mod ids;
mod invariants;
mod lagging;
mod lanes;
mod listener;
mod local;
mod network;
mod notice;
mod over_limit;
mod pace;
mod pausing;
mod peer;
mod pipeline;
mod places;
mod proxied;
mod pulse;
mod questions;
mod rate;
mod refusal;
mod refusing;
mod reload;
mod reload_stats;
mod requests;
mod router;
mod sending;
mod service;
mod session;
mod settings;
mod shard;
mod slow;
mod spare;
mod start;
mod start_error;
mod stats;
mod stop;
mod stopping;
mod stream;
mod timers;
mod tls;
mod tries;
mod view;
mod working;

pub use self::answer::{
    Accept, Admission, Answer, Context, EndpointError, HeadVerdict, Keeper, OwnedRequest, Pending,
    Request, Terms,
};
pub use self::asking::RoomEntry;
pub use self::client::Client;
pub use self::close_reason::CloseReason;
pub use self::connects::AddressBuckets;
pub use self::control::HandleError;
pub use self::endpoint::{DeferredAdmission, DeferredResponse, Endpoint, Responder};
pub use self::files::{FileBudget, FileNeeds};
pub use self::handle::Handle;
pub use self::ids::{JoinError, RoomId};
pub use self::lagging::LaggingClient;
pub use self::listener::Inherited;
pub use self::local::{Ended, Local, Mailer, OnShard};
pub use self::network::{Network, NetworkError, Networks};
pub use self::pulse::Pulse;
pub use self::rate::{TokenBucket, TokenRate};
pub use self::refusal::{Refusal, Refusals, Refused};
pub use self::reload::ReloadError;
pub use self::router::PatternError;
pub use self::service::{Service, upgrade_required};
pub use self::session::Session;
pub use self::settings::{
    Deflate, EndpointSettings, Keepalive, Listen, ListenAddress, Rate, RatePolicy, Settings,
    SlowClient, SlowPolicy, Timeouts, TrustedProxies,
};
pub use self::start::{Builder, Engine};
pub use self::start_error::StartError;
pub use self::stats::{Counts, Durations, ShardStats, SlowAction};
pub use self::tls::{Tls, TlsError, TlsFiles};
pub use self::tries::Throttled;
pub use self::view::View;
pub use crate::counter::Counter;
pub use crate::exchange::{
    Delivery, ExchangeStats, Frame, OpenError, Port, PortError, PortTurn, Seat, Wake,
};
pub use crate::work::TurnPhase;
