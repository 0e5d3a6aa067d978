//! HTTP requests: the way into a WebSocket, and plain ones.
//!
//! A request that arrives in one piece is handled where it lies in the receive buffer; only one
//! that is split is kept ([`Cold`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::clock::{Tick, ticks_of};
use super::close_reason::{CloseReason, Refusal};
use super::connection::{Chunked, Cold, Key, OverLimit, Phase};
use super::endpoint::{
    Accept, Admission, Answer, Endpoint, LateAnswer, Later, Pending, Request, unanswered,
};
use super::router::Route;
use super::session::Session;
use super::shard::Shard;
use crate::fanout::outbox::Origin;
use crate::limits::{BODY_BYTES_MAX, RESPONSES_BYTES_MAX, TARGET_BYTES_MAX};
use crate::wire::deflate::offer::Agreement;
use crate::wire::handshake::{self, Upgrade};
use crate::wire::http::{
    BodyLength, ChunkedDecoder, Head, HeadLimits, HeaderSpace, HttpError, Response,
};

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// What became of the bytes of a request.
enum Step {
    /// More are needed.
    Incomplete,
    /// So many were used; what follows is the next request, or frames.
    Done(usize),
    /// The endpoint answers later: the bytes are kept until then.
    Deferred,
    /// Nothing of what follows is of interest.
    Ended,
}

/// A body, where all of it is there.
enum Body<'b> {
    Whole {
        bytes: std::borrow::Cow<'b, [u8]>,
        end: usize,
    },
    Incomplete,
}

impl Shard {
    /// Takes in bytes that belong to requests, and what follows them.
    pub(super) fn take_request(&mut self, key: Key, bytes: &mut [u8], received_ns: u64) {
        let head_bytes_max = self.core.settings.head_bytes;
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        let cold = connection.cold.as_mut();
        let Some(cold) = cold.filter(|cold| !cold.received.is_empty()) else {
            if let Some(rest) = self.take_requests(key, bytes, received_ns) {
                self.keep(key, bytes[rest..].to_vec());
            }
            return;
        };
        cold.received.extend_from_slice(bytes);
        let is_worth_it = match cold.wanted_bytes {
            // A head ends with a line: without a new one there is nothing to look at yet.
            0 => bytes.contains(&b'\n') || cold.received.len() > head_bytes_max,
            wanted => cold.received.len() >= wanted,
        };
        if is_worth_it {
            let mut kept = std::mem::take(&mut cold.received);
            if let Some(rest) = self.take_requests(key, &mut kept, received_ns) {
                kept.drain(..rest);
                self.keep(key, kept);
            }
        }
    }

    /// Handles what is whole. Returns from where on the rest has to be kept, if at all.
    fn take_requests(&mut self, key: Key, bytes: &mut [u8], received_ns: u64) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.core.connection(key)?.phase {
                Phase::Request => {}
                Phase::Open => {
                    self.take_frames(key, &mut bytes[at..], received_ns);
                    return None;
                }
                _ => return None,
            }
            match self.take_one(key, &bytes[at..], received_ns) {
                Step::Done(used) => at += used,
                Step::Incomplete | Step::Deferred => return Some(at),
                Step::Ended => return None,
            }
        }
        None
    }

    /// Keeps bytes for later.
    fn keep(&mut self, key: Key, bytes: Vec<u8>) {
        if let Some(connection) = self.core.connection(key) {
            connection.cold.get_or_insert_default().received = bytes;
        }
    }

    /// Handles the request at the front of `bytes`.
    fn take_one(&mut self, key: Key, bytes: &[u8], received_ns: u64) -> Step {
        let limits = HeadLimits {
            head_bytes: self.core.settings.head_bytes,
            target_bytes: TARGET_BYTES_MAX,
        };
        let mut space = HeaderSpace::new();
        let (head, head_len) = match Head::parse(bytes, &mut space, &limits) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Step::Incomplete,
            Err(error) => return self.bad_request(key, error),
        };
        // Nothing is kept of a body that nobody wants.
        if let Some(step) = self.turn_away(key) {
            return step;
        }
        let router = Arc::clone(&self.router);
        let Some(Route {
            endpoint,
            parameter,
        }) = router.find(head.path)
        else {
            return self.not_found(key, &head, head_len);
        };
        let (body, end) = match self.body(key, &head, bytes, head_len) {
            Ok(Body::Whole { bytes, end }) => (bytes, end),
            Ok(Body::Incomplete) => return Step::Incomplete,
            Err(error) => return self.bad_request(key, error),
        };
        let connection = &mut self.core.connections[key.index as usize];
        connection.endpoint = endpoint;
        let request = Request {
            head: &head,
            parameter: parameter.as_deref(),
            body: &body,
            peer: connection.peer,
            connection: self.core.connection_id(key),
        };
        if head.is_upgrade() {
            self.take_upgrade(key, &request, end, received_ns)
        } else {
            self.take_plain(key, &request, end)
        }
    }

    fn not_found(&mut self, key: Key, head: &Head<'_>, head_len: usize) -> Step {
        self.refused(key, Refusal::NotFound);
        let response = Response::text(404, "There is nothing here.\n");
        if matches!(head.body, BodyLength::None | BodyLength::Length(0)) {
            return self.respond(key, head, &response, head_len);
        }
        self.send_response(key, &response, false, head.method == "HEAD");
        Step::Ended
    }

    /// Answers a connection that was let in only to be told that it cannot stay.
    fn turn_away(&mut self, key: Key) -> Option<Step> {
        let (refusal, response) = if self.stop.is_accepting() {
            match self.core.connection(key)?.over_limit? {
                OverLimit::Connections => {
                    let response = Response::text(503, "The relay is full.\n");
                    (Refusal::Connections, response)
                }
                OverLimit::Address => {
                    let response = Response::text(429, "Too many connections from this address.\n");
                    (Refusal::ConnectionsPerAddress, response)
                }
            }
        } else {
            (
                Refusal::Shutdown,
                Response::text(503, "The relay is shutting down.\n"),
            )
        };
        self.refused(key, refusal);
        self.send_response(key, &response.with_header("Retry-After", "5"), false, false);
        Some(Step::Ended)
    }

    fn body<'b>(
        &mut self,
        key: Key,
        head: &Head<'_>,
        bytes: &'b [u8],
        head_len: usize,
    ) -> Result<Body<'b>, HttpError> {
        let length = match head.body {
            BodyLength::None => 0,
            BodyLength::Length(length) if length > BODY_BYTES_MAX as u64 => {
                return Err(HttpError::BodyTooLarge);
            }
            BodyLength::Length(length) => length as usize,
            BodyLength::Chunked => return self.chunked_body(key, bytes, head_len),
        };
        let end = head_len + length;
        if let Some(body) = bytes.get(head_len..end) {
            return Ok(Body::Whole {
                bytes: body.into(),
                end,
            });
        }
        if let Some(connection) = self.core.connection(key) {
            connection.cold.get_or_insert_default().wanted_bytes = end;
        }
        Ok(Body::Incomplete)
    }

    fn chunked_body<'b>(
        &mut self,
        key: Key,
        bytes: &'b [u8],
        head_len: usize,
    ) -> Result<Body<'b>, HttpError> {
        let Some(connection) = self.core.connection(key) else {
            return Ok(Body::Incomplete);
        };
        let cold = connection.cold.get_or_insert_default();
        let chunked = cold.chunked.get_or_insert_with(|| Chunked {
            decoder: ChunkedDecoder::new(),
            body: Vec::new(),
            consumed: head_len,
        });
        let rest = &bytes[chunked.consumed..];
        let progress = chunked
            .decoder
            .feed(rest, &mut chunked.body, BODY_BYTES_MAX)?;
        chunked.consumed += progress.consumed;
        cold.wanted_bytes = chunked.consumed + 1;
        if !progress.done {
            return Ok(Body::Incomplete);
        }
        let end = chunked.consumed;
        let body = cold
            .chunked
            .take()
            .map(|chunked| chunked.body)
            .unwrap_or_default();
        Ok(Body::Whole {
            bytes: body.into(),
            end,
        })
    }

    fn bad_request(&mut self, key: Key, error: HttpError) -> Step {
        self.refused(key, Refusal::BadRequest);
        let connection = self.core.connection_id(key);
        tracing::debug!(%connection, error = error.name(), "refused");
        let response = Response::text(error.status(), format!("{}\n", error.message()));
        self.send_response(key, &response, false, false);
        Step::Ended
    }

    fn take_upgrade(
        &mut self,
        key: Key,
        request: &Request<'_>,
        end: usize,
        received_ns: u64,
    ) -> Step {
        let upgrade = match handshake::check(request.head) {
            Ok(upgrade) => upgrade,
            Err(error) => {
                self.refused(key, Refusal::BadUpgrade);
                self.send_response(key, &error.response(), false, false);
                return Step::Ended;
            }
        };
        let endpoint = self.endpoint_of(key);
        let mut later = self.later(key);
        let call = AssertUnwindSafe(|| endpoint.admit(request, &mut later));
        match catch_unwind(call) {
            Ok(Admission::Accept(accept)) => {
                self.open(key, request, &upgrade, accept, received_ns);
                Step::Done(end)
            }
            Ok(Admission::Refuse(response)) => {
                self.refused(key, Refusal::Endpoint);
                self.respond(key, request.head, &response, end)
            }
            Ok(Admission::Later(pending)) => self.defer(key, pending),
            Err(_) => self.failed(key),
        }
    }

    fn take_plain(&mut self, key: Key, request: &Request<'_>, end: usize) -> Step {
        let endpoint = self.endpoint_of(key);
        let mut later = self.later(key);
        let call = AssertUnwindSafe(|| endpoint.request(request, &mut later));
        match catch_unwind(call) {
            Ok(Answer::Now(response)) => {
                self.core.stats().requests.add(1);
                self.respond(key, request.head, &response, end)
            }
            Ok(Answer::Later(pending)) => self.defer(key, pending),
            Err(_) => self.failed(key),
        }
    }

    fn endpoint_of(&self, key: Key) -> Arc<dyn Endpoint> {
        let endpoint = self.core.connections[key.index as usize].endpoint;
        Arc::clone(&self.endpoints[usize::from(endpoint.0)])
    }

    fn later(&self, key: Key) -> Later<'_> {
        Later {
            doors: &self.core.doors,
            connection: self.core.connection_id(key),
        }
    }

    fn failed(&mut self, key: Key) -> Step {
        self.core.stats().endpoint_panics.add(1);
        tracing::error!(connection = %self.core.connection_id(key), "endpoint code panicked");
        self.refused(key, Refusal::Endpoint);
        let response = Response::text(500, "The endpoint failed.\n");
        self.send_response(key, &response, false, false);
        Step::Ended
    }

    fn defer(&mut self, key: Key, pending: Pending) -> Step {
        let deadline = self.core.clock.tick() + ticks_of(pending.timeout);
        self.enter_phase(key, Phase::Deferred);
        let connection = &mut self.core.connections[key.index as usize];
        connection.deadline_tick = deadline;
        connection.cold.get_or_insert_default().answer = Some(pending.slot);
        Step::Deferred
    }

    /// The answer to a deferred request may be there.
    pub(super) fn answered(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if connection.phase != Phase::Deferred {
            return;
        }
        let slot = connection
            .cold
            .as_ref()
            .and_then(|cold| cold.answer.clone());
        if let Some(answer) = slot.and_then(|slot| slot.take()) {
            self.take_answer(key, answer);
        }
    }

    /// The answer to a deferred request did not come in time.
    pub(super) fn answer_overdue(&mut self, key: Key) {
        self.refused(key, Refusal::AnswerTimeout);
        self.take_answer(key, LateAnswer::Respond(unanswered()));
    }

    fn take_answer(&mut self, key: Key, answer: LateAnswer) {
        let received_ns = self.core.clock.now_ns();
        self.enter_phase(key, Phase::Request);
        let request_deadline = self.request_deadline();
        let connection = &mut self.core.connections[key.index as usize];
        connection.deadline_tick = request_deadline;
        let cold = connection.cold.take().unwrap_or_default();
        let mut kept = cold.received;
        if let Some(used) = self.give_answer(key, &kept, answer, received_ns) {
            kept.drain(..used);
            if let Some(rest) = self.take_requests(key, &mut kept, received_ns) {
                kept.drain(..rest);
                self.keep(key, kept);
            }
        }
        // What came meanwhile was not read.
        self.core.queue_read(key);
    }

    /// Gives the answer to the request at the front of `kept`. Returns how long that is.
    fn give_answer(
        &mut self,
        key: Key,
        kept: &[u8],
        answer: LateAnswer,
        received_ns: u64,
    ) -> Option<usize> {
        let limits = HeadLimits {
            head_bytes: self.core.settings.head_bytes,
            target_bytes: TARGET_BYTES_MAX,
        };
        let mut space = HeaderSpace::new();
        let parsed = Head::parse(kept, &mut space, &limits);
        debug_assert!(
            matches!(parsed, Ok(Some(_))),
            "a deferred request was parsed before"
        );
        let (head, head_len) = parsed.ok()??;
        let Ok(Body::Whole { bytes: body, end }) = self.body(key, &head, kept, head_len) else {
            return None;
        };
        match answer {
            LateAnswer::Respond(response) => {
                if head.is_upgrade() {
                    self.refused(key, Refusal::Endpoint);
                } else {
                    self.core.stats().requests.add(1);
                }
                self.respond(key, &head, &response, end);
            }
            LateAnswer::Accept(accept) => {
                let upgrade = handshake::check(&head).ok()?;
                let router = Arc::clone(&self.router);
                let route = router.find(head.path)?;
                let request = Request {
                    head: &head,
                    parameter: route.parameter.as_deref(),
                    body: &body,
                    peer: self.core.connections[key.index as usize].peer,
                    connection: self.core.connection_id(key),
                };
                self.open(key, &request, &upgrade, accept, received_ns);
            }
        }
        Some(end)
    }

    /// Makes the connection a WebSocket.
    fn open(
        &mut self,
        key: Key,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        accept: Accept,
        received_ns: u64,
    ) {
        let offered = |chosen: &str| upgrade.protocols().any(|protocol| protocol == chosen);
        let protocol = accept.protocol.filter(|protocol| offered(protocol));
        let (tick, reading_tick) = (self.core.clock.tick(), self.core.clock.reading_tick());
        let connection = &mut self.core.connections[key.index as usize];
        let settings = &self.core.endpoint_settings[usize::from(connection.endpoint.0)];
        let keepalive = settings.keepalive;
        let deflate = upgrade.deflate.filter(|_| settings.deflate.enabled);
        connection.window_bits = deflate.map_or(0, Agreement::window_bits);
        let extension = deflate.map(|deflate| deflate.to_string());
        let extension = extension.as_deref().map(|value| (EXTENSIONS, value));
        let mut response = Vec::with_capacity(256);
        handshake::append_accept(
            &mut response,
            upgrade,
            protocol.as_deref(),
            extension.as_slice(),
        );
        self.core
            .enqueue(key, response, Origin::Control, received_ns);
        self.enter_phase(key, Phase::Open);
        let connection = &mut self.core.connections[key.index as usize];
        connection.cold = None;
        connection.state = accept.state;
        connection.heard_tick = reading_tick;
        connection.next_ping_tick = tick + spread(ticks_of(keepalive.ping), key.generation);
        self.core.stats().opened.add(1);
        let endpoint = self.endpoint_of(key);
        let mut session = Session::new(&mut self.core, key, received_ns);
        let call = AssertUnwindSafe(|| endpoint.opened(&mut session, request));
        if catch_unwind(call).is_err() {
            self.endpoint_panicked(key);
        }
    }

    /// Answers a request. The connection stays open for the next one where both sides want that.
    fn respond(&mut self, key: Key, head: &Head<'_>, response: &Response, end: usize) -> Step {
        let waiting = self.core.connections[key.index as usize].outbox.bytes();
        // Who asks and asks and does not read is told that this was the last answer.
        let keep_alive =
            head.keep_alive() && self.stop.is_accepting() && waiting < RESPONSES_BYTES_MAX;
        self.send_response(key, response, keep_alive, head.method == "HEAD");
        if keep_alive {
            Step::Done(end)
        } else {
            Step::Ended
        }
    }

    /// Queues an answer; nothing follows it unless the connection is kept alive.
    pub(super) fn send_response(
        &mut self,
        key: Key,
        response: &Response,
        keep_alive: bool,
        head_only: bool,
    ) {
        let mut bytes = Vec::with_capacity(256 + response.body.len());
        response.append_to(&mut bytes, keep_alive, head_only);
        let now_ns = self.core.clock.turn_ns();
        self.core.enqueue(key, bytes, Origin::Control, now_ns);
        let deadline = self.request_deadline();
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        if keep_alive {
            connection.deadline_tick = deadline;
            connection.cold = None;
        } else {
            self.drain(key);
        }
    }

    pub(super) fn refused(&mut self, key: Key, refusal: Refusal) {
        self.core.stats().refused[refusal as usize].add(1);
        let connection = self.core.connection_id(key);
        tracing::debug!(%connection, reason = refusal.label(), "refused");
    }

    /// A connection whose request is not there, or not answered, while the relay shuts down.
    pub(super) fn refuse_for_shutdown(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        let cold: Option<&Cold> = connection.cold.as_deref();
        if cold.is_none_or(|cold| cold.received.is_empty()) {
            return self.drain(key);
        }
        self.refused(key, Refusal::Shutdown);
        let response = Response::text(503, "The relay is shutting down.\n");
        self.send_response(key, &response, false, false);
    }

    /// The time for a request is over.
    pub(super) fn request_overdue(&mut self, key: Key) {
        let Some(connection) = self.core.connection(key) else {
            return;
        };
        let is_partial = connection
            .cold
            .as_ref()
            .is_some_and(|cold| !cold.received.is_empty());
        if is_partial {
            self.refused(key, Refusal::HandshakeTimeout);
            let response = Response::text(408, "The request took too long.\n");
            return self.send_response(key, &response, false, false);
        }
        self.close(key, &CloseReason::ClientGone);
    }

    /// When a request that begins now has to be there.
    pub(super) fn request_deadline(&self) -> Tick {
        self.core.clock.reading_tick() + ticks_of(self.core.settings.timeouts.handshake)
    }
}

/// A tick within `interval`, different for different connections: golden-ratio hashing spreads
/// numbers in a row evenly.
fn spread(interval: Tick, number: u32) -> Tick {
    let hash = number.wrapping_mul(0x9E37_79B9);
    ((u64::from(hash) * u64::from(interval.max(1))) >> 32) as Tick + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for number in 0..10_000 {
            let tick = spread(300, number);
            assert!((1..=300).contains(&tick));
            tenths[(tick as usize - 1) / 30] += 1;
        }
        assert!(
            tenths.iter().all(|count| (900..1_100).contains(count)),
            "{tenths:?}"
        );
    }
}
