//! Authentication and origins: the pages that may connect, the keys and tokens that admit a client,
//! and the rooms that a token is valid for.
//!
//! A [`Guard`] checks a request by its head alone; [`Guarded`] puts one in front of any endpoint.
//! A client that passes with a key or a token has an [`Identity`], which is the context of its
//! connection: endpoints read it through [`Request::context`] and [`Session::context`]. A guard
//! depends on the engine alone, and costs nothing once a connection is open: the endpoint that it
//! wraps is called directly.
//!
//! The guard checks the origin first, then the client's credential. The engine checks the network
//! earlier (`Settings::networks`); the endpoint checks the rooms later. The first failure decides.
//! It has a [`Refusal`] for the metrics and the log, and neither contains a secret.
//!
//! [`Request::context`]: crate::engine::Request::context
//! [`Session::context`]: crate::engine::Client::context
//! [`Refusal`]: crate::engine::Refusal

mod credentials;
mod denial;
mod files;
mod good;
mod guarded;
mod identity;
mod judge;
mod keys;
mod origin;
mod revoked;
mod settings;
pub mod token;
mod watch;

pub(crate) use self::credentials::bearer;
pub(crate) use self::denial::forbidden;
pub use self::denial::{
    BAD_KEY, FORBIDDEN, NO_CREDENTIALS, ORIGIN, REASONS, TOKEN_ALGORITHM, TOKEN_AUDIENCE,
    TOKEN_EXPIRED, TOKEN_ISSUER, TOKEN_KEY, TOKEN_MALFORMED, TOKEN_NOT_YET_VALID, TOKEN_SIGNATURE,
    reasons,
};
pub use self::files::{FileError, FileProblem, Files};
pub(crate) use self::files::{Watched, spawn_poller, taken};
pub use self::guarded::Guarded;
pub use self::identity::{By, Identity, Pattern, Rooms};
pub use self::judge::{Guard, PROTOCOL};
pub use self::keys::{ApiKey, ApiKeyError, ApiKeys, Fingerprint, HIDDEN, Scope, Scopes, Secret};
pub use self::origin::{Origin, OriginError, Origins};
pub(crate) use self::revoked::recheck_soon;
pub use self::settings::{AuthSettings, CloseRevoked, GuardSettings};
