//! Makes signed events, for tests and for a load generator.

use secp256k1::{Keypair, SecretKey};

use super::{Content, Event, ParsedEvent};
use crate::hex::Bytes32;
use crate::json::Text;

/// An event that is still to be signed.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Seconds since 1970.
    pub created_at: u64,
    /// Its kind.
    pub kind: u16,
    /// Its tags.
    pub tags: Vec<Vec<String>>,
    /// Its content.
    pub content: String,
}

/// A signing key.
pub struct Signer(Keypair);

impl Signer {
    /// The key with these secret bytes; `None` if they are not a valid key.
    pub fn new(secret: Bytes32) -> Option<Signer> {
        let secret = SecretKey::from_secret_bytes(secret).ok()?;
        Some(Signer(Keypair::from_secret_key(&secret)))
    }

    /// Its public half.
    pub fn public_key(&self) -> Bytes32 {
        self.0.x_only_public_key().0.to_byte_array()
    }

    /// Signs the draft: the event's id is its hash.
    pub fn sign(&self, draft: Draft) -> Event {
        let tags = draft.tags.into_iter().map(|tag| {
            let items = tag.into_iter().map(|item| Text(item.into()));
            items.collect::<Vec<_>>()
        });
        let tags: Vec<Vec<Text<'static>>> = tags.collect();
        // A blank is not canonical, so both forms are made.
        let (tags_json, tags_hashed) = super::forms_of_tags(" ", &tags);
        let mut parsed = ParsedEvent {
            id: [0; 32],
            pubkey: self.public_key(),
            created_at: draft.created_at,
            kind: draft.kind,
            tags,
            tags_json,
            tags_hashed,
            bytes: draft.content.len() + 512,
            content: Content::Other(draft.content),
            sig: [0; 64],
        };
        parsed.id = parsed.computed_id();
        parsed.sig = secp256k1::schnorr::sign_no_aux_rand(&parsed.id, &self.0).to_byte_array();
        parsed.into_unverified().event
    }
}
