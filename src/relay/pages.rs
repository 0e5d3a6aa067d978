//! The pages of `examples/`, served by the relay itself below `/demo/`: a chat, an audio room and
//! a push console, to try a relay with from any browser.
//!
//! They are part of the binary and ask nobody but this relay for anything: the policy that goes out
//! with each of them lets the browser hold them to that. Whatever they say goes through the relay's
//! ordinary endpoints, so a relay that serves them does nothing else for them.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use crate::engine::{Admission, Answer, Endpoint, Later, Request, Session};
use crate::relay::json_error::{json_error, worded};
use crate::wire::decoder::Message;
use crate::wire::http::{Head, Response};

/// What their addresses begin with, as in [`crate::config::DEMO_PATHS`].
const FOLDER: &str = "/demo/";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of `examples/`: its path there, its media type, its content.
macro_rules! file {
    ($path:literal, $media_type:expr) => {
        (
            $path,
            $media_type,
            include_str!(concat!("../../examples/", $path)),
        )
    };
}

const FILES: [(&str, &str, &str); 12] = [
    file!("index.html", HTML),
    file!("chat.html", HTML),
    file!("audio.html", HTML),
    file!("push.html", HTML),
    file!("assets/look.css", CSS),
    file!("assets/relay.js", SCRIPT),
    file!("assets/chat.js", SCRIPT),
    file!("assets/audio.js", SCRIPT),
    file!("assets/frames.js", SCRIPT),
    file!("assets/worklets.js", SCRIPT),
    file!("assets/push.js", SCRIPT),
    file!("assets/icon.svg", SVG),
];

/// What a page may do: load what lies beside it, and talk to the relay that it came from. So no
/// address in a link can make it send a key or a voice to anybody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Headers of every answer. The pages have no versions in their names, so a browser asks each time
/// whether what it has is still current.
const HEADERS: [(&str, &str); 6] = [
    ("Content-Security-Policy", POLICY),
    (
        "Permissions-Policy",
        "camera=(), geolocation=(), microphone=(self)",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-cache"),
];

/// A file as it is sent.
struct Page {
    path: &'static str,
    media_type: &'static str,
    body: Bytes,
    /// Strong (RFC 9110 §8.8.3): the same for the same bytes alone.
    etag: String,
}

/// The endpoint that serves them. It takes no WebSockets.
pub struct Pages(Vec<Page>);

impl Default for Pages {
    fn default() -> Pages {
        let page = |(path, media_type, text): (_, _, &'static str)| Page {
            path,
            media_type,
            body: Bytes::from_static(text.as_bytes()),
            etag: etag_of(text),
        };
        Pages(FILES.map(page).into())
    }
}

impl Pages {
    fn answer(&self, head: &Head<'_>) -> Response {
        let Some(path) = head.path.strip_prefix(FOLDER) else {
            return Response::new(308).with_header("Location", FOLDER);
        };
        let path = if path.is_empty() { "index.html" } else { path };
        let Some(page) = self.0.iter().find(|page| page.path == path) else {
            return json_error(404, "no_page", "There is no such page.");
        };
        let known = head.headers.iter().filter(|header| {
            let name = header.name;
            name.eq_ignore_ascii_case("If-None-Match")
        });
        let mut known = known.filter_map(|header| std::str::from_utf8(header.value).ok());
        let response = if known.any(|list| names(list, &page.etag)) {
            Response::new(304)
        } else {
            let mut response = Response::new(200).with_header("Content-Type", page.media_type);
            response.body = page.body.clone();
            response
        };
        response.with_header("ETag", page.etag.as_str())
    }
}

impl Endpoint for Pages {
    fn admit(&self, _request: &Request<'_>, _later: &mut Later<'_>) -> Admission {
        let error = "There is no WebSocket here.";
        Admission::Refuse(json_error(400, "no_websocket", error))
    }

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {
        debug_assert!(false, "nobody is let in");
    }

    fn request(&self, request: &Request<'_>, _later: &mut Later<'_>) -> Answer {
        let response = self.answer(request.head);
        Answer::Now(HEADERS.iter().fold(response, |response, (name, value)| {
            response.with_header(*name, *value)
        }))
    }

    fn refusal(&self, response: Response, code: &'static str) -> Response {
        worded(response, code)
    }
}

fn etag_of(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether the list of an `If-None-Match` has this tag; weakly compared (RFC 9110 §13.1.2).
fn names(list: &str, etag: &str) -> bool {
    let mut tags = list.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_names_another_host() {
        for (path, _, text) in FILES {
            for scheme in ["http://", "https://", "ws://", "wss://"] {
                for (at, _) in text.match_indices(scheme) {
                    let rest = &text[at + scheme.len()..];
                    let begins_a_host = rest.starts_with(|first: char| first.is_alphanumeric());
                    let is_harmless = ["www.w3.org/2000/svg", "localhost", "host:port"]
                        .iter()
                        .any(|known| rest.starts_with(known));
                    assert!(
                        is_harmless || !begins_a_host,
                        "{path}: {scheme}{}",
                        &rest[..rest.len().min(40)]
                    );
                }
            }
        }
    }

    #[test]
    fn every_file_that_a_page_asks_for_is_served() {
        let mut asked = 0;
        for (path, _, text) in FILES.iter().filter(|file| file.1 == HTML) {
            for attribute in ["src=\"", "href=\""] {
                for (at, _) in text.match_indices(attribute) {
                    let rest = &text[at + attribute.len()..];
                    let target = rest.split('"').next().unwrap_or_default();
                    let is_served = FILES.iter().any(|file| file.0 == target);
                    assert!(is_served || target.starts_with('#'), "{path}: {target}");
                    asked += 1;
                }
            }
        }
        assert!(asked > 10, "only {asked} found");
    }

    #[test]
    fn an_etag_is_found_in_a_list_and_weakly() {
        let etag = etag_of("page");
        assert_ne!(etag, etag_of("other"));
        for list in [&*etag, "*", &format!("\"a\" , W/{etag}")] {
            assert!(names(list, &etag), "{list}");
        }
        for list in ["", "\"a\"", "page", &etag[1..]] {
            assert!(!names(list, &etag), "{list}");
        }
    }
}
