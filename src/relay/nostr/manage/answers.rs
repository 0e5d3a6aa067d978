//! Answers to calls, over HTTP.

use serde_json::{Value, json};

use super::super::http::with_cors;
use crate::wire::http::Response;

/// The media type of calls and of their answers (NIP-86).
pub(super) const RPC: &str = "application/nostr+json+rpc";

/// Most bytes of the body of a call.
pub(super) const CALL_BYTES_MAX: usize = 64 << 10;

/// The answer to a call that was carried out.
pub(super) fn done(result: &Value) -> Response {
    rpc(200, &json!({"result": result}))
}

/// The answer to a call that was not carried out.
pub(super) fn failed(status: u16, told: &str) -> Response {
    rpc(status, &json!({"error": told}))
}

/// RFC 9110 §15.5.2: a 401 says how to authenticate.
pub(super) fn unproven(told: &str) -> Response {
    failed(401, told).with_header("WWW-Authenticate", "Nostr")
}

pub(super) fn too_large() -> Response {
    let told = format!("invalid: a call has at most {CALL_BYTES_MAX} bytes");
    failed(413, &told)
}

fn rpc(status: u16, answer: &Value) -> Response {
    let mut response = Response::new(status).with_header("Content-Type", RPC);
    response.body = answer.to_string().into();
    with_cors(response).with_header("Cache-Control", "no-store")
}
