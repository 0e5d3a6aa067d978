//! Proof that a request over HTTP comes from a key (NIP-98), in the form that NIP-86 requires.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::digest::{SHA256, digest};

use crate::auth::RelayUrls;
use crate::event::{EventError, ParsedEvent};
use crate::hex::{Bytes32, to_hex};
use crate::kind::HTTP_AUTH;

/// How far `created_at` may be off, in seconds.
const WINDOW_S: u64 = 60;

/// Clients write it with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key has signed the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestProof {
    /// The key.
    pub key: Bytes32,
    /// The id of the signed event, which may be used once.
    pub id: Bytes32,
    /// When it was signed, in seconds since 1970.
    pub created_at: u64,
}

impl RequestProof {
    /// The last second at which the event proves anything.
    pub fn ends_at(&self) -> u64 {
        self.created_at + WINDOW_S
    }
}

/// Why a request is not proven to come from a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestAuthError {
    /// The header has another scheme.
    #[error("invalid: the header Authorization must be Nostr and an event in base64 (NIP-98)")]
    Scheme,
    /// The event is not in base64, or not in UTF-8.
    #[error("invalid: the event in Authorization is not in base64")]
    Base64,
    /// The event itself is invalid.
    #[error(transparent)]
    Event(#[from] EventError),
    /// It is an event of another kind.
    #[error("invalid: the event in Authorization must have kind 27235")]
    Kind,
    /// It was made too long ago, or is dated in the future.
    #[error("invalid: created_at is more than a minute off")]
    Time,
    /// It is for another relay or page.
    #[error("invalid: u must be the URL of this relay, {0}")]
    Url(String),
    /// It is for another method of HTTP.
    #[error("invalid: method must be POST")]
    Method,
    /// It is for another body, or does not say for which.
    #[error("invalid: payload must be the SHA-256 of the body, 64 lower-case hex digits")]
    Payload,
}

impl RelayUrls {
    /// Checks the header `Authorization` of a POST with this body. `now` is in seconds since 1970.
    /// The caller has to see to it that each event proves only one request.
    ///
    /// # Errors
    ///
    /// The first reason why it proves nothing.
    pub fn prove_request(
        &self,
        header: &str,
        body: &[u8],
        now: u64,
    ) -> Result<RequestProof, RequestAuthError> {
        let (scheme, encoded) = header
            .trim()
            .split_once(' ')
            .ok_or(RequestAuthError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("nostr") {
            return Err(RequestAuthError::Scheme);
        }
        let json = BASE64.decode(encoded.trim());
        let json = json.map_err(|_| RequestAuthError::Base64)?;
        let json = std::str::from_utf8(&json).map_err(|_| RequestAuthError::Base64)?;
        let event = ParsedEvent::parse(json)?;
        if event.kind != HTTP_AUTH {
            return Err(RequestAuthError::Kind);
        }
        if event.created_at.abs_diff(now) > WINDOW_S {
            return Err(RequestAuthError::Time);
        }
        if !event.tag("u").is_some_and(|url| self.contains_page(url)) {
            return Err(RequestAuthError::Url(self.canonical().to_owned()));
        }
        if event.tag("method") != Some("POST") {
            return Err(RequestAuthError::Method);
        }
        let payload = to_hex(digest(&SHA256, body).as_ref());
        if event.tag("payload") != Some(&payload) {
            return Err(RequestAuthError::Payload);
        }
        event.check_id()?;
        let event = event.into_unverified().verify()?;
        Ok(RequestProof {
            key: *event.pubkey(),
            id: *event.id(),
            created_at: event.created_at(),
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

    use super::*;
    use crate::event::{Draft, Signer};

    const NOW: u64 = 1_700_000_000;
    const BODY: &[u8] = b"{\"method\":\"stats\",\"params\":[]}";

    fn tag(name: &str, value: &str) -> Vec<String> {
        vec![name.to_owned(), value.to_owned()]
    }

    fn draft(url: &str) -> Draft {
        let payload = to_hex(digest(&SHA256, BODY).as_ref());
        Draft {
            created_at: NOW,
            kind: HTTP_AUTH,
            tags: vec![
                tag("u", url),
                tag("method", "POST"),
                tag("payload", &payload),
            ],
            content: String::new(),
        }
    }

    fn urls() -> RelayUrls {
        RelayUrls::new(vec![
            "wss://relay.example/nostr".into(),
            "ws://10.0.0.1".into(),
        ])
    }

    fn signer() -> Signer {
        Signer::new([9; 32]).expect("a key")
    }

    fn proven(draft: Draft) -> Result<RequestProof, RequestAuthError> {
        let event = signer().sign(draft);
        let header = format!("Nostr {}", BASE64_STANDARD.encode(event.json()));
        urls().prove_request(&header, BODY, NOW)
    }

    #[test]
    fn the_url_may_be_that_of_the_page_or_of_the_socket() {
        for url in [
            "wss://relay.example/nostr",
            "https://relay.example/nostr",
            "HTTPS://Relay.Example:443/nostr/",
            "ws://10.0.0.1",
            "http://10.0.0.1:80/",
        ] {
            let key = proven(draft(url)).map(|proof| proof.key);
            assert_eq!(key, Ok(signer().public_key()), "{url}");
        }
        for url in [
            "http://relay.example/nostr",
            "https://relay.example",
            "https://relay.example:80/nostr",
            "https://evil.example/nostr",
            "https://10.0.0.1",
            "relay.example/nostr",
            "",
        ] {
            let error = RequestAuthError::Url("wss://relay.example/nostr".to_owned());
            assert_eq!(proven(draft(url)), Err(error), "{url}");
        }
    }

    #[test]
    fn each_wrong_field_has_a_reason_of_its_own() {
        let good = draft("https://relay.example/nostr");
        let other = |name: &str, value: Option<&str>| {
            let mut draft = good.clone();
            draft.tags.retain(|tag| tag[0] != name);
            draft.tags.extend(value.map(|value| tag(name, value)));
            proven(draft)
        };
        for method in [None, Some("GET"), Some("post")] {
            assert_eq!(other("method", method), Err(RequestAuthError::Method));
        }
        let upper = to_hex(digest(&SHA256, BODY).as_ref()).to_uppercase();
        for payload in [None, Some(""), Some(&*upper), Some(&*"0".repeat(64))] {
            assert_eq!(other("payload", payload), Err(RequestAuthError::Payload));
        }
        let at = |created_at| Draft {
            created_at,
            ..good.clone()
        };
        assert!(proven(at(NOW - 60)).is_ok() && proven(at(NOW + 60)).is_ok());
        for time in [NOW - 61, NOW + 61] {
            assert_eq!(proven(at(time)), Err(RequestAuthError::Time));
        }
        let kind = Draft {
            kind: 22_242,
            ..good.clone()
        };
        assert_eq!(proven(kind), Err(RequestAuthError::Kind));
        let forged = signer().sign(good).json().replace("27235,", "27235 ,");
        let forged = forged.replace("\"content\":\"\"", "\"content\":\"x\"");
        let header = format!("Nostr {}", BASE64_STANDARD.encode(forged));
        let wrong = RequestAuthError::Event(EventError::WrongId);
        assert_eq!(urls().prove_request(&header, BODY, NOW), Err(wrong));
    }

    #[test]
    fn the_header_is_a_scheme_and_base64() {
        let event = signer().sign(draft("https://relay.example/nostr"));
        let (padded, bare) = (
            BASE64_STANDARD.encode(event.json()),
            BASE64_STANDARD_NO_PAD.encode(event.json()),
        );
        let prove = |header: &str| urls().prove_request(header, BODY, NOW);
        for header in [
            format!("Nostr {padded}"),
            format!("nostr   {bare} "),
            format!(" NOSTR {padded}"),
        ] {
            assert!(prove(&header).is_ok(), "{header}");
        }
        for header in [
            "",
            "Nostr",
            "Bearer abc",
            &*padded,
            &*format!("Nostr{bare}"),
        ] {
            assert_eq!(prove(header), Err(RequestAuthError::Scheme), "{header}");
        }
        for header in ["Nostr ***", "Nostr {}", "Nostr /w==", "Nostr a b"] {
            assert_eq!(prove(header), Err(RequestAuthError::Base64), "{header}");
        }
        let nothing = prove("Nostr ");
        assert_eq!(nothing, Err(RequestAuthError::Scheme));
    }

    #[test]
    fn another_body_is_not_proven() {
        let event = signer().sign(draft("https://relay.example/nostr"));
        let header = format!("Nostr {}", BASE64_STANDARD.encode(event.json()));
        for body in [
            &b""[..],
            &BODY[1..],
            b"{\"method\":\"stats\",\"params\":[1]}",
        ] {
            let error = Err(RequestAuthError::Payload);
            assert_eq!(urls().prove_request(&header, body, NOW), error);
        }
    }
}
