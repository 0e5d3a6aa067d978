//! TLS for `wss://`: trust, and one connection's records. Only this module uses rustls.
//!
//! A [`Session`] stands between a client and its socket. It reads through the thread's receive
//! buffer, with records at its end and their plaintext at its beginning, so that a connection owns
//! no buffer for either.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::arrival;
use crate::error::PlanError;

/// The most bytes of a record with its header (RFC 8446 §5.2, RFC 5246 §6.2.3).
const RECORD_BYTES_MAX: usize = 5 + (16 << 10) + 2048;
/// Bytes of records that one `recv` takes.
const SEALED_BYTES_MAX: usize = 64 << 10;

/// The certificates that are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those signed by an authority in this PEM file.
    Authorities(PathBuf),
    /// All: nothing is verified.
    Everybody,
}

/// Shared by all connections of a run.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// For a server at `host`. Every connection makes a full handshake: tickets are not used.
    ///
    /// # Errors
    /// The file of the authorities is invalid, or the host is not a valid name.
    pub(crate) fn new(host: &str, trust: &Trust) -> Result<Self, PlanError> {
        let bad = |why: String| PlanError::new(format!("TLS: {why}"));
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(|error| bad(error.to_string()))?;
        let mut config = match trust {
            Trust::Authorities(file) => builder
                .with_root_certificates(
                    authorities(file).map_err(|why| bad(format!("{}: {why}", file.display())))?,
                )
                .with_no_client_auth(),
            Trust::Everybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
                .with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(host.to_owned()).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// A connection that has not begun its handshake.
    pub(crate) fn session(&self) -> io::Result<Session> {
        let config = Arc::clone(&self.config);
        let mut connection =
            ClientConnection::new(config, self.name.clone()).map_err(io::Error::other)?;
        // The writer bounds its own backlog.
        connection.set_buffer_limit(None);
        Ok(Session { connection })
    }
}

fn authorities(file: &std::path::Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it contains no certificate".to_owned());
    }
    Ok(roots)
}

/// One connection's records.
#[derive(Debug)]
pub(crate) struct Session {
    connection: ClientConnection,
}

/// The result of one read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    /// Bytes for the application. 0: the peer has closed its direction.
    pub(crate) bytes: usize,
    /// The socket had no more.
    pub(crate) is_drained: bool,
    /// When the last of them arrived, by the kernel's time of day in nanoseconds since 1970.
    pub(crate) arrived_ns: Option<u64>,
}

impl Session {
    /// Reads until there are bytes for the application, which begin at `out[0]`. `out` has room for
    /// several records; `received_bytes` grows by the bytes from the socket, also after an error.
    ///
    /// # Errors
    /// Those of the socket, including `WouldBlock`, and the peer's offences.
    pub(crate) fn read(
        &mut self,
        stream: &mut TcpStream,
        out: &mut [u8],
        is_timed: bool,
        received_bytes: &mut u64,
    ) -> io::Result<Opened> {
        debug_assert!(out.len() >= 2 * RECORD_BYTES_MAX, "{} bytes", out.len());
        // The plaintext of these records, together with a record that was cut, fits the rest of
        // `out`.
        let sealed_bytes = (out.len().saturating_sub(RECORD_BYTES_MAX) / 2).min(SEALED_BYTES_MAX);
        let (plain, sealed) = out.split_at_mut(out.len() - sealed_bytes);
        let mut opened = Opened {
            bytes: 0,
            is_drained: false,
            arrived_ns: None,
        };
        loop {
            let count;
            (count, opened.arrived_ns) = match is_timed {
                true => arrival::read_timed(stream, sealed)?,
                false => (arrival::read(stream, sealed)?, None),
            };
            *received_bytes += count as u64;
            opened.is_drained = count < sealed.len();
            let is_ended = self.open(&sealed[..count], plain, &mut opened.bytes)?;
            // Send the answers to what was read: the end of the handshake, a key update.
            self.flush(stream)?;
            if opened.bytes > 0 || is_ended || count == 0 {
                return Ok(opened);
            }
        }
    }

    /// Opens records. True if one of them was the peer's last.
    fn open(&mut self, mut sealed: &[u8], plain: &mut [u8], at: &mut usize) -> io::Result<bool> {
        let mut is_ended = false;
        while !sealed.is_empty() {
            self.connection.read_tls(&mut sealed)?;
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            is_ended |= state.peer_has_closed();
            let mut waiting = state.plaintext_bytes_to_read();
            while waiting > 0 {
                let count = self.connection.reader().read(&mut plain[*at..])?;
                if count == 0 {
                    return Err(io::Error::other("records that are too large"));
                }
                *at += count;
                waiting -= count;
            }
        }
        Ok(is_ended)
    }

    /// Sends `bytes`; the part that the socket does not accept is kept.
    pub(crate) fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        self.connection.writer().write_all(bytes)?;
        self.flush(stream)
    }

    /// Sends the bytes that were kept, as far as the socket accepts them.
    pub(crate) fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Records wait for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        self.connection.wants_write()
    }
}

/// Accepts every certificate and every signature.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
