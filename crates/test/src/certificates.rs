//! Certificate authorities, and files with certificates that they sign.

use std::path::PathBuf;
use std::time::SystemTime;

use corecast::engine::{Tls, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub struct Signed {
    pub cert: String,
    pub key: String,
}

impl Signed {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let certificate = CertificateDer::from_pem_slice(self.cert.as_bytes());
        vec![certificate.expect("a certificate")]
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }
}

/// An authority with a name of its own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub cert: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate").pem();
        Authority {
            issuer: Issuer::new(params, key),
            cert,
        }
    }

    /// A certificate for `localhost`, good until the end of `year`.
    pub fn server(&self, year: i32) -> Signed {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        self.sign(CertificateParams::new(names).expect("parameters"), year)
    }

    pub fn client(&self, name: &str) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, 2100)
    }

    fn sign(&self, mut params: CertificateParams, year: i32) -> Signed {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A folder with the files of a server.
pub struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    pub fn new(signed: &Signed) -> Folder {
        let folder = Folder {
            directory: tempfile::tempdir().expect("a folder"),
        };
        folder.renew(signed);
        folder
    }

    pub fn renew(&self, signed: &Signed) {
        self.write("cert.pem", &signed.cert);
        self.write("key.pem", &signed.key);
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn files(&self) -> TlsFiles {
        TlsFiles {
            cert_file: self.path("cert.pem"),
            key_file: self.path("key.pem"),
            client_ca_file: None,
        }
    }
}

/// A server's TLS, and the authority that its clients have to know.
pub fn tls_of(files: &TlsFiles) -> Tls {
    Tls::load(files, SystemTime::now()).expect("files that can be used")
}
