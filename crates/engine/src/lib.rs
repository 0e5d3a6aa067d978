//! Corecast's engine, for embedders: a thread-per-core WebSocket server that delivers each message
//! to all members of a room, in one order.
//!
//! | module | content |
//! |---|---|
//! | [`wire`] | parsing and encoding: HTTP heads, the handshake, frames. No sockets, no clock |
//! | [`fanout`] | rooms, tickets, batches, outboxes. No sockets, no clock |
//! | `exchange` | rooms, tickets and mail between shards, and ports. No sockets, no connections |
//! | [`engine`] | shards: the loop, connections, timers. Knows endpoints only as a trait |
//! | [`hooks`] | code around an endpoint: who may connect, which messages pass; policies |
//! | [`limits`] | every bound that cannot be configured, with its reason |
//!
//! Implement [`Endpoint`], give it a path, and start an [`Engine`]. The names that this needs are
//! at the root of this crate:
//!
//! ```no_run
//! use corecast_engine::{
//!     Endpoint, EndpointSettings, Engine, Message, Recipients, Request, Session, Settings,
//!     StartError,
//! };
//!
//! /// Every member gets the messages of the others.
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
//!         let others = Recipients::Except(session.id());
//!         session.publish_to("everybody", others, message.kind, message.payload);
//!     }
//! }
//!
//! let address: std::net::SocketAddr = ([127, 0, 0, 1], 8080).into();
//! let mut builder = Engine::builder().settings(Settings {
//!     listen: vec![address.into()],
//!     ..Settings::default()
//! });
//! let chat = builder.endpoint(EndpointSettings::default(), Chat);
//! builder.route("/chat", chat)?;
//! let engine = builder.start()?;
//! println!("ws://{}/chat", engine.addresses()[0]);
//! # engine.stop();
//! # Ok::<(), StartError>(())
//! ```
//!
//! The relay's own parts (its endpoints, keys and tokens, the configuration, metrics) are not part
//! of this crate.

mod clock;
mod counter;
pub mod engine;
mod exchange;
pub mod fanout;
pub mod hooks;
pub mod limits;
mod peer;
mod slots;
#[doc(hidden)]
pub mod sparse;
mod sync;
mod work;

pub use corecast_wire as wire;

#[doc(inline)]
pub use self::engine::*;
#[doc(inline)]
pub use self::fanout::room::EndpointId;
#[doc(inline)]
pub use self::fanout::{ConnectionId, ConnectionIdError, Filter, Recipient, Recipients};
#[doc(inline)]
pub use self::hooks::{Hook, Hooks, Verdict, rejection};
#[doc(inline)]
pub use self::wire::decoder::{Message, ProtocolError};
#[doc(inline)]
pub use self::wire::deflate::InflateError;
#[doc(inline)]
pub use self::wire::frame::MessageKind;
#[doc(inline)]
pub use self::wire::http::{BodyLength, Head, Header, Headers, Response};
