//! Encrypts and sends the front of an outbox.

use std::io::{self, ErrorKind, IoSlice};

use crate::engine::clients::connection::{Connection, Phase};
use crate::engine::tls::session::{Encrypted, TlsBuffers};
use crate::fanout::outbox::Outbox;
use crate::limits::SLICES_PER_WRITE;

/// The result of one send of a TLS connection.
pub(super) struct Sent {
    /// The bytes that the socket took, or the reason why it took none.
    pub(super) result: io::Result<usize>,
    /// The bytes that it was given.
    pub(super) tried: usize,
    /// The plaintext that was encrypted. It leaves the outbox, whatever the socket took.
    pub(super) encrypted: usize,
}

/// Encrypts the front of the outbox with one call, and sends it with one. If nothing can be
/// encrypted, that is an error of the stream. Inlined for the reasons given at [`Stream::write`].
///
/// [`Stream::write`]: crate::engine::stream::Stream::write
#[inline(always)]
pub(super) fn send(connection: &mut Connection, buffers: &mut TlsBuffers) -> Sent {
    let encrypted = encrypt(connection, buffers);
    let records = &buffers.encrypted;
    let tried = records.bytes().len();
    let result = match encrypted {
        Some(_) if tried > 0 => write_records(connection, records),
        _ => Err(ErrorKind::BrokenPipe.into()),
    };
    Sent {
        result,
        tried,
        encrypted: encrypted.unwrap_or(0),
    }
}

/// Fills the buffer for records: first with those that the socket did not take, then with the front
/// of the outbox, encrypted. Returns the bytes of the outbox. `None`: the session cannot encrypt.
#[inline(never)]
fn encrypt(connection: &mut Connection, buffers: &mut TlsBuffers) -> Option<usize> {
    let is_last = connection.phase == Phase::Draining;
    let tls = connection.tls.as_mut()?;
    let records = &mut buffers.encrypted;
    records.clear();
    tls.take_unsent(records);
    let plaintext = front(&connection.outbox, tls.room_bytes(), &mut buffers.gathered);
    let encrypted = plaintext.len();
    if !plaintext.is_empty() && !tls.encrypt(plaintext, records) {
        return None;
    }
    if is_last && encrypted == connection.outbox.bytes() && tls.has_to_send(true) {
        // If close_notify cannot be queued, rely on the TCP FIN.
        tls.finish(records);
    }
    Some(encrypted)
}

/// One `send`. The session keeps what the socket does not take, even after an error, since the send
/// is tried again if the error is temporary.
#[inline(always)]
fn write_records(connection: &mut Connection, records: &Encrypted) -> io::Result<usize> {
    let bytes = records.bytes();
    let result = loop {
        match connection.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(0),
            result => break result,
        }
    };
    if let Some(tls) = &mut connection.tls {
        tls.keep_unsent(&bytes[*result.as_ref().unwrap_or(&0)..]);
    }
    result
}

/// The front of the outbox as one piece of at most `bytes_max` bytes, copied only if it is not one
/// already.
fn front<'f>(outbox: &'f Outbox, bytes_max: usize, gathered: &'f mut Vec<u8>) -> &'f [u8] {
    if let Some(bytes) = outbox.only_slice() {
        return &bytes[..bytes.len().min(bytes_max)];
    }
    gathered.clear();
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let filled = outbox.front(&mut slices);
    for slice in &slices[..filled] {
        let room = bytes_max - gathered.len();
        gathered.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    gathered
}
