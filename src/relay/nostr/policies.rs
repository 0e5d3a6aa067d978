//! Ready-made hooks, those of [khatru](https://khatru.nostr.technology)'s `policies` by the same
//! names and with the same meaning.
//!
//! They are added to a [`HookList`]; the first one that refuses decides. Most are
//! available in the configuration, too (`nostr.policies`). [`sane_defaults`] is a choice for a
//! public relay.
//!
//! Not all that khatru needs a policy for needs one here: `nostr.auth.private_kinds` decides who
//! may read direct messages, and a filter with `search` is refused by a relay that cannot search.

mod events;
mod filters;
mod named;
mod rates;

use std::time::Duration;

pub use self::events::{
    only_allow_nip70_protected_events, prevent_large_content, prevent_large_tags,
    prevent_timestamps_in_the_future, prevent_timestamps_in_the_past,
    prevent_too_many_indexable_tags, reject_events_with_base64_media, restrict_to_specified_kinds,
    validate_kind,
};
pub use self::filters::{
    anti_sync_bots, must_auth, no_complex_filters, no_empty_filters, remove_all_but_kinds,
    remove_all_but_tags,
};
pub use self::named::named;
pub use self::rates::{
    EventPubkeyRate, Rate, connection_rate_limiter, event_authed_pubkey_rate_limiter,
    event_ip_rate_limiter, event_pubkey_rate_limiter, filter_ip_rate_limiter,
};
use self::rates::{Loopback, connection_limiter, event_limiter, filter_limiter};
use super::hooks::HookList;

/// khatru's choice for a public relay: no media in base64, no complex filters, and for each client
/// address 2 events in 3 minutes with a burst of 10, 20 filters a minute with a burst of 100, and a
/// connection in 5 minutes with a burst of 100. Clients on this machine have no such limits.
pub fn sane_defaults() -> HookList {
    const MINUTE: Duration = Duration::from_secs(60);
    let exempt = Loopback::Exempt;
    let events = Rate::new(2, 3 * MINUTE, 10);
    let filters = Rate::new(20, MINUTE, 100);
    let connections = Rate::new(1, 5 * MINUTE, 100);
    HookList::new()
        .reject_event(reject_events_with_base64_media)
        .reject_event(event_limiter(events, exempt))
        .reject_filter(no_complex_filters)
        .reject_filter(filter_limiter(filters, exempt))
        .reject_connection(connection_limiter(connections, exempt))
}
