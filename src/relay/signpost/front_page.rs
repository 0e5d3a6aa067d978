//! The page that a browser gets at `/` of the relaying port: it introduces the relay and links to
//! its other pages. It is made once, from the config, and loads nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ring::digest::{SHA256, digest};

use crate::config::{Config, EndpointKind, Need};
use crate::relay::files::{HTML, confined_by};
use crate::wire::http::Response;

const TEMPLATE: &str = include_str!("front_page.html");

/// The page with its policy.
pub(super) struct FrontPage {
    html: Bytes,
    policy: String,
}

impl FrontPage {
    pub(super) fn new(config: &Config) -> FrontPage {
        let html = TEMPLATE
            .replace("{paths}", &paths(config))
            .replace("{demo}", demo(config))
            .replace("{admin}", &admin_port(config))
            .replace("{docs}", &docs());
        FrontPage {
            html: html.into(),
            policy: policy(),
        }
    }

    pub(super) fn response(&self) -> Response {
        let mut response = Response::new(200).with_header("Content-Type", HTML);
        response.body = self.html.clone();
        confined_by(&self.policy, response.with_header("Vary", "Accept"))
    }
}

/// The page may use its own inline style, and load nothing.
fn policy() -> String {
    let style = TEMPLATE.split_once("<style>");
    let style = style.and_then(|(_, rest)| rest.split_once("</style>"));
    let hash = digest(&SHA256, style.unwrap_or_default().0.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        BASE64.encode(hash)
    )
}

/// The port of the metrics and the dashboard, in words.
pub(super) fn admin_port(config: &Config) -> String {
    match (config.metrics.enabled, config.metrics.port) {
        (false, _) => "the admin port, which is off (metrics.enabled)".to_owned(),
        (true, 0) => "the admin port, which the log names".to_owned(),
        (true, port) => format!("the admin port, {port} (metrics.port)"),
    }
}

/// An entry for each endpoint that requires no key or token.
fn paths(config: &Config) -> String {
    let enabled = config.endpoints.values().filter(|each| each.enabled);
    let (open, shut): (Vec<_>, Vec<_>) =
        enabled.partition(|each| config.need_of(each) == Need::Nothing);
    let mut entries: String = open
        .iter()
        .map(|each| {
            let what = match each.kind.which() {
                EndpointKind::Hub => "The path is the room: a message goes to all its members.",
                EndpointKind::Named => "Users by name: a message goes to all other users.",
                EndpointKind::Push => "Clients wait here for what back ends push to them.",
                EndpointKind::PubSub => "One connection subscribes to many rooms, by JSON.",
                EndpointKind::Nostr => "A relay for clients of Nostr.",
            };
            let path = escaped(&each.path);
            format!("<dt><code>{path}</code></dt><dd>{what}</dd>\n")
        })
        .collect();
    if !shut.is_empty() {
        entries += "<dt>Other paths</dt><dd>Need a key or a token.</dd>\n";
    }
    entries
}

fn demo(config: &Config) -> &'static str {
    match config.pages.enabled {
        true => "<a href=\"/demo/\">Chat, audio and push</a>, in this browser.",
        false => "Off: <code>--set pages.enabled=true</code> turns it on.",
    }
}

/// The place of the documents: a link to the repository, if the build knows its address.
fn docs() -> String {
    match env!("CARGO_PKG_REPOSITORY") {
        "" => "In <code>docs/</code> of the repository.".to_owned(),
        address => format!("<a href=\"{0}\">{0}</a>", escaped(address)),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndpointConfig;

    #[test]
    fn every_place_of_the_template_is_filled_and_paths_are_escaped() {
        let mut config = Config::default();
        let odd = EndpointConfig::new(EndpointKind::Hub, "/<b>&\"");
        config.endpoints.insert("odd".to_owned(), odd);
        let page = FrontPage::new(&config);
        let html = std::str::from_utf8(&page.html).expect("UTF-8");
        let body = html.split_once("<body>").expect("a body").1;
        for place in ["{paths}", "{demo}", "{admin}", "{docs}"] {
            assert!(TEMPLATE.contains(place) && !html.contains(place), "{place}");
        }
        assert!(
            body.contains("<code>/&lt;b&gt;&amp;&quot;</code>"),
            "{body}"
        );
        assert!(body.contains("<code>/ws/{username}</code>"), "{body}");
        assert!(!body.contains("src="), "it loads nothing: {body}");
    }
}
