//! State that the threads of a run share: read-only facts, the times of the phases, and counters
//! that one thread writes and the coordinator reads.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::first_last::Joint;
use crate::nostr::Script;
use crate::plan::{Plan, Priority, Relay, Role, Target, Work};
use crate::push::Push;
use crate::stamp::Payloads;
use crate::tls::Tls;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Tls>,
    /// Offer permessage-deflate (RFC 7692).
    pub(crate) deflate: bool,
    /// Leave Nagle's algorithm on.
    pub(crate) nagle: bool,
    pub(crate) threads: u32,
    pub(crate) priority: Priority,
    pub(crate) connect_timeout: Duration,
    /// Addresses to connect from, in turn.
    source_ips: Vec<IpAddr>,
    /// Present if a relay run has several threads.
    pub(crate) joint: Option<Joint>,
    pub(crate) push: Option<Push>,
    /// Present for a Nostr relay.
    pub(crate) nostr: Option<Script>,
    pub(crate) payloads: Payloads,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    pub(crate) times: Times,
    finish: AtomicBool,
}

impl Shared {
    /// For one run, identified by `run_id`.
    pub(crate) fn new(plan: &Plan, address: SocketAddr, run_id: u64) -> Self {
        Self {
            target: plan.target.clone(),
            address,
            tls: plan.tls.clone(),
            deflate: plan.deflate,
            nagle: plan.nagle,
            threads: plan.threads,
            priority: plan.priority,
            connect_timeout: plan.connect_timeout,
            push: plan.push.clone(),
            nostr: None,
            source_ips: plan.source_ips.clone(),
            joint: match &plan.work {
                Work::Relay(relay) => Joint::new(relay, plan.threads),
                Work::Handshakes(_) => None,
            },
            payloads: Payloads::new(plan.size, plan.form, plan.seed, run_id),
            seed: plan.seed,
            clock: Clock::new(),
            times: Times::default(),
            finish: AtomicBool::new(false),
        }
    }

    /// The source address of connection number `index`, if the user named any.
    pub(crate) fn source_of(&self, index: u32) -> Option<SocketAddr> {
        let turn = (index as usize).checked_rem(self.source_ips.len())?;
        Some(SocketAddr::new(self.source_ips[turn], 0))
    }

    /// Tells all threads to return their results.
    pub(crate) fn finish(&self) {
        self.finish.store(true, Ordering::Release);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finish.load(Ordering::Acquire)
    }
}

/// When the phases begin, in nanoseconds of the run's clock.
///
/// Unknown (`u64::MAX`) until every client is connected. The end may move to an earlier time.
#[derive(Debug)]
pub(crate) struct Times {
    start_ns: AtomicU64,
    measure_ns: AtomicU64,
    end_ns: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        let unknown = || AtomicU64::new(u64::MAX);
        Self {
            start_ns: unknown(),
            measure_ns: unknown(),
            end_ns: unknown(),
        }
    }
}

impl Times {
    /// Sets all three; the start is published last.
    pub(crate) fn set(&self, start_ns: u64, warmup: Duration, duration: Duration) {
        let measure_ns = start_ns + warmup.as_nanos() as u64;
        self.measure_ns.store(measure_ns, Ordering::Relaxed);
        self.end_ns
            .store(measure_ns + duration.as_nanos() as u64, Ordering::Relaxed);
        self.start_ns.store(start_ns, Ordering::Release);
    }

    /// Ends sending at `now_ns`, if it was to end later.
    pub(crate) fn end_at(&self, now_ns: u64) {
        self.end_ns.fetch_min(now_ns, Ordering::Relaxed);
    }

    /// When sending begins; `None` before all clients are connected.
    pub(crate) fn start_ns(&self) -> Option<u64> {
        Some(self.start_ns.load(Ordering::Acquire)).filter(|start_ns| *start_ns != u64::MAX)
    }

    /// Messages are counted from here on.
    pub(crate) fn measure_ns(&self) -> u64 {
        self.measure_ns.load(Ordering::Relaxed)
    }

    /// No message is due at or after this time.
    pub(crate) fn end_ns(&self) -> u64 {
        self.end_ns.load(Ordering::Relaxed)
    }
}

/// One thread's running totals, both phases together.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) connected: AtomicU64,
    /// Of the connected: clients that read all the time.
    pub(crate) readers: AtomicU64,
    /// Of the connected: connections that publish.
    pub(crate) publishers: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// First arrivals that the messages sent so far should lead to.
    pub(crate) expected: AtomicU64,
    pub(crate) arrivals: AtomicU64,
    /// Messages of the run at any client, faulty ones included.
    pub(crate) seen: AtomicU64,
}

impl Progress {
    /// Connection number `index` is open.
    pub(crate) fn came(&self, relay: &Relay, index: u32) {
        for count in self.counts_of(relay, index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connection number `index` was open and has ended.
    pub(crate) fn left(&self, relay: &Relay, index: u32) {
        for count in self.counts_of(relay, index) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn counts_of(&self, relay: &Relay, index: u32) -> impl Iterator<Item = &AtomicU64> {
        let is_reader = relay.role(index) == Role::Full;
        let publishes = relay.publisher_at(index).is_some();
        [
            Some(&self.connected),
            is_reader.then_some(&self.readers),
            publishes.then_some(&self.publishers),
        ]
        .into_iter()
        .flatten()
    }
}

/// A message from a thread to the coordinator during a run.
#[derive(Debug)]
pub(crate) enum Notice {
    /// All its clients are upgraded.
    Connected,
    /// The run cannot continue.
    Failed(String),
    /// Everything that was due has been sent.
    Sent,
}
