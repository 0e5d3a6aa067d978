//! `/metrics`: the counters of the shards, in the text format of Prometheus.
//!
//! A metric is one [`row::Row`]: its name, type, help, labels and reader. [`GROUPS`] lists all of
//! them; `/metrics` and the tables of `docs/metrics.md` are written from it. A new counter is a
//! field of the stats, a line that counts, and a row.
//!
//! Every series exists from the start, with 0. The values of a label come from fixed sets or from
//! the config, or are the numbers of the shards: nothing that a client does adds a series.

mod exposition;
mod histogram;
mod nostr;
#[cfg(all(test, target_os = "linux"))]
mod page;
#[cfg(target_os = "linux")]
mod process;
mod row;
mod rows;
mod source;

use std::sync::Arc;

use self::row::Group;
use self::source::{Relay, Source};
use super::page::{Page, Pages, Running};
use crate::engine::Request;
use crate::wire::http::Response;

/// Every metric, in the order of the answer and of the page.
const GROUPS: &[Group] = &[
    rows::EARLIER_NAMES,
    rows::CONNECTIONS,
    rows::RECEIVED,
    rows::SENT,
    rows::SLOW_CLIENTS,
    rows::COMPRESSION,
    rows::MEMORY,
    rows::SHARDS,
    rows::PUSHES,
    nostr::NOSTR,
    rows::RELAY,
    #[cfg(target_os = "linux")]
    process::PROCESS,
];

/// The page `/metrics`.
pub(super) struct Metrics(Relay);

impl Metrics {
    /// The engine's own numbers, and those of the relay's endpoints.
    pub(super) fn new(pages: &Pages) -> Metrics {
        let nostr = pages.nostr.iter().map(|(_, stats)| Arc::clone(stats));
        Metrics(Relay {
            endpoints: pages.endpoints.clone(),
            push: Arc::clone(&pages.push),
            nostr: nostr.collect(),
            #[cfg(target_os = "linux")]
            process_started: super::process::start_time_seconds(),
        })
    }
}

impl Page for Metrics {
    fn answer(&self, _request: &Request<'_>, running: &Running) -> Response {
        let source = Source {
            running,
            relay: &self.0,
        };
        match exposition::text(GROUPS.iter().flat_map(|group| group.rows), &source) {
            Ok(text) => Response {
                body: text.into(),
                ..Response::new(200).with_header("Content-Type", exposition::CONTENT_TYPE)
            },
            Err(error) => Response::text(500, format!("{error}\n")),
        }
    }
}
