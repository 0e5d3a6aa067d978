//! `api`: the keys by which back ends show that they may use the HTTP API.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// `api`: the HTTP API for back ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Whether the rooms API is there.
    pub enabled: bool,
    /// Keys that are good; with those of `keys_file`.
    pub keys: Vec<ApiKey>,
    /// A file with a key a line, relative to the working directory.
    pub keys_file: Option<PathBuf>,
}

impl Default for ApiConfig {
    fn default() -> ApiConfig {
        ApiConfig {
            enabled: true,
            keys: Vec::new(),
            keys_file: None,
        }
    }
}

/// Most bytes of a key.
const KEY_BYTES_MAX: usize = 512;

/// A secret that a back end sends along. It is left out of every debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Box<str>);

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Empty, too long, or with bytes that no header can carry.
    #[error("is no key; write 1 to {KEY_BYTES_MAX} visible ASCII characters, without spaces")]
    Malformed,
    /// What stands for a key in the output of `--check`.
    #[error("is what --check prints in place of a key")]
    Hidden,
}

impl ApiKey {
    /// What a request has to carry.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<ApiKey, ApiKeyError> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        match text {
            super::keys::HIDDEN => Err(ApiKeyError::Hidden),
            _ if is_visible && (1..=KEY_BYTES_MAX).contains(&text.len()) => Ok(ApiKey(text.into())),
            _ => Err(ApiKeyError::Malformed),
        }
    }
}

/// For the table of keys alone, which hides it.
impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::keys::HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_and_not_the_word_that_hides_one() {
        let long = "k".repeat(KEY_BYTES_MAX);
        for good in ["k", "sk_live-1.~/+=", &long] {
            assert!(good.parse::<ApiKey>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\nb", "ключ", &format!("{long}k"), "(hidden)"] {
            assert!(bad.parse::<ApiKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_in_what_is_printed_for_debugging() {
        let key: ApiKey = "hunter2".parse().expect("a key");
        assert!(!format!("{key:?}").contains("hunter2"));
    }
}
