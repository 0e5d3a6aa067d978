//! Why connections end: the shared vocabulary of close codes, metric labels and log fields.

use std::borrow::Cow;

use crate::wire::close::is_valid_received_code;
use crate::wire::decoder::ProtocolError;

/// How the relay ends the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Send the outbox, then a Close, and await the client's Close.
    Orderly,
    /// Drop the outbox, so that the Close reaches a client that reads too slowly.
    Slow,
    /// End after our Close, since the client's Close cannot be relied on (RFC 6455 §7.1.7).
    Failure,
    /// No frame can reach the client.
    Unreachable,
}

/// The fixed properties of a reason.
struct Row {
    label: &'static str,
    /// The code of the Close frame (RFC 6455 §7.4.1), if the reason alone decides it.
    code: Option<u16>,
    /// The text of the Close frame: short, beginning with a fixed word.
    text: &'static str,
    ending: Ending,
}

/// Declares [`CloseReason`]: the variants with fields, and a row for each of the others. CLOSE.md
/// has a line for each reason; nothing else lists them.
macro_rules! close_reasons {
    ($(
        $(#[$meta:meta])*
        $variant:ident: $label:literal, $code:expr, $text:literal, $ending:ident;
    )+) => {
        /// Why an open connection ended.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum CloseReason {
            /// The client sent a Close frame, with this code if it gave one.
            ClientClosed(Option<u16>),
            /// The client broke the protocol.
            Protocol(ProtocolError),
            /// The endpoint or a handle closed it.
            Endpoint {
                /// The close code.
                code: u16,
                /// The reason that the client is told.
                reason: Cow<'static, str>,
            },
            $( $(#[$meta])* $variant, )+
        }

        impl CloseReason {
            /// The labels in metrics and logs.
            pub const LABELS: &'static [&'static str] = &[
                "client_closed",
                "protocol_error",
                "invalid_data",
                "too_big",
                "endpoint",
                $( $label ),+
            ];

            /// The reasons without fields.
            #[cfg(test)]
            const PLAIN: &[CloseReason] = &[$( CloseReason::$variant ),+];

            fn row(&self) -> Row {
                let (label, code, text, ending) = match self {
                    CloseReason::ClientClosed(code) => {
                        ("client_closed", *code, "", Ending::Orderly)
                    }
                    CloseReason::Protocol(error) => {
                        let code = error.close_code();
                        (protocol_label(code), Some(code), "protocol", Ending::Failure)
                    }
                    CloseReason::Endpoint { code, .. } => {
                        let code = Some(*code).filter(|code| is_valid_received_code(*code));
                        ("endpoint", code, "", Ending::Orderly)
                    }
                    $( CloseReason::$variant => ($label, $code, $text, Ending::$ending), )+
                };
                Row { label, code, text, ending }
            }
        }
    };
}

close_reasons! {
    /// The connection ended without a Close frame (RFC 6455 §7.1.5, code 1006).
    ClientGone: "client_gone", None, "", Unreachable;
    /// Partial messages took more memory than `limits.inbound_bytes` allows, this one the most.
    InboundBudget: "inbound_budget", Some(1009), "memory: too many partial messages", Failure;
    /// A message was not finished within `timeouts.message`.
    MessageTimeout: "message_timeout", Some(1008), "timeout: message not finished", Failure;
    /// Nothing was heard for as long as `keepalive.pong`.
    PingTimeout: "ping_timeout", Some(1001), "timeout: nothing heard", Failure;
    /// The outbox passed `slow_client.outbox_bytes`.
    SlowBytes: "slow_bytes", Some(1013), "slow: too many bytes waiting", Slow;
    /// The outbox passed `slow_client.outbox_age`.
    SlowAge: "slow_age", Some(1013), "slow: too far behind", Slow;
    /// The process passed `slow_client.process_bytes`, and this client held the oldest frames.
    SlowMemory: "slow_memory", Some(1013), "slow: relay short of memory", Slow;
    /// The endpoint's code panicked.
    EndpointPanic: "endpoint_panic", Some(1011), "internal: endpoint failed", Orderly;
    /// The relay shuts down.
    Shutdown: "shutdown", Some(1001), "shutdown: going away", Orderly;
    /// The client broke the protocol of TLS. It is sent an alert in place of a Close frame.
    Tls: "tls", None, "", Unreachable;
    /// The client's admission has expired ([`super::Terms::expires`]).
    Expired: "expired", Some(1008), "auth: expired", Orderly;
    /// The client did something that it is not allowed to do ([`super::Client::forbid`]).
    Forbidden: "forbidden", Some(1008), "auth: not allowed", Orderly;
    /// More messages came than `rate.messages` allows, and `rate.policy` is to close.
    RateMessages: "rate_messages", Some(1008), "rate: too many messages", Orderly;
    /// More bytes came than `rate.bytes` allows, and `rate.policy` is to close.
    RateBytes: "rate_bytes", Some(1008), "rate: too many bytes", Orderly;
    /// The credential that the client was admitted with is no longer valid
    /// ([`super::Handle::recheck`]).
    Revoked: "revoked", Some(1008), "auth: revoked", Orderly;
}

fn protocol_label(close_code: u16) -> &'static str {
    match close_code {
        1007 => "invalid_data",
        1009 => "too_big",
        _ => "protocol_error",
    }
}

impl CloseReason {
    /// The index of this reason's label in [`CloseReason::LABELS`].
    pub fn label_index(&self) -> usize {
        let label = self.label();
        let place = CloseReason::LABELS.iter().position(|each| *each == label);
        debug_assert!(place.is_some(), "{label} is in the list");
        place.unwrap_or_default()
    }

    /// The label in metrics and logs.
    pub fn label(&self) -> &'static str {
        self.row().label
    }

    /// The code of the Close frame for the client (RFC 6455 §7.4.1); `None` if no frame can be
    /// sent, or if an endpoint gave a code that must not be on the wire.
    pub fn close_code(&self) -> Option<u16> {
        self.row().code
    }

    /// The reason in the Close frame: short, beginning with a fixed word.
    pub fn close_text(&self) -> Cow<'static, str> {
        match self {
            CloseReason::Protocol(error) => format!("protocol: {}", error.name()).into(),
            CloseReason::Endpoint { reason, .. } => reason.clone(),
            _ => self.row().text.into(),
        }
    }

    /// Whether no frame can reach the client any more, not even a Close.
    pub fn is_unreachable(&self) -> bool {
        self.row().ending == Ending::Unreachable
    }

    /// Whether the client reads too slowly, so that its outbox is dropped before the Close frame.
    pub fn is_slow(&self) -> bool {
        self.row().ending == Ending::Slow
    }

    /// Whether the client's Close can no longer be relied on, so that the connection ends as soon
    /// as ours is sent (RFC 6455 §7.1.7).
    pub fn is_failure(&self) -> bool {
        self.row().ending == Ending::Failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the page as cells.
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
        let carriers = [
            CloseReason::ClientClosed(Some(3000)),
            protocol(ProtocolError::ReservedOpcode),
            protocol(ProtocolError::InvalidUtf8),
            protocol(ProtocolError::MessageTooBig),
            CloseReason::Endpoint {
                code: 4000,
                reason: "".into(),
            },
        ];
        let reasons = carriers.iter().chain(CloseReason::PLAIN);
        let labels = reasons.clone().map(CloseReason::label);
        assert!(labels.eq(CloseReason::LABELS.iter().copied()));
        assert_eq!(rows.len(), CloseReason::LABELS.len());
        for reason in reasons {
            let label = format!("`{}`", reason.label());
            let row = rows.iter().find(|row| row[1] == label);
            let row = row.unwrap_or_else(|| panic!("CLOSE.md lacks {label}"));
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
            assert!(format!("{reason:?}").starts_with(row[0].split(' ').next().unwrap()));
            assert_eq!(row[1..5], [&*label, &*code, is_sent, awaited], "{}", row[0]);
        }
    }

    #[test]
    fn every_close_text_fits_a_control_frame() {
        let reasons = CloseReason::PLAIN.iter();
        for reason in reasons.filter(|reason| !reason.is_unreachable()) {
            let text = reason.close_text();
            assert!(text.len() <= 123 && text.contains(':'), "{text}");
        }
    }
}
