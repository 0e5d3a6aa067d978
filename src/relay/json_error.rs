//! How the relay's routes refuse: `{"code":…,"error":…}`. The codes stay, the texts are for people
//! and may change. The push API alone has another form, that of the relay which it replaces.

use serde::Serialize;

use crate::wire::http::Response;

#[derive(Serialize)]
struct Body<'e, C> {
    code: C,
    error: &'e str,
}

/// A refusal in this form. `code` is a fixed word.
pub(crate) fn json_error(status: u16, code: impl Serialize, error: &str) -> Response {
    Response::json(status, body(code, error)).with_header("Cache-Control", "no-store")
}

/// A refusal in a line of text, as the engine words it, in this form: the line becomes the error.
/// What has another form already keeps it.
pub(crate) fn worded(response: Response, code: &'static str) -> Response {
    let is_text = response.headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("Content-Type") && value.starts_with("text/plain")
    });
    if !is_text {
        return response;
    }
    let line = String::from_utf8_lossy(&response.body);
    let body = body(code, line.trim_end());
    with_json(response, body).with_header("Cache-Control", "no-store")
}

/// The response with this JSON in place of its body.
pub(crate) fn with_json(response: Response, body: String) -> Response {
    let mut json = Response::json(response.status, body);
    let others = response.headers.into_iter();
    let others = others.filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Type"));
    json.headers.extend(others);
    json
}

fn body(code: impl Serialize, error: &str) -> String {
    let json = serde_json::to_string(&Body { code, error });
    debug_assert!(json.is_ok(), "two strings always have a form");
    json.unwrap_or_default()
}
