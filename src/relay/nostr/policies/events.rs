//! Policies for events.

use std::time::Duration;

use corecast_nostr::{Class, Event, class_of};
use serde::Deserialize;

use crate::relay::nostr::clock::unix_now;
use crate::relay::nostr::hooks::{Context, Prefix, Rejection};

type Verdict = Result<(), Rejection>;

/// Refuses events with more than `max` tags of a single letter, by which events can be queried.
/// `ignored_kinds` may have any number; if `only_kinds` is not empty, it is for these kinds alone.
pub fn prevent_too_many_indexable_tags(
    max: usize,
    ignored_kinds: impl IntoIterator<Item = u16>,
    only_kinds: impl IntoIterator<Item = u16>,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    let ignored: Vec<u16> = ignored_kinds.into_iter().collect();
    let only: Vec<u16> = only_kinds.into_iter().collect();
    move |_, event| {
        let is_bounded = match only.is_empty() {
            true => !ignored.contains(&event.kind()),
            false => only.contains(&event.kind()),
        };
        match is_bounded && event.single_letter_tags().count() > max {
            true => Err(format!("the event has more than {max} indexable tags").into()),
            false => Ok(()),
        }
    }
}

/// Refuses events with a tag of a single letter whose value has more than `bytes_max` bytes.
pub fn prevent_large_tags(
    bytes_max: usize,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    move |_, event| {
        let mut values = event.single_letter_tags().map(|(_, value)| value.len());
        match values.any(|bytes| bytes > bytes_max) {
            true => Err(format!("the value of a tag has more than {bytes_max} bytes").into()),
            false => Ok(()),
        }
    }
}

/// Refuses events whose content has more than `bytes_max` bytes.
pub fn prevent_large_content(
    bytes_max: usize,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    move |_, event| {
        // Most events are shorter as a whole, so their content need not be decoded.
        let may_be_large = event.body().len() > bytes_max;
        match may_be_large && event.content().len() > bytes_max {
            true => Err(format!("the content has more than {bytes_max} bytes").into()),
            false => Ok(()),
        }
    }
}

/// Refuses events of all other kinds. `allows_ephemeral`: ephemeral ones pass, whatever their kind.
pub fn restrict_to_specified_kinds(
    allows_ephemeral: bool,
    kinds: impl IntoIterator<Item = u16>,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    let mut kinds: Vec<u16> = kinds.into_iter().collect();
    kinds.sort_unstable();
    move |_, event| {
        let kind = event.kind();
        let is_allowed = allows_ephemeral && class_of(kind) == Class::Ephemeral
            || kinds.binary_search(&kind).is_ok();
        match is_allowed {
            true => Ok(()),
            false => Err(format!("events of kind {kind} are not accepted").into()),
        }
    }
}

/// Refuses events that were created longer ago than this.
pub fn prevent_timestamps_in_the_past(
    threshold: Duration,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    let seconds = threshold.as_secs();
    move |_, event| match unix_now().saturating_sub(event.created_at()) > seconds {
        true => Err(Rejection::new(Prefix::Invalid, "the event is too old")),
        false => Ok(()),
    }
}

/// Refuses events whose `created_at` is ahead by more than this.
pub fn prevent_timestamps_in_the_future(
    threshold: Duration,
) -> impl Fn(&Context<'_>, &Event) -> Verdict + Send + Sync + 'static {
    let seconds = threshold.as_secs();
    move |_, event| match event.created_at().saturating_sub(unix_now()) > seconds {
        true => Err(Rejection::new(
            Prefix::Invalid,
            "the event is too far in the future",
        )),
        false => Ok(()),
    }
}

/// Refuses events whose content has a picture or a video as a `data:` URL.
pub fn reject_events_with_base64_media(_: &Context<'_>, event: &Event) -> Verdict {
    let is_media = |text: &str| text.contains("data:image/") || text.contains("data:video/");
    // The JSON has these characters unescaped, so most contents need not be decoded.
    match is_media(event.json()) && is_media(&event.content()) {
        true => Err("the content has media in base64".into()),
        false => Ok(()),
    }
}

/// Refuses all events but those that only their author may publish (NIP-70).
pub fn only_allow_nip70_protected_events(_: &Context<'_>, event: &Event) -> Verdict {
    match event.is_protected() {
        true => Ok(()),
        false => {
            Err("this relay accepts only protected events, with the tag \"-\" (NIP-70)".into())
        }
    }
}

/// Refuses profiles (kind 0) without a name, and the deprecated kind 2.
pub fn validate_kind(_: &Context<'_>, event: &Event) -> Verdict {
    #[derive(Deserialize)]
    struct Profile {
        name: String,
    }
    let refused = |text| Err(Rejection::new(Prefix::Invalid, text));
    match event.kind() {
        0 => match serde_json::from_str::<Profile>(&event.content()) {
            Ok(profile) if !profile.name.is_empty() => Ok(()),
            _ => refused("a profile needs a name"),
        },
        2 => refused("kind 2 is deprecated"),
        _ => Ok(()),
    }
}
