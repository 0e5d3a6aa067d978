//! The limits on connections past which a client is let in only to be told so.

use super::close_reason::Refusal;
use super::settings::Settings;
use crate::wire::http::Response;

/// Why a connection was let in only to be told that it cannot stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OverLimit {
    Connections,
    Address,
    Rate,
}

impl OverLimit {
    /// The reason under which it counts.
    pub(super) fn reason(self) -> Refusal {
        match self {
            OverLimit::Connections => Refusal::Connections,
            OverLimit::Address => Refusal::ConnectionsPerAddress,
            OverLimit::Rate => Refusal::ConnectRate,
        }
    }

    /// The reason, and what the client is told.
    pub(super) fn refusal(self, settings: &Settings) -> (Refusal, Response) {
        let retry_after_s = match (self, &settings.connects_per_ip) {
            (OverLimit::Rate, Some(rate)) => rate.retry_after_s(),
            _ => 5,
        };
        let (status, text) = match self {
            OverLimit::Connections => (503, "The relay is full.\n"),
            OverLimit::Address => (429, "Too many connections from this address.\n"),
            OverLimit::Rate => (429, "This address connects too often.\n"),
        };
        let response = Response::text(status, text);
        let response = response.with_header("Retry-After", retry_after_s.to_string());
        (self.reason(), response)
    }
}
