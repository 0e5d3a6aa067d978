//! The endpoints that the relay serves, and how a [`Config`] becomes an engine with them.
//!
//! None of the endpoints touches a socket.
//!
//! [`Config`]: crate::config::Config

pub mod api;
pub mod api_keys;
pub mod cors;
pub(crate) mod count;
pub(crate) mod files;
pub mod hub;
pub mod json_error;
pub mod named;
pub mod nostr;
pub mod pages;
pub mod pubsub;
pub mod push;
pub mod signpost;
pub mod users;

pub use crate::assembly::{BuildError, builder, builder_with_link, file_needs};
