//! `/health`: one JSON object with what the consumers of earlier relays look for.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Page, Pages, Running};
use crate::engine::{Request, View};
use crate::limits::HEALTH_USERS_MAX;
use crate::relay::cors::Cors;
use crate::wire::http::Response;

/// Answers 200 to every method, also while the relay shuts down: the status is then the same word.
/// Whether connections are wanted is what `/readyz` says.
pub(super) struct Health {
    pages: Pages,
    deployment: Deployment,
}

impl Health {
    pub(super) fn new(pages: Pages) -> Health {
        Health {
            pages,
            deployment: Deployment::read(|name| std::env::var(name).ok()),
        }
    }

    fn report<'h>(&'h self, running: &Running, users: &'h [String]) -> Report<'h> {
        let uptime = running.view.started().elapsed();
        let metrics = Metrics::read(&running.view, uptime, users);
        Report {
            status: &self.pages.status_word,
            version: env!("CARGO_PKG_VERSION"),
            users,
            count: metrics.connected_users,
            deployment: &self.deployment,
            server: Server {
                uptime_seconds: uptime.as_secs(),
                start_time: rfc_3339(running.since),
                current_time: rfc_3339(SystemTime::now()),
            },
            metrics,
        }
    }

    /// The users' names in order; where they are too many, whichever come first.
    fn users(&self) -> Vec<String> {
        let mut names = Vec::new();
        for users in &self.pages.users {
            names.extend(users.names(HEALTH_USERS_MAX - names.len()));
        }
        names.sort_unstable();
        names
    }
}

impl Page for Health {
    const METHODS: &'static [&'static str] =
        &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    fn cors(&self) -> Option<&Cors> {
        Some(&self.pages.cors)
    }

    fn answer(&self, request: &Request<'_>, running: &Running) -> Response {
        if request.head.method == "OPTIONS" {
            return Response::new(200);
        }
        match serde_json::to_string(&self.report(running, &self.users())) {
            Ok(json) => Response::json(200, json),
            Err(error) => Response::text(500, format!("{error}\n")),
        }
    }
}

#[derive(Serialize)]
struct Report<'h> {
    status: &'h str,
    version: &'static str,
    /// Those of named endpoints.
    users: &'h [String],
    /// WebSockets that are open, of all endpoints.
    count: u64,
    deployment: &'h Deployment,
    server: Server,
    metrics: Metrics<'h>,
}

/// Where this relay comes from, as whoever deployed it says.
#[derive(Serialize, PartialEq, Debug)]
struct Deployment {
    commit: String,
    timestamp: String,
    actor: String,
    run_id: String,
    run_url: String,
}

impl Deployment {
    /// Reads it with `variable`, which looks up the environment.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Deployment {
        let or = |name, default: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.unwrap_or_else(|| default.to_owned())
        };
        Deployment {
            commit: or("BUILD_COMMIT", "unknown"),
            timestamp: or("BUILD_TIME", ""),
            actor: or("BUILD_ACTOR", "manual"),
            run_id: or("BUILD_RUN_ID", ""),
            run_url: or("BUILD_RUN_URL", ""),
        }
    }
}

#[derive(Serialize)]
struct Server {
    uptime_seconds: u64,
    start_time: String,
    current_time: String,
}

/// What the shards count, all of them together.
#[derive(Serialize, Default)]
pub(super) struct Metrics<'h> {
    /// WebSockets that are open.
    pub(super) connected_users: u64,
    /// The same list once more: consumers disagree where it is.
    users: &'h [String],
    /// WebSockets that were opened since the start.
    pub(super) total_connections: u64,
    /// Messages received since the start.
    pub(super) total_messages: u64,
    /// Payload of those messages: each counts once, whatever the number of its recipients.
    pub(super) total_bytes_relayed: u64,
    /// The average since the start: an answer does not depend on who asked before. What happens
    /// now is better read from the rates of `/metrics`.
    pub(super) messages_per_second: f64,
    /// Megabits of payload received a second, likewise.
    pub(super) bandwidth_mbps: f64,
}

impl<'h> Metrics<'h> {
    pub(super) fn read(view: &View, uptime: Duration, users: &'h [String]) -> Metrics<'h> {
        let mut metrics = Metrics {
            users,
            ..Metrics::default()
        };
        for stats in view.shards() {
            metrics.connected_users += stats.open.get();
            metrics.total_connections += stats.opened.get();
            metrics.total_messages += stats.messages.get();
            metrics.total_bytes_relayed += stats.message_bytes.get();
        }
        metrics.messages_per_second = rate(metrics.total_messages as f64, uptime);
        metrics.bandwidth_mbps = rate(metrics.total_bytes_relayed as f64 * 8.0 / 1e6, uptime);
        metrics
    }
}

/// `total` by second, to three digits behind the point.
pub(super) fn rate(total: f64, uptime: Duration) -> f64 {
    let seconds = uptime.as_secs_f64().max(f64::EPSILON);
    (total / seconds * 1e3).round() / 1e3
}

/// RFC 3339 in UTC, to the second; empty for a time that has no such form (after the year 9999).
pub(super) fn rfc_3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let whole_seconds = time.replace_nanosecond(0).unwrap_or(time);
    whole_seconds.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_that_nobody_describes_is_unknown_and_manual() {
        let nobody = Deployment::read(|_| None);
        assert_eq!((&*nobody.commit, &*nobody.actor), ("unknown", "manual"));
        assert_eq!(nobody, Deployment::read(|_| Some(String::new())));
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let at = |ms| rfc_3339(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_709_210_096_789), "2024-02-29T12:34:56Z");
    }

    #[test]
    fn rates_are_averages_since_the_start() {
        assert_eq!(rate(1_000.0, Duration::from_secs(3)), 333.333);
        assert_eq!(rate(0.0, Duration::ZERO), 0.0);
    }
}
