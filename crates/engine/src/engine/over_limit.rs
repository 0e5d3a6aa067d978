//! The limits on connections. A client over one is accepted only to be told so.

use crate::engine::refusal::{Refusal, Refused};
use crate::engine::settings::Settings;

/// The limit that a connection exceeds. It is accepted only to be told that it cannot stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OverLimit {
    Connections,
    Address,
    Rate,
}

impl OverLimit {
    /// The reason that it is counted under.
    pub(super) fn reason(self) -> Refusal {
        match self {
            OverLimit::Connections => Refusal::Connections,
            OverLimit::Address => Refusal::ConnectionsPerAddress,
            OverLimit::Rate => Refusal::ConnectRate,
        }
    }

    /// The refusal.
    pub(super) fn refused(self, settings: &Settings) -> Refused {
        let retry_after_s = match (self, &settings.connects_per_ip) {
            (OverLimit::Rate, Some(rate)) => rate.retry_after_s(),
            _ => 5,
        };
        let (status, text) = match self {
            OverLimit::Connections => (503, "The relay is full."),
            OverLimit::Address => (429, "Too many connections from this address."),
            OverLimit::Rate => (429, "This address connects too often."),
        };
        Refused::of(self.reason(), status, text).retry_after(retry_after_s)
    }
}
