//! The pages of `examples/`, served by the relay itself below `/demo/`: a chat, an audio room and
//! a push console, to try a relay from any browser.
//!
//! They are part of the binary and connect to this relay only, which the policy sent with each page
//! makes the browser enforce. They use the relay's ordinary endpoints and need nothing else from
//! it.

use super::files::{CSS, File, Files, HTML, SCRIPT, SVG, confined};
use crate::engine::{Answer, Request, Responder, Service};
use crate::relay::json_error::json_error;
use crate::wire::http::{Head, Response};

/// The prefix of their paths, as in [`crate::config::DEMO_PATHS`].
const FOLDER: &str = "/demo/";

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

const FILES: [File; 12] = [
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

/// The devices that their scripts may use.
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(self)";

/// The service of these pages.
pub struct Pages(Files);

impl Default for Pages {
    fn default() -> Pages {
        Pages(Files::new(&FILES))
    }
}

impl Pages {
    fn page(&self, request: &Request<'_>) -> Answer {
        let response = confined(self.answer(request.head));
        Answer::Now(response.with_header("Permissions-Policy", PERMISSIONS))
    }

    fn answer(&self, head: &Head<'_>) -> Response {
        let Some(path) = head.path.strip_prefix(FOLDER) else {
            return Response::new(308).with_header("Location", FOLDER);
        };
        let path = if path.is_empty() { "index.html" } else { path };
        let answer = self.0.answer(path, head);
        answer.unwrap_or_else(|| json_error(404, "no_page", "There is no such page."))
    }
}

impl Service for Pages {
    fn wants_body(&self) -> bool {
        false
    }

    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        self.page(request)
    }
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
    fn every_file_that_a_page_loads_is_served() {
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
}
