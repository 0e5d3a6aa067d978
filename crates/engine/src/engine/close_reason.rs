//! Why connections end: the one vocabulary for close codes, metric labels and log fields.

use std::borrow::Cow;

use crate::wire::close::is_valid_received_code;
use crate::wire::decoder::ProtocolError;

/// Why a connection ended that had been open.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client sent a Close frame, with this code where it gave one.
    ClientClosed(Option<u16>),
    /// The connection ended without a Close frame (RFC 6455 §7.1.5, code 1006).
    ClientGone,
    /// The client broke the protocol.
    Protocol(ProtocolError),
    /// Partial messages took more memory than `limits.inbound_bytes` allows, this one the most.
    InboundBudget,
    /// A message was not finished within `timeouts.message`.
    MessageTimeout,
    /// Nothing was heard for as long as `keepalive.pong`.
    PingTimeout,
    /// The outbox passed `slow_client.outbox_bytes`.
    SlowBytes,
    /// The outbox passed `slow_client.outbox_age`.
    SlowAge,
    /// The process passed `slow_client.process_bytes`, and this client held the oldest frames.
    SlowMemory,
    /// The endpoint closed it, or a handle did.
    Endpoint {
        /// The close code.
        code: u16,
        /// The reason that the client is told.
        reason: Cow<'static, str>,
    },
    /// The endpoint's code panicked.
    EndpointPanic,
    /// The relay shuts down.
    Shutdown,
    /// The client broke the protocol of TLS. It is sent an alert in place of a Close frame.
    Tls,
    /// The time for which it was let in is over ([`super::Terms::expires`]).
    Expired,
    /// It did what it may not, and was let in on that condition ([`super::Client::forbid`]).
    Forbidden,
    /// More messages came than `rate.messages` allows, and `rate.policy` is to close.
    RateMessages,
    /// More bytes came than `rate.bytes` allows, likewise.
    RateBytes,
    /// What it was let in with is good no more ([`super::Handle::recheck`]).
    Revoked,
}

impl CloseReason {
    /// How many labels there are.
    pub const LABELS: [&'static str; 20] = [
        "client_closed",
        "client_gone",
        "protocol_error",
        "invalid_data",
        "too_big",
        "inbound_budget",
        "message_timeout",
        "ping_timeout",
        "slow_bytes",
        "slow_age",
        "slow_memory",
        "endpoint",
        "endpoint_panic",
        "shutdown",
        "tls",
        "expired",
        "forbidden",
        "rate_messages",
        "rate_bytes",
        "revoked",
    ];

    /// The place of this reason's label in [`CloseReason::LABELS`].
    pub fn label_index(&self) -> usize {
        match self {
            CloseReason::ClientClosed(_) => 0,
            CloseReason::ClientGone => 1,
            CloseReason::Protocol(error) => match error.close_code() {
                1007 => 3,
                1009 => 4,
                _ => 2,
            },
            CloseReason::InboundBudget => 5,
            CloseReason::MessageTimeout => 6,
            CloseReason::PingTimeout => 7,
            CloseReason::SlowBytes => 8,
            CloseReason::SlowAge => 9,
            CloseReason::SlowMemory => 10,
            CloseReason::Endpoint { .. } => 11,
            CloseReason::EndpointPanic => 12,
            CloseReason::Shutdown => 13,
            CloseReason::Tls => 14,
            CloseReason::Expired => 15,
            CloseReason::Forbidden => 16,
            CloseReason::RateMessages => 17,
            CloseReason::RateBytes => 18,
            CloseReason::Revoked => 19,
        }
    }

    /// The label in metrics and logs.
    pub fn label(&self) -> &'static str {
        CloseReason::LABELS[self.label_index()]
    }

    /// The code of the Close frame that the client is sent (RFC 6455 §7.4.1); `None` where there is
    /// nobody to send it to, and where an endpoint gave one that must not be on the wire.
    pub fn close_code(&self) -> Option<u16> {
        match self {
            CloseReason::ClientClosed(code) => *code,
            CloseReason::ClientGone | CloseReason::Tls => None,
            CloseReason::Protocol(error) => Some(error.close_code()),
            CloseReason::InboundBudget => Some(1009),
            CloseReason::MessageTimeout | CloseReason::Expired | CloseReason::Forbidden => {
                Some(1008)
            }
            CloseReason::PingTimeout => Some(1001),
            CloseReason::SlowBytes | CloseReason::SlowAge | CloseReason::SlowMemory => Some(1013),
            CloseReason::Endpoint { code, .. } => {
                Some(*code).filter(|code| is_valid_received_code(*code))
            }
            CloseReason::EndpointPanic => Some(1011),
            CloseReason::Shutdown => Some(1001),
            CloseReason::RateMessages | CloseReason::RateBytes | CloseReason::Revoked => Some(1008),
        }
    }

    /// The reason in the Close frame: short, and with a fixed word in front.
    pub fn close_text(&self) -> Cow<'static, str> {
        match self {
            CloseReason::ClientClosed(_) | CloseReason::ClientGone | CloseReason::Tls => "".into(),
            CloseReason::Protocol(error) => format!("protocol: {}", error.name()).into(),
            CloseReason::InboundBudget => "memory: too many partial messages".into(),
            CloseReason::MessageTimeout => "timeout: message not finished".into(),
            CloseReason::PingTimeout => "timeout: nothing heard".into(),
            CloseReason::SlowBytes => "slow: too many bytes waiting".into(),
            CloseReason::SlowAge => "slow: too far behind".into(),
            CloseReason::SlowMemory => "slow: relay short of memory".into(),
            CloseReason::Endpoint { reason, .. } => reason.clone(),
            CloseReason::EndpointPanic => "internal: endpoint failed".into(),
            CloseReason::Shutdown => "shutdown: going away".into(),
            CloseReason::Expired => "auth: expired".into(),
            CloseReason::Forbidden => "auth: not allowed".into(),
            CloseReason::RateMessages => "rate: too many messages".into(),
            CloseReason::RateBytes => "rate: too many bytes".into(),
            CloseReason::Revoked => "auth: revoked".into(),
        }
    }

    /// Whether no frame can reach the client any more: neither what waits nor a Close.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, CloseReason::ClientGone | CloseReason::Tls)
    }

    /// Whether the client reads too slowly: what waits for it is dropped before the Close frame.
    pub fn is_slow(&self) -> bool {
        matches!(
            self,
            CloseReason::SlowBytes | CloseReason::SlowAge | CloseReason::SlowMemory
        )
    }

    /// Whether a Close frame in answer can no longer be relied on: the connection ends as soon as
    /// ours is sent (RFC 6455 §7.1.7).
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            CloseReason::Protocol(_)
                | CloseReason::InboundBudget
                | CloseReason::MessageTimeout
                | CloseReason::PingTimeout
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_label() {
        assert_eq!(CloseReason::ClientGone.label(), "client_gone");
        assert_eq!(CloseReason::SlowAge.label(), "slow_age");
        assert_eq!(CloseReason::Shutdown.label(), "shutdown");
        assert_eq!(CloseReason::EndpointPanic.label(), "endpoint_panic");
        assert_eq!(CloseReason::Tls.label(), "tls");
        assert_eq!(CloseReason::Expired.label(), "expired");
        assert_eq!(CloseReason::Forbidden.label(), "forbidden");
        assert_eq!(CloseReason::RateMessages.label(), "rate_messages");
        assert_eq!(CloseReason::RateBytes.label(), "rate_bytes");
        assert_eq!(CloseReason::Revoked.label(), "revoked");
    }

    /// The rows of the page, each as its cells.
    fn rows_on_page() -> Vec<Vec<&'static str>> {
        let lines = include_str!("CLOSE.md").lines();
        let rows = lines.filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        rows.map(|row| row.split(" | ").collect()).collect()
    }

    #[test]
    fn the_page_says_of_every_reason_what_the_code_does() {
        let mut rows = rows_on_page();
        assert_eq!(rows.remove(0)[0], "reason");
        let protocol = |error| CloseReason::Protocol(error);
        let reasons = [
            CloseReason::ClientClosed(Some(3000)),
            CloseReason::ClientGone,
            protocol(ProtocolError::ReservedOpcode),
            protocol(ProtocolError::InvalidUtf8),
            protocol(ProtocolError::MessageTooBig),
            CloseReason::InboundBudget,
            CloseReason::MessageTimeout,
            CloseReason::PingTimeout,
            CloseReason::SlowBytes,
            CloseReason::SlowAge,
            CloseReason::SlowMemory,
            CloseReason::Endpoint {
                code: 4000,
                reason: "".into(),
            },
            CloseReason::EndpointPanic,
            CloseReason::Shutdown,
            CloseReason::Tls,
            CloseReason::Expired,
            CloseReason::Forbidden,
            CloseReason::RateMessages,
            CloseReason::RateBytes,
            CloseReason::Revoked,
        ];
        assert_eq!(rows.len(), CloseReason::LABELS.len());
        for (reason, row) in reasons.iter().zip(rows) {
            let code = match (reason, reason.close_code()) {
                (CloseReason::ClientClosed(_), Some(3000)) => "the client's own".to_owned(),
                (CloseReason::Endpoint { .. }, Some(4000)) => "the endpoint's".to_owned(),
                (_, None) => "none".to_owned(),
                (_, Some(code)) => code.to_string(),
            };
            let is_gone = reason.is_unreachable();
            let awaited = match reason {
                CloseReason::ClientClosed(_) => "it came",
                _ if is_gone || reason.is_failure() => "no",
                _ => "yes",
            };
            let is_sent = if is_gone || reason.is_slow() {
                "no"
            } else {
                "yes"
            };
            let label = format!("`{}`", reason.label());
            assert!(format!("{reason:?}").starts_with(row[0].split(' ').next().unwrap()));
            assert_eq!(row[1..5], [&*label, &*code, is_sent, awaited], "{}", row[0]);
        }
    }

    #[test]
    fn every_close_text_fits_a_control_frame() {
        let reasons = [
            CloseReason::InboundBudget,
            CloseReason::MessageTimeout,
            CloseReason::PingTimeout,
            CloseReason::SlowBytes,
            CloseReason::SlowAge,
            CloseReason::SlowMemory,
            CloseReason::EndpointPanic,
            CloseReason::Shutdown,
            CloseReason::Expired,
            CloseReason::Forbidden,
            CloseReason::RateMessages,
            CloseReason::RateBytes,
            CloseReason::Revoked,
        ];
        for reason in reasons {
            assert!(reason.close_text().len() <= 123 && reason.close_text().contains(':'));
        }
    }
}
