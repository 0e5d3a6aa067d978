//! The threads of an endpoint: one writes the store, several read it. None of this code runs on a
//! shard, so all of it may block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corecast_nostr::{
    Event, Outcome, Page, PrivateKinds, Query, QueryLimits, Seq, Store, StoreError, SyncMemory,
};
use crossbeam_channel::{Receiver, Sender, select};

use super::clock::unix_now;
use super::count::{self, Counting};
use super::hooks::{Context, Hooked};
use super::mail::{
    Answer, Batch, Fate, Job, Live, Mail, Origin, Owed, Place, Request, Submission, Task, Told,
};
use super::manage::{Desk, Write};
use super::stats::NostrStats;
use super::sync;
use crate::engine::{Deflate, Ended, EndpointError, Mailer};
use crate::wire::deflate::Deflater;

/// Most events of one commit, and most bytes of their JSON.
const BATCH_EVENTS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Interval between two searches for expired events.
const EXPIRY_LOOK: Duration = Duration::from_secs(1);

/// Most events of a page, and most bytes of their JSON.
const PAGE_ROWS: usize = 64;
const PAGE_BYTES: usize = 64 << 10;

/// State that the threads share with the endpoint.
pub(super) struct Common {
    pub(super) store: Arc<dyn Store>,
    pub(super) stats: Arc<NostrStats>,
    pub(super) hooks: Hooked,
    pub(super) private: Arc<PrivateKinds>,
    pub(super) desk: Arc<Desk>,
    pub(super) queries: QueryLimits,
    pub(super) count_max: u64,
    /// Most events of a session of synchronization.
    pub(super) sync_events_max: usize,
    /// The memory of all these sessions.
    pub(super) sync_memory: SyncMemory,
    pub(super) deflate: Deflate,
    /// The number of subscriptions of each shard. A shard without any gets no events.
    pub(super) subscriptions: Box<[AtomicUsize]>,
    /// Connections that have agreed to compression.
    pub(super) inflating: AtomicUsize,
    /// Commits so far that may have removed stored events, other than older versions.
    pub(super) removals: AtomicU64,
    /// Events of handles that are on their way to the writing thread.
    pub(super) by_handles: AtomicUsize,
}

impl Common {
    /// Whether a shard has subscriptions.
    pub(super) fn is_subscribed(&self, shard: u16) -> bool {
        let count = self.subscriptions.get(usize::from(shard));
        count.is_some_and(|count| count.load(Ordering::SeqCst) > 0)
    }

    /// The number of commits so far that may have removed stored events.
    pub(super) fn removals(&self) -> u64 {
        self.removals.load(Ordering::SeqCst)
    }

    /// Notes whether a commit may have removed stored events. It comes before any answer, so a
    /// client that knows of the deletion gets no stale answer.
    fn note_removals(&self, events: &[Arc<Event>], outcomes: &[Outcome]) {
        let removes = |(event, outcome): (&Arc<Event>, &Outcome)| {
            event.may_remove_others() && !matches!(outcome, Outcome::Duplicate)
        };
        if events.iter().zip(outcomes).any(removes) {
            self.removals.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether any client would get the compressed form of a body.
    pub(super) fn deflates(&self) -> bool {
        self.inflating.load(Ordering::Relaxed) > 0
    }
}

/// Starts a thread that runs until its shards are gone. It waits for the mailer to reach them.
pub(super) fn start(
    name: &str,
    mailers: Receiver<Mailer<Mail>>,
    run: impl FnOnce(&Mailer<Mail>) -> Result<(), Ended> + Send + 'static,
) -> Result<(), EndpointError> {
    let body = move || {
        if let Ok(mailer) = mailers.recv() {
            // An error means that the engine has ended, and so does this thread.
            let _ = run(&mailer);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(body)?;
    Ok(())
}

/// Commits submitted events, and mails the results to the shards after the commit.
pub(super) fn write(
    common: &Common,
    submissions: &Receiver<Submission>,
    writes: &Receiver<Write>,
    mailer: &Mailer<Mail>,
) -> Result<(), Ended> {
    let mut looked_at = Instant::now();
    let mut deflater = Deflater::default();
    loop {
        let first = select! {
            recv(submissions) -> first => match first {
                Ok(first) => Some(first),
                Err(_) => return Ok(()),
            },
            recv(writes) -> write => {
                write.map_err(|_| Ended)?.carry_out(&*common.store);
                None
            }
            default(EXPIRY_LOOK) => None,
        };
        if let Some(first) = first {
            let (stored, others) = split(common, gather(first, submissions));
            if !stored.is_empty() {
                commit(common, stored, &mut deflater, mailer)?;
            }
            if !others.is_empty() {
                broadcast(common, others, &mut deflater, mailer)?;
            }
        }
        if looked_at.elapsed() >= EXPIRY_LOOK {
            looked_at = Instant::now();
            recover(common);
            tidy(common);
        }
        for took in common.store.take_checkpoints() {
            let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            common.stats.checkpoint.record(took_ns, 1);
        }
        common.stats.set_store_size(common.store.size());
    }
}

/// Removes expired events, and those of authors who have vanished.
fn tidy(common: &Common) {
    while !common.stats.is_store_failing() {
        match common.store.tidy(unix_now()) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => fail(common, &error),
        }
    }
}

/// Notes that the store cannot be written.
fn fail(common: &Common, error: &StoreError) {
    if !common.stats.is_store_failing() {
        tracing::error!(%error, "the store cannot be written; events are refused until it can");
        common.stats.store_failing.set(1);
    }
}

/// Tries to make the store usable again if it has failed.
fn recover(common: &Common) {
    if common.stats.is_store_failing() && common.store.recover().is_ok() {
        tracing::info!("the store can be written again");
        common.stats.store_failing.set(0);
    }
}

fn gather(first: Submission, submissions: &Receiver<Submission>) -> Vec<Submission> {
    let mut bytes = first.event.body().len();
    let mut gathered = vec![first];
    while gathered.len() < BATCH_EVENTS_MAX
        && bytes < BATCH_BYTES_MAX
        && let Ok(next) = submissions.try_recv()
    {
        bytes += next.event.body().len();
        gathered.push(next);
    }
    gathered
}

fn commit(
    common: &Common,
    submissions: Vec<Submission>,
    deflater: &mut Deflater,
    mailer: &Mailer<Mail>,
) -> Result<(), Ended> {
    let events: Vec<_> = submissions
        .iter()
        .map(|each| Arc::clone(&each.event))
        .collect();
    let begin = Instant::now();
    let removals = common.removals();
    let outcomes = common.store.commit(&events, &common.hooks);
    if let Err(error) = &outcomes {
        fail(common, error);
    }
    common.note_removals(&events, outcomes.as_deref().unwrap_or_default());
    let took_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    common.stats.commit.record(took_ns, 1);
    // After the commit: a shard that subscribes from now on finds the events in the store.
    let shards = 0..mailer.shards();
    let subscribed: Vec<u16> = shards
        .filter(|shard| common.is_subscribed(*shard))
        .collect();
    let fate = |index: usize| match &outcomes {
        Ok(outcomes) => outcomes[index].into(),
        Err(_) => Fate::Failed,
    };
    let mut batch = Batch {
        removals,
        ..Batch::default()
    };
    for (index, outcome) in outcomes.iter().flatten().enumerate() {
        if let Outcome::Stored(seq) = outcome
            && !subscribed.is_empty()
        {
            let event = Arc::clone(&events[index]);
            batch
                .live
                .push(live(common, event, Some(*seq), deflater, mailer));
        }
    }
    let mut by_handles = Vec::new();
    for (index, Submission { event, from }) in submissions.into_iter().enumerate() {
        let fate = fate(index);
        match from {
            Origin::Client(from) => batch.owed.push(Owed { event, from, fate }),
            Origin::Handle(answer) => by_handles.push((event, fate, answer)),
            Origin::Broadcast => {}
        }
    }
    let is_owed = |shard: u16| batch.owed.iter().any(|owed| owed.from.shard == shard);
    let owed: Vec<bool> = (0..mailer.shards()).map(is_owed).collect();
    let mail = Mail::batch(batch);
    for shard in 0..mailer.shards() {
        if owed[usize::from(shard)] || subscribed.contains(&shard) {
            mailer.send(shard, Arc::clone(&mail))?;
        }
    }
    settle(common, by_handles);
    Ok(())
}

/// An event that was accepted, on its way to subscriptions.
fn live(
    common: &Common,
    event: Arc<Event>,
    seq: Option<Seq>,
    deflater: &mut Deflater,
    mailer: &Mailer<Mail>,
) -> Live {
    let deflates = common.deflates() && event.body().len() >= common.deflate.min_bytes;
    let deflater = deflates.then_some((deflater, common.deflate.level));
    let body = mailer.shared_body(event.body(), deflater);
    Live { event, seq, body }
}

/// Mails events of handles that are not stored.
fn broadcast(
    common: &Common,
    events: Vec<Arc<Event>>,
    deflater: &mut Deflater,
    mailer: &Mailer<Mail>,
) -> Result<(), Ended> {
    let live = events
        .into_iter()
        .map(|event| live(common, event, None, deflater, mailer));
    let mail = Mail::batch(Batch {
        live: live.collect(),
        ..Batch::default()
    });
    (0..mailer.shards())
        .filter(|shard| common.is_subscribed(*shard))
        .try_for_each(|shard| mailer.send(shard, Arc::clone(&mail)))
}

/// Separates the events that are to be stored from those that are not.
fn split(common: &Common, submissions: Vec<Submission>) -> (Vec<Submission>, Vec<Arc<Event>>) {
    let is_stored = |each: &Submission| !matches!(each.from, Origin::Broadcast);
    let (stored, others): (Vec<_>, Vec<_>) = submissions.into_iter().partition(is_stored);
    let by_handles = stored
        .iter()
        .filter(|each| matches!(each.from, Origin::Handle(_)));
    let count = others.len() + by_handles.count();
    common.by_handles.fetch_sub(count, Ordering::Relaxed);
    let others = others.into_iter().map(|each| each.event);
    (stored, others.collect())
}

/// Tells hooks and handles of events that were committed.
fn settle(common: &Common, added: Vec<(Arc<Event>, Fate, Sender<Fate>)>) {
    for (event, fate, answer) in added {
        if fate == Fate::Stored {
            common.hooks.saved(&Context::new(None, None), &event);
        }
        // Nobody may be waiting for it.
        let _ = answer.send(fate);
    }
}

/// Reads for queries, a page at a time, so that a large one does not hold up the others.
pub(super) fn read(
    common: &Common,
    jobs: &Receiver<Job>,
    mailer: &Mailer<Mail>,
) -> Result<(), Ended> {
    while let Ok(Job { client, task }) = jobs.recv() {
        let what = work(common, task);
        let answer = Mail::answer(Answer { client, what });
        mailer.send(client.shard, answer)?;
    }
    Ok(())
}

fn work(common: &Common, task: Task) -> Told {
    match task {
        Task::Begin { place, request } => {
            let query = Box::new(query(common, &request, &common.queries));
            next_page(common, place, query)
        }
        Task::Go { place, query } => next_page(common, place, query),
        Task::Later {
            place,
            after,
            request,
        } => later(common, place, after, &request).unwrap_or_else(|error| failed(place, error)),
        Task::Count {
            subscription,
            request,
        } => {
            let query = query(common, &request, &count::UNLIMITED);
            let counting = Counting::new(subscription, query, &request.filters);
            count(common, Box::new(counting))
        }
        Task::CountOn(counting) => count(common, counting),
        Task::Sync(task) => Told::Sync(sync::work(common, task)),
    }
}

fn failed(place: Place, error: StoreError) -> Told {
    Told::Failed {
        place: Some(place),
        subscription: Box::default(),
        error,
    }
}

/// A query of the events stored by now. The subscription is in the index of its shard already, so
/// it gets every later event there.
pub(super) fn query(common: &Common, request: &Request, limits: &QueryLimits) -> Query {
    let mut query = Query::new(
        request.filters.iter().map(Arc::clone),
        limits,
        common.store.last_seq(),
        request.viewer.clone(),
        Arc::clone(&common.private),
    );
    query.hide(common.desk.hidden());
    query
}

fn count(common: &Common, mut counting: Box<Counting>) -> Told {
    match counting.step(&*common.store, &common.stats, common.count_max) {
        Ok(None) => Told::Counting(counting),
        Ok(Some(counted)) => Told::Counted {
            subscription: counting.subscription,
            counted,
        },
        Err(error) => Told::Failed {
            place: None,
            subscription: counting.subscription,
            error,
        },
    }
}

fn next_page(common: &Common, place: Place, mut query: Box<Query>) -> Told {
    query.hide(common.desk.hidden());
    match common
        .store
        .page(&mut query, PAGE_ROWS, PAGE_BYTES, unix_now())
    {
        Ok(Page {
            rows,
            looked_at,
            is_last,
        }) => {
            common.stats.rows_read.add(looked_at as u64);
            Told::Page {
                place,
                rows,
                query,
                is_last,
            }
        }
        Err(error) => failed(place, error),
    }
}

fn later(common: &Common, place: Place, after: u64, request: &Request) -> Result<Told, StoreError> {
    let (found, end) = common.store.since(after, PAGE_ROWS)?;
    common.stats.rows_read.add(found.len() as u64);
    let (now, hidden) = (unix_now(), common.desk.hidden());
    let is_wanted = |event: &Event| {
        !event.is_expired(now)
            && !hidden.hides(event)
            && request.viewer.may_see(event, &common.private)
            && request.filters.iter().any(|filter| filter.matches(event))
    };
    let is_level = found.len() < PAGE_ROWS;
    let rows = found.into_iter().map(|(_, event)| event);
    let rows = rows.filter(|event| is_wanted(event)).collect();
    Ok(Told::Later {
        place,
        rows,
        end,
        is_level,
    })
}
