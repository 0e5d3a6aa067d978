//! `nostr.policies`: names of policies, some with a value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::quantity::{parse_duration, parse_size, show_duration, show_size};
use crate::suggest::nearest;

/// A policy, in the notation `name` or `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NostrPolicy {
    /// Several of the others with khatru's numbers.
    SaneDefaults,
    /// Most tags of a single letter.
    PreventTooManyIndexableTags(usize),
    /// Most bytes of the value of such a tag.
    PreventLargeTags(usize),
    /// Most bytes of the content.
    PreventLargeContent(usize),
    /// The kinds that are accepted.
    RestrictToSpecifiedKinds(NostrKinds),
    /// The age of `created_at`.
    PreventTimestampsInThePast(Duration),
    /// How far `created_at` may be ahead.
    PreventTimestampsInTheFuture(Duration),
    /// No pictures or videos as `data:` URLs.
    RejectEventsWithBase64Media,
    /// Only protected events (NIP-70).
    OnlyAllowNip70ProtectedEvents,
    /// Profiles need a name.
    ValidateKind,
    /// At most two tags, or four tags and kinds.
    NoComplexFilters,
    /// An id, an author, a kind or a tag.
    NoEmptyFilters,
    /// Notes only of authors that are named.
    AntiSyncBots,
    /// Queries need a key.
    MustAuth,
    /// The kinds that stay in filters.
    RemoveAllButKinds(Vec<u16>),
    /// The letters of tags that stay in filters.
    RemoveAllButTags(String),
    /// Events of an address.
    EventIpRateLimiter(NostrRate),
    /// Events of an author.
    EventPubkeyRateLimiter(NostrRate),
    /// Events of clients with a proven key.
    EventAuthedPubkeyRateLimiter(NostrRate),
    /// Filters of an address.
    FilterIpRateLimiter(NostrRate),
    /// Connections of an address.
    ConnectionRateLimiter(NostrRate),
}

/// Kinds, as `1 7` or `1 7 ephemeral`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NostrKinds {
    /// The kinds that are named.
    pub kinds: Vec<u16>,
    /// Whether all ephemeral ones belong to them, too.
    pub with_ephemeral: bool,
}

/// A rate, as `2/3m/10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NostrRate {
    /// The average number in each interval.
    pub tokens: u64,
    /// The interval.
    pub interval: Duration,
    /// The number at once.
    pub at_once: u64,
}

/// All names, with an example of the value; "" if there is none.
const NAMES: &[(&str, &str)] = &[
    ("sane_defaults", ""),
    ("prevent_too_many_indexable_tags", "100"),
    ("prevent_large_tags", "1KiB"),
    ("prevent_large_content", "16KiB"),
    ("restrict_to_specified_kinds", "0 1 3 7 ephemeral"),
    ("prevent_timestamps_in_the_past", "24h"),
    ("prevent_timestamps_in_the_future", "5m"),
    ("reject_events_with_base64_media", ""),
    ("only_allow_nip70_protected_events", ""),
    ("validate_kind", ""),
    ("no_complex_filters", ""),
    ("no_empty_filters", ""),
    ("anti_sync_bots", ""),
    ("must_auth", ""),
    ("remove_all_but_kinds", "0 1 3 7"),
    ("remove_all_but_tags", "e p t"),
    ("event_ip_rate_limiter", "2/3m/10"),
    ("event_pubkey_rate_limiter", "2/3m/10"),
    ("event_authed_pubkey_rate_limiter", "2/3m/10"),
    ("filter_ip_rate_limiter", "20/1m/100"),
    ("connection_rate_limiter", "1/5m/100"),
];

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NostrPolicyError {
    /// The name, and the one that may be meant.
    #[error("is not a policy{}", suggestion(.0))]
    Unknown(String),
    /// A policy without a value, which has one in this text.
    #[error("takes no value")]
    NoValue,
    /// The value is missing or malformed; the text has a good one.
    #[error("needs a value such as {0}")]
    Value(String),
}

fn suggestion(name: &str) -> String {
    let names = NAMES.iter().map(|(name, _)| *name);
    match nearest(name, names) {
        Some(meant) => format!("; did you mean {meant}?"),
        None => "; docs/nostr.md lists all".to_owned(),
    }
}

impl FromStr for NostrPolicy {
    type Err = NostrPolicyError;

    fn from_str(text: &str) -> Result<NostrPolicy, NostrPolicyError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        let found = NAMES.iter().find(|(known, _)| *known == name);
        let Some((name, example)) = found else {
            return Err(NostrPolicyError::Unknown(name.to_owned()));
        };
        match (example.is_empty(), value) {
            (true, Some(_)) => Err(NostrPolicyError::NoValue),
            (true, None) => plain(name).ok_or(NostrPolicyError::Unknown((*name).to_owned())),
            (false, value) => value
                .and_then(|value| with_value(name, value))
                .ok_or_else(|| NostrPolicyError::Value(format!("{name}={example}"))),
        }
    }
}

fn plain(name: &str) -> Option<NostrPolicy> {
    use NostrPolicy as P;
    Some(match name {
        "sane_defaults" => P::SaneDefaults,
        "reject_events_with_base64_media" => P::RejectEventsWithBase64Media,
        "only_allow_nip70_protected_events" => P::OnlyAllowNip70ProtectedEvents,
        "validate_kind" => P::ValidateKind,
        "no_complex_filters" => P::NoComplexFilters,
        "no_empty_filters" => P::NoEmptyFilters,
        "anti_sync_bots" => P::AntiSyncBots,
        "must_auth" => P::MustAuth,
        _ => return None,
    })
}

fn with_value(name: &str, value: &str) -> Option<NostrPolicy> {
    use NostrPolicy as P;
    let rate = || value.parse::<NostrRate>().ok();
    Some(match name {
        "prevent_too_many_indexable_tags" => P::PreventTooManyIndexableTags(number(value)?),
        "prevent_large_tags" => P::PreventLargeTags(parse_size(value)?),
        "prevent_large_content" => P::PreventLargeContent(parse_size(value)?),
        "restrict_to_specified_kinds" => P::RestrictToSpecifiedKinds(kinds(value)?),
        "prevent_timestamps_in_the_past" => P::PreventTimestampsInThePast(parse_duration(value)?),
        "prevent_timestamps_in_the_future" => {
            P::PreventTimestampsInTheFuture(parse_duration(value)?)
        }
        "remove_all_but_kinds" => {
            let kinds = kinds(value).filter(|kinds| !kinds.with_ephemeral)?;
            P::RemoveAllButKinds(kinds.kinds)
        }
        "remove_all_but_tags" => P::RemoveAllButTags(letters(value)?),
        "event_ip_rate_limiter" => P::EventIpRateLimiter(rate()?),
        "event_pubkey_rate_limiter" => P::EventPubkeyRateLimiter(rate()?),
        "event_authed_pubkey_rate_limiter" => P::EventAuthedPubkeyRateLimiter(rate()?),
        "filter_ip_rate_limiter" => P::FilterIpRateLimiter(rate()?),
        "connection_rate_limiter" => P::ConnectionRateLimiter(rate()?),
        _ => return None,
    })
}

/// The items of a value, between blanks or commas.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let items = value.split([' ', ',']);
    items.filter(|item| !item.is_empty())
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn kinds(value: &str) -> Option<NostrKinds> {
    let mut kinds = NostrKinds {
        kinds: Vec::new(),
        with_ephemeral: false,
    };
    for item in items(value) {
        match item {
            "ephemeral" => kinds.with_ephemeral = true,
            item => kinds.kinds.push(number(item)?),
        }
    }
    (!kinds.kinds.is_empty() || kinds.with_ephemeral).then_some(kinds)
}

fn letters(value: &str) -> Option<String> {
    let letter = |item: &str| match item.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(char::from(*letter)),
        _ => None,
    };
    let letters: Option<String> = items(value).map(letter).collect();
    letters.filter(|letters| !letters.is_empty())
}

impl FromStr for NostrRate {
    type Err = ();

    fn from_str(text: &str) -> Result<NostrRate, ()> {
        const COUNT_MAX: u64 = 1 << 30;
        const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3_600);
        let parts: Vec<&str> = text.split('/').map(str::trim).collect();
        let [tokens, interval, at_once] = parts[..] else {
            return Err(());
        };
        let count = |text| number(text).filter(|count| (1..=COUNT_MAX).contains(count));
        let span = Duration::from_millis(1)..=INTERVAL_MAX;
        let interval = parse_duration(interval).filter(|interval| span.contains(interval));
        match (count(tokens), interval, count(at_once)) {
            (Some(tokens), Some(interval), Some(at_once)) => Ok(NostrRate {
                tokens,
                interval,
                at_once,
            }),
            _ => Err(()),
        }
    }
}

impl fmt::Display for NostrRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = show_duration(self.interval);
        write!(f, "{}/{interval}/{}", self.tokens, self.at_once)
    }
}

impl fmt::Display for NostrKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds.iter().map(u16::to_string);
        let ephemeral = self.with_ephemeral.then(|| "ephemeral".to_owned());
        f.write_str(&kinds.chain(ephemeral).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for NostrPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use NostrPolicy as P;
        let spaced = |items: Vec<String>| items.join(" ");
        let (name, value) = match self {
            P::SaneDefaults => ("sane_defaults", None),
            P::PreventTooManyIndexableTags(max) => {
                ("prevent_too_many_indexable_tags", Some(max.to_string()))
            }
            P::PreventLargeTags(max) => ("prevent_large_tags", Some(show_size(*max))),
            P::PreventLargeContent(max) => ("prevent_large_content", Some(show_size(*max))),
            P::RestrictToSpecifiedKinds(kinds) => {
                ("restrict_to_specified_kinds", Some(kinds.to_string()))
            }
            P::PreventTimestampsInThePast(age) => {
                ("prevent_timestamps_in_the_past", Some(show_duration(*age)))
            }
            P::PreventTimestampsInTheFuture(age) => (
                "prevent_timestamps_in_the_future",
                Some(show_duration(*age)),
            ),
            P::RejectEventsWithBase64Media => ("reject_events_with_base64_media", None),
            P::OnlyAllowNip70ProtectedEvents => ("only_allow_nip70_protected_events", None),
            P::ValidateKind => ("validate_kind", None),
            P::NoComplexFilters => ("no_complex_filters", None),
            P::NoEmptyFilters => ("no_empty_filters", None),
            P::AntiSyncBots => ("anti_sync_bots", None),
            P::MustAuth => ("must_auth", None),
            P::RemoveAllButKinds(kinds) => {
                let kinds = spaced(kinds.iter().map(u16::to_string).collect());
                ("remove_all_but_kinds", Some(kinds))
            }
            P::RemoveAllButTags(letters) => {
                let letters = spaced(letters.chars().map(String::from).collect());
                ("remove_all_but_tags", Some(letters))
            }
            P::EventIpRateLimiter(rate) => ("event_ip_rate_limiter", Some(rate.to_string())),
            P::EventPubkeyRateLimiter(rate) => {
                ("event_pubkey_rate_limiter", Some(rate.to_string()))
            }
            P::EventAuthedPubkeyRateLimiter(rate) => {
                ("event_authed_pubkey_rate_limiter", Some(rate.to_string()))
            }
            P::FilterIpRateLimiter(rate) => ("filter_ip_rate_limiter", Some(rate.to_string())),
            P::ConnectionRateLimiter(rate) => ("connection_rate_limiter", Some(rate.to_string())),
        };
        match value {
            Some(value) => write!(f, "{name}={value}"),
            None => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_read_and_shown() {
        for (name, value) in NAMES {
            let text = match value.is_empty() {
                true => (*name).to_owned(),
                false => format!("{name}={value}"),
            };
            let read: Result<NostrPolicy, _> = text.parse();
            assert_eq!(read.map(|policy| policy.to_string()), Ok(text));
        }
    }

    #[test]
    fn the_docs_list_all_policies() {
        let page = include_str!("../../../docs/nostr.md");
        for (name, _) in NAMES {
            assert!(
                page.contains(&format!("`{name}")),
                "docs/nostr.md lacks {name}"
            );
        }
    }

    #[test]
    fn a_wrong_policy_is_refused_with_advice() {
        for (text, told) in [
            (
                "no_empty_filter",
                "is not a policy; did you mean no_empty_filters?",
            ),
            (
                "sane_default",
                "is not a policy; did you mean sane_defaults?",
            ),
            ("xyz", "is not a policy; docs/nostr.md lists all"),
            ("must_auth=true", "takes no value"),
            (
                "prevent_large_tags",
                "needs a value such as prevent_large_tags=1KiB",
            ),
            (
                "prevent_large_tags=x",
                "needs a value such as prevent_large_tags=1KiB",
            ),
            (
                "event_ip_rate_limiter=2",
                "needs a value such as event_ip_rate_limiter=2/3m/10",
            ),
            (
                "event_ip_rate_limiter=0/1m/1",
                "needs a value such as event_ip_rate_limiter=2/3m/10",
            ),
            (
                "event_ip_rate_limiter=1/0s/1",
                "needs a value such as event_ip_rate_limiter=2/3m/10",
            ),
            (
                "event_ip_rate_limiter=1/25h/1",
                "needs a value such as event_ip_rate_limiter=2/3m/10",
            ),
            (
                "remove_all_but_kinds=ephemeral",
                "needs a value such as remove_all_but_kinds=0 1 3 7",
            ),
            (
                "remove_all_but_tags=ep",
                "needs a value such as remove_all_but_tags=e p t",
            ),
            (
                "restrict_to_specified_kinds=65536",
                "needs a value such as restrict_to_specified_kinds=0 1 3 7 ephemeral",
            ),
            (
                "restrict_to_specified_kinds=",
                "needs a value such as restrict_to_specified_kinds=0 1 3 7 ephemeral",
            ),
        ] {
            let error = text.parse::<NostrPolicy>().expect_err(text);
            assert_eq!(error.to_string(), told, "{text}");
        }
        let commas = "restrict_to_specified_kinds=1,7".parse::<NostrPolicy>();
        assert_eq!(commas, "restrict_to_specified_kinds=1 7".parse());
    }
}
