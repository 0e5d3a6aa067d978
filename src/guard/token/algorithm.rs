//! The signature algorithms of tokens.

use strum::{IntoStaticStr, VariantArray};

/// The signature algorithm of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, IntoStaticStr, VariantArray)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 7518 §3.2).
    #[strum(serialize = "HS256")]
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256, for keys of at least 2,048 bits (§3.3).
    #[strum(serialize = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256 (§3.4).
    #[strum(serialize = "ES256")]
    Es256,
    /// EdDSA on Curve25519 (RFC 8037 §3.1).
    #[strum(serialize = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: &'static [Algorithm] = Self::VARIANTS;

    /// The value of the header parameter `alg`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub(super) fn of_name(name: &str) -> Option<Algorithm> {
        let mut all = Algorithm::ALL.iter().copied();
        all.find(|algorithm| algorithm.name() == name)
    }
}
