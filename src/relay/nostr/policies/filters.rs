//! Policies for filters.

use corecast_nostr::Filter;

use crate::relay::nostr::hooks::{Context, Operation, Prefix, Rejection};

type Verdict = Result<(), Rejection>;

/// The kind of notes (NIP-10).
const NOTE: u16 = 1;

/// Refuses filters with more than two tags if tags and kinds together are more than four.
pub fn no_complex_filters(_: &Context<'_>, _: Operation, filter: &Filter) -> Verdict {
    let kinds = filter.kinds.as_ref().map_or(0, |kinds| kinds.len());
    let tags = filter.tags.len() + filter.all_tags.len();
    match tags + kinds > 4 && tags > 2 {
        true => Err("the filter has too many tags and kinds".into()),
        false => Ok(()),
    }
}

/// Refuses filters without any id, author, kind or tag.
pub fn no_empty_filters(_: &Context<'_>, _: Operation, filter: &Filter) -> Verdict {
    match filter.values() {
        0 => Err("the filter needs an id, an author, a kind or a tag".into()),
        _ => Ok(()),
    }
}

/// Refuses filters for notes (kind 1) that name no author.
pub fn anti_sync_bots(_: &Context<'_>, _: Operation, filter: &Filter) -> Verdict {
    let is_for_notes = match &filter.kinds {
        Some(kinds) => kinds.is_empty() || kinds.contains(&NOTE),
        None => true,
    };
    let has_author = filter.authors.as_ref().is_some_and(|all| !all.is_empty());
    match is_for_notes && !has_author {
        true => Err("a filter for notes of kind 1 needs an author".into()),
        false => Ok(()),
    }
}

/// Refuses the filters of clients without a proven key (NIP-42).
pub fn must_auth(context: &Context<'_>, _: Operation, _: &Filter) -> Verdict {
    match context.keys().is_empty() {
        true => Err(Rejection::new(
            Prefix::AuthRequired,
            "this relay answers only clients with a proven key",
        )),
        false => Ok(()),
    }
}

/// Removes all other kinds from filters that have kinds. A filter without any kind left matches
/// nothing.
pub fn remove_all_but_kinds(
    kinds: impl IntoIterator<Item = u16>,
) -> impl Fn(&Context<'_>, &mut Filter) + Send + Sync + 'static {
    let allowed: Vec<u16> = kinds.into_iter().collect();
    move |_, filter| {
        if let Some(kinds) = &mut filter.kinds {
            let left = kinds.iter().filter(|kind| allowed.contains(kind));
            *kinds = left.copied().collect();
        }
    }
}

/// Removes the conditions on all other tags from filters that have tags, so those that stay match
/// more events than before. A filter without any tag left matches nothing.
pub fn remove_all_but_tags(
    letters: impl IntoIterator<Item = char>,
) -> impl Fn(&Context<'_>, &mut Filter) + Send + Sync + 'static {
    let allowed: Vec<char> = letters.into_iter().collect();
    move |_, filter| {
        let has_tags = |filter: &Filter| !filter.tags.is_empty() || !filter.all_tags.is_empty();
        if !has_tags(filter) {
            return;
        }
        let is_allowed = |letter: u8| allowed.contains(&char::from(letter));
        filter.tags.retain(|letter, _| is_allowed(*letter));
        filter.all_tags.retain(|letter, _| is_allowed(*letter));
        if !has_tags(filter) {
            filter.ids = Some(Box::default());
        }
    }
}
