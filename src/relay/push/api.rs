//! The push API: back ends push over plain HTTP, list the pending pushes, and cancel them.
//!
//! | request | answer |
//! |---|---|
//! | `POST` its path | pushes one order, or an array of them: all or none |
//! | `GET` its path + `/pending` | the delayed pushes, by number, a page at a time |
//! | `DELETE` its path + `/pending/{id}` | cancels one |
//!
//! All requests need a key. Every answer is JSON with `code` (0 or -1) and `msg`; `docs/push.md`
//! lists all of them. One value serves all three paths, since they share the thread that keeps
//! delayed pushes; it is started with the engine.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::EVERYBODY;
use super::order::{Order, Orders, Receipt, Target, frame};
use super::pending::Pending;
use super::refusal::Refusal;
use super::schedule::{Schedule, now_ms};
use super::settings::PushSettings;
use super::stats::PushStats;
use crate::engine::{
    Answer, DeferredResponse, EndpointError, Handle, HeadVerdict, Refused, Request, Responder,
    Service,
};
use crate::fanout::Recipients;
use crate::fanout::room::EndpointId;
use crate::guard::{self, Scope};
use crate::limits::{PENDING_PER_PAGE_MAX, SCHEDULE_ANSWER_TIMEOUT};
use crate::relay::api_keys::{ApiKeys, KeyDenial, header_key};
use crate::wire::frame::MessageKind;
use crate::wire::http::{Response, query_value};

/// The published default key of an earlier relay.
const PUBLISHED_KEY: &[u8] = b"U2FsdGVkX18ucQzBA+ozhc3ySrVZ";

/// The push API of one endpoint.
pub struct PushApi {
    settings: PushSettings,
    sockets: EndpointId,
    keys: ApiKeys,
    stats: Arc<PushStats>,
    schedule: OnceLock<Schedule>,
    /// Whether the log has warned that a push without a valid user goes to all clients.
    is_fallback_told: AtomicBool,
}

/// One of the three paths.
enum Place<'r> {
    Push,
    List,
    One(&'r str),
}

impl PushApi {
    /// An API that pushes to the connections of the endpoint `sockets`.
    pub fn new(
        settings: PushSettings,
        sockets: EndpointId,
        keys: ApiKeys,
        stats: Arc<PushStats>,
    ) -> PushApi {
        PushApi {
            settings,
            sockets,
            keys,
            stats,
            schedule: OnceLock::new(),
            is_fallback_told: AtomicBool::new(false),
        }
    }

    /// The paths that it serves.
    pub fn paths(path: &str) -> [String; 3] {
        [
            path.to_owned(),
            format!("{path}/pending"),
            format!("{path}/pending/{{id}}"),
        ]
    }

    fn place<'r>(&self, request: &Request<'r>) -> Place<'r> {
        match request.parameter {
            Some(id) => Place::One(id),
            None if request.head.path == self.settings.path => Place::Push,
            None => Place::List,
        }
    }

    /// Checks the key, which is in a header of its own, else in the query, else a bearer: the first
    /// that is not empty decides. Returns the refusal, if the key is refused.
    fn check_key(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Option<Answer> {
        let query = request.head.query.unwrap_or_default();
        let key = match header_key(request.head) {
            Some(key) => Some(Cow::Borrowed(key)),
            None => query_value(query, "api_key").filter(|key| !key.is_empty()),
        };
        let key = key.or_else(|| guard::bearer(request.head).map(Cow::Borrowed));
        let client = request.peer;
        let checked = self
            .keys
            .check(key.as_deref(), Scope::Push, client, responder);
        let denial = checked.err()?;
        let refusal = match denial {
            KeyDenial::Missing | KeyDenial::Bad => Refusal::InvalidKey,
            KeyDenial::Scope(_) => Refusal::KeyScope,
            KeyDenial::Throttled(_) => Refusal::KeyRate,
        };
        self.stats.count_refused(refusal);
        let refused = refusal.refused().counted_as(denial.reason());
        Some(Answer::Refuse(match denial {
            KeyDenial::Throttled(throttled) => refused.retry_after(throttled.retry_after_s),
            _ => refused,
        }))
    }

    /// Warns once that private pushes may go to all clients, if a key to push with is set.
    fn warn_of_fallback(&self) {
        let is_meant = self.settings.broadcast_fallback && !self.keys.is_empty();
        if is_meant && !self.is_fallback_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                path = self.settings.path,
                "a push whose token names no user goes to all clients; broadcast_fallback: false \
                 refuses it"
            );
        }
    }

    fn refuse(&self, refusal: Refusal, index: Option<usize>) -> Answer {
        self.stats.count_refused(refusal);
        Answer::Now(refusal.response(index))
    }

    fn push(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let orders = match self.accept(request.body) {
            Ok(orders) => orders,
            Err((refusal, index)) => return self.refuse(refusal, index),
        };
        let Some(schedule) = self.schedule.get() else {
            return self.refuse(Refusal::Journal, None);
        };
        let delayed: Vec<Pending> = orders
            .as_slice()
            .iter()
            .filter_map(|order| pending(order, schedule))
            .collect();
        if !delayed.is_empty()
            && let Err(refusal) = schedule.reserve(&delayed)
        {
            return self.refuse(refusal, None);
        }
        let response = self.carry_out(&orders, &delayed, responder);
        if delayed.is_empty() {
            return Answer::Now(response);
        }
        let (answer, token) = responder.response(SCHEDULE_ANSWER_TIMEOUT);
        schedule.add(delayed, token, response);
        answer
    }

    /// Parses the orders and checks each of them.
    fn accept<'b>(&self, body: &'b [u8]) -> Result<Orders<'b>, (Refusal, Option<usize>)> {
        let orders = Orders::parse(body)?;
        let is_batch = matches!(orders, Orders::Batch(_));
        for (index, order) in orders.as_slice().iter().enumerate() {
            let index = is_batch.then_some(index);
            match order.target() {
                Target::Ambiguous => return Err((Refusal::AmbiguousToken, index)),
                Target::Unresolvable if !self.settings.broadcast_fallback => {
                    return Err((Refusal::UnresolvableToken, index));
                }
                _ => {}
            }
            let is_too_long = |seconds| Duration::from_secs(seconds) > self.settings.delay_max;
            if u64::try_from(order.delay_seconds()).is_ok_and(is_too_long) {
                return Err((Refusal::DelayTooLong, index));
            }
        }
        Ok(orders)
    }

    /// Publishes the immediate pushes. Returns the answer, with the numbers of `delayed`.
    fn carry_out(
        &self,
        orders: &Orders<'_>,
        delayed: &[Pending],
        responder: &mut Responder<'_>,
    ) -> Response {
        let mut ids = delayed.iter().map(|pending| pending.id);
        let mut data = String::with_capacity(256);
        for order in orders.as_slice() {
            if !data.is_empty() {
                data.push(',');
            }
            let target = order.target();
            let user = match &target {
                Target::User(user) => Some(&**user),
                _ => None,
            };
            let is_now = order.delay_seconds() <= 0;
            let receipt = Receipt {
                event_name: order.event_name(),
                delay_seconds: order.delay_seconds(),
                user,
                token: order.token().get(),
                queued: if is_now {
                    self.publish(order, user, responder)
                } else {
                    0
                },
                id: if is_now { None } else { ids.next() },
                unknown_fields: order.unknown_fields(),
            };
            receipt.append_to(&mut data);
        }
        let body = match orders {
            Orders::One(_) => format!("{{\"code\":0,\"msg\":\"ok\",\"data\":{data}}}"),
            Orders::Batch(_) => format!("{{\"code\":0,\"msg\":\"ok\",\"data\":[{data}]}}"),
        };
        Response::json(200, body)
    }

    /// Publishes a push. Returns the number of connections that it was queued for.
    fn publish(&self, order: &Order<'_>, user: Option<&str>, responder: &mut Responder<'_>) -> u32 {
        self.stats.accepted[0].add(1);
        let room = user.unwrap_or(EVERYBODY);
        let members = responder.members(self.sockets, room);
        if members == 0 {
            return 0;
        }
        let (subject, token) = (order.subject().get(), order.token().get());
        let frame = frame(order.event_name(), subject, now_ms(), token);
        let (kind, payload) = (MessageKind::Text, frame.as_bytes());
        if !responder.publish(self.sockets, room, Recipients::All, kind, payload) {
            return 0;
        }
        self.stats.queued.add(members.into());
        members
    }

    fn list(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let query = request.head.query.unwrap_or_default();
        let number = |name, default: u64| match query_value(query, name) {
            Some(text) => text.parse().ok(),
            None => Some(default),
        };
        let limit = number("limit", PENDING_PER_PAGE_MAX as u64).filter(|limit| *limit > 0);
        let (Some(limit), Some(after)) = (limit, number("after", 0)) else {
            return self.refuse(Refusal::InvalidQuery, None);
        };
        self.ask(responder, |schedule, token| {
            schedule.list(
                after,
                limit.min(PENDING_PER_PAGE_MAX as u64) as usize,
                token,
            );
        })
    }

    fn cancel(&self, id: &str, responder: &mut Responder<'_>) -> Answer {
        match id.parse() {
            Ok(id) => self.ask(responder, |schedule, token| schedule.cancel(id, token)),
            Err(_) => self.refuse(Refusal::NotPending, None),
        }
    }

    fn ask(
        &self,
        responder: &mut Responder<'_>,
        question: impl FnOnce(&Schedule, DeferredResponse),
    ) -> Answer {
        let Some(schedule) = self.schedule.get() else {
            return self.refuse(Refusal::Journal, None);
        };
        let (answer, token) = responder.response(SCHEDULE_ANSWER_TIMEOUT);
        question(schedule, token);
        answer
    }
}

impl Place<'_> {
    /// The methods that the path supports, as in `Allow`.
    fn methods(&self) -> &'static [&'static str] {
        match self {
            Place::Push => &["POST", "OPTIONS"],
            Place::List => &["GET", "HEAD", "OPTIONS"],
            Place::One(_) => &["DELETE", "OPTIONS"],
        }
    }
}

/// A delayed order as it is stored; `None` for an immediate one.
fn pending(order: &Order<'_>, schedule: &Schedule) -> Option<Pending> {
    let delay_s = u64::try_from(order.delay_seconds()).ok();
    let delay_s = delay_s.filter(|delay_s| *delay_s > 0)?;
    Some(Pending {
        id: schedule.next_id(),
        due_ms: now_ms() + delay_s * 1_000,
        event_name: order.event_name().into(),
        subject: order.subject().to_owned(),
        token: order.token().to_owned(),
        user: match order.target() {
            Target::User(user) => Some(user.into()),
            _ => None,
        },
    })
}

/// A refusal in the form of the earlier relay: `msg` is the code.
pub(crate) fn rendered(refused: &Refused) -> Response {
    let message = match refused.code {
        "no_websocket" => "no websocket here",
        code => code,
    };
    let body = format!("{{\"code\":-1,\"msg\":\"{message}\"}}");
    refused.with_headers_on(Response::json(refused.status, body))
}

impl Service for PushApi {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        if self.keys.contains(PUBLISHED_KEY) {
            tracing::warn!("api.keys has the published default key of go-websocket-relay");
        }
        self.warn_of_fallback();
        self.keys.watch(handle);
        let stats = Arc::clone(&self.stats);
        let schedule = Schedule::start(&self.settings, stats, handle.clone(), self.sockets)?;
        // An endpoint is started only once, so the cell is empty.
        let _ = self.schedule.set(schedule);
        Ok(())
    }

    /// Only the keys can change; the settings take effect after a restart.
    fn reload(&self, next: &Self) {
        self.keys.reload(&next.keys);
        self.warn_of_fallback();
    }

    fn reasons(&self) -> Vec<&'static str> {
        guard::reasons()
    }

    /// All methods, so that this service refuses the unsupported ones itself, in JSON.
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    }

    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        let (method, methods) = (request.head.method, self.place(request).methods());
        if !methods.contains(&method) || method == "OPTIONS" {
            let response = match method {
                "OPTIONS" => Response::new(204),
                _ => {
                    self.stats.count_refused(Refusal::Method);
                    Refusal::Method.response(None)
                }
            };
            let response = response.with_header("Allow", methods.join(", "));
            return HeadVerdict::Answered(Answer::Now(response));
        }
        match self.check_key(request, responder) {
            None => HeadVerdict::Admitted(None),
            Some(refused) => HeadVerdict::Answered(refused),
        }
    }

    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        match self.place(request) {
            Place::Push => self.push(request, responder),
            Place::List => self.list(request, responder),
            Place::One(id) => self.cancel(id, responder),
        }
    }

    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        match self.check_head(request, responder) {
            HeadVerdict::Answered(answer) => answer,
            HeadVerdict::Open | HeadVerdict::Admitted(_) => {
                self.checked_request(request, responder)
            }
        }
    }
}
