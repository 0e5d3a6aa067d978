//! Bytes in, bytes out: the WebSocket protocol and HTTP/1.1 without sockets and without a clock.
//!
//! The engine reads into its own buffer and hands the bytes to [`http`] and [`handshake`] until a
//! connection is upgraded, then to [`decoder`]. [`proxy`] and [`forwarded`] read the client's
//! address from proxies in front. Output is appended to the caller's buffers by [`frame`],
//! [`close`], [`handshake`] and [`http`]. Nothing here blocks, logs, reads a clock or panics on a
//! peer's input, and no memory is reserved for bytes that were only announced.

pub mod close;
pub mod decoder;
pub mod deflate;
pub mod forwarded;
pub mod frame;
pub mod handshake;
mod header;
pub mod http;
mod input;
mod mask;
mod partial;
mod protocol_error;
pub mod proxy;
mod utf8;
