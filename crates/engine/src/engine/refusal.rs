//! Requests and connections that are refused before a WebSocket is open: the reasons, and the
//! answers to their clients.

use std::borrow::Cow;
use std::sync::Arc;

use strum::{IntoStaticStr, VariantNames};

use crate::counter::Counter;
use crate::wire::http::Response;

/// Why a connection was refused before it was open, as counted in the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The request could not be parsed, or broke a limit.
    BadRequest,
    /// The request is not a valid WebSocket upgrade.
    BadUpgrade,
    /// No endpoint has this path.
    NotFound,
    /// The process has reached its limit of connections.
    Connections,
    /// The client's address has reached its limit of connections.
    #[strum(serialize = "connections_per_ip")]
    ConnectionsPerAddress,
    /// The endpoint refused.
    Endpoint,
    /// The request was not finished in time.
    HandshakeTimeout,
    /// A deferred answer did not come in time.
    AnswerTimeout,
    /// The relay is shutting down.
    Shutdown,
    /// Partial messages and requests took more memory than `limits.inbound_bytes` allows, this
    /// request the most.
    InboundBudget,
    /// A header of the PROXY protocol was expected, and something else arrived.
    BadProxyHeader,
    /// The TLS handshake failed.
    Tls,
    /// The client's network is not allowed to connect.
    Network,
    /// The client's address connects more often than it may.
    ConnectRate,
    /// The client's address has presented too many invalid credentials. These ones were not
    /// checked, or are invalid too.
    CredentialRate,
    /// A proxy does not name its client, and not all networks are allowed to connect.
    UnknownClient,
    /// A reason of an endpoint, by its label. It must be one of [`Endpoint::reasons`], or else it
    /// counts as [`Refusal::Endpoint`]. The last variant, after those with a label of the engine.
    ///
    /// [`Endpoint::reasons`]: super::Endpoint::reasons
    #[strum(transparent)]
    Own(&'static str),
}

impl Refusal {
    /// The labels of the engine's own reasons in metrics and logs.
    pub const LABELS: &'static [&'static str] = match Self::VARIANTS.split_last() {
        Some((_own, labels)) => labels,
        None => &[],
    };

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The refusal of a request, independent of its format. It is rendered when it is sent: as a line
/// of text, or as [`Builder::render_refusals`](super::Builder::render_refusals) says for the path.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The status, 300 to 599.
    pub status: u16,
    /// A fixed code for programs.
    pub code: &'static str,
    /// A sentence for people, without a line end.
    pub message: Cow<'static, str>,
    /// Headers that belong to it, such as `Retry-After`.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The reason under which it is counted.
    pub counts_as: Refusal,
    /// Whether the connection ends with the answer, even if the client wants to keep it. Each guess
    /// at a credential then needs a new connection.
    pub ends_connection: bool,
}

impl Refused {
    /// A refusal that counts as [`Refusal::Endpoint`] and keeps the connection open.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Refused {
        Refused {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
            counts_as: Refusal::Endpoint,
            ends_connection: false,
        }
    }

    /// A refusal that counts as `refusal` and has its label as the code.
    pub fn of(refusal: Refusal, status: u16, message: impl Into<Cow<'static, str>>) -> Refused {
        Refused::new(status, refusal.label(), message).counted_as(refusal)
    }

    /// Adds a header. A header that contains a line break is not sent.
    #[must_use]
    pub fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Refused {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets `Retry-After`, in seconds (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Refused {
        self.with_header("Retry-After", seconds.to_string())
    }

    /// Sets the reason under which it is counted.
    #[must_use]
    pub fn counted_as(mut self, refusal: Refusal) -> Refused {
        self.counts_as = refusal;
        self
    }

    /// Ends the connection, for invalid credentials: see [`Refused::ends_connection`].
    #[must_use]
    pub fn ending_connection(mut self) -> Refused {
        self.ends_connection = true;
        self
    }

    /// The message as a line of text with the headers: the format of a refusal, unless the path has
    /// another one.
    pub fn to_text(&self) -> Response {
        self.with_headers_on(Response::text(self.status, format!("{}\n", self.message)))
    }

    /// `response` with the headers.
    pub fn with_headers_on(&self, response: Response) -> Response {
        let headers = self.headers.iter().cloned();
        headers.fold(response, |response, (name, value)| {
            response.with_header(name, value)
        })
    }
}

/// Renders the refusals of a path.
pub(super) type Renderer = dyn Fn(&Refused) -> Response + Send + Sync;

/// Connections refused before they were open, by reason. The reasons of endpoints follow those of
/// the engine.
#[derive(Debug)]
pub struct Refusals {
    own_labels: Arc<[&'static str]>,
    counts: Box<[Counter]>,
}

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals::new(Arc::default())
    }
}

impl Refusals {
    pub(super) fn new(own_labels: Arc<[&'static str]>) -> Refusals {
        let count = Refusal::LABELS.len() + own_labels.len();
        Refusals {
            own_labels,
            counts: (0..count).map(|_| Counter::default()).collect(),
        }
    }

    pub(super) fn add(&self, refusal: Refusal) {
        self.counts[self.place(refusal)].add(1);
    }

    /// The number of refusals for this reason.
    pub fn get(&self, refusal: Refusal) -> u64 {
        self.counts[self.place(refusal)].get()
    }

    /// The label of each reason, with the number of its refusals.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(Counter::get);
        self.labels().zip(counts)
    }

    /// The labels of all reasons.
    fn labels(&self) -> impl Iterator<Item = &'static str> {
        Refusal::LABELS.iter().chain(&*self.own_labels).copied()
    }

    fn place(&self, refusal: Refusal) -> usize {
        let place_of = |label| self.labels().position(|each| each == label);
        let place = place_of(refusal.label());
        place
            .or_else(|| place_of(Refusal::Endpoint.label()))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_labels_of_the_engine_alone() {
        let (first, last) = (Refusal::BadRequest, Refusal::UnknownClient);
        assert_eq!(Refusal::LABELS.first(), Some(&first.label()));
        assert_eq!(Refusal::LABELS.last(), Some(&last.label()));
        assert!(Refusal::LABELS.contains(&"connections_per_ip"));
        assert_eq!(Refusal::Own("bad_moon").label(), "bad_moon");
    }

    #[test]
    fn a_reason_of_an_endpoint_is_counted_if_it_was_registered() {
        let refusals = Refusals::new(["bad_moon"].into());
        refusals.add(Refusal::Own("bad_moon"));
        refusals.add(Refusal::Own("bad_sun"));
        refusals.add(Refusal::UnknownClient);
        let counted: Vec<_> = refusals.iter().filter(|(_, count)| *count > 0).collect();
        let expected = [("endpoint", 1), ("unknown_client", 1), ("bad_moon", 1)];
        assert_eq!(counted, expected);
        assert_eq!(refusals.get(Refusal::Own("bad_moon")), 1);
    }

    #[test]
    fn the_text_is_a_line_with_the_headers() {
        let refused = Refused::new(429, "slow_down", "Not so fast.").retry_after(7);
        let response = refused.to_text();
        assert_eq!(
            (response.status, &response.body[..]),
            (429, &b"Not so fast.\n"[..])
        );
        let last = response.headers.last();
        assert_eq!(last, Some(&("Retry-After".into(), "7".to_owned())));
    }
}
