//! Delayed pushes: kept, sent when they are due, listed and cancelled by one thread.
//!
//! Shards hand over requests ([`Schedule::add`] and its neighbours) with the right to answer them;
//! nothing here runs on a shard. The thread works in rounds: it sends what is due, takes what has
//! been asked meanwhile, writes all changes to the journal at once, and only then answers. So a
//! 200 means that the push is on disk, where there is a journal, and many requests share one write.
//!
//! A push is sent first and struck from the journal after that: a process that dies in between
//! sends it again when it is back, and never loses it. Times are wall-clock times, since they have
//! to outlive the process; a clock that is set is noticed within [`LOOK_AGAIN`].

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

/// How long the thread sleeps at most while anything waits.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long it waits for shards that have too much to do, or for a journal that failed.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// A page of a list ends when it has so many bytes, also where it could have more pushes.
const PAGE_BYTES_ENOUGH: usize = 1 << 20;

/// What a shard asks for.
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

/// The thread, as the shards see it. It ends when this is dropped.
pub(super) struct Schedule {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    next_id: AtomicU64,
    stats: Arc<PushStats>,
    room: Arc<Capacity>,
}

/// How many pushes of this endpoint wait, and the memory that they are reckoned with, in bytes. The
/// metrics have those of all endpoints together.
struct Capacity {
    count: Count,
    bytes: Count,
    count_max: u64,
    bytes_max: u64,
    stats: Arc<PushStats>,
}

impl Capacity {
    /// Takes room, be there any or not. Returns whether there was.
    fn take(&self, pushes: &[Pending]) -> bool {
        let (count, bytes) = size_of(pushes);
        self.stats.pending.add(count);
        self.stats.pending_bytes.add(bytes);
        let fits = self.count.add(count) <= self.count_max;
        (self.bytes.add(bytes) <= self.bytes_max) && fits
    }

    fn give_back(&self, pushes: &[Pending]) {
        let (count, bytes) = size_of(pushes);
        self.count.sub(count);
        self.bytes.sub(bytes);
        self.stats.pending.sub(count);
        self.stats.pending_bytes.sub(bytes);
    }
}

impl Schedule {
    /// Opens the journal, if any, and starts the thread, which sends by `handle` to the connections
    /// of the endpoint `sockets`.
    ///
    /// # Errors
    ///
    /// A journal that cannot be used; no thread.
    pub(super) fn start(
        settings: &PushSettings,
        stats: Arc<PushStats>,
        handle: Handle,
        sockets: EndpointId,
    ) -> Result<Schedule, EndpointError> {
        let opened = settings.journal.as_deref().map(open).transpose()?;
        let (journal, found) = opened.unzip();
        let (commands, receiver) = bounded(SCHEDULE_MAILBOX_MAX);
        let room = Arc::new(Capacity {
            count: Count::default(),
            bytes: Count::default(),
            count_max: settings.pending_max as u64,
            bytes_max: settings.pending_bytes as u64,
            stats: Arc::clone(&stats),
        });
        let mut worker = Worker {
            room: Arc::clone(&room),
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
            // Above what an earlier process has given out, so that no number is used twice.
            next_id: AtomicU64::new(last_id.map_or(0, |id| id + 1).max(now_ms() * 1_000)),
            stats,
            room,
        })
    }

    /// A number for a push.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes room for these pushes, all of them or none.
    pub(super) fn reserve(&self, pushes: &[Pending]) -> Result<(), Refusal> {
        if !self.room.take(pushes) {
            self.room.give_back(pushes);
            return Err(Refusal::TooManyPending);
        }
        Ok(())
    }

    /// Keeps pushes for which there is room; `accepted` is the answer when that is done.
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

    /// Where the thread has too much to do, the request is refused.
    fn ask(&self, command: Command) {
        let Some(commands) = &self.commands else {
            return;
        };
        let Err(refused) = commands.try_send(command) else {
            return;
        };
        let answer = match refused.into_inner() {
            Command::Add { pushes, answer, .. } => {
                self.room.give_back(&pushes);
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
            // Its panic has been reported by itself.
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> Result<(Journal, Vec<Pending>), EndpointError> {
    let (journal, found) = Journal::open(path)?;
    tracing::info!(journal = %path.display(), pending = found.len(), "delayed pushes are kept");
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

/// What the thread has.
struct Worker {
    room: Arc<Capacity>,
    commands: Receiver<Command>,
    handle: Handle,
    sockets: EndpointId,
    journal: Option<Journal>,
    journal_fails: bool,
    pending: BTreeMap<u64, Pending>,
    /// When each is due, with its number.
    due: BTreeSet<(u64, u64)>,
    /// Those that were sent and are still in the journal.
    unjournaled: Vec<u64>,
    stats: Arc<PushStats>,
}

/// What a round changes, and whom it has to answer.
#[derive(Default)]
struct Round {
    added: Vec<(Vec<Pending>, DeferredResponse, Response)>,
    cancelled: Vec<(Pending, DeferredResponse)>,
}

impl Worker {
    /// Takes back what an earlier process has left.
    fn restore(&mut self, found: Vec<Pending>) {
        let earliest_ms = now_ms() + OVERDUE_PUSH_GRACE.as_millis() as u64;
        // What was accepted is kept, also where there is less room now.
        self.room.take(&found);
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
        // Sent pushes are not sent again after the next start.
        self.finish(Round::default());
    }

    /// The next command; `Some(None)` where it is time to look at what is due, `None` at the end.
    fn wait(&self) -> Option<Option<Command>> {
        let Some((due_ms, _)) = self.due.first() else {
            if self.unjournaled.is_empty() {
                return self.commands.recv().ok().map(Some);
            }
            return self.wait_for(LOOK_AGAIN);
        };
        let timeout = match due_ms.saturating_sub(now_ms()) {
            // It was due before: the shards had no time for it.
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

    /// Sends what is due, as far as the shards take it.
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

    /// Returns whether a shard took it.
    fn send(&self, push: &Pending, ts: u64) -> bool {
        let room = push.user.as_deref().unwrap_or(EVERYBODY);
        let frame = frame(&push.event_name, push.subject.get(), ts, push.token.get());
        let text = MessageKind::Text;
        let sent = self
            .handle
            .publish(self.sockets, room, Recipients::All, text, frame);
        // What is too large for a message was too large for a request.
        sent.is_ok()
    }

    fn keep(&mut self, push: Pending) {
        self.due.insert((push.due_ms, push.id));
        self.pending.insert(push.id, push);
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        let push = self.pending.remove(&id)?;
        self.due.remove(&(push.due_ms, id));
        self.room.give_back(std::slice::from_ref(&push));
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

    /// Writes what has changed, then answers.
    fn finish(&mut self, round: Round) {
        let is_written = self.write(&round);
        for (pushes, answer, accepted) in round.added {
            if is_written {
                self.stats.accepted[1].add(pushes.len() as u64);
                pushes.into_iter().for_each(|push| self.keep(push));
                answer.respond(accepted);
            } else {
                self.room.give_back(&pushes);
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
                self.room.take(std::slice::from_ref(&push));
                self.keep(push);
                refuse(&self.stats, answer, Refusal::Journal);
            }
        }
    }

    /// Returns whether the journal, if any, is as the round wants it.
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
                tracing::error!("delayed pushes are refused until it works again: {error}");
            }
            Err(_) => {}
        }
        self.journal_fails = written.is_err();
        written.is_ok()
    }

    /// The body of a list.
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
        // What is written to a `String` always gets there.
        let _ = write!(body, "],\"count\":{count},\"next\":");
        let _ = match is_more {
            true => write!(body, "\"{last}\"}}}}"),
            false => write!(body, "null}}}}"),
        };
        body
    }
}
