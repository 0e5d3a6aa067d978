//! The reasons to refuse an event before its signature is verified.

use std::collections::HashSet;

use serde::Deserialize;

use super::{Content, ParsedEvent};
use crate::hex::Bytes32;
use crate::json::Text;
use crate::kind::{CLIENT_AUTH, HTTP_AUTH, REPOSTS};

/// Why an event is not accepted. The text follows the prefix that NIP-01 asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EventError {
    /// The event is not a JSON object.
    #[error("invalid: an event is an object")]
    NoObject,
    /// A field is missing, repeated or of another type.
    #[error("invalid: {0}")]
    Shape(String),
    /// A field has an invalid form.
    #[error("invalid: {0}")]
    Form(&'static str),
    /// It is larger than the limit.
    #[error("invalid: the event has more than {0} bytes")]
    TooLarge(usize),
    /// It has more tags than the limit.
    #[error("invalid: the event has more than {0} tags")]
    TooManyTags(usize),
    /// Its content is longer than the limit.
    #[error("invalid: the content has more than {0} characters")]
    ContentTooLong(usize),
    /// `created_at` is too far in the future.
    #[error("invalid: created_at is too far in the future")]
    TooNew,
    /// `created_at` is too far in the past.
    #[error("invalid: created_at is too far in the past")]
    TooOld,
    /// The kind is only valid in AUTH.
    #[error("invalid: kind {0} is for authentication and is never published")]
    ForAuth(u16),
    /// The relay does not accept this kind.
    #[error("blocked: this relay does not accept kind {0}")]
    KindNotTaken(u16),
    /// The id has too few leading zero bits (NIP-13).
    #[error("pow: {found} leading zero bits of {needed}")]
    TooLittleWork {
        /// Bits that the relay asks for.
        needed: u8,
        /// Bits of the id, or the target of its `nonce` tag if that is lower.
        found: u32,
    },
    /// It asks another relay to forget its author (NIP-62).
    #[error("invalid: this request to vanish names neither this relay nor ALL_RELAYS")]
    VanishElsewhere,
    /// It has expired (NIP-40).
    #[error("invalid: the event has expired")]
    Expired,
    /// It contains an event that only its author may publish (NIP-70).
    #[error("blocked: the event that this one embeds is protected")]
    EmbedsProtected,
    /// The id is not the hash of the event.
    #[error("invalid: id is not the hash of the event")]
    WrongId,
    /// `pubkey` is not a point of the curve.
    #[error("invalid: pubkey is not a public key")]
    NoKey,
    /// The signature is invalid.
    #[error("invalid: sig is not the signature of id by pubkey")]
    WrongSignature,
}

/// Limits on the events that the relay accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventLimits {
    /// Most bytes of its JSON.
    pub bytes: usize,
    /// Most tags.
    pub tags: usize,
    /// Most characters of the content; `None`: not limited separately.
    pub content_chars: Option<usize>,
    /// How far `created_at` may be in the future, in seconds.
    pub future_s: u64,
    /// How far it may be in the past, in seconds; `None`: not limited.
    pub past_s: Option<u64>,
    /// Leading zero bits that an id must have.
    pub pow: u8,
    /// The kinds that are accepted; `None`: all.
    pub kinds: Option<HashSet<u16>>,
}

impl ParsedEvent<'_> {
    /// Whether the relay accepts such an event: all checks that need neither its hash nor its
    /// signature, except for its id, the cheapest first. `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// The first reason to refuse it.
    pub fn check(&self, limits: &EventLimits, now: u64) -> Result<(), EventError> {
        if self.bytes > limits.bytes {
            return Err(EventError::TooLarge(limits.bytes));
        }
        if self.tags.len() > limits.tags {
            return Err(EventError::TooManyTags(limits.tags));
        }
        if let Some(chars) = limits.content_chars
            && self.content.chars() > chars
        {
            return Err(EventError::ContentTooLong(chars));
        }
        if self.created_at > now.saturating_add(limits.future_s) {
            return Err(EventError::TooNew);
        }
        if limits
            .past_s
            .is_some_and(|past| self.created_at < now.saturating_sub(past))
        {
            return Err(EventError::TooOld);
        }
        if matches!(self.kind, CLIENT_AUTH | HTTP_AUTH) {
            return Err(EventError::ForAuth(self.kind));
        }
        if limits
            .kinds
            .as_ref()
            .is_some_and(|kinds| !kinds.contains(&self.kind))
        {
            return Err(EventError::KindNotTaken(self.kind));
        }
        Ok(())
    }

    /// The checks after those of [`ParsedEvent::check`] and after the lookup of known ids: work,
    /// expiry, and the id itself.
    ///
    /// # Errors
    ///
    /// The first reason to refuse it.
    pub fn check_further(&self, limits: &EventLimits, now: u64) -> Result<(), EventError> {
        self.check_work(limits.pow)?;
        if self.expires_at()?.is_some_and(|end| end <= now) {
            return Err(EventError::Expired);
        }
        self.check_id()?;
        match self.embeds_protected() {
            true => Err(EventError::EmbedsProtected),
            false => Ok(()),
        }
    }

    /// NIP-13: the id has enough work, and its `nonce` tag targets enough.
    fn check_work(&self, needed: u8) -> Result<(), EventError> {
        if needed == 0 {
            return Ok(());
        }
        let done = leading_zero_bits(&self.id);
        let nonce = self.tags.iter().find(|tag| super::is_named(tag, "nonce"));
        let target = nonce.and_then(|tag| tag.get(2));
        let aimed_at = target.map(|target| target.0.parse().unwrap_or(0));
        let found = aimed_at.unwrap_or(done).min(done);
        match found >= u32::from(needed) {
            true => Ok(()),
            false => Err(EventError::TooLittleWork { needed, found }),
        }
    }

    /// NIP-40.
    pub(super) fn expires_at(&self) -> Result<Option<u64>, EventError> {
        let Some(time) = self.tag("expiration") else {
            return Ok(None);
        };
        let is_number = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
        let form = EventError::Form("expiration must be a time in seconds");
        if !is_number {
            return Err(form);
        }
        time.parse().map(Some).map_err(|_| form)
    }

    /// NIP-70: the tag `["-"]`.
    pub(super) fn is_protected(&self) -> bool {
        self.tags.iter().any(|tag| super::is_named(tag, "-"))
    }

    /// Whether it is a repost that contains a protected event (NIP-70).
    fn embeds_protected(&self) -> bool {
        #[derive(Deserialize)]
        struct Embedded<'c> {
            #[serde(borrow)]
            tags: Vec<Vec<Text<'c>>>,
        }
        if !REPOSTS.contains(&self.kind) {
            return false;
        }
        let content = self.content.decoded();
        let embedded: Result<Embedded<'_>, _> = serde_json::from_str(&content);
        embedded.is_ok_and(|event| event.tags.iter().any(|tag| super::is_named(tag, "-")))
    }
}

impl Content<'_> {
    fn decoded(&self) -> String {
        match self {
            Content::Canonical(raw) => serde_json::from_str(raw).unwrap_or_default(),
            Content::Other(content) => content.clone(),
        }
    }

    fn chars(&self) -> usize {
        match self {
            // Skip quotes and backslashes: each escape has one character after its backslash.
            Content::Canonical(raw) => {
                let escapes = raw.split("\\\\").map(|part| part.matches('\\').count());
                let backslashes = raw.matches("\\\\").count();
                raw.chars().count() - 2 - escapes.sum::<usize>() - backslashes
            }
            Content::Other(content) => content.chars().count(),
        }
    }
}

fn leading_zero_bits(id: &Bytes32) -> u32 {
    let zeros = id.iter().take_while(|byte| **byte == 0).count();
    let next = id.get(zeros).map_or(0, |byte| byte.leading_zeros());
    8 * zeros as u32 + next
}
