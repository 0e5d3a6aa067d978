//! The errors of the rooms API, in the form of [`crate::relay::json_error`]. The codes are part of
//! the API and stable.

use serde::Serialize;

use crate::engine::{HandleError, Refused};
use crate::relay::api_keys::KeyDenial;
use crate::relay::json_error::json_error;
use crate::wire::http::Response;

/// The errors of the API itself. The engine has its own refusals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The body is not a JSON object.
    BadJson,
    /// A field of the body is missing, unknown, or has an invalid value.
    BadField,
    /// A parameter of the query is missing, unknown, or has an invalid value.
    BadQuery,
    /// No endpoint has that name.
    UnknownEndpoint,
    /// The endpoint's connections have no user names.
    NoUsers,
    /// The endpoint has no rooms that could be published to.
    NoRooms,
    /// The message is larger than the endpoint's connections may send themselves.
    MessageTooLarge,
    /// The relay is overloaded; nothing was done, and the request may be retried.
    Busy,
    /// A shard did not answer in time; the request may have been carried out in part.
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

/// An error, before it is rendered.
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

    /// The error of a body that serde rejects.
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

/// The refusal of a request with a missing or invalid key.
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
            // The code that promises least: the request may have been carried out in part.
            _ => Code::Timeout,
        };
        ApiError::new(code, error.to_string())
    }
}
