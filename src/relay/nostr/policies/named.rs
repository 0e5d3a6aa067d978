//! Policies by their names in the configuration.

use super::{
    Rate, anti_sync_bots, connection_rate_limiter, event_authed_pubkey_rate_limiter,
    event_ip_rate_limiter, event_pubkey_rate_limiter, filter_ip_rate_limiter, must_auth,
    no_complex_filters, no_empty_filters, only_allow_nip70_protected_events, prevent_large_content,
    prevent_large_tags, prevent_timestamps_in_the_future, prevent_timestamps_in_the_past,
    prevent_too_many_indexable_tags, reject_events_with_base64_media, remove_all_but_kinds,
    remove_all_but_tags, restrict_to_specified_kinds, sane_defaults, validate_kind,
};
use serde_json::Value;

use crate::config::{NostrPolicy, NostrRate};
use crate::relay::nostr::hooks::HookList;

/// The hooks of `nostr.policies`, in the same order.
pub fn named(policies: &[NostrPolicy]) -> HookList {
    policies.iter().fold(HookList::new(), add)
}

fn add(hooks: HookList, policy: &NostrPolicy) -> HookList {
    use NostrPolicy as P;
    let rate = |rate: &NostrRate| Rate::new(rate.tokens, rate.interval, rate.at_once);
    match policy {
        P::SaneDefaults => hooks.with_all(sane_defaults()),
        P::PreventTooManyIndexableTags(max) => {
            hooks.reject_event(prevent_too_many_indexable_tags(*max, [], []))
        }
        P::PreventLargeTags(max) => hooks.reject_event(prevent_large_tags(*max)),
        P::PreventLargeContent(max) => hooks.reject_event(prevent_large_content(*max)),
        P::RestrictToSpecifiedKinds(kinds) => {
            let only = restrict_to_specified_kinds(kinds.with_ephemeral, kinds.kinds.clone());
            limiting(hooks.reject_event(only), "restricted_writes")
        }
        P::PreventTimestampsInThePast(age) => {
            hooks.reject_event(prevent_timestamps_in_the_past(*age))
        }
        P::PreventTimestampsInTheFuture(age) => {
            hooks.reject_event(prevent_timestamps_in_the_future(*age))
        }
        P::RejectEventsWithBase64Media => hooks.reject_event(reject_events_with_base64_media),
        P::OnlyAllowNip70ProtectedEvents => {
            let hooks = hooks.reject_event(only_allow_nip70_protected_events);
            limiting(hooks, "restricted_writes")
        }
        P::ValidateKind => hooks.reject_event(validate_kind),
        P::NoComplexFilters => hooks.reject_filter(no_complex_filters),
        P::NoEmptyFilters => hooks.reject_filter(no_empty_filters),
        P::AntiSyncBots => hooks.reject_filter(anti_sync_bots),
        P::MustAuth => limiting(hooks.reject_filter(must_auth), "auth_required"),
        P::RemoveAllButKinds(kinds) => hooks.overwrite_filter(remove_all_but_kinds(kinds.clone())),
        P::RemoveAllButTags(letters) => {
            hooks.overwrite_filter(remove_all_but_tags(letters.chars()))
        }
        P::EventIpRateLimiter(per) => hooks.reject_event(event_ip_rate_limiter(rate(per))),
        P::EventPubkeyRateLimiter(per) => hooks.with(event_pubkey_rate_limiter(rate(per))),
        P::EventAuthedPubkeyRateLimiter(per) => {
            hooks.reject_event(event_authed_pubkey_rate_limiter(rate(per)))
        }
        P::FilterIpRateLimiter(per) => hooks.reject_filter(filter_ip_rate_limiter(rate(per))),
        P::ConnectionRateLimiter(per) => {
            hooks.reject_connection(connection_rate_limiter(rate(per)))
        }
    }
}

/// Adds a hook that sets a limitation in the information document (NIP-11).
fn limiting(hooks: HookList, limitation: &'static str) -> HookList {
    hooks.overwrite_relay_information(move |_, document| {
        if let Some(Value::Object(limits)) = document.get_mut("limitation") {
            limits.insert(limitation.to_owned(), Value::Bool(true));
        }
    })
}
