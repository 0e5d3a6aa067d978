//! Access to events of private kinds (NIP-04, NIP-59): only clients with a key that they name may
//! see them.

use std::collections::BTreeSet;

use crate::event::Event;
use crate::filter::Filter;
use crate::hex::Bytes32;
use crate::kind::DIRECT_MESSAGE;

/// The kinds that only clients named in their `p` tags may see.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PrivateKinds(BTreeSet<u16>);

impl FromIterator<u16> for PrivateKinds {
    fn from_iter<I: IntoIterator<Item = u16>>(kinds: I) -> PrivateKinds {
        PrivateKinds(kinds.into_iter().collect())
    }
}

impl PrivateKinds {
    /// Whether this kind is private.
    pub fn contains(&self, kind: u16) -> bool {
        self.0.contains(&kind)
    }

    /// Whether no kind is private.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a filter asks for private kinds only.
    pub fn are_all_of(&self, filter: &Filter) -> bool {
        let kinds = filter.kinds.as_deref().unwrap_or_default();
        !kinds.is_empty() && kinds.iter().all(|kind| self.contains(*kind))
    }
}

/// A client that reads events, by the keys that it has proven.
#[derive(Clone, Debug, Default)]
pub struct Viewer {
    /// The keys that it has proven to own (NIP-42).
    pub keys: Vec<Bytes32>,
}

impl Viewer {
    /// Whether it may see the event: a private one only if it is for one of its keys. The author of
    /// a direct message of kind 4 may see it, too.
    pub fn may_see(&self, event: &Event, private: &PrivateKinds) -> bool {
        if !private.contains(event.kind()) {
            return true;
        }
        let is_author = |key: &Bytes32| event.kind() == DIRECT_MESSAGE && event.pubkey() == key;
        self.keys
            .iter()
            .any(|key| event.is_for(key) || is_author(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Signer};
    use crate::hex::to_hex;

    #[test]
    fn private_events_are_for_whom_they_name() {
        let [author, recipient, other] =
            [1, 2, 3].map(|secret| Signer::new([secret; 32]).expect("a key"));
        let private: PrivateKinds = [4, 1_059].into_iter().collect();
        let sees = |kind, who: &[&Signer]| {
            let to = vec!["p".to_owned(), to_hex(&recipient.public_key())];
            let event = author.sign(Draft {
                kind,
                tags: vec![to],
                ..Draft::default()
            });
            let keys = who.iter().map(|each| each.public_key()).collect();
            Viewer { keys }.may_see(&event, &private)
        };
        for kind in [4, 1_059] {
            assert!(!sees(kind, &[]));
            assert!(!sees(kind, &[&other]));
            assert!(sees(kind, &[&other, &recipient]));
        }
        assert!(sees(4, &[&author]));
        assert!(!sees(1_059, &[&author]));
        assert!(sees(1, &[]));
    }

    #[test]
    fn a_filter_is_private_if_all_its_kinds_are() {
        let private: PrivateKinds = [4, 1_059].into_iter().collect();
        let is_private = |json| private.are_all_of(&Filter::parse(json).expect(json));
        assert!(is_private(r#"{"kinds":[1059,4]}"#));
        for json in [r#"{"kinds":[1059,1]}"#, "{}", r#"{"kinds":[]}"#] {
            assert!(!is_private(json), "{json}");
        }
    }
}
