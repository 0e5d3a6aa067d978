//! Why an engine does not start.

use std::io;

use crate::engine::answer::EndpointError;
use crate::engine::edge::router::PatternError;
use crate::engine::settings::ListenAddress;
use crate::limits::{READ_BUFFER_BYTES_MIN, SHARDS_MAX};

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A path pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The number of shards is out of bounds.
    #[error("{0} shards: there must be 1 to {max}", max = SHARDS_MAX - 1)]
    Shards(usize),
    /// There are more shards and ports than a room can tell apart.
    #[error("{shards} shards and {ports} ports: there must be at most {SHARDS_MAX} together")]
    Ports {
        /// The shards, with the admin shard if there is one.
        shards: usize,
        /// The ports.
        ports: usize,
    },
    /// The receive buffer is too small to be of use.
    #[error("a receive buffer of {0} bytes: it must have at least {READ_BUFFER_BYTES_MIN}")]
    ReadBuffer(usize),
    /// An outbox does not hold a frame of the largest size.
    #[error("an outbox of {outbox_bytes} bytes does not hold a message of {message_bytes} bytes")]
    Outbox {
        /// The outbox.
        outbox_bytes: usize,
        /// The message.
        message_bytes: usize,
    },
    /// A message could be larger than an index of 32 bits reaches.
    #[error("messages of {0} bytes are too large: at most 1 GiB")]
    Message(usize),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
    /// A listener speaks TLS, and there is no certificate.
    #[error("{0} speaks TLS, and there is no certificate for it")]
    NoCertificate(ListenAddress),
    /// A listener that was inherited cannot be used.
    #[error("cannot use an inherited listener")]
    Inherited(#[source] io::Error),
    /// An endpoint lacks what it cannot work without.
    #[error("an endpoint cannot start: {0}")]
    Endpoint(EndpointError),
    /// The operating system has no thread or poll for a shard.
    #[error("cannot start a shard: {0}")]
    Shard(#[from] io::Error),
}
