//! Making tokens, for `corecast token make` and for programs that embed the relay.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use ring::{error, hmac};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use super::algorithm::Algorithm;
use super::keys::SECRET_BYTES_MIN;
use crate::guard::{Pattern, Secret};

/// A key that signs tokens.
pub struct SigningKey(Signer);

enum Signer {
    Hs256(hmac::Key),
    Rs256(Box<RsaKeyPair>),
    Es256(Box<EcdsaKeyPair>),
    EdDsa(Box<Ed25519KeyPair>),
}

/// The reason why a text is not a signing key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// It is not a private key in PEM.
    #[error("holds no private key in PEM (PKCS#8, \"BEGIN PRIVATE KEY\")")]
    Form,
    /// It is a private key of an unsupported kind.
    #[error("is neither RSA of 2048 to 4096 bits, nor P-256, nor Ed25519")]
    Kind,
    /// The secret is too short.
    #[error("a secret of HS256 must have at least {SECRET_BYTES_MIN} bytes")]
    Secret,
}

/// A token to make. Claims that are `None` are omitted.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// `sub`.
    pub user: Option<String>,
    /// `rooms.read` and `rooms.write`.
    pub rooms: Option<(Vec<Pattern>, Vec<Pattern>)>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`.
    pub audience: Option<String>,
    /// `nbf`.
    pub begins: Option<SystemTime>,
    /// `exp`.
    pub expires: SystemTime,
    /// `kid` of the header.
    pub key_id: Option<String>,
}

impl SigningKey {
    /// A secret of HS256.
    ///
    /// # Errors
    ///
    /// The secret is too short.
    pub fn of_secret(secret: &Secret) -> Result<SigningKey, SigningKeyError> {
        let secret = secret.reveal().as_bytes();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SigningKeyError::Secret);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(SigningKey(Signer::Hs256(key)))
    }

    /// A private key in PEM, PKCS#8. Its kind decides the algorithm.
    ///
    /// # Errors
    ///
    /// The text is not a private key in PEM, or the key is of an unsupported kind.
    pub fn of_pem(text: &str) -> Result<SigningKey, SigningKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| SigningKeyError::Form)?;
        let der = der.secret_pkcs8_der();
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(SigningKey(Signer::EdDsa(Box::new(pair))));
        }
        let random = SystemRandom::new();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) {
            return Ok(SigningKey(Signer::Es256(Box::new(pair))));
        }
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| SigningKeyError::Kind)?;
        Ok(SigningKey(Signer::Rs256(Box::new(pair))))
    }

    /// The algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Signer::Hs256(_) => Algorithm::Hs256,
            Signer::Rs256(_) => Algorithm::Rs256,
            Signer::Es256(_) => Algorithm::Es256,
            Signer::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Makes a token. `None` if the system's random number generator fails.
    pub fn sign(&self, token: &NewToken) -> Option<String> {
        self.sign_claims(token.key_id.as_deref(), &token.claims())
    }

    /// Makes a token with any claims.
    pub(super) fn sign_claims(&self, key_id: Option<&str>, claims: &Value) -> Option<String> {
        let mut header = json!({"alg": self.algorithm().name(), "typ": "JWT"});
        if let Some(key_id) = key_id {
            header["kid"] = key_id.into();
        }
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signature(message.as_bytes()).ok()?;
        Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, error::Unspecified> {
        let random = SystemRandom::new();
        Ok(match &self.0 {
            Signer::Hs256(key) => hmac::sign(key, message).as_ref().to_vec(),
            Signer::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::Es256(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Signer::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                signature
            }
        })
    }
}

impl NewToken {
    fn claims(&self) -> Value {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs())
        };
        let mut claims = Map::new();
        let texts = [
            ("sub", &self.user),
            ("iss", &self.issuer),
            ("aud", &self.audience),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                claims.insert(name.to_owned(), text.as_str().into());
            }
        }
        if let Some(begins) = self.begins {
            claims.insert("nbf".to_owned(), seconds(begins).into());
        }
        claims.insert("exp".to_owned(), seconds(self.expires).into());
        if let Some((read, write)) = &self.rooms {
            let list = |patterns: &[Pattern]| -> Vec<String> {
                patterns.iter().map(ToString::to_string).collect()
            };
            let rooms = json!({"read": list(read), "write": list(write)});
            claims.insert("rooms".to_owned(), rooms);
        }
        Value::Object(claims)
    }
}
