//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446): everything that knows rustls.
//!
//! [`Tls`] is what handshakes are made with: certificate, key, client CA. A `TlsSession` is one
//! connection's part of it, and `edge/encrypted.rs` is where the loop of a shard meets it.
//!
//! What holds here:
//!
//! - A session keeps the bytes of an incomplete record and what the socket did not take, nothing
//!   else. Plaintext and ciphertext pass through buffers of the shard.
//! - What is taken off an outbox is encrypted with one call and sent with one. While the socket has
//!   not taken all of it, nothing more is encrypted: the backlog stays in the outbox, where the
//!   policy for slow clients acts on it.
//! - A session is replaced by nothing: a reload gives new connections another [`Tls`].

mod files;
pub(super) mod session;

pub use files::{Tls, TlsError, TlsFiles};
pub(super) use session::{TlsBuffers, TlsSession};
