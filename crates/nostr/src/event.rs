//! Events (NIP-01): parsed as they came, checked, and kept as the JSON that is sent.

mod checks;
mod fields;
mod signer;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use secp256k1::{XOnlyPublicKey, schnorr};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::checks::{EventError, EventLimits};
pub use self::signer::{Draft, Signer};
use crate::hex::{self, Bytes32};
use crate::json::{self, Text};
use crate::kind::{Class, DELETION, VANISH, class_of};

/// `created_at` must be below this.
const CREATED_AT_END: u64 = 1 << 40;

/// The fields as written. Unknown ones are dropped; a repeated one is an error.
#[derive(Deserialize)]
struct Fields<'m> {
    #[serde(borrow)]
    id: Text<'m>,
    #[serde(borrow)]
    pubkey: Text<'m>,
    created_at: u64,
    kind: u16,
    #[serde(borrow)]
    tags: &'m RawValue,
    #[serde(borrow)]
    content: &'m RawValue,
    #[serde(borrow)]
    sig: Text<'m>,
}

/// An event as a client sent it: well-formed, but not verified.
#[derive(Debug)]
pub struct ParsedEvent<'m> {
    /// The id that it claims.
    pub id: Bytes32,
    /// The key that it claims.
    pub pubkey: Bytes32,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Its kind.
    pub kind: u16,
    tags: Vec<Vec<Text<'m>>>,
    /// The tags as JSON, in canonical form.
    tags_json: String,
    /// The same in the form that is hashed, if it differs.
    tags_hashed: Option<String>,
    content: Content<'m>,
    sig: [u8; 64],
    bytes: usize,
}

/// The content, in the form that is cheapest to keep.
#[derive(Debug)]
enum Content<'m> {
    /// As received, which is both the form that is sent and the form that is hashed.
    Canonical(&'m str),
    /// Decoded.
    Other(String),
}

impl<'m> ParsedEvent<'m> {
    /// Parses the JSON object of an event.
    ///
    /// # Errors
    ///
    /// It is not an object, or a field is missing, repeated, or of the wrong type or form; the text
    /// says which.
    pub fn parse(json: &'m str) -> Result<ParsedEvent<'m>, EventError> {
        // Serde would also accept an array.
        if !json.trim_ascii_start().starts_with('{') {
            return Err(EventError::NoObject);
        }
        let shape = |error: serde_json::Error| EventError::Shape(json::told(&error));
        let fields: Fields<'m> = serde_json::from_str(json).map_err(shape)?;
        let tags: Vec<Vec<Text<'m>>> = serde_json::from_str(fields.tags.get())
            .map_err(|_| EventError::Form("tags must be arrays of strings"))?;
        let (tags_json, tags_hashed) = forms_of_tags(fields.tags.get(), &tags);
        if fields.created_at >= CREATED_AT_END {
            return Err(EventError::Form("created_at must be below 2^40"));
        }
        let form = |what| EventError::Form(what);
        Ok(ParsedEvent {
            id: hex::parse(&fields.id.0).ok_or(form("id must be 64 lower-case hex digits"))?,
            pubkey: hex::parse(&fields.pubkey.0)
                .ok_or(form("pubkey must be 64 lower-case hex digits"))?,
            created_at: fields.created_at,
            kind: fields.kind,
            content: Content::of(fields.content.get())?,
            sig: hex::parse(&fields.sig.0).ok_or(form("sig must be 128 lower-case hex digits"))?,
            tags,
            tags_json,
            tags_hashed,
            bytes: json.len(),
        })
    }

    /// The value of the first tag of that name: the string after the name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let tag = self.tags.iter().find(|tag| is_named(tag, name))?;
        tag.get(1).map(|value| &*value.0)
    }

    /// The values of all tags of that name.
    pub(crate) fn values_of(&self, name: &str) -> impl Iterator<Item = &str> {
        let tags = self.tags.iter().filter(move |tag| is_named(tag, name));
        tags.filter_map(|tag| tag.get(1).map(|value| &*value.0))
    }

    /// Whether the id is the hash of the event.
    ///
    /// NIP-01 hashes control characters as they are. Most clients' libraries hash the JSON that
    /// their language writes, which escapes them; that is accepted as well.
    ///
    /// # Errors
    ///
    /// The id belongs to another event, or to none.
    pub fn check_id(&self) -> Result<(), EventError> {
        let is_hash = self.computed_id() == self.id
            || self.may_have_controls() && self.computed_id_as_json() == self.id;
        match is_hash {
            true => Ok(()),
            false => Err(EventError::WrongId),
        }
    }

    fn computed_id(&self) -> Bytes32 {
        let tags = self.tags_hashed.as_ref().unwrap_or(&self.tags_json);
        self.hash(tags, json::append_hashed)
    }

    fn computed_id_as_json(&self) -> Bytes32 {
        self.hash(&self.tags_json, json::append_string)
    }

    /// Canonical JSON contains none but the seven escapes.
    fn may_have_controls(&self) -> bool {
        self.tags_hashed.is_some() || matches!(self.content, Content::Other(_))
    }

    fn hash(&self, tags: &str, append: fn(&mut String, &str)) -> Bytes32 {
        let mut text = String::with_capacity(self.bytes.max(128));
        text.push_str("[0,\"");
        text.push_str(&hex::to_hex(&self.pubkey));
        text.push_str(&format!("\",{},{},", self.created_at, self.kind));
        text.push_str(tags);
        text.push(',');
        match &self.content {
            Content::Canonical(raw) => text.push_str(raw),
            Content::Other(content) => append(&mut text, content),
        }
        text.push(']');
        let hash = digest(&SHA256, text.as_bytes());
        hash.as_ref().try_into().unwrap_or_default()
    }

    /// The owned event; its signature is still to be verified.
    pub fn into_unverified(self) -> UnverifiedEvent {
        UnverifiedEvent {
            sig: self.sig,
            event: Event {
                id: self.id,
                pubkey: self.pubkey,
                created_at: self.created_at,
                kind: self.kind,
                expires_at: self.expires_at().ok().flatten(),
                is_protected: self.is_protected(),
                d: self.d(),
                tags: self.single_letter_tags(),
                body: self.body(),
            },
        }
    }

    /// The JSON that is sent, including the bracket that ends the message around it.
    fn body(&self) -> Bytes {
        let mut text = String::with_capacity(self.bytes + 1);
        text.push_str("{\"id\":\"");
        text.push_str(&hex::to_hex(&self.id));
        text.push_str("\",\"pubkey\":\"");
        text.push_str(&hex::to_hex(&self.pubkey));
        let numbers = format!(
            "\",\"created_at\":{},\"kind\":{}",
            self.created_at, self.kind
        );
        text.push_str(&numbers);
        text.push_str(",\"tags\":");
        text.push_str(&self.tags_json);
        text.push_str(",\"content\":");
        match &self.content {
            Content::Canonical(raw) => text.push_str(raw),
            Content::Other(content) => json::append_string(&mut text, content),
        }
        text.push_str(",\"sig\":\"");
        text.push_str(&hex::to_hex(&self.sig));
        text.push_str("\"}]");
        text.into_bytes().into_boxed_slice().into()
    }

    fn d(&self) -> Box<str> {
        match class_of(self.kind) {
            Class::Addressable => self.tag("d").unwrap_or_default().into(),
            _ => Box::default(),
        }
    }

    fn single_letter_tags(&self) -> Box<[(u8, Box<str>)]> {
        let tags = self.tags.iter().filter_map(|tag| {
            let [name, value, ..] = &**tag else {
                return None;
            };
            let letter = letter_of(&name.0)?;
            Some((letter, Box::from(&*value.0)))
        });
        tags.collect()
    }
}

impl<'m> Content<'m> {
    fn of(raw: &'m str) -> Result<Content<'m>, EventError> {
        match raw.starts_with('"') {
            true if json::is_canonical(raw) => Ok(Content::Canonical(raw)),
            // A lone surrogate is found here: no other text has one.
            true => match serde_json::from_str(raw) {
                Ok(content) => Ok(Content::Other(content)),
                Err(_) => Err(EventError::Form("content has a lone surrogate")),
            },
            false => Err(EventError::Form("content must be a string")),
        }
    }
}

/// The letter by which a tag can be queried (NIP-01, `#<single-letter>`).
pub(crate) fn letter_of(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(*letter),
        _ => None,
    }
}

fn is_named(tag: &[Text<'_>], name: &str) -> bool {
    tag.first().is_some_and(|first| first.0 == name)
}

/// The tags as they are sent, and as they are hashed if that differs.
fn forms_of_tags(raw: &str, tags: &[Vec<Text<'_>>]) -> (String, Option<String>) {
    if json::is_canonical(raw) {
        return (raw.to_owned(), None);
    }
    let form = |append: fn(&mut String, &str)| {
        let mut text = String::with_capacity(raw.len());
        let separate = |text: &mut String, index| {
            if index > 0 {
                text.push(',');
            }
        };
        text.push('[');
        for (index, tag) in tags.iter().enumerate() {
            separate(&mut text, index);
            text.push('[');
            for (index, item) in tag.iter().enumerate() {
                separate(&mut text, index);
                append(&mut text, &item.0);
            }
            text.push(']');
        }
        text.push(']');
        text
    };
    (form(json::append_string), Some(form(json::append_hashed)))
}

/// An event with the right id, whose signature is still to be verified.
#[derive(Debug)]
pub struct UnverifiedEvent {
    event: Event,
    sig: [u8; 64],
}

impl UnverifiedEvent {
    /// The event, which anyone may have made.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Verifies the signature of the id (BIP-340), which takes 30 to 45 µs.
    ///
    /// # Errors
    ///
    /// The key did not sign it, or is not a valid key.
    pub fn verify(self) -> Result<Event, EventError> {
        let key = XOnlyPublicKey::from_byte_array(self.event.pubkey);
        let key = key.map_err(|_| EventError::NoKey)?;
        let signature = schnorr::Signature::from_byte_array(self.sig);
        let verified = schnorr::verify(&signature, &self.event.id, &key);
        verified.map_err(|_| EventError::WrongSignature)?;
        Ok(self.event)
    }

    /// The event without verifying it: for events that were verified when they were stored, here or
    /// by a relay that is trusted.
    pub fn trust(self) -> Event {
        self.event
    }
}

/// An event that its key has signed.
#[derive(Debug)]
pub struct Event {
    id: Bytes32,
    pubkey: Bytes32,
    created_at: u64,
    kind: u16,
    expires_at: Option<u64>,
    is_protected: bool,
    d: Box<str>,
    tags: Box<[(u8, Box<str>)]>,
    body: Bytes,
}

/// The address of which only the latest event is kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct EventAddress {
    pub(crate) kind: u16,
    pub(crate) pubkey: Bytes32,
    pub(crate) d: Box<str>,
}

impl Event {
    /// Its hash.
    pub fn id(&self) -> &Bytes32 {
        &self.id
    }

    /// The key that signed it.
    pub fn pubkey(&self) -> &Bytes32 {
        &self.pubkey
    }

    /// Seconds since 1970, as set by its author.
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// Its kind.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// The class of its kind.
    pub fn class(&self) -> Class {
        class_of(self.kind)
    }

    /// Whether only its author may publish it (NIP-70).
    pub fn is_protected(&self) -> bool {
        self.is_protected
    }

    /// When it expires, in seconds since 1970 (NIP-40).
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether it may remove stored events other than older versions of itself: a deletion (NIP-09)
    /// or a request to vanish (NIP-62).
    pub fn may_remove_others(&self) -> bool {
        matches!(self.kind, DELETION | VANISH)
    }

    /// Tags with a single letter and a value, by which it can be queried.
    pub fn single_letter_tags(&self) -> impl Iterator<Item = (u8, &str)> {
        self.tags.iter().map(|(letter, value)| (*letter, &**value))
    }

    /// Whether it has this key in a `p` tag, as 64 lower-case hex digits.
    pub fn is_for(&self, key: &Bytes32) -> bool {
        let mut tags = self.tags.iter();
        tags.any(|(letter, value)| *letter == b'p' && hex::parse::<32>(value) == Some(*key))
    }

    /// Its JSON, with the fields in the order of NIP-01.
    pub fn json(&self) -> &str {
        let json = &self.body[..self.body.len() - 1];
        std::str::from_utf8(json).unwrap_or_default()
    }

    /// The same with the bracket that ends the message around it: shared by all subscribers, each
    /// after its own head.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Its address, if it is replaceable or addressable.
    pub(crate) fn address(&self) -> Option<EventAddress> {
        matches!(self.class(), Class::Replaceable | Class::Addressable).then(|| EventAddress {
            kind: self.kind,
            pubkey: self.pubkey,
            d: self.d.clone(),
        })
    }

    /// Memory in bytes.
    pub fn held_bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(_, value)| value.len()).sum();
        let entries = self.tags.len() * size_of::<(u8, Box<str>)>();
        size_of::<Event>() + self.d.len() + self.body.len() + tags + entries
    }
}

#[cfg(test)]
mod tests;
