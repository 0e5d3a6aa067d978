//! The reasons why an engine does not start.

use std::io;

use crate::engine::answer::EndpointError;
use crate::engine::edge::router::PatternError;
use crate::engine::settings::ListenAddress;
use crate::limits::{READ_BUFFER_BYTES_MIN, SHARDS_MAX};

/// The reason why an engine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A path pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The number of shards is out of bounds.
    #[error("{0} shards: must be 1 to {max}", max = SHARDS_MAX - 1)]
    Shards(usize),
    /// There are more shards and ports than the bitmap of a room has bits.
    #[error("{shards} shards and {ports} ports: at most {SHARDS_MAX} together")]
    Ports {
        /// The shards, with the admin shard if there is one.
        shards: usize,
        /// The ports.
        ports: usize,
    },
    /// The receive buffer is too small to be useful.
    #[error("a receive buffer of {0} bytes: must be at least {READ_BUFFER_BYTES_MIN}")]
    ReadBuffer(usize),
    /// An outbox cannot hold a frame of the largest size.
    #[error("an outbox of {outbox_bytes} bytes cannot hold a message of {message_bytes} bytes")]
    Outbox {
        /// The outbox.
        outbox_bytes: usize,
        /// The message.
        message_bytes: usize,
    },
    /// A message could exceed the range of a 32-bit index.
    #[error("messages of {0} bytes: must be at most 1 GiB")]
    Message(usize),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
    /// A listener speaks TLS, and no certificate is configured.
    #[error("{0} speaks TLS, but no certificate is configured")]
    NoCertificate(ListenAddress),
    /// A listener that was inherited cannot be used.
    #[error("cannot use an inherited listener")]
    Inherited(#[source] io::Error),
    /// An endpoint lacks something that it needs.
    #[error("an endpoint cannot start: {0}")]
    Endpoint(EndpointError),
    /// The operating system refused a thread or a poll for a shard.
    #[error("cannot start a shard: {0}")]
    Shard(#[from] io::Error),
}
