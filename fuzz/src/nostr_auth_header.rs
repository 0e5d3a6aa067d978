//! The header that proves a management call, and the call (NIP-98, NIP-86).
//!
//! An input is the header up to the first line feed, and the body after it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use corecast_nostr::{Call, Draft, RelayUrls, Request, RequestAuthError, Signer, to_hex};
use ring::digest::{SHA256, digest};
use serde_json::Value;

const NOW: u64 = 1_700_000_000;
const URL: &str = "wss://relay.example/nostr";

/// The target: only what a key has signed proves a request, for one body alone.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn nostr_auth_header(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (header, body) = match end {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let urls = RelayUrls::new(vec![URL.to_owned()]);
    if let Ok(header) = std::str::from_utf8(header) {
        check_header(&urls, header, body);
    }
    check_signed(&urls, header, body);
    check_call(body);
}

fn check_header(urls: &RelayUrls, header: &str, body: &[u8]) {
    match urls.prove_request(header, body, NOW) {
        Ok(proof) => {
            assert!(proof.created_at.abs_diff(NOW) <= 60, "it is old");
            check_other_bodies(urls, header, body);
        }
        Err(error) => {
            let told = error.to_string();
            assert!(told.starts_with("invalid: "), "{told}");
        }
    }
}

/// A right header for this body proves the key, and one with a changed byte proves nothing else.
fn check_signed(urls: &RelayUrls, changes: &[u8], body: &[u8]) {
    let signer = Signer::new([7; 32]).expect("a key");
    let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let event = signer.sign(Draft {
        created_at: NOW,
        kind: 27_235,
        tags: vec![
            tag("u", "https://relay.example/nostr"),
            tag("method", "POST"),
            tag("payload", &to_hex(digest(&SHA256, body).as_ref())),
        ],
        content: String::new(),
    });
    let header = format!("Nostr {}", BASE64_STANDARD.encode(event.json()));
    let proof = urls.prove_request(&header, body, NOW).expect("a proof");
    assert_eq!((&proof.key, &proof.id), (&signer.public_key(), event.id()));
    check_other_bodies(urls, &header, body);
    for later in [NOW - 61, NOW + 61] {
        let error = urls.prove_request(&header, body, later);
        assert_eq!(error, Err(RequestAuthError::Time));
    }
    let mut changed = event.json().as_bytes().to_vec();
    for pair in changes.chunks_exact(2).take(4) {
        let at = usize::from(pair[0]) * changed.len() / 256;
        changed[at] ^= pair[1];
    }
    let header = format!("Nostr {}", BASE64_STANDARD.encode(&changed));
    if let Ok(other) = urls.prove_request(&header, body, NOW) {
        assert_eq!(other, proof, "another event is proven");
    }
}

fn check_other_bodies(urls: &RelayUrls, header: &str, body: &[u8]) {
    let longer = [body, b" "].concat();
    let mut flipped = body.to_vec();
    if let Some(last) = flipped.last_mut() {
        *last ^= 1;
    }
    let shorter = body.split_last().map_or(&b" "[..], |(_, rest)| rest);
    for other in [&*longer, shorter, &*flipped] {
        if other != body {
            let error = urls.prove_request(header, other, NOW);
            assert_eq!(error, Err(RequestAuthError::Payload));
        }
    }
}

/// Another JSON reader reads the same call.
fn check_call(body: &[u8]) {
    let theirs: Option<Value> = serde_json::from_slice(body).ok();
    let Ok(call) = Call::parse(body) else {
        return;
    };
    // It parses the whole body, including numbers that the relay ignores.
    if let Some(theirs) = theirs {
        assert_eq!(theirs["method"], *call.method);
        let params = theirs["params"].as_array().cloned().unwrap_or_default();
        assert_eq!(params, call.params);
    }
    assert!((1..=64).contains(&call.method.len()));
    if let Ok(Some(Request::Change(_))) = Request::of(&call) {
        assert!(!call.params.is_empty(), "it changes nothing in particular");
    }
}
