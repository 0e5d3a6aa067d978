//! Answers to misdirected plain requests on the relaying port: they say where the API, the metrics,
//! the dashboard and the demo pages are, and a browser at `/` gets a page about the relay.
//!
//! A hub takes every path, so without this a misspelt path of the API would be answered as a
//! WebSocket endpoint. Upgrades are left alone, since rooms may have these names. The answers
//! reveal nothing that a guard protects: paths that require a key or a token are not listed.

mod front_page;

use self::front_page::{FrontPage, admin_port};
use crate::config::{API_PATHS, Config, DEMO_PATHS, EndpointConfig, EndpointKind, PAGE_PATHS};
use crate::engine::{Answer, Refusal, Refused, Request};
use crate::relay::push::PushApi;
use crate::suggest;
use crate::wire::http::Head;

/// Answers misdirected plain requests.
pub struct Signpost {
    /// `None`: a service answers `/`.
    front: Option<FrontPage>,
    /// Patterns of all paths that have an answer of their own, except a hub at every path.
    answered: Vec<String>,
    /// Exact paths of APIs.
    api_paths: Vec<String>,
    metrics: String,
    dashboard: String,
}

impl Signpost {
    /// The answers of a relay with this config.
    pub fn new(config: &Config) -> Signpost {
        let enabled = || config.endpoints.values().filter(|each| each.enabled);
        let mut api_paths: Vec<String> = enabled()
            .filter_map(|each| each.push()?.push_path.as_deref())
            .flat_map(PushApi::paths)
            .collect();
        if config.api.enabled {
            api_paths.extend(API_PATHS.map(str::to_owned));
        }
        let mut answered = api_paths.clone();
        answered.extend(PAGE_PATHS.map(str::to_owned));
        if config.pages.enabled {
            answered.extend(DEMO_PATHS.map(str::to_owned));
        }
        let own = enabled().map(|each| each.path.clone());
        answered.extend(own.filter(|path| path != EVERY_PATH));
        api_paths.retain(|path| !path.contains('{'));
        Signpost {
            front: (!is_service(root(config))).then(|| FrontPage::new(config)),
            answered,
            api_paths,
            metrics: format!("Metrics are at /metrics of {}.", admin_port(config)),
            dashboard: match config.admin.dashboard {
                true => format!("The dashboard is at / of {}.", admin_port(config)),
                false => "The dashboard is off: admin.dashboard is false.".to_owned(),
            },
        }
    }

    /// The answer to a misdirected plain request; `None` for all others.
    pub fn answer(&self, request: &Request<'_>) -> Option<Answer> {
        let head = request.head;
        if head.path == "/" {
            let is_asked = matches!(head.method, "GET" | "HEAD") && wants_html(head);
            let front = self.front.as_ref().filter(|_| is_asked)?;
            return Some(Answer::Now(front.response()));
        }
        if self
            .answered
            .iter()
            .any(|pattern| covers(pattern, head.path))
        {
            return None;
        }
        let told = match head.path {
            "/metrics" => self.metrics.clone(),
            path if is_below("/dashboard", path) => self.dashboard.clone(),
            path if API_PATHS.contains(&path) => {
                "The API for back ends is off: api.enabled: true turns it on.".to_owned()
            }
            path if is_below("/demo", path) => {
                "The demo pages are off: pages.enabled: true turns them on.".to_owned()
            }
            path => self.of_api(path)?,
        };
        Some(Answer::Refuse(Refused::of(Refusal::NotFound, 404, told)))
    }

    /// The hint for an unknown path in the folder of an API.
    fn of_api(&self, path: &str) -> Option<String> {
        let mut folders = self.api_paths.iter().filter_map(|path| folder_of(path));
        if !folders.any(|folder| is_below(folder, path)) {
            return None;
        }
        let paths = self.api_paths.iter().map(String::as_str);
        Some(match suggest::nearest(path, paths) {
            Some(nearest) => format!("There is nothing here; did you mean {nearest}?"),
            None => "The API has no such path; docs/openapi.yaml lists them all.".to_owned(),
        })
    }
}

/// The pattern of a hub that takes all remaining paths.
const EVERY_PATH: &str = "/**";

/// The endpoint that gets `/`.
fn root(config: &Config) -> Option<&EndpointConfig> {
    let enabled = || config.endpoints.values().filter(|each| each.enabled);
    let exact = enabled().find(|each| each.path == "/");
    exact.or_else(|| enabled().find(|each| each.path == EVERY_PATH))
}

/// Whether an endpoint answers plain requests with content of its own.
fn is_service(endpoint: Option<&EndpointConfig>) -> bool {
    endpoint.is_some_and(|each| each.kind == EndpointKind::Nostr)
}

/// Whether a pattern of a router covers a path.
fn covers(pattern: &str, path: &str) -> bool {
    match pattern.find(['{', '*']) {
        None => pattern == path,
        Some(end) => path.starts_with(&pattern[..end]),
    }
}

/// Whether a path is the folder itself or below it.
fn is_below(folder: &str, path: &str) -> bool {
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The folder of a path; `None`: it is at the top, where rooms are.
fn folder_of(path: &str) -> Option<&str> {
    let (folder, _) = path.rsplit_once('/')?;
    (!folder.is_empty()).then_some(folder)
}

/// Whether the client names HTML, as browsers do (RFC 9110 §12.5.1). `*/*` does not count, since
/// most clients send it.
fn wants_html(head: &Head<'_>) -> bool {
    let mut ranges = head
        .headers_named("accept")
        .flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts
            .next()
            .is_some_and(|range| range.eq_ignore_ascii_case("text/html"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
        is_html && weight.unwrap_or(1.0_f64) > 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::with_head;

    #[test]
    fn html_must_be_named_with_a_weight_above_zero() {
        for (accept, wants) in [
            (
                "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("accept: application/json\r\nAccept: TEXT/HTML; q=0.1", true),
            ("Accept: */*", false),
            ("Accept: text/html;q=0", false),
            ("Accept: text/*", false),
            ("X-A: text/html", false),
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{accept}\r\n\r\n");
            assert_eq!(with_head(&request, wants_html), wants, "{accept}");
        }
    }

    #[test]
    fn a_folder_covers_itself_and_all_below() {
        assert!(is_below("/demo", "/demo") && is_below("/demo", "/demo/x"));
        assert!(!is_below("/demo", "/demos") && !is_below("/demo", "/"));
        assert_eq!(folder_of("/api/push"), Some("/api"));
        assert_eq!(folder_of("/push"), None);
    }
}
