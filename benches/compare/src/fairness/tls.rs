//! Fast readers over TLS. Nothing is verified, because that would not be work of the relay.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream};

use super::client::{self, Origin, Tried};

const PAUSE: Duration = Duration::from_micros(200);
const SEALED_BYTES: usize = 256 << 10;

/// Connects `clients` at `path`, and reads from them in a thread as fast as possible. Returns how
/// many of them the server closed.
pub(super) fn read_all(to: SocketAddr, path: &str, clients: usize) -> Result<Arc<AtomicU64>> {
    let config = config()?;
    let mut readers = (0..clients)
        .map(|_| Reader::open(to, path, &config))
        .collect::<Result<Vec<_>>>()?;
    let closed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&closed);
    thread::spawn(move || {
        let mut sealed = vec![0; SEALED_BYTES];
        let mut plain = vec![0; SEALED_BYTES];
        while !readers.is_empty() {
            let before = readers.len();
            let mut taken = 0;
            readers.retain_mut(|reader| match reader.read(&mut sealed, &mut plain) {
                Ok(count) => {
                    taken += count;
                    true
                }
                Err(_) => false,
            });
            count.fetch_add((before - readers.len()) as u64, Ordering::Relaxed);
            if taken == 0 {
                thread::sleep(PAUSE);
            }
        }
    });
    Ok(closed)
}

struct Reader {
    stream: TcpStream,
    session: ClientConnection,
}

impl Reader {
    fn open(to: SocketAddr, path: &str, config: &Arc<ClientConfig>) -> Result<Self> {
        let mut stream = client::connect(to, Origin::default())?;
        let name = ServerName::from(to.ip());
        let mut session = ClientConnection::new(Arc::clone(config), name)?;
        client::upgrade(&mut Stream::new(&mut session, &mut stream), path, "")?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, session })
    }

    /// Reads once and decrypts the data. Returns its size.
    fn read(&mut self, sealed: &mut [u8], plain: &mut [u8]) -> io::Result<usize> {
        let count = match Tried::of(self.stream.read(sealed)) {
            Tried::Bytes(count) => count,
            Tried::Later => return Ok(0),
            Tried::Gone => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        let mut rest = &sealed[..count];
        while !rest.is_empty() {
            self.session.read_tls(&mut rest)?;
            let state = self.session.process_new_packets();
            let mut waiting = state.map_err(io::Error::other)?.plaintext_bytes_to_read();
            while waiting > 0 {
                waiting -= self.session.reader().read(plain)?.min(waiting);
            }
        }
        Ok(count)
    }
}

fn config() -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
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
