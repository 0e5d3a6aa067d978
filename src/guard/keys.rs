//! API keys: texts that are known to both sides, several at once so that they can be replaced one
//! after the other.
//!
//! Of a key only its SHA-256 is kept where keys are compared. All of them are compared with what is
//! presented, in constant time, so that no answer comes sooner for being less wrong.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::{Choice, ConstantTimeEq};

/// What is printed in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// What nobody may see: it has no `Display`, and its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<Box<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// An API key: 1 to 512 visible ASCII characters. One with a comma cannot be offered as a
/// subprotocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey(Secret);

/// Why a text is no API key. It does not say which text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// Empty, too long, or with bytes that no header can carry.
    #[error("an API key has 1 to 512 visible ASCII characters")]
    Malformed,
    /// What stands for a key where a config is printed.
    #[error("(hidden) is what --check prints in place of a key")]
    Hidden,
}

impl ApiKey {
    const BYTES_MAX: usize = 512;

    /// The text itself.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<ApiKey, ApiKeyError> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=ApiKey::BYTES_MAX).contains(&text.len());
        match text {
            HIDDEN => Err(ApiKeyError::Hidden),
            _ if fits && is_visible => Ok(ApiKey(Secret::new(text))),
            _ => Err(ApiKeyError::Malformed),
        }
    }
}

/// A set of keys. It holds only their hashes.
#[derive(Default)]
pub struct ApiKeys(Vec<[u8; SHA256_OUTPUT_LEN]>);

impl ApiKeys {
    /// These keys.
    pub fn new(keys: &[ApiKey]) -> ApiKeys {
        ApiKeys(
            keys.iter()
                .map(|key| hash(key.reveal().as_bytes()))
                .collect(),
        )
    }

    /// Whether there are none, so that nothing is one of them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them. The time that this takes depends on its length and on how many
    /// keys there are, and not on what they are.
    pub fn allow(&self, presented: &[u8]) -> bool {
        let presented = hash(presented);
        let each = self.0.iter().map(|key| key.ct_eq(&presented));
        each.fold(Choice::from(0), |found, is_same| found | is_same)
            .into()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

fn hash(text: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, text).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old-key-0123456789";
    const NEW: &str = "new-key-0123456789";

    #[test]
    fn each_of_several_keys_is_good_and_nothing_else() {
        let keys = [OLD, NEW].map(|key| key.parse().expect("a key"));
        let keys = ApiKeys::new(&keys);
        assert!(keys.allow(OLD.as_bytes()) && keys.allow(NEW.as_bytes()));
        for other in [
            "",
            "old-key-012345678",
            "old-key-01234567890",
            "OLD-KEY-0123456789",
        ] {
            assert!(!keys.allow(other.as_bytes()), "{other}");
        }
        assert!(!ApiKeys::new(&[]).allow(b""));
    }

    #[test]
    fn what_does_not_fit_a_header_is_no_key() {
        let long = "k".repeat(ApiKey::BYTES_MAX);
        for good in ["k", "a,b", "sk_live-1.~/+=", &long] {
            assert!(good.parse::<ApiKey>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\nb", "ключ", &format!("{long}k")] {
            assert_eq!(bad.parse::<ApiKey>(), Err(ApiKeyError::Malformed), "{bad}");
        }
        assert_eq!(HIDDEN.parse::<ApiKey>(), Err(ApiKeyError::Hidden));
    }

    #[test]
    fn no_key_is_in_what_is_printed_of_it() {
        let key: ApiKey = OLD.parse().expect("a key");
        let keys = ApiKeys::new(std::slice::from_ref(&key));
        let printed = format!("{key:?} {keys:?} {:?}", Secret::new(OLD));
        assert!(!printed.contains("old-key"), "{printed}");
    }
}
