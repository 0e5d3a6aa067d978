//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446). Only this module uses rustls.
//!
//! [`Tls`] is the configuration of handshakes: certificate, key, client CA. A `TlsSession` is the
//! TLS state of one connection, and `edge/encrypted.rs` is where a shard's loop uses it.
//!
//! Invariants:
//!
//! - A session keeps the bytes of an incomplete record and the bytes that the socket did not take,
//!   and nothing else. Plaintext and ciphertext pass through buffers of the shard.
//! - The bytes taken from an outbox are encrypted by one call and sent by one. Until the socket has
//!   taken all of them, nothing more is encrypted: the backlog stays in the outbox, where the
//!   policy for slow clients applies.
//! - A session is never replaced: a reload gives new connections another [`Tls`].

mod files;
pub(super) mod session;

pub use files::{Tls, TlsError, TlsFiles};
pub(super) use session::{TlsBuffers, TlsSession};
