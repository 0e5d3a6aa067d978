//! What goes wrong in the rooms API, in the form of [`crate::relay::json_error`]. The codes are
//! part of the API and stay.

use serde::Serialize;

use crate::engine::{HandleError, Refused};
use crate::relay::api_keys::KeyDenial;
use crate::relay::json_error::json_error;
use crate::wire::http::Response;

/// A refusal of the API's own. What the engine refuses has its own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The body is no JSON object.
    BadJson,
    /// A field of the body is missing, unknown, or has a value that it cannot have.
    BadField,
    /// The same of the query.
    BadQuery,
    /// No endpoint has that name.
    UnknownEndpoint,
    /// The endpoint's connections have no user names.
    NoUsers,
    /// The endpoint's connections are in no rooms that could be published to.
    NoRooms,
    /// The message is larger than the endpoint's connections may send themselves.
    MessageTooLarge,
    /// There is too much to do; nothing has happened, and it may be tried again.
    Busy,
    /// Some shard did not answer in time; part of it may have happened.
    Timeout,
}

impl Code {
    fn status(self) -> u16 {
        match self {
            Code::BadJson | Code::BadField | Code::BadQuery => 400,
            Code::UnknownEndpoint | Code::NoUsers | Code::NoRooms => 404,
            Code::MessageTooLarge => 413,
            Code::Busy | Code::Timeout => 503,
        }
    }
}

/// A refusal, before it is a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ApiError {
    code: Code,
    text: String,
}

impl ApiError {
    pub(super) fn new(code: Code, text: impl Into<String>) -> ApiError {
        let text = text.into();
        ApiError { code, text }
    }

    /// Of a body that serde does not take.
    pub(super) fn of_body(error: &serde_json::Error) -> ApiError {
        let code = match error.classify() {
            serde_json::error::Category::Data => Code::BadField,
            _ => Code::BadJson,
        };
        ApiError::new(code, error.to_string())
    }

    pub(super) fn response(&self) -> Response {
        let response = json_error(self.code.status(), self.code, &self.text);
        match self.code {
            Code::Busy | Code::Timeout => response.with_header("Retry-After", "1"),
            _ => response,
        }
    }
}

/// A refusal for the key that a request has, or has not.
pub(super) fn of_key(denial: KeyDenial) -> Refused {
    let refused = |status, code, told: String| {
        let refused = Refused::new(status, code, told).counted_as(denial.reason());
        refused.ending_connection()
    };
    match denial {
        KeyDenial::Missing | KeyDenial::Bad => {
            let told = match denial {
                KeyDenial::Bad => "the key is not valid",
                _ => "a key is needed, in X-API-KEY or as a bearer token",
            };
            let refused = refused(401, "unauthorized", told.to_owned());
            refused.with_header("WWW-Authenticate", "Bearer")
        }
        KeyDenial::Scope(scope) => {
            let told = format!("the key lacks the scope {}", scope.name());
            refused(403, "forbidden", told)
        }
        KeyDenial::Throttled(throttled) => throttled.refused(),
    }
}

impl From<HandleError> for ApiError {
    fn from(error: HandleError) -> ApiError {
        let code = match error {
            HandleError::Busy => Code::Busy,
            HandleError::Late => Code::Timeout,
            HandleError::TooLarge => Code::MessageTooLarge,
            // The code that promises least: part of it may have happened.
            _ => Code::Timeout,
        };
        ApiError::new(code, error.to_string())
    }
}
