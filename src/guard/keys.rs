//! API keys: shared secrets, several at once so that they can be replaced one after the other.
//!
//! Only the SHA-256 of each key is kept for comparison. A presented key is compared with all of
//! them, in constant time, so that the time of the answer tells nothing about the keys.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};
use strum::{IntoStaticStr, VariantArray, VariantNames};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::suggest;

/// The text that is printed in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// A secret: it has no `Display`, and its `Debug` prints [`HIDDEN`].
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

/// An API key: 1 to 512 visible ASCII characters, and its scopes. One with a comma cannot be
/// offered as a subprotocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    text: Secret,
    scopes: Scopes,
}

/// A permission that an API key grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, IntoStaticStr, VariantArray, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// WebSockets, and what their paths answer.
    Connect,
    /// The push API.
    Push,
    /// Publishing to rooms and users.
    Publish,
    /// Reading rooms, their members, and the state of the relay.
    Read,
    /// Closing connections.
    Disconnect,
}

/// The permissions that an API key grants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

/// The reason why a text is not a valid API key. It does not repeat the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// Empty, too long, or with bytes that no header can carry.
    #[error("an API key has 1 to 512 visible ASCII characters")]
    Malformed,
    /// It is the placeholder that stands for a key in a printed config.
    #[error("(hidden) is what --check prints in place of a key")]
    Hidden,
    /// The list of scopes is empty.
    #[error("the list of scopes is empty; omit it for a key that has all scopes")]
    NoScope,
    /// The name of a scope is unknown.
    #[error("scope {number} is not one of {}{}", Scope::names(), meant(.nearest))]
    Scope {
        /// Its position in the list, from 1.
        number: usize,
        /// The scope that was probably meant.
        nearest: Option<&'static str>,
    },
    /// It has more parts than a key and its scopes, or is of another type.
    #[error("it is neither a key nor a key with scopes, such as {{key: …, scopes: [push, read]}}")]
    Form,
}

fn meant(nearest: &Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl Scope {
    /// All scopes.
    pub const ALL: &'static [Scope] = <Self as VariantArray>::VARIANTS;

    /// All names, separated by commas.
    fn names() -> String {
        <Self as VariantNames>::VARIANTS.join(", ")
    }

    /// The name in configs and key files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Scopes {
    /// All scopes.
    pub const ALL: Scopes = Scopes((1 << Scope::ALL.len()) - 1);

    /// Reads scopes by name.
    ///
    /// # Errors
    ///
    /// The list is empty, or a name is unknown.
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

    /// Whether `scope` is among them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & 1 << scope as u8 != 0
    }

    /// The scopes one by one.
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

    /// The same key with only these scopes.
    pub fn with_scopes(self, scopes: Scopes) -> ApiKey {
        ApiKey { scopes, ..self }
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    /// The permissions that it grants.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Whether it is so short that it can be guessed.
    pub fn is_short(&self) -> bool {
        self.reveal().len() < ApiKey::SHORT_BYTES
    }

    /// Parses a line of a file: a key alone, or followed by scopes (`KEY push,read`).
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

/// The key has all scopes.
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

/// Identifies a key without revealing it: 64 bits of its hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a key that has several parts.
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

/// Hidden, since a short key could be found from its hash.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A set of keys. It holds only their hashes.
#[derive(Default, PartialEq, Eq)]
pub struct ApiKeys(Vec<Known>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    hash: [u8; SHA256_OUTPUT_LEN],
    scopes: u8,
}

impl ApiKeys {
    /// A set of these keys. A key that is listed several times has the scopes of all its entries.
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

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of the keys, regardless of its scopes.
    pub fn allow(&self, presented: &[u8]) -> bool {
        self.find(presented).is_some()
    }

    /// The fingerprint and the scopes of a presented key, if it is in the set. The time that this
    /// takes depends on its length and on the number of keys, never on their content.
    pub fn find(&self, presented: &[u8]) -> Option<(Fingerprint, Scopes)> {
        let presented = hash(presented);
        let mut found = 0;
        for (number, known) in (1_u32..).zip(&self.0) {
            found.conditional_assign(&number, known.hash.ct_eq(&presented));
        }
        let known = self.0.get((found as usize).checked_sub(1)?)?;
        Some((Fingerprint::of_hash(&known.hash), Scopes(known.scopes)))
    }

    /// Whether the key with that fingerprint is in the set and has this scope.
    pub fn opens(&self, key: Fingerprint, scope: Scope) -> bool {
        let found = self
            .0
            .binary_search_by_key(&key, |known| Fingerprint::of_hash(&known.hash));
        found.is_ok_and(|index| Scopes(self.0[index].scopes).contain(scope))
    }

    /// The fingerprints of all keys.
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
    fn each_of_several_keys_is_accepted_and_no_other() {
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
    fn a_text_that_does_not_fit_a_header_is_rejected() {
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
    fn a_printed_key_is_hidden() {
        let key: ApiKey = OLD.parse().expect("a key");
        let keys = ApiKeys::new(std::slice::from_ref(&key));
        let printed = format!("{key:?} {keys:?} {:?}", Secret::new(OLD));
        assert!(!printed.contains("old-key"), "{printed}");
    }

    #[test]
    fn a_key_has_its_scopes_or_all_if_none_are_listed() {
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
    fn an_unknown_scope_is_reported_with_the_nearest_name() {
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
