//! The algorithms that tokens are signed by.

/// How a token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 7518 §3.2).
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256, keys of 2,048 bits and more (§3.3).
    Rs256,
    /// ECDSA on P-256 with SHA-256 (§3.4).
    Es256,
    /// EdDSA on Curve25519 (RFC 8037 §3.1).
    EdDsa,
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Hs256,
        Algorithm::Rs256,
        Algorithm::Es256,
        Algorithm::EdDsa,
    ];

    /// The value of `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Algorithm> {
        let mut all = Algorithm::ALL.into_iter();
        all.find(|algorithm| algorithm.name() == name)
    }
}
