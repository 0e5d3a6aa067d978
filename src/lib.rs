//! Corecast is a thread-per-core WebSocket relay: a message comes in on one connection and goes out
//! on many. Its promise: **encode once, one write per client per turn, the same order for all
//! members of a room, and a slow client never delays another.**
//!
//! This crate is the relay's binary and a library: implement [`Endpoint`], give it a path, and
//! start an [`Engine`].
//!
//! ```
//! use corecast::{
//!     Endpoint, EndpointSettings, Engine, Message, Recipients, Request, Session, Settings,
//! };
//!
//! /// Every message goes to all connections.
//! struct Chat;
//!
//! impl Endpoint for Chat {
//!     type State = ();
//!     type Local = ();
//!
//!     fn opened(&self, session: &mut Session<'_>, _: &Request<'_>) {
//!         if session.join("everybody").is_err() {
//!             session.close(1013, "full");
//!         }
//!     }
//!
//!     fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
//!         session.publish_to("everybody", Recipients::All, message.kind, message.payload);
//!     }
//! }
//!
//! let any_port: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
//! let mut builder = Engine::builder().settings(Settings {
//!     listen: vec![any_port.into()],
//!     ..Settings::default()
//! });
//! let chat = builder.endpoint(EndpointSettings::default(), Chat);
//! builder.route("/chat", chat)?;
//! let engine = builder.start()?;
//!
//! let url = format!("ws://{}/chat", engine.addresses()[0]);
//! let (mut client, _) = tungstenite::connect(url)?;
//! client.send("Hello".into())?;
//! assert_eq!(client.read()?.to_text()?, "Hello");
//! drop(client);
//! engine.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/embed.rs` is a chat with logins in about a page, and `docs/embedding.md` explains the
//! rest. [`hooks`] go around an existing endpoint. The root of this crate has everything that the
//! root of `corecast_engine` has.
//!
//! # The house
//!
//! | module | purpose |
//! |---|---|
//! | [`wire`] | bytes in, bytes out: HTTP heads, the handshake, frames. No sockets, no clock |
//! | [`fanout`] | rooms, tickets, batches, outboxes. No sockets, no clock |
//! | `exchange` | rooms, tickets and mail between shards. No sockets, no connections |
//! | [`engine`] | shards: the loop, connections, timers. Knows endpoints as a trait |
//! | [`guard`] | authentication: origins, keys, tokens, and the rooms that a token is valid for |
//! | [`hooks`] | code around an endpoint: admits clients, filters messages; policies |
//! | [`relay`] | the endpoints of the binary |
//! | [`admin`] | health, metrics and the dashboard, answered by a shard of their own |
//! | `assembly` | turns a configuration into an engine: [`relay::builder`] |
//! | [`systemd`] | the service manager: the sockets that it passes, and its notifications |
//! | [`doctor`] | checks the machine's limits against the config |
//! | [`top`] | the dashboard in a terminal |
//! | [`nostr_tool`] | moves the events of a Nostr endpoint in and out, and examines them |
//! | [`health_check`] | asks a running relay whether it is alive, for container engines |
//! | [`start_log`] | the log lines of a start, and the link for the terminal |
//! | [`config`] | turns file, environment and flags into one checked configuration |
//! | `cli` | the command line and its subcommands: [`config::cli`] |
//! | [`limits`] | every bound that is not configurable, with its reason |
//!
//! Dependencies point downward only, and no files import each other in a circle; `tests/tidy` holds
//! that. The hot path is `crates/engine/src/engine/shard/mod.rs`: read it top to bottom.
//!
//! # The life of a message
//!
//! ```text
//! socket ─recv─▶ decoder ─▶ Endpoint::message ─▶ publish ─▶ batch        encoded once
//!                                                             │  end of the turn's reads
//!                                       seal: freeze, take tickets, Arc<Batch>
//!                 ┌───────────────────────────────────────────┤
//!      mailbox of every other shard                           │
//!      that has members, then a wake                     own LocalRooms
//!                 │                                           │
//!          its LocalRooms ── in ticket order: one slice per run into each outbox
//!                 │                                           │
//!                 └── one send per connection per turn ───────┴─▶ sockets
//! ```
//!
//! 1. **Read.** A shard has one receive buffer. A connection keeps bytes of its own only while a
//!    frame is split over two reads.
//! 2. **Decode.** [`wire::decoder`] unmasks in place and yields messages.
//! 3. **Decide.** The connection's [`engine::Endpoint`] publishes to a room, sends to the
//!    connection alone, joins, leaves or closes, through its [`engine::Session`].
//! 4. **Encode once.** [`fanout::batch::BatchBuilder`] appends header and payload to the turn's
//!    buffer: the only copy of the payload that is made, whatever the number of members.
//! 5. **Seal.** At the end of the reads the buffer is frozen, each room's frames side by side. Each
//!    run takes its tickets, and the batch goes to the other shards before anything is delivered
//!    here, so that the cores work side by side.
//! 6. **Deliver.** A shard accepts a room's runs strictly in ticket order; each member gets one
//!    slice of the shared buffer for a run.
//! 7. **Flush.** Each connection with something to send gets one `send`, or one `writev`. The rest
//!    stays in its outbox, where the policy for slow clients acts on it.
//!
//! With one message a turn, nothing waits. Under load turns grow, more frames share a send, and a
//! frame costs less: throughput regulates itself, without a timer.
//!
//! `docs/design.md` explains the reasons for this design, and names the test of each invariant.

pub mod admin;
mod assembly;
mod cli;
pub mod config;
pub mod doctor;
pub mod guard;
pub mod health_check;
pub mod logging;
pub mod nostr_tool;
pub mod relay;
pub mod start_log;
mod suggest;
#[cfg(unix)]
pub mod systemd;
pub mod top;

#[doc(no_inline)]
pub use corecast_engine::*;
pub use corecast_engine::{engine, fanout, hooks, limits, wire};
