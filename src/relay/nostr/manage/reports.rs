//! Reported events (NIP-56) that no moderator has decided on.

use std::collections::HashMap;
use std::sync::Arc;

use corecast_nostr::{
    Bytes32, Event, Filter, Query, QueryLimits, StoreError, Viewer, from_hex, to_hex,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::clock::unix_now;
use super::super::threads::Common;

/// The kind of reports.
const REPORT: u16 = 1_984;

/// Most reports that are read, the newest first, and most events that are listed.
const REPORTS_MAX: u64 = 1_000;
const EVENTS_MAX: usize = 1_000;

/// Most characters of a reason.
const REASON_CHARS_MAX: usize = 500;

/// Rows of a page.
const ROWS: usize = 256;

#[derive(Deserialize)]
struct Report {
    tags: Vec<Vec<String>>,
    content: String,
}

/// The events of this relay that were reported and that nobody has banned or allowed. The reason is
/// that of the newest report.
pub(super) fn undecided(common: &Common) -> Result<Value, StoreError> {
    let reports = found(
        common,
        Filter {
            kinds: Some([REPORT].into()),
            ..Filter::default()
        },
    )?;
    let hidden = common.desk.hidden();
    let mut reasons: HashMap<Bytes32, (usize, String)> = HashMap::new();
    for (order, report) in reports.iter().enumerate() {
        for (id, reason) in reported(report) {
            if !hidden.is_decided(&id) && reasons.len() < EVENTS_MAX {
                reasons.entry(id).or_insert((order, reason));
            }
        }
    }
    let mut ids: Vec<Bytes32> = reasons.keys().copied().collect();
    ids.sort_unstable();
    let events = found(
        common,
        Filter {
            ids: Some(ids.into()),
            ..Filter::default()
        },
    )?;
    let mut listed: Vec<_> = events
        .iter()
        .filter_map(|event| Some((reasons.remove(event.id())?, *event.id())))
        .collect();
    listed.sort_unstable();
    let listed = listed
        .into_iter()
        .map(|((_, reason), id)| json!({"id": to_hex(&id), "reason": reason}));
    Ok(listed.collect())
}

/// The events that a report names, and its reason.
fn reported(report: &Event) -> Vec<(Bytes32, String)> {
    let Ok(Report { tags, content }) = serde_json::from_str(report.json()) else {
        return Vec::new();
    };
    let named = tags
        .iter()
        .filter(|tag| tag.first().is_some_and(|name| name == "e"));
    let of = |tag: &Vec<String>| {
        let id = from_hex(tag.get(1)?)?;
        let kind = tag.get(2).map_or("", String::as_str);
        let separator = if kind.is_empty() || content.is_empty() {
            ""
        } else {
            ": "
        };
        let reason = [kind, separator, &content].concat();
        Some((id, reason.chars().take(REASON_CHARS_MAX).collect()))
    };
    named.filter_map(of).collect()
}

/// The newest stored events that match, as far as anybody may see them.
fn found(common: &Common, filter: Filter) -> Result<Vec<Arc<Event>>, StoreError> {
    let limits = QueryLimits {
        limit_max: REPORTS_MAX,
        limit_default: REPORTS_MAX,
        second_max: 0,
    };
    let private = Arc::clone(&common.private);
    let seq = common.store.last_seq();
    let mut query = Query::new([Arc::new(filter)], &limits, seq, Viewer::default(), private);
    query.hide(common.desk.hidden());
    let mut found = Vec::new();
    loop {
        let page = common
            .store
            .page(&mut query, ROWS, usize::MAX, unix_now())?;
        common.stats.rows_read.add(page.looked_at as u64);
        found.extend(page.rows);
        if page.is_last {
            return Ok(found);
        }
    }
}
