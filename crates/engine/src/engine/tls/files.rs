//! Certificate, key and client CA: from PEM files to the configuration of handshakes.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

/// The only protocol that is spoken within TLS (RFC 7301). A client that offers only others is
/// refused (alert `no_application_protocol`).
const ALPN: &[u8] = b"http/1.1";

/// A client of a relay opens one connection at a time, so one ticket is enough for its next one.
const TICKETS: usize = 1;

/// The files of certificate, key and client CA, all in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The server's certificate, followed by those that lead to its root, if any.
    pub cert_file: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
    /// Certificate authorities. If they are given, a client must show a certificate that one of
    /// them has signed. A client without a certificate is refused with the alert
    /// `certificate_required`, and one with a certificate of another authority with `unknown_ca`;
    /// with TLS 1.3 a client learns that with its first read.
    pub client_ca_file: Option<PathBuf>,
}

/// The reason why TLS cannot be used with these files. Every message begins with the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{}: is not PEM: {source}", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
        /// The position of the error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file is empty, or holds something else.
    #[error("{}: holds no {what} in PEM", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The kind of content that is missing.
        what: &'static str,
    },
    /// A certificate cannot be parsed.
    #[error("{}: holds a certificate that cannot be used: {reason}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The private key is of a kind that cannot be used.
    #[error("{}: holds a private key that cannot be used: {source}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Certificate and key do not belong to each other.
    #[error("{}: does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        cert: PathBuf,
    },
    /// The certificate has expired.
    #[error("{}: holds a certificate that expired at {}", path.display(), since)]
    Expired {
        /// The file.
        path: PathBuf,
        /// The end of its validity.
        since: String,
    },
    /// The certificate is not valid yet.
    #[error("{}: holds a certificate that is not valid before {}", path.display(), from)]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The start of its validity.
        from: String,
    },
    /// The TLS settings contradict each other.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
}

impl TlsError {
    /// The file that cannot be used.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            TlsError::Unreadable { path, .. }
            | TlsError::NoPem { path, .. }
            | TlsError::Empty { path, .. }
            | TlsError::BadCertificate { path, .. }
            | TlsError::BadKey { path, .. }
            | TlsError::Mismatch { key: path, .. }
            | TlsError::Expired { path, .. }
            | TlsError::NotYetValid { path, .. } => Some(path),
            TlsError::Setup(_) => None,
        }
    }
}

/// The configuration of TLS handshakes. Shards share it; a reload replaces it for new connections.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(super) config: Arc<ServerConfig>,
    not_after_unix_s: Option<i64>,
}

impl Tls {
    /// Reads the files and checks that they belong together and, with the feature
    /// `certificate-dates`, that they are valid at `now`.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    pub fn load(files: &TlsFiles, now: SystemTime) -> Result<Tls, TlsError> {
        let provider = Arc::new(default_provider());
        let chain = certificates(&files.cert_file)?;
        let not_after_unix_s = check_validity(&chain[0], &files.cert_file, now)?;
        let key = certified_key(chain, files, &provider)?;
        let clients = match &files.client_ca_file {
            Some(path) => client_verifier(path, &provider)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(not_set_up)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // All shards share one, so that a ticket from one is valid on every other. A reload makes a
        // new one, so a client that was admitted by an earlier client CA must show its certificate
        // again.
        config.ticketer = Ticketer::new().map_err(not_set_up)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        Ok(Tls {
            config: Arc::new(config),
            not_after_unix_s,
        })
    }

    /// When the server's certificate expires, in seconds since 1970 (UTC); `None` without the
    /// feature `certificate-dates`.
    pub fn not_after_unix_s(&self) -> Option<i64> {
        self.not_after_unix_s
    }
}

/// All certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|source| no_pem(path, "certificate", source))?;
    if found.is_empty() {
        return Err(no_pem(path, "certificate", pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    files: &TlsFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let path = &files.key_file;
    let key = PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|source| no_pem(path, "private key", source))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|source| TlsError::BadKey {
        path: path.clone(),
        source: source.into(),
    })?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        Ok(()) => Ok(key),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            key: path.clone(),
            cert: files.cert_file.clone(),
        }),
        Err(error) => Err(bad_certificate(&files.cert_file, &error)),
    }
}

fn client_verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| bad_certificate(path, &error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| bad_certificate(path, &error))
}

/// Without the feature, the dates of a certificate are not read.
#[cfg(not(feature = "certificate-dates"))]
fn check_validity(
    _: &CertificateDer<'_>,
    _: &Path,
    _: SystemTime,
) -> Result<Option<i64>, TlsError> {
    Ok(None)
}

/// Checks that the certificate is valid at `now`. Returns its expiry.
#[cfg(feature = "certificate-dates")]
fn check_validity(
    certificate: &CertificateDer<'_>,
    path: &Path,
    now: SystemTime,
) -> Result<Option<i64>, TlsError> {
    use std::time::{Duration, UNIX_EPOCH};

    use x509_parser::prelude::{FromDer, X509Certificate};

    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| bad_certificate(path, &error))?;
    let validity = parsed.validity();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let now_unix_s = now.as_secs() as i64;
    if validity.not_after.timestamp() < now_unix_s {
        return Err(TlsError::Expired {
            path: path.to_owned(),
            since: validity.not_after.to_string(),
        });
    }
    if validity.not_before.timestamp() > now_unix_s {
        return Err(TlsError::NotYetValid {
            path: path.to_owned(),
            from: validity.not_before.to_string(),
        });
    }
    Ok(Some(validity.not_after.timestamp()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn no_pem(path: &Path, what: &'static str, source: pem::Error) -> TlsError {
    let path = path.to_owned();
    match source {
        pem::Error::NoItemsFound => TlsError::Empty { path, what },
        source => TlsError::NoPem {
            path,
            source: source.into(),
        },
    }
}

fn not_set_up(source: rustls::Error) -> TlsError {
    TlsError::Setup(source.into())
}

fn bad_certificate(path: &Path, reason: &impl ToString) -> TlsError {
    TlsError::BadCertificate {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
