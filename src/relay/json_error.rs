//! The form of the relay's refusals: `{"code":…,"error":…}`. The codes are stable; the texts are
//! for people and may change. Only the push API has another form, that of the relay that it
//! replaces.

use serde::Serialize;

use crate::engine::Refused;
use crate::wire::http::Response;

#[derive(Serialize)]
struct Body<'e, C> {
    code: C,
    error: &'e str,
}

/// An error in this form. `code` is a fixed word.
pub(crate) fn json_error(status: u16, code: impl Serialize, error: &str) -> Response {
    json(status, code, error).with_header("Cache-Control", "no-store")
}

/// A refusal in this form.
pub fn rendered(refused: &Refused) -> Response {
    let response = json(refused.status, refused.code, &refused.message);
    let response = refused.with_headers_on(response);
    response.with_header("Cache-Control", "no-store")
}

fn json(status: u16, code: impl Serialize, error: &str) -> Response {
    let json = serde_json::to_string(&Body { code, error });
    debug_assert!(json.is_ok(), "two strings always have a JSON form");
    Response::json(status, json.unwrap_or_default())
}
