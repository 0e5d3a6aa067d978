//! The rows, a file for each subject.

mod bounds;
mod events;
mod filters;
mod kinds;
mod messages;
mod nip09;
mod nip11;
mod nip13;
mod nip40;
mod nip42;
mod nip45;
mod nip59;
mod nip62;
mod nip67;
mod nip70;
mod nip77;
mod nip86;
mod nip91;
mod order;
mod serialisation;
mod shape;
mod subscriptions;

use crate::rules::Rule;

/// Headings of NIP-01.
const EVENTS: &str = "Events and signatures";
const TAGS: &str = "Tags";
const KINDS: &str = "Kinds";
const TO_RELAY: &str = "From client to relay: sending events and creating subscriptions";
const TO_CLIENT: &str = "From relay to client: sending events and notices";

/// All rules, those of the NIPs first and in the order of their numbers.
pub(crate) fn all() -> Vec<&'static Rule> {
    let tables = [
        events::RULES,
        serialisation::RULES,
        shape::RULES,
        kinds::RULES,
        filters::RULES,
        order::RULES,
        subscriptions::RULES,
        bounds::RULES,
        messages::RULES,
        nip09::RULES,
        nip11::RULES,
        nip13::RULES,
        nip40::RULES,
        nip42::RULES,
        nip45::RULES,
        nip59::RULES,
        nip62::RULES,
        nip67::RULES,
        nip70::RULES,
        nip77::RULES,
        nip86::RULES,
        nip91::RULES,
    ];
    let mut rules: Vec<&Rule> = tables.into_iter().flatten().collect();
    rules.sort_by_key(|rule| (rule.is_ours(), rule.nips[0]));
    rules
}
