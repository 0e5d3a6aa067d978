//! HTTP requests: upgrades to WebSockets, and plain ones.
//!
//! The checks of a request and their order are in `HANDSHAKE.md` beside this file. A request that
//! arrives in one piece is handled in the receive buffer; only a request that is split is kept
//! ([`Cold`](crate::engine::clients::connection::Cold)).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use super::bodies::{Body, CONTINUE, Step, end_without_body, has_body};
use super::proxied::ClientAddress;
use super::router::Route;
use crate::clock::ticks_of;
use crate::engine::answer::{
    Accept, Admission, Answer, ErasedState, HeadVerdict, LateAnswer, Pending, Request, unanswered,
};
use crate::engine::clients::Clients;
use crate::engine::clients::connection::Phase;
use crate::engine::clients::erased::ErasedService;
use crate::engine::clients::opening::Opening;
use crate::engine::edge::Edge;
use crate::engine::ids::Key;
use crate::engine::refusal::{Refusal, Refused};
use crate::fanout::outbox::Origin;
use crate::limits::{PRICE_REQUEST, RESPONSES_BYTES_MAX, TARGET_BYTES_MAX};
use crate::wire::deflate::offer::Agreement;
use crate::wire::forwarded::ForwardedError;
use crate::wire::handshake::{self, HandshakeError, Upgrade};
use crate::wire::http::{Head, HeadLimits, HeaderSpace, HttpError, Response};

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

impl Edge {
    /// Handles the request at the front of `bytes`.
    pub(in crate::engine) fn handle_one(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &[u8],
        received_ns: u64,
    ) -> Step {
        let limits = HeadLimits {
            head_bytes: clients.core.settings().limits.head_bytes,
            target_bytes: TARGET_BYTES_MAX,
        };
        clients.core.work().spend(PRICE_REQUEST);
        let mut space = HeaderSpace::new();
        let (head, head_len) = match Head::parse(bytes, &mut space, &limits) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Step::Incomplete,
            Err(error) => return self.bad_request(clients, key, error, bytes),
        };
        // Refused before its body is awaited, so none of the body is kept.
        if let Some(step) = self.refuse_early(clients, key, &head) {
            return step;
        }
        let router = Arc::clone(&self.router);
        let Some(Route {
            endpoint,
            parameter,
        }) = router.find(head.path)
        else {
            return self.answer_without_endpoint(clients, key, &head, head_len);
        };
        clients.core.known_mut(key).set_endpoint(endpoint);
        let Ok(client) = self.client_of(clients, key, &head) else {
            return self.conflict(clients, key, &head);
        };
        let request = Request {
            head: &head,
            parameter: parameter.as_deref(),
            body: &[],
            peer: client.address,
            connection: clients.core.connection_id(key),
            context: None,
        };
        if let Some(step) = self.check_network(clients, key, &head, client, head_len) {
            return step;
        }
        if head.is_upgrade() {
            return self.handle_upgrade(clients, key, &request, client, head_len, received_ns);
        }
        if let Some(step) = self.intercept(clients, key, &request, head_len) {
            return step;
        }
        if let Some(step) = self.answer_method(clients, key, &head, head_len) {
            return step;
        }
        self.handle_with_body(clients, key, &request, bytes, head_len)
    }

    /// Answers a path without an endpoint: the server itself (RFC 9110 §9.3.7), or 404.
    fn answer_without_endpoint(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        head_len: usize,
    ) -> Step {
        if head.path == "*" {
            let response = Response::new(204).with_header("Allow", "GET, HEAD, OPTIONS");
            clients.core.stats().requests.add(1);
            return self.answer_head(clients, key, head, &response, head_len);
        }
        let Ok(client) = self.client_of(clients, key, head) else {
            return self.conflict(clients, key, head);
        };
        let request = Request {
            peer: client.address,
            connection: clients.core.connection_id(key),
            ..Request::new(head)
        };
        if !head.is_upgrade()
            && let Some(step) = self.intercept(clients, key, &request, head_len)
        {
            return step;
        }
        let refused = Refused::of(Refusal::NotFound, 404, "There is nothing here.");
        self.refuse(
            clients,
            key,
            head,
            &refused,
            end_without_body(head, head_len),
        )
    }

    /// The answer of the interceptor, if it has one. It needs no body.
    fn intercept(
        &self,
        clients: &mut Clients,
        key: Key,
        request: &Request<'_>,
        head_len: usize,
    ) -> Option<Step> {
        let interceptor = self.common.interceptor.as_ref()?;
        match catch_unwind(AssertUnwindSafe(|| interceptor(request))) {
            Ok(answer) => {
                let end = end_without_body(request.head, head_len);
                Some(self.give(clients, key, request.head, answer?, end))
            }
            Err(_) => Some(self.failed(clients, key, request.head)),
        }
    }

    /// The answer to a method that the endpoint does not handle (RFC 9110 §9.3.7, §15.5.6).
    fn answer_method(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        head_len: usize,
    ) -> Option<Step> {
        let methods = self.service_of(clients, key).methods();
        if methods.contains(&head.method) {
            return None;
        }
        let options = ["OPTIONS"].into_iter().filter(|own| !methods.contains(own));
        let allow: Vec<&str> = methods.iter().copied().chain(options).collect();
        let allow = allow.join(", ");
        clients.core.stats().requests.add(1);
        let response = if head.method == "OPTIONS" {
            Response::new(204).with_header("Allow", allow)
        } else {
            let told = "This path does not answer that method.";
            let refused = Refused::new(405, "method_not_allowed", told);
            self.render(head.path, &refused.with_header("Allow", allow))
        };
        Some(self.answer_head(clients, key, head, &response, head_len))
    }

    /// Answers before the body has arrived. The connection is closed if some of a body is on its
    /// way.
    fn answer_head(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        response: &Response,
        head_len: usize,
    ) -> Step {
        self.answer_up_to(
            clients,
            key,
            head,
            response,
            end_without_body(head, head_len),
        )
    }

    /// Answers a connection that was accepted only to be refused.
    fn refuse_early(&self, clients: &mut Clients, key: Key, head: &Head<'_>) -> Option<Step> {
        let refused = if self.stop.is_accepting() {
            let over_limit = clients.core.connection(key)?.over_limit()?;
            if self.is_probe(head) {
                return None;
            }
            over_limit.refused(clients.core.settings())
        } else {
            let told = "The relay is shutting down.";
            Refused::of(Refusal::Shutdown, 503, told).retry_after(5)
        };
        Some(self.refuse(clients, key, head, &refused, None))
    }

    /// Whether the request is one that is answered even if the relay is full.
    fn is_probe(&self, head: &Head<'_>) -> bool {
        let route = self.router.find(head.path);
        let plain = route.map(|route| &self.plain[usize::from(route.endpoint.0)]);
        !has_body(head) && !head.is_upgrade() && plain.is_some_and(|plain| plain.service.is_probe())
    }

    pub(in crate::engine) fn service_of(
        &self,
        clients: &Clients,
        key: Key,
    ) -> Arc<dyn ErasedService> {
        let endpoint = clients.core.known(key).endpoint();
        Arc::clone(&self.plain[usize::from(endpoint.0)].service)
    }

    /// A refusal in the form of the path's refusals.
    fn render(&self, path: &str, refused: &Refused) -> Response {
        let route = self.router.find(path);
        let plain = route.map(|route| &self.plain[usize::from(route.endpoint.0)]);
        let own = plain.and_then(|plain| plain.renderer.as_deref());
        let render = own.or(self.common.renderer.as_deref());
        let rendered = render.map(|render| catch_unwind(AssertUnwindSafe(|| render(refused))));
        rendered
            .and_then(Result::ok)
            .unwrap_or_else(|| refused.to_text())
    }

    /// Refuses the request, which ends at `end`; `None`: the connection is closed after the answer.
    pub(in crate::engine) fn refuse(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        refused: &Refused,
        end: Option<usize>,
    ) -> Step {
        clients.refused(key, refused.counts_as);
        let response = self.render(head.path, refused);
        let end = end.filter(|_| !refused.ends_connection);
        self.answer_up_to(clients, key, head, &response, end)
    }

    /// Refuses a request that may be malformed or cut off.
    fn refuse_unparsed(&self, clients: &mut Clients, key: Key, bytes: &[u8], refused: &Refused) {
        clients.refused(key, refused.counts_as);
        let response = self.render(asked_path(bytes), refused);
        self.send_response(clients, key, &response, false, asks_for_head(bytes));
    }

    pub(in crate::engine) fn bad_request(
        &self,
        clients: &mut Clients,
        key: Key,
        error: HttpError,
        bytes: &[u8],
    ) -> Step {
        let connection = clients.core.connection_id(key);
        tracing::debug!(%connection, error = error.name(), "bad request");
        let refused = Refused::new(error.status(), error.name(), error.message());
        let refused = refused.counted_as(Refusal::BadRequest);
        self.refuse_unparsed(clients, key, bytes, &refused);
        Step::Ended
    }

    /// The client of the request is unclear, because a proxy passes on contradicting headers.
    fn conflict(&self, clients: &mut Clients, key: Key, head: &Head<'_>) -> Step {
        let told = ForwardedError::Conflict.to_string();
        let refused = Refused::new(400, "forwarded_conflict", told);
        self.refuse(
            clients,
            key,
            head,
            &refused.counted_as(Refusal::BadRequest),
            None,
        )
    }

    fn handle_upgrade(
        &self,
        clients: &mut Clients,
        key: Key,
        request: &Request<'_>,
        client: ClientAddress,
        end: usize,
        received_ns: u64,
    ) -> Step {
        let upgrade = match handshake::check(request.head) {
            Ok(upgrade) => upgrade,
            Err(error) => {
                let connection = clients.core.connection_id(key);
                tracing::debug!(%connection, error = error.name(), "bad upgrade");
                return self.refuse(clients, key, request.head, &no_upgrade(error), None);
            }
        };
        if let Err(refused) = self.identify(clients, key, client) {
            return self.refuse(clients, key, request.head, &refused, Some(end));
        }
        let endpoint = clients.endpoint_of(key);
        let mut responder = clients.responder(key);
        let call = AssertUnwindSafe(|| endpoint.admit(request, &mut responder));
        match catch_unwind(call) {
            Ok(Admission::Accept(accept)) => {
                self.open(clients, key, request, &upgrade, accept, received_ns);
                Step::Done(end)
            }
            Ok(Admission::Refuse(refused)) => {
                self.refuse(clients, key, request.head, &refused, Some(end))
            }
            Ok(Admission::Later(pending)) => self.defer(clients, key, pending),
            Err(_) => self.failed(clients, key, request.head),
        }
    }

    /// Asks the service for the answer to a complete request.
    pub(in crate::engine) fn handle_plain(
        &self,
        clients: &mut Clients,
        key: Key,
        request: &Request<'_>,
        verdict: Option<&HeadVerdict>,
        end: usize,
    ) -> Step {
        let service = self.service_of(clients, key);
        let mut responder = clients.responder(key);
        let call = AssertUnwindSafe(|| match verdict {
            Some(HeadVerdict::Admitted(context)) => {
                let context = context.as_deref();
                service.checked_request(
                    &Request {
                        context,
                        ..*request
                    },
                    &mut responder,
                )
            }
            _ => service.request(request, &mut responder),
        });
        match catch_unwind(call) {
            Ok(answer) => self.give(clients, key, request.head, answer, Some(end)),
            Err(_) => self.failed(clients, key, request.head),
        }
    }

    /// Sends the answer to a plain request, which ends at `end`; `None`: some of its body has yet
    /// to come, and the connection is closed after the answer.
    pub(in crate::engine) fn give(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        answer: Answer,
        end: Option<usize>,
    ) -> Step {
        let response = match (answer, end) {
            (Answer::Now(response), _) => {
                clients.core.stats().requests.add(1);
                response
            }
            (Answer::Refuse(refused), _) => {
                return self.refuse(clients, key, head, &refused, end);
            }
            (Answer::Later(pending), Some(_)) => return self.defer(clients, key, pending),
            (Answer::Later(_), None) => {
                return self.refuse(clients, key, head, &unanswered(), None);
            }
        };
        self.answer_up_to(clients, key, head, &response, end)
    }

    fn answer_up_to(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        response: &Response,
        end: Option<usize>,
    ) -> Step {
        match end {
            Some(end) => self.respond(clients, key, head, response, end),
            None => {
                self.send_response(clients, key, response, false, head.method == "HEAD");
                Step::Ended
            }
        }
    }

    pub(in crate::engine) fn failed(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
    ) -> Step {
        clients.core.stats().endpoint_panics.add(1);
        tracing::error!(connection = %clients.core.connection_id(key), "endpoint code panicked");
        let refused = Refused::new(500, "endpoint_failed", "The endpoint failed.");
        self.refuse(clients, key, head, &refused, None)
    }

    fn defer(&self, clients: &mut Clients, key: Key, pending: Pending) -> Step {
        let deadline = clients.core.clock().tick() + ticks_of(pending.timeout);
        clients.enter_phase(key, Phase::Deferred);
        let connection = clients.core.known_mut(key);
        connection.set_deadline(deadline);
        let cold = connection.cold_mut();
        cold.answer = Some(pending.slot);
        cold.terms = pending.terms;
        Step::Deferred
    }

    /// The answer to a deferred request may have arrived.
    pub(in crate::engine) fn answered(&self, clients: &mut Clients, key: Key) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        if connection.phase() != Phase::Deferred {
            return;
        }
        let slot = connection.cold().and_then(|cold| cold.answer.clone());
        if let Some(answer) = slot.and_then(|slot| slot.take()) {
            self.handle_answer(clients, key, answer);
        }
    }

    /// The answer to a deferred request did not come in time.
    pub(in crate::engine) fn answer_overdue(&self, clients: &mut Clients, key: Key) {
        self.handle_answer(clients, key, LateAnswer::Refuse(unanswered()));
    }

    fn handle_answer(&self, clients: &mut Clients, key: Key, answer: LateAnswer) {
        let received_ns = clients.core.clock().now_ns();
        clients.enter_phase(key, Phase::Request);
        let request_deadline = clients.request_deadline();
        let connection = clients.core.known_mut(key);
        connection.set_deadline(request_deadline);
        let cold = connection.cold_mut();
        cold.answer = None;
        let terms = cold.terms.take();
        let answer = match answer {
            LateAnswer::Accept(mut accept) => {
                accept.terms = accept.terms.or(terms);
                LateAnswer::Accept(accept)
            }
            other => other,
        };
        let mut kept = std::mem::take(&mut cold.received);
        if let Some(used) = self.give_answer(clients, key, &kept, answer, received_ns) {
            kept.drain(..used);
            if let Some(rest) = self.handle_requests(clients, key, &mut kept, received_ns) {
                kept.drain(..rest);
                self.keep(clients, key, kept);
            }
        }
        // Data that has arrived meanwhile was not read.
        clients.core.queue_read(key);
    }

    /// Sends the answer to the request at the front of `kept`. Returns the request's length.
    fn give_answer(
        &self,
        clients: &mut Clients,
        key: Key,
        kept: &[u8],
        answer: LateAnswer,
        received_ns: u64,
    ) -> Option<usize> {
        let limits = HeadLimits {
            head_bytes: clients.core.settings().limits.head_bytes,
            target_bytes: TARGET_BYTES_MAX,
        };
        let mut space = HeaderSpace::new();
        let parsed = Head::parse(kept, &mut space, &limits);
        debug_assert!(
            matches!(parsed, Ok(Some(_))),
            "a deferred request was parsed before"
        );
        let (head, head_len) = parsed.ok()??;
        let Ok(Body::Whole { bytes: body, end }) = self.body(clients, key, &head, kept, head_len)
        else {
            return None;
        };
        match answer {
            LateAnswer::Respond(response) => {
                clients.core.stats().requests.add(1);
                self.respond(clients, key, &head, &response, end);
            }
            LateAnswer::Refuse(refused) => {
                self.refuse(clients, key, &head, &refused, Some(end));
            }
            LateAnswer::Accept(accept) => {
                let upgrade = handshake::check(&head).ok()?;
                let router = Arc::clone(&self.router);
                let route = router.find(head.path)?;
                let request = Request {
                    head: &head,
                    parameter: route.parameter.as_deref(),
                    body: &body,
                    peer: clients.core.known(key).peer(),
                    connection: clients.core.connection_id(key),
                    context: None,
                };
                self.open(clients, key, &request, &upgrade, accept, received_ns);
            }
        }
        Some(end)
    }

    /// Makes the connection a WebSocket.
    fn open(
        &self,
        clients: &mut Clients,
        key: Key,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        accept: Accept<ErasedState>,
        received_ns: u64,
    ) {
        let offered = |chosen: &str| upgrade.protocols().any(|protocol| protocol == chosen);
        let own = accept.protocol.as_deref();
        let protocol = own.or(accept.terms.as_ref().and_then(|terms| terms.protocol));
        let protocol = protocol.filter(|protocol| offered(protocol));
        let endpoint = clients.core.known(key).endpoint();
        let settings = clients.core.settings_of(endpoint);
        let deflate = upgrade.deflate.filter(|_| settings.deflate.enabled);
        let extension = deflate.map(|deflate| deflate.to_string());
        let extension = extension.as_deref().map(|value| (EXTENSIONS, value));
        let mut response = Vec::with_capacity(256);
        // RFC 9110 §7.8: a client that asked for both gets both, in this order.
        if request.head.expects_continue {
            response.extend_from_slice(CONTINUE);
        }
        handshake::append_accept(&mut response, upgrade, protocol, extension.as_slice());
        clients
            .core
            .enqueue(key, response, Origin::Control, received_ns);
        let window_bits = deflate.map_or(0, Agreement::window_bits);
        let opening = Opening {
            state: accept.state,
            terms: accept.terms,
            window_bits,
            received_ns,
        };
        clients.open(key, request, opening);
    }

    /// Answers a request. The connection is kept for the next one if both sides want that.
    fn respond(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        response: &Response,
        end: usize,
    ) -> Step {
        let connection = clients.core.known(key);
        // A client that sends requests and does not read the answers is told that this was the last
        // one, and so is a client that cannot stay.
        let keep_alive = head.keep_alive()
            && self.stop.is_accepting()
            && connection.outbox_bytes() < RESPONSES_BYTES_MAX
            && connection.over_limit().is_none();
        self.send_response(clients, key, response, keep_alive, head.method == "HEAD");
        if keep_alive {
            Step::Done(end)
        } else {
            Step::Ended
        }
    }

    /// Queues an answer. Nothing follows it unless the connection is kept alive.
    fn send_response(
        &self,
        clients: &mut Clients,
        key: Key,
        response: &Response,
        keep_alive: bool,
        head_only: bool,
    ) {
        let mut bytes = Vec::with_capacity(256 + response.body.len());
        response.append_to(&mut bytes, SystemTime::now(), keep_alive, head_only);
        let now_ns = clients.core.clock().turn_ns();
        clients.core.enqueue(key, bytes, Origin::Control, now_ns);
        let deadline = clients.request_deadline();
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        let cold = connection.take_cold();
        if keep_alive {
            connection.set_deadline(deadline);
            if let Some(proxy) = cold.and_then(|cold| cold.proxy) {
                self.unidentify(clients, key, proxy);
            }
        } else {
            clients.drain(key);
        }
    }

    /// Answers a connection whose request is incomplete or unanswered, and ends it; silently if no
    /// request has begun.
    pub(in crate::engine) fn refuse_unfinished(
        &self,
        clients: &mut Clients,
        key: Key,
        refused: &Refused,
    ) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        // The received bytes are not needed after the answer.
        let cold = connection.cold_if_any();
        let received = cold.map(|cold| std::mem::take(&mut cold.received));
        match received.filter(|received| !received.is_empty()) {
            Some(received) => self.refuse_unparsed(clients, key, &received, refused),
            None => clients.drain(key),
        }
    }

    /// The time for a request is over.
    pub(in crate::engine) fn request_overdue(&self, clients: &mut Clients, key: Key) {
        if clients.is_reading_answer(key) {
            return;
        }
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        if let Some(over_limit) = connection.over_limit() {
            return clients.refusal_overdue(key, over_limit);
        }
        let cold = connection.cold();
        let is_silent = cold.is_none_or(|cold| cold.received.is_empty());
        if is_silent || connection.outbox_bytes() > 0 {
            return clients.client_gone(key);
        }
        let told = "The request took too long.";
        let refused = Refused::of(Refusal::HandshakeTimeout, 408, told);
        self.refuse_unfinished(clients, key, &refused);
    }
}

/// The refusal of an invalid upgrade.
fn no_upgrade(error: HandshakeError) -> Refused {
    let refused = Refused::new(error.status(), error.name(), error.to_string());
    let refused = refused.counted_as(Refusal::BadUpgrade);
    let headers = error.headers().iter();
    headers.fold(refused, |refused, (name, value)| {
        refused.with_header(*name, *value)
    })
}

/// The path of a request that may be malformed or cut off; empty if none can be found.
fn asked_path(request: &[u8]) -> &str {
    let line = request
        .trim_ascii_start()
        .split(|byte| *byte == b'\r')
        .next();
    let target = line.and_then(|line| line.split(|byte| *byte == b' ').nth(1));
    let path = target.and_then(|target| target.split(|byte| *byte == b'?').next());
    path.map_or("", |path| std::str::from_utf8(path).unwrap_or_default())
}

/// Whether a request that may be incomplete is a HEAD, whose answer has no body.
fn asks_for_head(request: &[u8]) -> bool {
    request.trim_ascii_start().starts_with(b"HEAD ")
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    /// The rows of the page's table whose first column has this name, each as its cells.
    fn rows_on_page(table: &str) -> Vec<Vec<&'static str>> {
        let lines = include_str!("HANDSHAKE.md").lines();
        let cells = |line: &'static str| -> Vec<&'static str> {
            let row = line
                .strip_prefix("| ")
                .and_then(|row| row.strip_suffix(" |"));
            row.map_or_else(Vec::new, |row| row.split(" | ").collect())
        };
        let rows = lines
            .map(cells)
            .skip_while(|row| row.first() != Some(&table));
        rows.skip(2).take_while(|row| !row.is_empty()).collect()
    }

    #[test]
    fn the_page_has_every_reason_to_refuse() {
        let rows = rows_on_page("refused");
        let labels = rows.iter().map(|row| row[0].trim_matches('`'));
        assert!(labels.eq(Refusal::LABELS.iter().copied()));
    }

    #[test]
    fn the_page_has_every_offence_of_an_upgrade_with_its_status() {
        let rows = rows_on_page("offence");
        assert_eq!(rows.len(), HandshakeError::VARIANTS.len());
        for (offence, row) in HandshakeError::VARIANTS.iter().zip(rows) {
            let status = offence.status().to_string();
            assert_eq!(row[..2], [format!("`{}`", offence.name()), status]);
        }
    }
}
