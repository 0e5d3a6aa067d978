//! `/health`: one JSON object with the fields that consumers of earlier relays look for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::kept::Kept;
use super::page::{ListedUsers, Page, Pages, Running};
use crate::engine::{Request, View};
use crate::limits::{HEALTH_NAMES_BYTES_MAX, HEALTH_USERS_MAX};
use crate::relay::cors::Cors;
use crate::relay::users::Users;
use crate::wire::http::Response;

/// Answers 200 with the same status to every method, even while the relay shuts down. `/readyz`
/// tells whether new connections are wanted.
///
/// The body is made at most once a second, however many requests come, since shards that relay
/// serve it.
pub(super) struct Health {
    status_word: String,
    cors: Cors,
    users: Vec<Listing>,
    deployment: Deployment,
    body: Kept<Bytes>,
}

/// The users of an endpoint, and whether their names are listed.
struct Listing {
    users: Arc<Users>,
    is_told: AtomicBool,
}

impl Health {
    /// `is_told` selects the users whose names are listed.
    pub(super) fn new(pages: &Pages, is_told: fn(&ListedUsers) -> bool) -> Health {
        let listing = |listed: &ListedUsers| Listing {
            users: Arc::clone(&listed.users),
            is_told: is_told(listed).into(),
        };
        Health {
            status_word: pages.status_word.clone(),
            cors: pages.cors.clone(),
            users: pages.users.iter().map(listing).collect(),
            deployment: Deployment::read(|name| std::env::var(name).ok()),
            body: Kept::default(),
        }
    }

    fn body(&self, running: &Running) -> Bytes {
        let json = serde_json::to_string(&self.report(running, &self.users()));
        debug_assert!(json.is_ok(), "numbers and texts always have a form");
        json.unwrap_or_default().into()
    }

    fn report<'h>(&'h self, running: &Running, users: &'h [String]) -> Report<'h> {
        let uptime = running.view.started().elapsed();
        let metrics = Metrics::read(&running.view, uptime, users);
        Report {
            status: &self.status_word,
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

    /// The users' names in order; if there are too many, an arbitrary part of them.
    fn users(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut bytes_left = HEALTH_NAMES_BYTES_MAX;
        let told = self.users.iter();
        for listing in told.filter(|each| each.is_told.load(Ordering::Relaxed)) {
            let names_left = HEALTH_USERS_MAX - names.len();
            names.extend(listing.users.names(names_left, &mut bytes_left));
        }
        names.sort_unstable();
        names
    }
}

impl Page for Health {
    const METHODS: &'static [&'static str] =
        &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    fn cors(&self) -> &Cors {
        &self.cors
    }

    /// Adopts which names are listed: names of an endpoint that requires credentials from now on
    /// are no longer listed.
    fn reload(&self, next: &Health) {
        for (listing, next) in self.users.iter().zip(&next.users) {
            let is_told = next.is_told.load(Ordering::Relaxed);
            listing.is_told.store(is_told, Ordering::Relaxed);
        }
        self.body.forget();
    }

    fn answer(&self, request: &Request<'_>, running: &Running) -> Response {
        if request.head.method == "OPTIONS" {
            return Response::new(200);
        }
        let body = self.body.at(Instant::now(), || self.body(running));
        Response {
            body,
            ..Response::json(200, "")
        }
    }
}

#[derive(Serialize)]
struct Report<'h> {
    status: &'h str,
    version: &'static str,
    /// Users of named endpoints.
    users: &'h [String],
    /// WebSockets that are open, of all endpoints.
    count: u64,
    deployment: &'h Deployment,
    server: Server,
    metrics: Metrics<'h>,
}

/// The origin of this relay from variables that a deployment sets; the commit defaults to that of
/// the build.
#[derive(Serialize, PartialEq, Debug)]
struct Deployment {
    commit: String,
    timestamp: String,
    actor: String,
    run_id: String,
    run_url: String,
}

impl Deployment {
    /// Reads it with `variable`, which looks up a variable of the environment.
    fn read(variable: impl Fn(&str) -> Option<String>) -> Deployment {
        let or = |name, default: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.unwrap_or_else(|| default.to_owned())
        };
        Deployment {
            commit: or("BUILD_COMMIT", env!("CORECAST_COMMIT")),
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

/// The counters of all shards together.
#[derive(Serialize, Default)]
pub(super) struct Metrics<'h> {
    /// WebSockets that are open.
    pub(super) connected_users: u64,
    /// The same list again: some consumers look for it here.
    users: &'h [String],
    /// WebSockets that were opened since the start.
    pub(super) total_connections: u64,
    /// Messages received since the start.
    pub(super) total_messages: u64,
    /// Payload of those messages, bytes. Each counts once, however many recipients it has.
    pub(super) total_bytes_relayed: u64,
    /// The average since the start, so that an answer does not depend on earlier requests. For
    /// the current rate use `/metrics`.
    pub(super) messages_per_second: f64,
    /// Megabits of payload received per second, also an average since the start.
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

/// `total` per second, with three decimal places.
pub(super) fn rate(total: f64, uptime: Duration) -> f64 {
    let seconds = uptime.as_secs_f64().max(f64::EPSILON);
    (total / seconds * 1e3).round() / 1e3
}

/// RFC 3339 in UTC, to the second; empty for a time that it cannot express (after the year 9999).
pub(super) fn rfc_3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let whole_seconds = time.replace_nanosecond(0).unwrap_or(time);
    whole_seconds.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undescribed_deployment_is_manual_with_the_build_commit() {
        let nobody = Deployment::read(|_| None);
        let expected = (env!("CORECAST_COMMIT"), "manual");
        assert_eq!((&*nobody.commit, &*nobody.actor), expected);
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
