//! The TLS of one connection: records in, plaintext out, and the reverse. It knows no sockets.
//!
//! It uses rustls without its buffers (`UnbufferedServerConnection`): records are decrypted where
//! they were received, and an idle session holds no buffer.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, HandshakeKind, ProtocolVersion};

use crate::engine::Tls;
use crate::engine::clients::held::Held;
use crate::fanout::meter::{Charge, Meter};
use crate::limits::{TLS_KEPT_BYTES_MAX, TLS_SEND_BYTES_MAX};

/// A shard's buffers: decrypted bytes, bytes to encrypt, and encrypted bytes.
#[derive(Default)]
pub(in crate::engine) struct TlsBuffers {
    pub(in crate::engine) received: Vec<u8>,
    pub(in crate::engine) gathered: Vec<u8>,
    pub(in crate::engine) encrypted: Encrypted,
}

impl TlsBuffers {
    /// The memory that they keep from one turn to the next, in bytes.
    pub(in crate::engine) fn held_bytes(&self) -> usize {
        let encrypted = self.encrypted.buffer.capacity();
        self.received.capacity() + self.gathered.capacity() + encrypted
    }
}

/// Records that are ready to be sent.
#[derive(Default)]
pub(in crate::engine) struct Encrypted {
    buffer: Vec<u8>,
    used: usize,
}

impl Encrypted {
    pub(in crate::engine) fn clear(&mut self) {
        self.used = 0;
    }

    pub(in crate::engine) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.used]
    }

    fn append(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// Room for at least `bytes` bytes. It grows a few times, and then keeps its size.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.buffer.len() < self.used + bytes {
            self.buffer.resize(self.used + bytes, 0);
        }
        &mut self.buffer[self.used..]
    }
}

/// The result of processing received bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::engine) struct Progress {
    /// Keys were exchanged, signed or verified, which the budget for handshakes counts.
    pub(in crate::engine) is_costly: bool,
    /// The handshake is finished by these bytes.
    pub(in crate::engine) is_established: bool,
    /// The client has ended its stream (`close_notify`).
    pub(in crate::engine) is_end: bool,
}

/// The TLS of one connection.
pub(in crate::engine) struct TlsSession {
    connection: UnbufferedServerConnection,
    /// The beginning of a record or handshake message, at most [`TLS_KEPT_BYTES_MAX`].
    kept: Vec<u8>,
    /// Counts `kept` among the bytes of partial messages.
    held: Held,
    /// Encrypted bytes that the socket has not taken.
    unsent: Vec<u8>,
    /// Counts `unsent` among the bytes that wait to be sent.
    charge: Charge,
    /// The last send did not take everything, so nothing more is encrypted until it has.
    is_blocked: bool,
    /// The server's first flight was made.
    has_answered: bool,
    /// The client's `close_notify` was received.
    has_received_end: bool,
    /// Our `close_notify` was made, so nothing can be encrypted any more.
    has_sent_end: bool,
    /// The client broke the protocol.
    has_failed: bool,
    /// Received bytes are not decrypted any more.
    is_deaf: bool,
}

impl TlsSession {
    /// `None` if the setup cannot work, which [`Tls::load`] rules out.
    pub(in crate::engine) fn new(tls: &Tls, meter: &Rc<Meter>) -> Option<TlsSession> {
        Some(TlsSession {
            connection: UnbufferedServerConnection::new(Arc::clone(&tls.config)).ok()?,
            kept: Vec::new(),
            held: Held::default(),
            unsent: Vec::new(),
            charge: Charge::new(meter),
            is_blocked: false,
            has_answered: false,
            has_received_end: false,
            has_sent_end: false,
            has_failed: false,
            is_deaf: false,
        })
    }

    /// Whether the server's first flight was made. The rest of the handshake is cheaper.
    pub(in crate::engine) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Whether a handshake has begun and is not finished.
    pub(in crate::engine) fn is_in_handshake(&self) -> bool {
        self.connection.is_handshaking() && (self.has_answered || !self.kept.is_empty())
    }

    /// Whether the client has ended its stream.
    pub(in crate::engine) fn has_received_end(&self) -> bool {
        self.has_received_end
    }

    /// Whether something has to be sent. `is_last`: nothing follows the frames in the outbox, so a
    /// `close_notify` is due.
    pub(in crate::engine) fn has_to_send(&self, is_last: bool) -> bool {
        !self.unsent.is_empty() || (is_last && self.can_encrypt())
    }

    fn can_encrypt(&self) -> bool {
        !self.has_sent_end && !self.has_failed && !self.connection.is_handshaking()
    }

    /// Whether the handshake resumed an earlier session.
    pub(in crate::engine) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The bytes that are kept of incomplete records.
    pub(in crate::engine) fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Whether the bytes kept differ from the bytes counted.
    pub(in crate::engine) fn has_kept_changed(&self) -> bool {
        self.kept.capacity() != self.held.bytes()
    }

    /// Counts the bytes kept. Returns whether they have grown.
    pub(in crate::engine) fn count_kept(&mut self, inbound: &Arc<AtomicUsize>) -> bool {
        let before = self.held.bytes();
        self.held.set(inbound, self.kept.capacity());
        self.held.bytes() > before
    }

    /// Drops the bytes kept. Bytes that follow can no longer be decrypted.
    pub(in crate::engine) fn forget_kept(&mut self, inbound: &Arc<AtomicUsize>) {
        self.kept = Vec::new();
        self.is_deaf = true;
        self.count_kept(inbound);
    }

    /// The encrypted bytes that the socket has not taken.
    pub(in crate::engine) fn unsent_bytes(&self) -> usize {
        self.unsent.len()
    }

    /// Drops those bytes. Nothing can be sent after that.
    pub(in crate::engine) fn forget_unsent(&mut self) {
        self.unsent = Vec::new();
        self.count_unsent();
    }

    fn count_unsent(&mut self) {
        self.charge.set(self.unsent.capacity());
    }

    /// Copies the bytes kept to the front of `buffer`. Returns their number.
    pub(in crate::engine) fn restore(&self, buffer: &mut [u8]) -> usize {
        buffer[..self.kept.len()].copy_from_slice(&self.kept);
        self.kept.len()
    }

    /// Decrypts `bytes`, which begins with the bytes from [`TlsSession::restore`], and appends the
    /// plaintext to `plaintext`.
    ///
    /// # Errors
    ///
    /// The client broke the protocol. The alert is ready to be sent; `plaintext` has what was
    /// decrypted before the error.
    pub(in crate::engine) fn receive(
        &mut self,
        bytes: &mut [u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<Progress, Error> {
        if self.has_failed || self.has_received_end || self.is_deaf {
            return Ok(Progress::default());
        }
        let was_handshaking = self.connection.is_handshaking();
        let had_answered = self.has_answered;
        let processed = self.process(bytes, plaintext);
        if processed.is_err() {
            self.fail();
        }
        self.count_unsent();
        let processed = processed?;
        self.kept = bytes[processed..].to_vec();
        if self.kept.len() > TLS_KEPT_BYTES_MAX {
            self.fail();
            self.count_unsent();
            return Err(Error::General("a message is too long".into()));
        }
        let is_established = was_handshaking && !self.connection.is_handshaking();
        let is_costly_end = self.connection.peer_certificates().is_some()
            || self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2);
        Ok(Progress {
            is_costly: had_answered != self.has_answered || (is_established && is_costly_end),
            is_established,
            is_end: self.has_received_end,
        })
    }

    /// Returns how many of the bytes are no longer needed.
    fn process(&mut self, bytes: &mut [u8], plaintext: &mut Vec<u8>) -> Result<usize, Error> {
        let mut processed = 0;
        loop {
            let status = self.connection.process_tls_records(&mut bytes[processed..]);
            let UnbufferedStatus { discard, state, .. } = status;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        plaintext.extend_from_slice(record?.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut self.unsent, |room| data.encode(room));
                    self.has_answered = true;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.has_received_end = true,
                // Early data is not offered, so every other state waits for more bytes.
                _ => return Ok(processed + discard),
            }
            processed += discard;
        }
    }

    /// Queues the alert for an error. From now on nothing is decrypted.
    fn fail(&mut self) {
        self.has_failed = true;
        self.kept = Vec::new();
        // The records with the error are gone and must not be parsed again. rustls does not parse
        // while it has something to write, so an empty buffer is enough here.
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else {
                return;
            };
            encode(&mut self.unsent, |room| data.encode(room));
        }
    }

    /// Replaces the alert by another answer, for a client that does not speak TLS.
    pub(in crate::engine) fn answer_plain(&mut self, answer: Vec<u8>) {
        self.unsent = answer;
        self.count_unsent();
    }

    /// Moves the bytes that wait to be sent to `encrypted`.
    pub(in crate::engine) fn take_unsent(&mut self, encrypted: &mut Encrypted) {
        encrypted.append(&std::mem::take(&mut self.unsent));
        self.count_unsent();
    }

    /// How many bytes of plaintext may be encrypted now: none until the socket has taken everything
    /// that was encrypted before. Encrypted bytes cannot be dropped or reordered, since the client
    /// expects every record, so what waits must stay plaintext, in reach of the policy for slow
    /// clients.
    pub(in crate::engine) fn room_bytes(&self) -> usize {
        if self.is_blocked || !self.can_encrypt() {
            0
        } else {
            TLS_SEND_BYTES_MAX
        }
    }

    /// Encrypts, after the bytes in `encrypted`. Returns `false` if nothing can be encrypted any
    /// more, in practice after 2^64 records.
    pub(in crate::engine) fn encrypt(
        &mut self,
        plaintext: &[u8],
        encrypted: &mut Encrypted,
    ) -> bool {
        self.write(plaintext.len(), encrypted, Write::Data(plaintext))
    }

    /// Ends the stream (`close_notify`).
    pub(in crate::engine) fn finish(&mut self, encrypted: &mut Encrypted) -> bool {
        self.has_sent_end = true;
        self.write(0, encrypted, Write::End)
    }

    fn write(&mut self, bytes: usize, encrypted: &mut Encrypted, write: Write<'_>) -> bool {
        // rustls holds offsets into the bytes that are kept, so it must be given the same bytes
        // again.
        let status = self.connection.process_tls_records(&mut self.kept);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return false;
        };
        let mut required = bytes + RECORD_OVERHEAD_BYTES;
        loop {
            let room = encrypted.room(required);
            let written = match write {
                Write::Data(plaintext) => traffic.encrypt(plaintext, room),
                Write::End => traffic.queue_close_notify(room),
            };
            match written {
                Ok(written) => {
                    encrypted.used += written;
                    return true;
                }
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                    if required_size > required =>
                {
                    required = required_size;
                }
                Err(_) => return false,
            }
        }
    }

    /// Keeps the bytes that the socket did not take. They are sent before anything else is
    /// encrypted: a record is useless to the client unless it gets all of it.
    pub(in crate::engine) fn keep_unsent(&mut self, bytes: &[u8]) {
        debug_assert!(self.unsent.is_empty());
        self.is_blocked = !bytes.is_empty();
        self.unsent = bytes.to_vec();
        self.count_unsent();
    }
}

/// The content to encrypt.
#[derive(Clone, Copy)]
enum Write<'w> {
    Data(&'w [u8]),
    End,
}

/// The bytes that one record adds to its payload: header, explicit nonce, content type and tag. If
/// several records are needed, rustls asks for more.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;

/// Appends a handshake message to `unsent`.
fn encode(unsent: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let end = unsent.len();
    // The error tells the size that it needs.
    let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        encode(&mut [])
    else {
        return;
    };
    unsent.resize(end + required_size, 0);
    let written = encode(&mut unsent[end..]);
    debug_assert!(matches!(written, Ok(written) if written == required_size));
}

#[cfg(test)]
mod tests;
