//! API keys: texts that are known to both sides, several at once so that they can be replaced one
//! after the other.
//!
//! Of a key only its SHA-256 is kept where keys are compared. All of them are compared with what is
//! presented, in constant time, so that no answer comes sooner for being less wrong.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use strum::{IntoStaticStr, VariantArray, VariantNames};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::suggest;

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

/// An API key: 1 to 512 visible ASCII characters, and what it opens. One with a comma cannot be
/// offered as a subprotocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    text: Secret,
    scopes: Scopes,
}

/// Something that an API key opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, IntoStaticStr, VariantArray, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// WebSockets, and what their paths answer.
    Connect,
    /// The push API.
    Push,
    /// Publishing to rooms and users.
    Publish,
    /// Rooms, who is in them, and what the relay has.
    Read,
    /// Closing connections.
    Disconnect,
}

/// What an API key opens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

/// Why a text is no API key. It does not say which text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// Empty, too long, or with bytes that no header can carry.
    #[error("an API key has 1 to 512 visible ASCII characters")]
    Malformed,
    /// What stands for a key where a config is printed.
    #[error("(hidden) is what --check prints in place of a key")]
    Hidden,
    /// A list of scopes has none in it.
    #[error("there is no scope; leave them out for a key that opens everything")]
    NoScope,
    /// A scope is none of those that there are.
    #[error("scope {number} is not one of {}{}", Scope::names(), meant(.nearest))]
    Scope {
        /// Its place in the list, from 1.
        number: usize,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// There is more than a key and its scopes, or something else.
    #[error("it is no key and no key with scopes, such as {{key: …, scopes: [push, read]}}")]
    Form,
}

fn meant(nearest: &Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl Scope {
    /// Every one.
    pub const ALL: &'static [Scope] = <Self as VariantArray>::VARIANTS;

    /// Every name, as in a list.
    fn names() -> String {
        <Self as VariantNames>::VARIANTS.join(", ")
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Scopes {
    /// All of them.
    pub const ALL: Scopes = Scopes((1 << Scope::ALL.len()) - 1);

    /// Reads scopes by name.
    ///
    /// # Errors
    ///
    /// None, or one that there is not.
    pub fn of_names<'n>(names: impl Iterator<Item = &'n str>) -> Result<Scopes, ApiKeyError> {
        let mut scopes = Scopes(0);
        for (index, name) in names.enumerate() {
            let scope = Scope::ALL
                .iter()
                .copied()
                .find(|scope| scope.name() == name);
            let unknown = || ApiKeyError::Scope {
                number: index + 1,
                nearest: suggest::nearest(name, <Scope as VariantNames>::VARIANTS.iter().copied()),
            };
            scopes.0 |= 1 << scope.ok_or_else(unknown)? as u8;
        }
        match scopes.0 {
            0 => Err(ApiKeyError::NoScope),
            _ => Ok(scopes),
        }
    }

    /// Whether this one is among them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let all = Scope::ALL.iter().copied();
        all.filter(move |scope| self.contain(*scope))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl ApiKey {
    const BYTES_MAX: usize = 512;

    /// Keys with fewer characters can be guessed.
    pub const SHORT_BYTES: usize = 16;

    /// The same key, which opens only these.
    pub fn with_scopes(self, scopes: Scopes) -> ApiKey {
        ApiKey { scopes, ..self }
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    /// What it opens.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Whether it is so short that it can be guessed.
    pub fn is_short(&self) -> bool {
        self.reveal().len() < ApiKey::SHORT_BYTES
    }

    /// A line of a file: a key alone, or with scopes behind it (`KEY push,read`).
    pub(super) fn of_line(line: &str) -> Result<ApiKey, ApiKeyError> {
        let mut parts = line.split_ascii_whitespace();
        let key = parts.next().unwrap_or_default().parse::<ApiKey>()?;
        match (parts.next(), parts.next()) {
            (None, _) => Ok(key),
            (Some(names), None) => Ok(key.with_scopes(Scopes::of_names(names.split(','))?)),
            (Some(_), Some(_)) => Err(ApiKeyError::Form),
        }
    }
}

/// It opens everything.
impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<ApiKey, ApiKeyError> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=ApiKey::BYTES_MAX).contains(&text.len());
        match text {
            HIDDEN => Err(ApiKeyError::Hidden),
            _ if fits && is_visible => Ok(ApiKey {
                text: Secret::new(text),
                scopes: Scopes::ALL,
            }),
            _ => Err(ApiKeyError::Malformed),
        }
    }
}

/// Tells a key from others without telling the key: 64 bits of its hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a key in several parts.
    pub(super) fn of(parts: &[&[u8]]) -> Fingerprint {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        Fingerprint::of_hash(context.finish().as_ref())
    }

    fn of_hash(hash: &[u8]) -> Fingerprint {
        let first = hash.first_chunk::<8>().copied();
        Fingerprint(u64::from_be_bytes(first.unwrap_or_default()))
    }
}

/// Even a hash would tell a key that is short.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A set of keys. It holds only their hashes.
#[derive(Default, PartialEq, Eq)]
pub struct ApiKeys(Vec<Known>);

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    hash: [u8; SHA256_OUTPUT_LEN],
    scopes: u8,
}

impl ApiKeys {
    /// These keys. One that is there several times opens what any of them opens.
    pub fn new(keys: &[ApiKey]) -> ApiKeys {
        let each = keys.iter().map(|key| Known {
            hash: hash(key.reveal().as_bytes()),
            scopes: key.scopes.0,
        });
        let mut known: Vec<Known> = each.collect();
        known.sort_unstable();
        known.dedup_by(|next, kept| {
            let is_same = next.hash == kept.hash;
            kept.scopes |= if is_same { next.scopes } else { 0 };
            is_same
        });
        ApiKeys(known)
    }

    /// Whether there are none, so that nothing is one of them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them, whatever it opens.
    pub fn allow(&self, presented: &[u8]) -> bool {
        self.find(presented).is_some()
    }

    /// What this opens, if it is one of them. The time that this takes depends on its length and on
    /// how many keys there are, and not on what they are.
    pub fn find(&self, presented: &[u8]) -> Option<(Fingerprint, Scopes)> {
        let presented = hash(presented);
        let mut found = 0;
        for (number, known) in (1_u32..).zip(&self.0) {
            found.conditional_assign(&number, known.hash.ct_eq(&presented));
        }
        let known = self.0.get((found as usize).checked_sub(1)?)?;
        Some((Fingerprint::of_hash(&known.hash), Scopes(known.scopes)))
    }

    /// Whether the key with that fingerprint is one of them and opens this.
    pub fn opens(&self, key: Fingerprint, scope: Scope) -> bool {
        let found = self
            .0
            .binary_search_by_key(&key, |known| Fingerprint::of_hash(&known.hash));
        found.is_ok_and(|index| Scopes(self.0[index].scopes).contain(scope))
    }

    /// Each of them.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.0.iter().map(|known| Fingerprint::of_hash(&known.hash))
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
    #[test]
    fn a_key_opens_what_its_scopes_say_and_one_without_scopes_everything() {
        let line = |text: &str| ApiKey::of_line(text).expect("a key");
        let keys = ApiKeys::new(&[line(OLD), line(&format!("{NEW} push,read"))]);
        let scopes = |key: &str| keys.find(key.as_bytes()).expect("it is known");
        let (old, all) = scopes(OLD);
        assert_eq!(all.iter().collect::<Vec<_>>(), Scope::ALL);
        let (new, two) = scopes(NEW);
        assert_eq!(two.iter().collect::<Vec<_>>(), [Scope::Push, Scope::Read]);
        assert!(keys.opens(old, Scope::Connect) && keys.opens(new, Scope::Push));
        assert!(!keys.opens(new, Scope::Connect));
        let others = ApiKeys::new(&[line(&format!("{OLD} read")), line(&format!("{OLD} push"))]);
        assert_eq!(others.fingerprints().collect::<Vec<_>>(), [old]);
        assert!(others.opens(old, Scope::Push) && others.opens(old, Scope::Read));
        assert!(!others.opens(old, Scope::Publish) && !others.opens(new, Scope::Push));
    }

    #[test]
    fn a_scope_that_there_is_not_is_told_with_what_was_meant_and_without_the_text() {
        let problem = |line: &str| ApiKey::of_line(line).expect_err("no key").to_string();
        assert_eq!(
            problem("key push,raed"),
            "scope 2 is not one of connect, push, publish, read, disconnect; did you mean read?"
        );
        assert!(!problem("key hunter2-hunter2").contains("hunter2"));
        assert!(problem("key push read").contains("{key: …, scopes: [push, read]}"));
        assert_eq!(
            Scopes::of_names(std::iter::empty()),
            Err(ApiKeyError::NoScope)
        );
    }
}
