//! The thread that carries out calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use corecast_nostr::{Bytes32, Call, Change, List, METHODS, Methods, Request, to_hex};
use crossbeam_channel::{Receiver, bounded};
use serde_json::{Value, json};

use super::super::mail::Mail;
use super::super::shard::Shared;
use super::super::stats::ManagementResult;
use super::write::Write;
use super::{Caller, Management};
use super::{answers, reports};
use crate::engine::{DeferredResponse, Ended, Mailer};

const STORE_FAILED: &str = "error: the store is unavailable at the moment";

/// A call to carry out.
pub(in super::super) struct Job {
    pub(super) caller: Caller,
    pub(super) call: Call,
    pub(super) token: DeferredResponse,
}

/// The thread's data.
pub(in super::super) struct Worker {
    pub(in super::super) shared: Arc<Shared>,
    pub(in super::super) more: Option<Arc<dyn Management>>,
}

impl Worker {
    /// Carries out calls, one at a time, until the endpoint ends.
    pub(in super::super) fn run(
        &self,
        jobs: &Receiver<Job>,
        mailer: &Mailer<Mail>,
    ) -> Result<(), Ended> {
        while let Ok(Job {
            caller,
            call,
            token,
        }) = jobs.recv()
        {
            let outcome = self.carry_out(&caller, &call, mailer)?;
            let (admin, method) = (to_hex(&caller.key), &call.method);
            let result = match &outcome {
                Ok(_) => ManagementResult::Done,
                Err(_) => ManagementResult::Failed,
            };
            self.shared.common.stats.count_management(result);
            match outcome {
                Ok(result) => {
                    tracing::info!(admin, method, "management: done");
                    token.respond(answers::done(&result));
                }
                Err(told) => {
                    tracing::info!(admin, method, "management: failed");
                    token.respond(answers::failed(200, &told));
                }
            }
        }
        Ok(())
    }

    fn carry_out(
        &self,
        caller: &Caller,
        call: &Call,
        mailer: &Mailer<Mail>,
    ) -> Result<Result<Value, String>, Ended> {
        let (common, admin) = (&self.shared.common, &caller.key);
        let request = match Request::of(call) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(self.carry_out_other(caller, call)),
            Err(told) => return Ok(Err(format!("invalid: {told}"))),
        };
        Ok(match request {
            Request::SupportedMethods => Ok(self.supported(admin)),
            Request::Stats => Ok(self.stats()),
            Request::List(list) => Ok(common.desk.list(list)),
            Request::EventsNeedingModeration => reports::undecided(common).map_err(|error| {
                tracing::error!(%error, "reported events were not listed");
                STORE_FAILED.to_owned()
            }),
            Request::Change(change) => {
                let changed = self.change(admin, &change);
                if changed.is_ok() && matches!(change, Change::BlockIp(..)) {
                    for shard in 0..mailer.shards() {
                        mailer.send(shard, Mail::address_blocked())?;
                    }
                }
                changed.map(|()| Value::Bool(true))
            }
        })
    }

    /// Makes a change durable, then effective.
    fn change(&self, admin: &Bytes32, change: &Change) -> Result<(), String> {
        let desk = &self.shared.common.desk;
        self.check_admins(admin, change)?;
        let note = desk.read(|moderation| moderation.note(change));
        let note = note.map_err(|told| format!("invalid: {told}"))?;
        let (done, written) = bounded(1);
        let write = Write {
            note: note.clone(),
            done,
        };
        let sent = self.shared.writes.send(write);
        let written = sent.ok().and_then(|()| written.recv().ok());
        let written = written.ok_or("error: the relay is shutting down")?;
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a management call was not stored");
            STORE_FAILED.to_owned()
        };
        written.map_err(|error| failed(&error))?;
        desk.apply(&note, &self.shared.settings)
            .map_err(|error| failed(&error))
    }

    /// An admin grants no more than it has, and the configured admins stay.
    fn check_admins(&self, admin: &Bytes32, change: &Change) -> Result<(), String> {
        let desk = &self.shared.common.desk;
        match change {
            Change::GrantAdmin(_, methods) => {
                let own = desk.methods_of(admin);
                match own.is_some_and(|own| own.contain_all(methods)) {
                    true => Ok(()),
                    false => Err("restricted: an admin grants only methods of its own".to_owned()),
                }
            }
            Change::RevokeAdmin(key, _) if desk.is_configured(key) => {
                Err("restricted: this admin is in the configuration".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn carry_out_other(&self, caller: &Caller, call: &Call) -> Result<Value, String> {
        let unknown = || {
            Err(format!(
                "unsupported: the method {} is unknown; supportedmethods lists those that work",
                call.method
            ))
        };
        let Some(more) = &self.more else {
            return unknown();
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            more.manage(caller, &call.method, &call.params)
        }));
        match outcome {
            Ok(outcome) => outcome.unwrap_or_else(unknown),
            Err(_) => Err("error: the method failed".to_owned()),
        }
    }

    /// The methods that the admin may use, besides this one.
    fn supported(&self, admin: &Bytes32) -> Value {
        let own = self.shared.common.desk.methods_of(admin);
        let own = own.unwrap_or(Methods::Some(Default::default()));
        let more = self.more.as_ref().map(|more| more.methods());
        let all = METHODS.iter().map(|name| (*name).to_owned());
        let all = all.chain(more.into_iter().flatten());
        all.filter(|name| own.contain(name)).collect()
    }

    fn stats(&self) -> Value {
        let common = &self.shared.common;
        let (events, bytes) = common.store.size();
        common.desk.read(|moderation| {
            json!({
                "events": events,
                "bytes": bytes,
                "subscriptions": common.stats.open_subscriptions(),
                "banned_pubkeys": moderation.entries(List::BannedKeys),
                "allowed_pubkeys": moderation.entries(List::AllowedKeys),
                "banned_events": moderation.entries(List::BannedEvents),
                "allowed_events": moderation.entries(List::AllowedEvents),
                "blocked_ips": moderation.entries(List::BlockedIps),
            })
        })
    }
}
