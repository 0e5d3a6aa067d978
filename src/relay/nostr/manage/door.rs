//! Calls over HTTP: the checks before a call is carried out.

use std::time::{Duration, Instant};

use corecast_nostr::{Bytes32, Call};
use crossbeam_channel::TrySendError;

use super::super::Nostr;
use super::super::clock::unix_now;
use super::super::http::{has_type, with_cors};
use super::super::stats::ManagementResult;
use super::Caller;
use super::answers::{CALL_BYTES_MAX, RPC, failed, too_large, unproven};
use super::used::Unusable;
use super::work::Job;
use crate::engine::{Answer, Request, Responder};
use crate::wire::http::{BodyLength, Head, Response};

/// Time limit of a call.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

impl Nostr {
    /// The refusal of a POST that its head decides.
    pub(in super::super) fn refusal_of_post(&self, head: &Head<'_>) -> Option<Response> {
        if !has_type(head.header("content-type"), RPC) {
            let told = format!("A POST to this relay must be a management call: {RPC}.\n");
            return Some(with_cors(Response::text(415, told)));
        }
        if !self.shared.common.desk.is_on() {
            let off = failed(
                405,
                "management is off: this relay has no admins, or no URL",
            );
            return Some(off.with_header("Allow", "GET, HEAD, OPTIONS"));
        }
        match head.body {
            BodyLength::Length(bytes) if bytes > CALL_BYTES_MAX as u64 => {
                Some(self.refuse(too_large()))
            }
            _ if head.header("authorization").is_none() => {
                let told = "the header Authorization is missing: Nostr and an event (NIP-98)";
                Some(self.refuse(unproven(told)))
            }
            _ => None,
        }
    }

    /// Answers a POST.
    pub(in super::super) fn manage(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Answer {
        if let Some(refusal) = self.refusal_of_post(request.head) {
            return Answer::Now(refusal);
        }
        if request.body.len() > CALL_BYTES_MAX {
            return Answer::Now(self.refuse(too_large()));
        }
        if let Err(throttled) = responder.may_try(request.peer) {
            self.count(ManagementResult::Refused);
            return Answer::Refuse(throttled.refused());
        }
        let begin = Instant::now();
        let admitted = self.admit_call(request.head, request.body);
        responder.spent(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        match admitted {
            Ok((key, call)) => {
                let caller = Caller {
                    key,
                    connection: request.connection,
                    ip: request.peer.ip(),
                };
                self.pass_on(caller, call, responder)
            }
            Err(refusal) => {
                if matches!(refusal.status, 401 | 403) {
                    // The client gets this answer in any case, and 429 to its next request.
                    let _ = responder.failed(request.peer);
                }
                Answer::Now(self.refuse(refusal))
            }
        }
    }

    /// The call, and the admin who has signed it.
    fn admit_call(&self, head: &Head<'_>, body: &[u8]) -> Result<(Bytes32, Call), Response> {
        let desk = &self.shared.common.desk;
        let now = unix_now();
        let header = head.header("authorization").unwrap_or_default();
        let proven = self.shared.settings.urls.prove_request(header, body, now);
        let proof = proven.map_err(|error| unproven(&error.to_string()))?;
        let Some(methods) = desk.methods_of(&proof.key) else {
            return Err(failed(
                403,
                "restricted: this key is not an admin of this relay",
            ));
        };
        desk.take(&proof, now).map_err(|unusable| match unusable {
            Unusable::Used => unproven("invalid: this authorization was used before"),
            Unusable::TooOld => unproven("invalid: this authorization is too old; sign another"),
            Unusable::Full => failed(429, "rate-limited: too many calls; wait a minute"),
        })?;
        let call = Call::parse(body).map_err(|told| failed(200, &format!("invalid: {told}")))?;
        if call.method != "supportedmethods" && !methods.contain(&call.method) {
            let told = format!("restricted: this admin may not use {}", call.method);
            return Err(failed(403, &told));
        }
        Ok((proof.key, call))
    }

    fn pass_on(&self, caller: Caller, call: Call, responder: &mut Responder<'_>) -> Answer {
        let (answer, token) = responder.response(CALL_TIME_MAX);
        match self.calls.try_send(Job {
            caller,
            call,
            token,
        }) {
            Ok(()) => answer,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Answer::Now(self.refuse(failed(503, "error: the relay is busy with other calls")))
            }
        }
    }

    fn refuse(&self, refusal: Response) -> Response {
        self.count(match refusal.status {
            401 | 403 | 429 => ManagementResult::Refused,
            _ => ManagementResult::Failed,
        });
        refusal
    }

    fn count(&self, result: ManagementResult) {
        self.shared.common.stats.count_management(result);
    }
}
