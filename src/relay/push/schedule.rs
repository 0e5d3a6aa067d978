//! Delayed pushes: one thread keeps them, sends them when they are due, lists and cancels them.
//!
//! Shards pass requests to the thread ([`Schedule::add`] and its siblings) together with the means
//! to answer them; nothing here runs on a shard. The thread works in rounds: it sends the due
//! pushes, takes the requests that came meanwhile, writes all changes to the journal at once, and
//! only then answers. So a 200 means that the push is on disk, if a journal is configured, and many
//! requests share one write.
//!
//! A push is sent before it is removed from the journal: if the process dies in between, it is sent
//! again after the restart and never lost. Times are wall-clock times, since they have to outlive
//! the process; a change of the clock is noticed within [`LOOK_AGAIN`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::EVERYBODY;
use super::journal::Journal;
use super::order::frame;
use super::pending::Pending;
use super::refusal::Refusal;
use super::settings::PushSettings;
use super::stats::PushStats;
use crate::engine::{DeferredResponse, EndpointError, Handle};
use crate::fanout::Recipients;
use crate::fanout::room::EndpointId;
use crate::limits::{
    OVERDUE_PUSH_GRACE, PENDING_PER_PAGE_MAX, SCHEDULE_COMMANDS_PER_ROUND, SCHEDULE_MAILBOX_MAX,
};
use crate::relay::count::Count;
use crate::wire::frame::MessageKind;
use crate::wire::http::Response;

/// Longest sleep of the thread while a push is pending.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Time before the next attempt if the shards are overloaded or the journal failed.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// A page of a list ends at this size, even if its limit of pushes is not reached.
const PAGE_BYTES_ENOUGH: usize = 1 << 20;

/// A request of a shard.
enum Command {
    Add {
        pushes: Vec<Pending>,
        answer: DeferredResponse,
        accepted: Response,
    },
    List {
        after: u64,
        limit: usize,
        answer: DeferredResponse,
    },
    Cancel {
        id: u64,
        answer: DeferredResponse,
    },
}

/// The shards' handle of the thread, which ends when this is dropped.
pub(super) struct Schedule {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    next_id: AtomicU64,
    stats: Arc<PushStats>,
    capacity: Arc<Capacity>,
}

/// The number of pending pushes of this endpoint, and the memory that is accounted for them, in
/// bytes. The metrics have the sums of all endpoints.
struct Capacity {
    count: Count,
    bytes: Count,
    count_max: u64,
    bytes_max: u64,
    stats: Arc<PushStats>,
}

impl Capacity {
    /// Reserves capacity unconditionally. Returns whether the limits still hold.
    fn reserve(&self, pushes: &[Pending]) -> bool {
        let (count, bytes) = size_of(pushes);
        self.stats.pending.add(count);
        self.stats.pending_bytes.add(bytes);
        let fits = self.count.add(count) <= self.count_max;
        (self.bytes.add(bytes) <= self.bytes_max) && fits
    }

    fn release(&self, pushes: &[Pending]) {
        let (count, bytes) = size_of(pushes);
        self.count.sub(count);
        self.bytes.sub(bytes);
        self.stats.pending.sub(count);
        self.stats.pending_bytes.sub(bytes);
    }
}

impl Schedule {
    /// Opens the journal, if any, and starts the thread, which sends through `handle` to the
    /// connections of the endpoint `sockets`.
    ///
    /// # Errors
    ///
    /// The journal cannot be used, or the thread cannot be started.
    pub(super) fn start(
        settings: &PushSettings,
        stats: Arc<PushStats>,
        handle: Handle,
        sockets: EndpointId,
    ) -> Result<Schedule, EndpointError> {
        let opened = settings.journal.as_deref().map(open).transpose()?;
        let (journal, found) = opened.unzip();
        let (commands, receiver) = bounded(SCHEDULE_MAILBOX_MAX);
        let capacity = Arc::new(Capacity {
            count: Count::default(),
            bytes: Count::default(),
            count_max: settings.pending_max as u64,
            bytes_max: settings.pending_bytes as u64,
            stats: Arc::clone(&stats),
        });
        let mut worker = Worker {
            capacity: Arc::clone(&capacity),
            commands: receiver,
            handle,
            sockets,
            journal,
            journal_fails: false,
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            unjournaled: Vec::new(),
            stats: Arc::clone(&stats),
        };
        let found = found.unwrap_or_default();
        let last_id = found.iter().map(|pending| pending.id).max();
        worker.restore(found);
        let thread = thread::Builder::new().name("push-schedule".to_owned());
        Ok(Schedule {
            commands: Some(commands),
            thread: Some(thread.spawn(move || worker.run())?),
            // Above all numbers of an earlier process, so that none is used twice.
            next_id: AtomicU64::new(last_id.map_or(0, |id| id + 1).max(now_ms() * 1_000)),
            stats,
            capacity,
        })
    }

    /// The number of a new push.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Reserves capacity for these pushes: for all of them or none.
    pub(super) fn reserve(&self, pushes: &[Pending]) -> Result<(), Refusal> {
        if !self.capacity.reserve(pushes) {
            self.capacity.release(pushes);
            return Err(Refusal::TooManyPending);
        }
        Ok(())
    }

    /// Adds pushes whose capacity is reserved; `accepted` is the answer once they are stored.
    pub(super) fn add(&self, pushes: Vec<Pending>, answer: DeferredResponse, accepted: Response) {
        self.ask(Command::Add {
            pushes,
            answer,
            accepted,
        });
    }

    /// Answers with at most `limit` pushes whose numbers are above `after`.
    pub(super) fn list(&self, after: u64, limit: usize, answer: DeferredResponse) {
        self.ask(Command::List {
            after,
            limit,
            answer,
        });
    }

    /// Cancels a push.
    pub(super) fn cancel(&self, id: u64, answer: DeferredResponse) {
        self.ask(Command::Cancel { id, answer });
    }

    /// Passes a request to the thread. If its queue is full, the request is refused.
    fn ask(&self, command: Command) {
        let Some(commands) = &self.commands else {
            return;
        };
        let Err(refused) = commands.try_send(command) else {
            return;
        };
        let answer = match refused.into_inner() {
            Command::Add { pushes, answer, .. } => {
                self.capacity.release(&pushes);
                answer
            }
            Command::List { answer, .. } | Command::Cancel { answer, .. } => answer,
        };
        refuse(&self.stats, answer, Refusal::TooManyPending);
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic already.
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> Result<(Journal, Vec<Pending>), EndpointError> {
    let (journal, found) = Journal::open(path)?;
    tracing::info!(journal = %path.display(), pending = found.len(), "opened the push journal");
    Ok((journal, found))
}

fn size_of(pushes: &[Pending]) -> (u64, u64) {
    let bytes = pushes.iter().map(Pending::bytes).sum::<usize>();
    (pushes.len() as u64, bytes as u64)
}

fn refuse(stats: &PushStats, answer: DeferredResponse, refusal: Refusal) {
    stats.count_refused(refusal);
    answer.respond(refusal.response(None));
}

/// Milliseconds since 1970 (UTC).
pub(super) fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_millis() as u64
}

/// The state of the thread.
struct Worker {
    capacity: Arc<Capacity>,
    commands: Receiver<Command>,
    handle: Handle,
    sockets: EndpointId,
    journal: Option<Journal>,
    journal_fails: bool,
    pending: BTreeMap<u64, Pending>,
    /// The due time and the number of each pending push.
    due: BTreeSet<(u64, u64)>,
    /// Pushes that have ended and are still in the journal.
    unjournaled: Vec<u64>,
    stats: Arc<PushStats>,
}

/// The changes of a round, and the answers that are due after it.
#[derive(Default)]
struct Round {
    added: Vec<(Vec<Pending>, DeferredResponse, Response)>,
    cancelled: Vec<(Pending, DeferredResponse)>,
}

impl Worker {
    /// Restores the pending pushes of an earlier process.
    fn restore(&mut self, found: Vec<Pending>) {
        let earliest_ms = now_ms() + OVERDUE_PUSH_GRACE.as_millis() as u64;
        // Accepted pushes are kept even if the limits are smaller now.
        self.capacity.reserve(&found);
        for mut pending in found {
            pending.due_ms = pending.due_ms.max(earliest_ms);
            self.keep(pending);
        }
    }

    fn run(mut self) {
        while let Some(first) = self.wait() {
            self.send_due(now_ms());
            let mut round = Round::default();
            for command in first.into_iter().chain(self.asked()) {
                self.take(command, &mut round);
            }
            self.finish(round);
        }
        // Removes sent pushes from the journal, so that the next start does not send them again.
        self.finish(Round::default());
    }

    /// Waits for the next command; `Some(None)`: it is time to check for due pushes; `None`: the
    /// schedule was dropped.
    fn wait(&self) -> Option<Option<Command>> {
        let Some((due_ms, _)) = self.due.first() else {
            if self.unjournaled.is_empty() {
                return self.commands.recv().ok().map(Some);
            }
            return self.wait_for(LOOK_AGAIN);
        };
        let timeout = match due_ms.saturating_sub(now_ms()) {
            // It is overdue, so the shards were overloaded.
            0 => TRY_AGAIN,
            ms => Duration::from_millis(ms).min(LOOK_AGAIN),
        };
        self.wait_for(timeout)
    }

    fn wait_for(&self, timeout: Duration) -> Option<Option<Command>> {
        match self.commands.recv_timeout(timeout) {
            Ok(command) => Some(Some(command)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn asked(&self) -> Vec<Command> {
        let asked = self.commands.try_iter();
        asked.take(SCHEDULE_COMMANDS_PER_ROUND).collect()
    }

    /// Sends the due pushes until a shard is overloaded.
    fn send_due(&mut self, now_ms: u64) {
        while let Some(&(due_ms, id)) = self.due.first()
            && due_ms <= now_ms
        {
            if self
                .pending
                .get(&id)
                .is_some_and(|push| !self.send(push, now_ms))
            {
                return;
            }
            if self.remove(id).is_some() {
                self.stats.ended[0].add(1);
                self.forget(id);
            }
        }
    }

    /// Returns whether the shards accepted it.
    fn send(&self, push: &Pending, ts: u64) -> bool {
        let room = push.user.as_deref().unwrap_or(EVERYBODY);
        let frame = frame(&push.event_name, push.subject.get(), ts, push.token.get());
        let text = MessageKind::Text;
        let sent = self
            .handle
            .publish(self.sockets, room, Recipients::All, text, frame);
        // It cannot be too large for a message, since its request had the same limit.
        sent.is_ok()
    }

    fn keep(&mut self, push: Pending) {
        self.due.insert((push.due_ms, push.id));
        self.pending.insert(push.id, push);
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        let push = self.pending.remove(&id)?;
        self.due.remove(&(push.due_ms, id));
        self.capacity.release(std::slice::from_ref(&push));
        Some(push)
    }

    fn forget(&mut self, id: u64) {
        if self.journal.is_some() {
            self.unjournaled.push(id);
        }
    }

    fn take(&mut self, command: Command, round: &mut Round) {
        match command {
            Command::Add {
                pushes,
                answer,
                accepted,
            } => round.added.push((pushes, answer, accepted)),
            Command::List {
                after,
                limit,
                answer,
            } => answer.respond(Response::json(200, self.page(after, limit))),
            Command::Cancel { id, answer } => match self.remove(id) {
                Some(push) => round.cancelled.push((push, answer)),
                None => refuse(&self.stats, answer, Refusal::NotPending),
            },
        }
    }

    /// Writes the changes of a round, then answers its requests.
    fn finish(&mut self, round: Round) {
        let is_written = self.write(&round);
        for (pushes, answer, accepted) in round.added {
            if is_written {
                self.stats.accepted[1].add(pushes.len() as u64);
                pushes.into_iter().for_each(|push| self.keep(push));
                answer.respond(accepted);
            } else {
                self.capacity.release(&pushes);
                refuse(&self.stats, answer, Refusal::Journal);
            }
        }
        for (push, answer) in round.cancelled {
            if is_written {
                self.stats.ended[1].add(1);
                let body = format!(
                    "{{\"code\":0,\"msg\":\"ok\",\"data\":{{\"id\":\"{}\"}}}}",
                    push.id
                );
                answer.respond(Response::json(200, body));
            } else {
                self.capacity.reserve(std::slice::from_ref(&push));
                self.keep(push);
                refuse(&self.stats, answer, Refusal::Journal);
            }
        }
    }

    /// Returns whether the changes are in the journal, or no journal is configured.
    fn write(&mut self, round: &Round) -> bool {
        let Some(journal) = &mut self.journal else {
            return true;
        };
        let added = round.added.iter().flat_map(|(pushes, ..)| pushes);
        let cancelled = round.cancelled.iter().map(|(push, _)| push.id);
        let gone: Vec<u64> = self.unjournaled.iter().copied().chain(cancelled).collect();
        if gone.is_empty() && round.added.is_empty() {
            return true;
        }
        let written = journal.write(added, &gone);
        match &written {
            Ok(()) => self.unjournaled = Vec::new(),
            Err(error) if !self.journal_fails => {
                tracing::error!("{error}; delayed pushes are refused until it works again");
            }
            Err(_) => {}
        }
        self.journal_fails = written.is_err();
        written.is_ok()
    }

    /// The body of one page of the list.
    fn page(&self, after: u64, limit: usize) -> String {
        let mut body = "{\"code\":0,\"msg\":\"ok\",\"data\":{\"pending\":[".to_owned();
        let above = (Bound::Excluded(after), Bound::Unbounded);
        let limit = limit.min(PENDING_PER_PAGE_MAX);
        let (mut listed, mut last, mut is_more) = (0, 0, false);
        for (id, push) in self.pending.range(above) {
            is_more = listed == limit || body.len() >= PAGE_BYTES_ENOUGH;
            if is_more {
                break;
            }
            if listed > 0 {
                body.push(',');
            }
            push.append_to(&mut body);
            (listed, last) = (listed + 1, *id);
        }
        let count = self.pending.len();
        // Writing to a `String` cannot fail.
        let _ = write!(body, "],\"count\":{count},\"next\":");
        let _ = match is_more {
            true => write!(body, "\"{last}\"}}}}"),
            false => write!(body, "null}}}}"),
        };
        body
    }
}
