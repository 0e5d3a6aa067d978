//! Proof that a client has a key (NIP-42).

use ring::rand::{SecureRandom, SystemRandom};

use crate::event::{EventError, ParsedEvent};
use crate::hex::{Bytes32, to_hex};
use crate::kind::{CLIENT_AUTH, VANISH};

/// A request to vanish with this value of a `relay` tag is for every relay.
const ALL_RELAYS: &str = "ALL_RELAYS";

/// How far `created_at` may be off, in seconds.
const WINDOW_S: u64 = 600;

/// The random text that a client has to sign: each connection has its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge(String);

impl Challenge {
    /// 16 random bytes, as hexadecimal digits. `None`: the system has no randomness.
    pub fn random() -> Option<Challenge> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Challenge(to_hex(&bytes)))
    }

    /// The text that is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a proof is not accepted. The text follows the prefix that NIP-01 asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// The event itself is invalid.
    #[error(transparent)]
    Event(#[from] EventError),
    /// It is an event of another kind.
    #[error("invalid: an AUTH event has kind 22242")]
    Kind,
    /// It was made too long ago, or is dated in the future.
    #[error("invalid: created_at is more than ten minutes off")]
    Time,
    /// The connection was not challenged.
    #[error("invalid: this connection has no challenge")]
    NotAsked,
    /// It answers another challenge.
    #[error("invalid: the challenge is not this connection's")]
    Challenge,
    /// It is for another relay.
    #[error("invalid: the event is for another relay than {0}")]
    Relay(String),
}

/// The URLs of a relay, normalised for comparison.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RelayUrls {
    urls: Vec<String>,
    normal: Vec<String>,
}

impl RelayUrls {
    /// The URLs that the operator configured: the first is the canonical one.
    pub fn new(urls: Vec<String>) -> RelayUrls {
        let normal = urls.iter().map(|url| normal(url)).collect();
        RelayUrls { urls, normal }
    }

    /// Whether the list is empty: then no client can prove a key.
    pub fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    /// The canonical one; empty without any.
    pub(crate) fn canonical(&self) -> &str {
        self.urls.first().map_or("", String::as_str)
    }

    /// Whether `url` is one of them, or the same with `https` for `wss` or `http` for `ws`.
    pub(crate) fn contains_page(&self, url: &str) -> bool {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match &*scheme.to_ascii_lowercase() {
            "https" => self.contains(&format!("wss://{rest}")),
            "http" => self.contains(&format!("ws://{rest}")),
            _ => self.contains(url),
        }
    }

    /// Whether `url` is one of them, ignoring the default port and trailing slashes.
    fn contains(&self, url: &str) -> bool {
        self.normal.contains(&normal(url))
    }

    /// Checks that a request to vanish is for the relay with these URLs, or for all relays
    /// (NIP-62). Other events pass.
    ///
    /// # Errors
    ///
    /// It is for other relays, or for none.
    pub fn check_vanish(&self, event: &ParsedEvent<'_>) -> Result<(), EventError> {
        let is_ours = |relay: &str| relay == ALL_RELAYS || self.contains(relay);
        match event.kind != VANISH || event.values_of("relay").any(is_ours) {
            true => Ok(()),
            false => Err(EventError::VanishElsewhere),
        }
    }

    /// Checks a proof. Returns the key that is proven.
    ///
    /// # Errors
    ///
    /// The first reason why it is invalid.
    pub fn prove(
        &self,
        json: &str,
        challenge: Option<&Challenge>,
        now: u64,
    ) -> Result<Bytes32, AuthError> {
        let event = ParsedEvent::parse(json)?;
        if event.kind != CLIENT_AUTH {
            return Err(AuthError::Kind);
        }
        if event.created_at.abs_diff(now) > WINDOW_S {
            return Err(AuthError::Time);
        }
        let challenge = challenge.ok_or(AuthError::NotAsked)?;
        if event.tag("challenge") != Some(challenge.as_str()) {
            return Err(AuthError::Challenge);
        }
        if !event.tag("relay").is_some_and(|url| self.contains(url)) {
            return Err(AuthError::Relay(self.canonical().to_owned()));
        }
        event.check_id()?;
        let event = event.into_unverified().verify()?;
        Ok(*event.pubkey())
    }
}

/// A URL without insignificant parts: its default port, trailing slashes, and the case of scheme
/// and host.
fn normal(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let scheme = scheme.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let port = match &*scheme {
        "wss" => ":443",
        _ => ":80",
    };
    let host = host.strip_suffix(port).unwrap_or(&host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Signer};

    const NOW: u64 = 1_700_000_000;

    fn draft(challenge: &str, relay: &str) -> Draft {
        let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        Draft {
            created_at: NOW,
            kind: CLIENT_AUTH,
            tags: vec![tag("relay", relay), tag("challenge", challenge)],
            content: String::new(),
        }
    }

    #[test]
    fn a_proof_names_relay_and_challenge() {
        let signer = Signer::new([9; 32]).expect("a key");
        let urls = RelayUrls::new(vec!["wss://relay.example/nostr".into()]);
        let challenge = Challenge("abc".into());
        let prove = |draft: Draft| urls.prove(signer.sign(draft).json(), Some(&challenge), NOW);
        let own = "wss://relay.example/nostr";
        assert_eq!(prove(draft("abc", own)), Ok(signer.public_key()));
        for same in [
            "wss://RELAY.example:443/nostr/",
            "WSS://relay.example/nostr",
        ] {
            assert_eq!(prove(draft("abc", same)), Ok(signer.public_key()), "{same}");
        }
        for other in [
            "ws://relay.example/nostr",
            "wss://relay.example",
            "wss://evil.example/nostr",
            "wss://relay.example:80/nostr",
            "",
            "wss://relay.example.evil/nostr",
        ] {
            let error = AuthError::Relay(own.into());
            assert_eq!(prove(draft("abc", other)), Err(error), "{other}");
        }
        assert_eq!(prove(draft("abd", own)), Err(AuthError::Challenge));
        let other = Draft {
            kind: 1,
            ..draft("abc", own)
        };
        assert_eq!(prove(other), Err(AuthError::Kind));
        for created_at in [NOW - 601, NOW + 601] {
            let late = Draft {
                created_at,
                ..draft("abc", own)
            };
            assert_eq!(prove(late), Err(AuthError::Time));
        }
        let event = signer.sign(draft("abc", own));
        assert_eq!(
            urls.prove(event.json(), None, NOW),
            Err(AuthError::NotAsked)
        );
        let forged = event
            .json()
            .replace("\"content\":\"\"", "\"content\":\"x\"");
        let forged = urls.prove(&forged, Some(&challenge), NOW);
        assert_eq!(forged, Err(AuthError::Event(EventError::WrongId)));
    }

    #[test]
    fn a_request_to_vanish_names_the_relay_or_all() {
        let signer = Signer::new([9; 32]).expect("a key");
        let urls = RelayUrls::new(vec!["wss://relay.example/nostr".into()]);
        let check = |urls: &RelayUrls, kind: u16, relays: &[&str]| {
            let tags = relays
                .iter()
                .map(|relay| vec!["relay".to_owned(), (*relay).to_owned()]);
            let event = signer.sign(Draft {
                kind,
                tags: tags.collect(),
                ..Draft::default()
            });
            let parsed = ParsedEvent::parse(event.json()).expect("an event");
            urls.check_vanish(&parsed).is_ok()
        };
        let none = RelayUrls::default();
        for (relays, is_ours, is_for_all) in [
            (&["ALL_RELAYS"][..], true, true),
            (
                &["wss://other.example", "WSS://relay.example:443/nostr/"],
                true,
                false,
            ),
            (
                &["wss://other.example", "wss://relay.example"],
                false,
                false,
            ),
            (&["all_relays", ""], false, false),
            (&[], false, false),
        ] {
            assert_eq!(check(&urls, VANISH, relays), is_ours, "{relays:?}");
            assert_eq!(check(&none, VANISH, relays), is_for_all, "{relays:?}");
            assert!(check(&none, 1, relays));
        }
    }

    #[test]
    fn challenges_differ() {
        let [one, other] = [(); 2].map(|()| Challenge::random().expect("randomness"));
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 32);
    }
}
