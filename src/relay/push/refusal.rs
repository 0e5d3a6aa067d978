//! The refusals of the push API: the status, the message that clients may rely on, and the label in
//! the metrics.

use strum::VariantNames;

use crate::engine::Refused;
use crate::wire::http::Response;

/// The reason why the push API refuses a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Refusal {
    /// The key is missing or wrong.
    #[strum(serialize = "key")]
    InvalidKey,
    /// The path does not support the method.
    Method,
    /// The body is not JSON, or has wrong types.
    #[strum(serialize = "json")]
    InvalidJson,
    /// An order has no event name.
    #[strum(serialize = "event_name")]
    NoEventName,
    /// A token names no user, and the fallback to a broadcast is off.
    #[strum(serialize = "token")]
    UnresolvableToken,
    /// A token is ambiguous, or its number is out of range.
    #[strum(serialize = "token_ambiguous")]
    AmbiguousToken,
    /// A delay exceeds the bound.
    #[strum(serialize = "delay")]
    DelayTooLong,
    /// A batch has too many orders.
    #[strum(serialize = "batch")]
    BatchTooLarge,
    /// A parameter of the query cannot be parsed.
    #[strum(serialize = "query")]
    InvalidQuery,
    /// No pending push has that number.
    NotPending,
    /// The limit on pending pushes is reached.
    #[strum(serialize = "full")]
    TooManyPending,
    /// The journal cannot be written, so the push is not accepted.
    Journal,
    /// The key is valid but lacks the scope.
    KeyScope,
    /// The key is wrong, and its address has sent too many wrong ones.
    KeyRate,
}

impl Refusal {
    /// The labels in the metrics, in the order of the variants.
    pub(crate) const LABELS: &'static [&'static str] = Self::VARIANTS;

    fn status(self) -> u16 {
        match self {
            Refusal::InvalidKey => 401,
            Refusal::KeyScope => 403,
            Refusal::KeyRate => 429,
            Refusal::Method => 405,
            Refusal::NotPending => 404,
            Refusal::TooManyPending | Refusal::Journal => 503,
            _ => 400,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Refusal::InvalidKey => "invalid api key",
            Refusal::Method => "method not allowed",
            Refusal::InvalidJson => "invalid json",
            Refusal::NoEventName => "event_name is required",
            Refusal::UnresolvableToken => "token names no user",
            Refusal::AmbiguousToken => "token is ambiguous or out of range",
            Refusal::DelayTooLong => "delay_seconds is too large",
            Refusal::BatchTooLarge => "too many pushes in one request",
            Refusal::InvalidQuery => "invalid query",
            Refusal::NotPending => "no such pending push",
            Refusal::TooManyPending => "too many pending pushes",
            Refusal::Journal => "the journal cannot be written",
            Refusal::KeyScope => "api key lacks the scope push",
            Refusal::KeyRate => "too many invalid api keys",
        }
    }

    /// The refusal of a key. The message is also the code, since clients rely on it.
    pub(super) fn refused(self) -> Refused {
        let message = self.message();
        let refused = Refused::new(self.status(), message, message).ending_connection();
        match self {
            Refusal::InvalidKey => refused.with_header("WWW-Authenticate", "X-API-KEY"),
            _ => refused,
        }
    }

    /// The answer; `index` is the position of the order in its batch, from 0.
    pub(super) fn response(self, index: Option<usize>) -> Response {
        let message = self.message();
        let index = index.map_or_else(String::new, |index| format!(",\"index\":{index}"));
        let body = format!("{{\"code\":-1,\"msg\":\"{message}\"{index}}}");
        let response = Response::json(self.status(), body);
        match self {
            Refusal::TooManyPending | Refusal::Journal => response.with_header("Retry-After", "1"),
            _ => response,
        }
    }
}
