//! The bodies of plain requests, and the memory of unfinished requests.
//!
//! Called by `requests.rs`. A body is awaited only if all of it would be accepted, so a request
//! that can be refused by its head is refused before this, and before a 100.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::engine::answer::{HeadVerdict, Request};
use crate::engine::clients::Clients;
use crate::engine::clients::connection::Chunked;
use crate::engine::edge::Edge;
use crate::engine::ids::Key;
use crate::fanout::outbox::Origin;
use crate::limits::BODY_BYTES_MAX;
use crate::wire::http::{BodyLength, ChunkedDecoder, Head, HttpError};

/// The answer that lets a waiting client send its body (RFC 9110 §15.2.1).
pub(in crate::engine) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The outcome of handling the bytes of a request.
pub(in crate::engine) enum Step {
    /// More bytes are needed.
    Incomplete,
    /// This many bytes were used; the next request, or frames, follow.
    Done(usize),
    /// The endpoint answers later, and the bytes are kept until then.
    Deferred,
    /// Bytes that follow are ignored.
    Ended,
}

/// The state of a body.
pub(in crate::engine) enum Body<'b> {
    Whole { bytes: Cow<'b, [u8]>, end: usize },
    Incomplete,
}

impl Edge {
    /// Handles a plain request. Its head is checked once, before any of its body is awaited.
    pub(in crate::engine) fn handle_with_body(
        &self,
        clients: &mut Clients,
        key: Key,
        request: &Request<'_>,
        bytes: &[u8],
        head_len: usize,
    ) -> Step {
        let head = request.head;
        match self.body(clients, key, head, bytes, head_len) {
            Ok(Body::Whole { bytes: body, end }) => {
                let verdict = verdict_on(clients, key).and_then(Option::take);
                let request = Request {
                    body: &body,
                    ..*request
                };
                self.handle_plain(clients, key, &request, verdict.as_ref(), end)
            }
            Ok(Body::Incomplete) => {
                if let Some(step) = self.check_head(clients, key, request) {
                    return step;
                }
                self.invite_body(clients, key, head, bytes.len() - head_len);
                Step::Incomplete
            }
            Err(error) => self.bad_request(clients, key, error, bytes),
        }
    }

    /// Answers a request whose body has yet to come, if its head decides the answer.
    fn check_head(&self, clients: &mut Clients, key: Key, request: &Request<'_>) -> Option<Step> {
        if verdict_on(clients, key).is_some_and(|verdict| verdict.is_some()) {
            return None;
        }
        let service = self.service_of(clients, key);
        let mut responder = clients.responder(key);
        let call = AssertUnwindSafe(|| service.check_head(request, &mut responder));
        match catch_unwind(call) {
            Ok(HeadVerdict::Answered(answer)) => {
                Some(self.give(clients, key, request.head, answer, None))
            }
            Ok(verdict) => {
                if let Some(connection) = clients.core.connection(key) {
                    connection.cold_mut().verdict = Some(verdict);
                }
                None
            }
            Err(_) => Some(self.failed(clients, key, request.head)),
        }
    }

    /// The body behind the head at the front of `bytes`.
    pub(in crate::engine) fn body<'b>(
        &self,
        clients: &mut Clients,
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
            BodyLength::Chunked => return self.chunked_body(clients, key, bytes, head_len),
        };
        let end = head_len + length;
        if let Some(body) = bytes.get(head_len..end) {
            return Ok(Body::Whole {
                bytes: body.into(),
                end,
            });
        }
        if let Some(connection) = clients.core.connection(key) {
            connection.cold_mut().wanted_bytes = end;
        }
        Ok(Body::Incomplete)
    }

    fn chunked_body<'b>(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &'b [u8],
        head_len: usize,
    ) -> Result<Body<'b>, HttpError> {
        let Some(connection) = clients.core.connection(key) else {
            return Ok(Body::Incomplete);
        };
        let cold = connection.cold_mut();
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

    /// Tells a waiting client to send the body, once and only if none of the body has come (RFC
    /// 9110 §10.1.1).
    fn invite_body(
        &self,
        clients: &mut Clients,
        key: Key,
        head: &Head<'_>,
        received_body_bytes: usize,
    ) {
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        let cold = connection.cold_mut();
        if !head.expects_continue || std::mem::replace(&mut cold.is_body_invited, true) {
            return;
        }
        if received_body_bytes == 0 {
            let now_ns = clients.core.clock().turn_ns();
            clients
                .core
                .enqueue(key, CONTINUE.to_vec(), Origin::Control, now_ns);
        }
    }
}

pub(in crate::engine) fn has_body(head: &Head<'_>) -> bool {
    !matches!(head.body, BodyLength::None | BodyLength::Length(0))
}

/// The end of a request whose body is not awaited; `None` if its body has not arrived completely.
pub(in crate::engine) fn end_without_body(head: &Head<'_>, head_len: usize) -> Option<usize> {
    (!has_body(head)).then_some(head_len)
}

fn verdict_on(clients: &mut Clients, key: Key) -> Option<&mut Option<HeadVerdict>> {
    let connection = clients.core.connection(key)?;
    Some(&mut connection.cold_if_any()?.verdict)
}
