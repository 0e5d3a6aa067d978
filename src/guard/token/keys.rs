//! The keys that verify tokens: from a secret, from public keys in PEM, or from a set of JSON Web
//! Keys (RFC 7517).

use std::fmt;

use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithm::Algorithm;
use super::compact::decode;
use super::error::TokenError;
use crate::guard::Secret;
use crate::guard::keys::Fingerprint;
use crate::limits::{PRICE_EDDSA, PRICE_ES256, PRICE_HS256, PRICE_RS256};

/// Most keys of one set. A set is read while the relay runs, so it is bounded.
const KEYS_MAX: usize = 64;
/// The shortest secret of HS256 (RFC 7518 §3.2), bytes.
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// The shortest modulus that ring takes, bytes: 2,048 bits.
const MODULUS_BYTES_MIN: usize = 256;
/// An uncompressed point on P-256: 4, x and y.
const POINT_BYTES: usize = 65;
const ED25519_BYTES: usize = 32;

/// The keys that verify tokens.
#[derive(Default)]
pub struct TokenKeys(Vec<TokenKey>);

/// A key, which is valid for one algorithm only.
struct TokenKey {
    id: Option<String>,
    verifier: Verifier,
    fingerprint: Fingerprint,
}

enum Verifier {
    Hs256 {
        key: hmac::Key,
        fingerprint: Fingerprint,
    },
    Rs256 {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
}

/// The reason why a text holds no usable keys.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// It is neither JSON nor PEM.
    #[error("holds neither public keys in PEM nor a set of JSON Web Keys")]
    Form,
    /// A key in PEM is of an unsupported kind.
    #[error("key {0}: is neither RSA of at least 2048 bits, nor P-256, nor Ed25519")]
    Kind(usize),
    /// A JSON Web Key is malformed.
    #[error("key {0}: {1}")]
    Jwk(usize, &'static str),
    /// It holds no usable key.
    #[error("holds no key for HS256, RS256, ES256 or EdDSA")]
    Empty,
    /// It holds too many keys.
    #[error("holds more than {KEYS_MAX} keys")]
    TooMany,
}

/// RFC 7517 §4, RFC 7518 §6, RFC 8037 §2.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JwkFile {
    Set { keys: Vec<serde_json::Value> },
    One(Box<Jwk>),
}

impl TokenKeys {
    /// Parses the keys of a file: PEM, a set of JSON Web Keys, or a single one.
    ///
    /// Keys of a set that are for another purpose are skipped (RFC 7517 §5).
    ///
    /// # Errors
    ///
    /// The text cannot be parsed, or holds no usable key or too many.
    pub fn parse(text: &str) -> Result<TokenKeys, TokenKeyError> {
        let keys = match text.trim_start() {
            "" => Vec::new(),
            text if text.starts_with('{') => parse_json(text)?,
            _ => parse_pem(text)?,
        };
        match keys.len() {
            0 => Err(TokenKeyError::Empty),
            1..=KEYS_MAX => Ok(TokenKeys(keys)),
            _ => Err(TokenKeyError::TooMany),
        }
    }

    /// Adds a secret of HS256, without a `kid`.
    pub fn add_secret(&mut self, secret: &Secret) {
        self.0.push(TokenKey::hs256(secret.reveal().as_bytes()));
    }

    /// The fingerprints of all keys.
    pub(in crate::guard) fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.0.iter().map(|key| key.fingerprint)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a signature with the key that `id` names; a key without an id matches every token,
    /// and a token without one every key. Each matching key is tried, and the time that this takes
    /// is added to `spent_ns`. Returns the key that signed the message.
    pub(super) fn verify_signature(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
        spent_ns: &mut u64,
    ) -> Result<Fingerprint, TokenError> {
        let is_meant = |key: &&TokenKey| match (&key.id, id) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        };
        let mut meant = self.0.iter().filter(is_meant).peekable();
        if meant.peek().is_none() {
            return Err(TokenError::UnknownKey);
        }
        let mut fitting = meant
            .filter(|key| key.verifier.algorithm() == algorithm)
            .peekable();
        if fitting.peek().is_none() {
            return Err(TokenError::Algorithm);
        }
        let signed = fitting.find(|key| {
            *spent_ns += key.verifier.price_ns();
            key.verifier.verify(message, signature)
        });
        signed.map_or(Err(TokenError::Signature), |key| Ok(key.fingerprint))
    }
}

impl TokenKey {
    fn new(id: Option<String>, verifier: Verifier) -> TokenKey {
        let fingerprint = match &verifier {
            Verifier::Hs256 { fingerprint, .. } => *fingerprint,
            Verifier::Rs256 { n, e } => Fingerprint::of(&[b"RS256.", n, b".", e]),
            Verifier::Es256(point) => Fingerprint::of(&[b"ES256.", point]),
            Verifier::EdDsa(key) => Fingerprint::of(&[b"EdDSA.", key]),
        };
        TokenKey {
            id,
            verifier,
            fingerprint,
        }
    }

    fn hs256(secret: &[u8]) -> TokenKey {
        TokenKey::new(None, Verifier::hs256(secret))
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({})", self.0.len())
    }
}

impl Verifier {
    fn algorithm(&self) -> Algorithm {
        match self {
            Verifier::Hs256 { .. } => Algorithm::Hs256,
            Verifier::Rs256 { .. } => Algorithm::Rs256,
            Verifier::Es256(_) => Algorithm::Es256,
            Verifier::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    fn hs256(secret: &[u8]) -> Verifier {
        Verifier::Hs256 {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            fingerprint: Fingerprint::of(&[b"HS256.", secret]),
        }
    }

    /// The time that verifying one signature takes, in nanoseconds.
    fn price_ns(&self) -> u64 {
        match self {
            Verifier::Hs256 { .. } => PRICE_HS256,
            Verifier::Es256(_) => PRICE_ES256,
            Verifier::EdDsa(_) => PRICE_EDDSA,
            Verifier::Rs256 { n, .. } => {
                let length = n.len().div_ceil(MODULUS_BYTES_MIN) as u64;
                PRICE_RS256 * length * length
            }
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let result = match self {
            // In constant time.
            Verifier::Hs256 { key, .. } => hmac::verify(key, message, signature),
            Verifier::Rs256 { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Verifier::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Verifier::EdDsa(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
        };
        result.is_ok()
    }

    /// From the SubjectPublicKeyInfo of X.509; `None` for an unsupported kind.
    fn of_spki(der: &[u8]) -> Option<Verifier> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let kind = &info.algorithm.algorithm;
        let raw = info.subject_public_key.data.to_vec();
        if *kind == OID_SIG_ED25519 {
            return (raw.len() == ED25519_BYTES).then_some(Verifier::EdDsa(raw));
        }
        if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let is_usable = curve == OID_EC_P256 && raw.len() == POINT_BYTES;
            return is_usable.then_some(Verifier::Es256(raw));
        }
        match info.parsed().ok()? {
            PublicKey::RSA(key) => Verifier::of_rsa(key.modulus, key.exponent),
            _ => None,
        }
    }

    /// Strips leading zeros, which ring rejects.
    fn of_rsa(n: &[u8], e: &[u8]) -> Option<Verifier> {
        let trimmed = |bytes: &[u8]| -> Vec<u8> {
            bytes
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect()
        };
        let (n, e) = (trimmed(n), trimmed(e));
        (n.len() >= MODULUS_BYTES_MIN && !e.is_empty()).then_some(Verifier::Rs256 { n, e })
    }
}

fn parse_pem(text: &str) -> Result<Vec<TokenKey>, TokenKeyError> {
    let sections = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes());
    let keys = sections.enumerate().map(|(index, der)| {
        let der = der.map_err(|_| TokenKeyError::Form)?;
        let verifier = Verifier::of_spki(&der).ok_or(TokenKeyError::Kind(index + 1))?;
        Ok(TokenKey::new(None, verifier))
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    match keys.is_empty() {
        true => Err(TokenKeyError::Form),
        false => Ok(keys),
    }
}

fn parse_json(text: &str) -> Result<Vec<TokenKey>, TokenKeyError> {
    let file = serde_json::from_str(text).map_err(|_| TokenKeyError::Form)?;
    let jwks: Vec<Jwk> = match file {
        JwkFile::One(jwk) => vec![*jwk],
        // RFC 7517 §5: unknown keys are ignored.
        JwkFile::Set { keys } => keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect(),
    };
    let each = jwks.into_iter().enumerate().filter_map(|(index, jwk)| {
        let verifier = jwk.verifier().transpose()?;
        Some(match verifier {
            Ok(verifier) => Ok(TokenKey::new(jwk.kid, verifier)),
            Err(problem) => Err(TokenKeyError::Jwk(index + 1, problem)),
        })
    });
    each.collect()
}

impl Jwk {
    /// `None` for a key that is for another purpose.
    fn verifier(&self) -> Result<Option<Verifier>, &'static str> {
        let curve = self.crv.as_deref().unwrap_or_default();
        let algorithm = match (self.kty.as_str(), curve) {
            ("oct", _) => Algorithm::Hs256,
            ("RSA", _) => Algorithm::Rs256,
            ("EC", "P-256") => Algorithm::Es256,
            ("OKP", "Ed25519") => Algorithm::EdDsa,
            _ => return Ok(None),
        };
        let is_for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let has_our_algorithm = self
            .alg
            .as_deref()
            .is_none_or(|alg| alg == algorithm.name());
        if !is_for_signatures || !has_our_algorithm {
            return Ok(None);
        }
        let verifier = match algorithm {
            Algorithm::Hs256 => {
                let secret = part(&self.k, "k")?;
                if secret.len() < SECRET_BYTES_MIN {
                    return Err("its secret is shorter than 32 bytes");
                }
                Verifier::hs256(&secret)
            }
            Algorithm::Rs256 => Verifier::of_rsa(&part(&self.n, "n")?, &part(&self.e, "e")?)
                .ok_or("it is shorter than 2048 bits")?,
            Algorithm::Es256 => {
                let (x, y) = (part(&self.x, "x")?, part(&self.y, "y")?);
                let point = [&[4], &x[..], &y[..]].concat();
                match (x.len(), point.len()) {
                    (ED25519_BYTES, POINT_BYTES) => Verifier::Es256(point),
                    _ => return Err("its x and y must have 32 bytes each"),
                }
            }
            Algorithm::EdDsa => match part(&self.x, "x")? {
                key if key.len() == ED25519_BYTES => Verifier::EdDsa(key),
                _ => return Err("its x must have 32 bytes"),
            },
        };
        Ok(Some(verifier))
    }
}

/// Decodes a part of a key from base64url.
fn part(value: &Option<String>, name: &'static str) -> Result<Vec<u8>, &'static str> {
    let decoded = value.as_deref().and_then(|text| decode(text).ok());
    decoded.ok_or(match name {
        "k" => "its k is missing or not base64url",
        "n" => "its n is missing or not base64url",
        "e" => "its e is missing or not base64url",
        "x" => "its x is missing or not base64url",
        _ => "its y is missing or not base64url",
    })
}
