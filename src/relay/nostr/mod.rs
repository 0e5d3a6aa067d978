//! A Nostr relay: clients send signed events, and get those that match their subscriptions.
//!
//! `docs/nostr.md` is for operators. The protocol itself is in `crates/nostr`; this module connects
//! it with the engine. A message is parsed on its client's shard (`ingest.rs`, `subscriptions.rs`).
//! Signatures are verified there too, a few per turn. One thread writes the store and several read
//! it (`threads.rs`); they answer by mail. A stored event is encoded once and goes to all shards
//! with subscriptions, each of which looks up its recipients in an index of its own (`live.rs`).

mod catch_up;
mod clock;
mod count;
mod deliveries;
mod handle;
mod hooked;
mod hooks;
mod http;
mod ingest;
mod known;
mod live;
mod mail;
mod manage;
mod on_disk;
pub mod policies;
mod request;
mod settings;
mod shard;
mod stats;
mod subscriptions;
mod sync;
mod sync_step;
mod syncs;
mod table;
mod threads;
mod waiting;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use corecast_nostr::{ClientMessage, MemoryStore, MessageError, Store, claimed_id, reply};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use self::clock::unix_now;
use self::handle::HANDLE_EVENTS_MAX;
pub use self::handle::{AddError, Added, Adding, NostrHandle};
use self::hooks::Hooked;
pub use self::hooks::{
    Context, HookList, NostrHooks, Operation, Prefix, Rejection, Router, Subscriber,
};
pub use self::http::rendered;
use self::mail::{Job, Mail, Submission};
pub use self::manage::{Caller, Management};
use self::manage::{Desk, Worker, Write};
use self::on_disk::StoreOnDisk;
pub use self::settings::{NostrSettings, SyncSettings};
use self::shard::{Effects, Inner, NostrShard, Shared};
pub(crate) use self::stats::{
    EventResult, ManagementResult, NostrTotals, QueryResult, ShardDurations,
};
pub use self::stats::{NamedStats, NostrStats};
use self::threads::Common;
use self::waiting::IN_FLIGHT_MAX;
use crate::engine::{
    Accept, Admission, Answer, CloseReason, Endpoint, EndpointError, Handle, HeadVerdict, Mailer,
    OnShard, Request, Responder, Service, Session,
};
use crate::fanout::ConnectionId;
use crate::limits::SHARDS_MAX;
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;

/// Capacity of the queue of the writing thread: all events that the shards and the handles may have
/// in flight.
const SUBMISSIONS_MAX: usize = IN_FLIGHT_MAX * SHARDS_MAX + HANDLE_EVENTS_MAX;

/// Most management calls that may wait.
const CALLS_MAX: usize = 64;

/// A Nostr relay at an exact path.
pub struct Nostr {
    shared: Arc<Shared>,
    /// Calls of the management API.
    calls: Sender<manage::Job>,
    /// Methods of that API that the relay does not have itself.
    more: Option<Arc<dyn Management>>,
    /// The receiving ends of the queues, until the threads take them.
    queues: Mutex<Option<Queues>>,
    mailers: Mutex<Vec<Sender<Mailer<Mail>>>>,
}

/// The receiving ends of a relay's queues.
struct Queues {
    jobs: Receiver<Job>,
    submissions: Receiver<Submission>,
    writes: Receiver<Write>,
    calls: Receiver<manage::Job>,
}

impl Nostr {
    /// A relay with the store of its settings, which is opened when the relay starts.
    pub fn new(settings: NostrSettings) -> Nostr {
        let store: Arc<dyn Store> = match &settings.store {
            Some(folder) => Arc::new(StoreOnDisk::new(folder.clone())),
            None => Arc::new(MemoryStore::new(settings.memory_events)),
        };
        Nostr::with_store(settings, store)
    }

    /// A relay with this store.
    pub fn with_store(mut settings: NostrSettings, store: Arc<dyn Store>) -> Nostr {
        let desk = Arc::new(Desk::new(&mut settings));
        let (job_sender, jobs) = unbounded();
        let (submission_sender, submissions) = bounded(SUBMISSIONS_MAX);
        let (write_sender, writes) = bounded(1);
        let (calls, call_receiver) = bounded(CALLS_MAX);
        let stats = Arc::<NostrStats>::default();
        let common = Common {
            store,
            hooks: Hooked::new(settings.hooks.clone(), Arc::clone(&stats)),
            stats,
            private: Arc::clone(&settings.private),
            desk,
            queries: settings.queries,
            count_max: settings.count_max,
            sync_events_max: settings.sync.events_max.unwrap_or(0),
            sync_memory: sync_step::memory(&settings.sync),
            deflate: settings.deflate,
            subscriptions: (0..SHARDS_MAX).map(|_| AtomicUsize::new(0)).collect(),
            inflating: AtomicUsize::new(0),
            removals: AtomicU64::new(0),
            by_handles: AtomicUsize::new(0),
        };
        Nostr {
            calls,
            more: None,
            shared: Arc::new(Shared {
                settings,
                common: Arc::new(common),
                jobs: job_sender,
                submissions: submission_sender,
                writes: write_sender,
                engine: OnceLock::new(),
            }),
            queues: Mutex::new(Some(Queues {
                jobs,
                submissions,
                writes,
                calls: call_receiver,
            })),
            mailers: Mutex::default(),
        }
    }

    /// Adds methods to the management API (NIP-86). Those of the relay itself come first.
    #[must_use]
    pub fn with_management(mut self, more: Arc<dyn Management>) -> Nostr {
        self.more = Some(more);
        self
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<NostrStats> {
        &self.shared.common.stats
    }

    /// A handle for other threads.
    pub fn handle(&self) -> NostrHandle {
        NostrHandle::new(&self.shared)
    }

    /// Starts the threads. They wait for the mailer to the shards.
    fn start(&self, queues: &Queues) -> Result<(), EndpointError> {
        let mut mailers = self.mailers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut begin = |name: &str, run: Box<dyn Run>| {
            let (sender, receiver) = bounded(1);
            mailers.push(sender);
            threads::start(name, receiver, run)
        };
        let (common, submissions) = (Arc::clone(&self.shared.common), queues.submissions.clone());
        let writes = queues.writes.clone();
        begin(
            "nostr-writer",
            Box::new(move |mailer| threads::write(&common, &submissions, &writes, mailer)),
        )?;
        if self.shared.settings.has_management() {
            let (shared, more) = (Arc::clone(&self.shared), self.more.clone());
            let (worker, calls) = (Worker { shared, more }, queues.calls.clone());
            begin(
                "nostr-manage",
                Box::new(move |mailer| worker.run(&calls, mailer)),
            )?;
        }
        for number in 0..self.shared.settings.readers {
            let (common, jobs) = (Arc::clone(&self.shared.common), queues.jobs.clone());
            begin(
                &format!("nostr-reader-{number}"),
                Box::new(move |mailer| threads::read(&common, &jobs, mailer)),
            )?;
        }
        Ok(())
    }
}

/// The work of a thread, which gets the mailer to the shards.
trait Run: FnOnce(&Mailer<Mail>) -> Result<(), crate::engine::Ended> + Send {}

impl<F: FnOnce(&Mailer<Mail>) -> Result<(), crate::engine::Ended> + Send> Run for F {}

impl Endpoint for Nostr {
    type State = ();
    type Local = NostrShard;

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.shared.engine.get_or_init(|| handle.clone());
        let Shared {
            settings, common, ..
        } = &*self.shared;
        common.store.open()?;
        common.stats.set_store_size(common.store.size());
        common.desk.load(&common.store.notes()?, settings)?;
        let queues = self
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        queues.map_or(Ok(()), |queues| self.start(&queues))
    }

    fn mailer(&self, mailer: Mailer<Mail>) {
        let mut waiting = self.mailers.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in waiting.drain(..) {
            // The receiving thread waits for this message only.
            let _ = thread.send(mailer.clone());
        }
    }

    fn started_on(&self, _shard: &mut OnShard<'_, NostrShard>, local: &mut NostrShard) {
        local.0 = Some(Box::new(Inner::new(Arc::clone(&self.shared))));
    }

    fn admit(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Admission {
        if let Some(refused) = self.refuse_blocked(request.peer) {
            return refused;
        }
        match self.shared.common.hooks.check_connection(request) {
            Ok(()) => Admission::Accept(Accept::new()),
            Err(refused) => Admission::Refuse(refused),
        }
    }

    fn opened(&self, session: &mut Session<'_, (), NostrShard>, _request: &Request<'_>) {
        self.close_if_blocked(session);
        if !self.shared.common.hooks.is_empty() {
            let (id, ip) = (session.id(), session.peer().ip());
            if let Some(local) = &mut session.local().0 {
                local.clients.entry(id).or_default().ip = ip;
            }
        }
        if session.inflates() {
            self.shared.common.inflating.fetch_add(1, Ordering::Relaxed);
        }
        let settings = &self.shared.settings;
        if settings.challenges_all && settings.has_auth() {
            let id = session.id();
            let local = session.local().0.as_mut();
            if let Some(challenge) = local.and_then(|local| local.challenge(id)) {
                session.send(MessageKind::Text, challenge.as_bytes());
            }
        }
    }

    fn message(&self, session: &mut Session<'_, (), NostrShard>, message: Message<'_>) {
        let id = session.id();
        let mut effects = Effects::default();
        if let Some(local) = &mut session.local().0 {
            local.take_message(id, &message, &mut effects);
        }
        if effects.wants_turn {
            session.ask_for_turn();
        }
        effects.apply(session);
    }

    fn drained(&self, session: &mut Session<'_, (), NostrShard>) {
        let id = session.id();
        if let Some(local) = &mut session.local().0 {
            local.drained(id);
        }
    }

    fn closed(&self, session: &mut Session<'_, (), NostrShard>, _reason: &CloseReason) {
        if session.inflates() {
            self.shared.common.inflating.fetch_sub(1, Ordering::Relaxed);
        }
        let id = session.id();
        if let Some(local) = &mut session.local().0 {
            local.forget(id);
        }
    }
}

impl Service for Nostr {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD", "OPTIONS", "POST"]
    }

    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        match request.head.method {
            "POST" => match self.refusal_of_post(request.head) {
                Some(refusal) => HeadVerdict::Answered(Answer::Now(refusal)),
                None => HeadVerdict::Open,
            },
            _ => HeadVerdict::Answered(self.request(request, responder)),
        }
    }

    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        if request.head.method == "POST" {
            return self.manage(request, responder);
        }
        let Common { desk, hooks, .. } = &*self.shared.common;
        Answer::Now(desk.documents(|documents| {
            documents.answer(request.head, |document| {
                hooks.overwrite_information(request, document);
            })
        }))
    }
}

impl Inner {
    fn take_message(&mut self, id: ConnectionId, message: &Message<'_>, effects: &mut Effects) {
        let text = match message.kind {
            MessageKind::Text => std::str::from_utf8(message.payload).ok(),
            MessageKind::Binary => None,
        };
        let Some(text) = text else {
            return self.notice("invalid: messages must be text", effects);
        };
        let message = match ClientMessage::parse(text) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => return self.refuse_message(&error, effects),
        };
        match message {
            ClientMessage::Event(json) => self.take_event(id, json, effects),
            ClientMessage::Auth(json) => self.take_auth(id, json, effects),
            ClientMessage::Req(name, filters) => self.take_req(id, name, &filters, effects),
            ClientMessage::Count(name, filters) => self.take_count(id, &name, &filters, effects),
            ClientMessage::Close(name) => self.close_subscription(id, &name),
            ClientMessage::NegOpen(name, parts) => self.open_sync(id, name, &parts, effects),
            ClientMessage::NegMsg(name, parts) => self.go_on_sync(id, &name, &parts, effects),
            ClientMessage::NegClose(name) => self.close_sync(id, &name),
        }
    }

    fn refuse_message(&mut self, error: &MessageError, effects: &mut Effects) {
        match error {
            // A CLOSED names the query that was refused, which a NOTICE cannot.
            MessageError::SubscriptionId(Some(name)) => {
                effects.reply(reply::closed(name, &error.to_string()));
            }
            _ => self.notice(&error.to_string(), effects),
        }
    }

    fn notice(&mut self, text: &str, effects: &mut Effects) {
        self.shared.common.stats.notices.add(1);
        effects.reply(reply::notice(text));
    }

    /// Handles an AUTH. It is verified at once, so that the key counts for the next message.
    fn take_auth(&mut self, id: ConnectionId, json: &str, effects: &mut Effects) {
        let settings = &self.shared.settings;
        let client = self.clients.get(&id);
        let challenge = client.and_then(|client| client.challenge.as_ref());
        let begin = std::time::Instant::now();
        let proven = match settings.has_auth() {
            true => settings
                .urls
                .prove(json, challenge, unix_now())
                .map_err(|e| e.to_string()),
            false => Err("restricted: this relay cannot authenticate clients".to_owned()),
        };
        effects.spent_ns += u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let keys_max = settings.keys_max;
        let outcome = proven.and_then(|key| {
            let keys = &mut self.clients.entry(id).or_default().viewer.keys;
            if keys.contains(&key) {
                return Ok(());
            }
            if keys.len() >= keys_max {
                return Err(format!(
                    "restricted: a connection has at most {keys_max} keys"
                ));
            }
            keys.push(key);
            Ok(())
        });
        self.shared.common.stats.count_auth(outcome.is_ok());
        let reason = outcome.as_ref().err().map_or("", String::as_str);
        match claimed_id(json) {
            Some(event) => effects.reply(reply::ok(&event, outcome.is_ok(), reason)),
            None => self.notice(reason, effects),
        }
    }
}
