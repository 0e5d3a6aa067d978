//! Files that are part of the binary, as browsers get them: with their media types, their entity
//! tags, and a policy that keeps pages from connecting to any other server.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use crate::wire::http::{Head, Response};

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const SVG: &str = "image/svg+xml";

/// A page may load files of this relay and connect to this relay only. So no address in a link can
/// make it send a key or a voice to another server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Headers of every answer. The files have no versions in their names, so a browser has to
/// revalidate its copy each time.
const HEADERS: [(&str, &str); 4] = [
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-cache"),
];

/// A file: its path, its media type, its content.
pub(crate) type File = (&'static str, &'static str, &'static str);

/// A file as it is sent.
struct Page {
    path: &'static str,
    media_type: &'static str,
    body: Bytes,
    /// Strong (RFC 9110 §8.8.3): it changes whenever a byte changes.
    etag: String,
}

/// Files by their paths.
pub(crate) struct Files(Vec<Page>);

impl Files {
    pub(crate) fn new(files: &[File]) -> Files {
        let page = |(path, media_type, text): &File| Page {
            path,
            media_type,
            body: Bytes::from_static(text.as_bytes()),
            etag: etag_of(text),
        };
        Files(files.iter().map(page).collect())
    }

    /// The file at `path`, or 304 if the client has it already; `None` if no such file exists.
    pub(crate) fn answer(&self, path: &str, head: &Head<'_>) -> Option<Response> {
        let page = self.0.iter().find(|page| page.path == path)?;
        let mut known = head.headers_named("if-none-match");
        let response = if known.any(|list| names(list, &page.etag)) {
            Response::new(304)
        } else {
            let mut response = Response::new(200).with_header("Content-Type", page.media_type);
            response.body = page.body.clone();
            response
        };
        Some(response.with_header("ETag", page.etag.as_str()))
    }
}

/// The answer with the headers and the policy of files.
pub(crate) fn confined(response: Response) -> Response {
    confined_by(POLICY, response)
}

/// The same with a policy of the page's own.
pub(crate) fn confined_by(policy: &str, response: Response) -> Response {
    let response = response.with_header("Content-Security-Policy", policy);
    HEADERS.iter().fold(response, |response, (name, value)| {
        response.with_header(*name, *value)
    })
}

fn etag_of(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether the list of an `If-None-Match` has this tag, by weak comparison (RFC 9110 §13.1.2).
fn names(list: &str, etag: &str) -> bool {
    let mut tags = list.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_found_in_a_list_by_weak_comparison() {
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
