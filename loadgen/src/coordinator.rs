//! The coordinator of one relay run: starts the threads, sets the times, waits for the deliveries
//! and adds up the results.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::clock::process_cpu;
use crate::control::{Notice, Progress, Shared};
use crate::error::{RunError, joined};
use crate::gather::Gathered;
use crate::interval::Cell;
use crate::plan::{Plan, Relay};
use crate::report::{Head, RelayReport};
use crate::scrape::{Scrape, Scrapes};
use crate::snapshot::{Snapshot, Turn};
use crate::thread_result::{Course, Deserted, Outcome};
use crate::watch::Watch;
use crate::worker::Worker;

/// Time between the last connection and the first message, enough for all threads to learn the
/// start.
const HEAD_START: Duration = Duration::from_millis(20);
/// How often the coordinator checks the interrupt flag.
const TICK: Duration = Duration::from_millis(50);
const DRAIN_TICK: Duration = Duration::from_millis(5);
/// After the last message was sent, the coordinator waits for deliveries until none has come for
/// this long.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Once all deliveries are in, it waits for repeats until none has come for this long.
const REPEAT_PATIENCE: Duration = Duration::from_millis(250);
/// Timeout of the test connection to a relay that closed all connections.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Coordinator<'a> {
    plan: &'a Plan,
    relay: Relay,
    shared: Arc<Shared>,
    head: Head,
    notices: Receiver<Notice>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<Outcome>>,
    /// Threads that have not sent everything yet.
    sending: usize,
    watch: Watch<'a>,
    scrapes: Scrapes,
    course: Course,
}

impl<'a> Coordinator<'a> {
    pub(crate) fn start(
        plan: &'a Plan,
        shared: Arc<Shared>,
        relay: Relay,
        turn: Option<Turn>,
        observe: &'a mut dyn FnMut(&Snapshot),
    ) -> Result<Self, RunError> {
        let head = Head::of(plan);
        let (sender, notices) = channel();
        let (mut progress, mut wakers, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        let mut cells = Vec::new();
        for number in 0..plan.threads {
            let counters = Arc::new(Progress::default());
            let cell = Cell::default();
            let (sender, own) = (sender.clone(), Arc::clone(&counters));
            let (worker, waker) = Worker::new(
                Arc::clone(&shared),
                relay,
                number,
                sender,
                own,
                Arc::clone(&cell),
            )?;
            let builder = std::thread::Builder::new().name(format!("loadgen-{number}"));
            threads.push(builder.spawn(move || worker.run())?);
            progress.push(counters);
            wakers.push(waker);
            cells.push(cell);
        }
        let watch = Watch::new(plan, &relay, turn, progress, cells, observe);
        Ok(Self {
            plan,
            relay,
            shared,
            head,
            notices,
            wakers,
            sending: threads.len(),
            threads,
            watch,
            scrapes: Scrapes::default(),
            course: Course::default(),
        })
    }

    pub(crate) fn run(mut self, interrupt: &AtomicBool) -> Result<RelayReport, RunError> {
        let result = self.steer(interrupt);
        let connected = self.watch.totals().connected;
        self.shared.finish();
        self.wake();
        let threads = std::mem::take(&mut self.threads);
        let outcomes: Result<Vec<_>, _> = threads
            .into_iter()
            .map(|thread| joined(thread.join()))
            .collect();
        let cpu_share = result?;
        let mut outcomes = outcomes?;
        if let (Some(joint), Some(outcome)) = (&self.shared.joint, outcomes.first_mut()) {
            joint.finish(&mut outcome.ends);
        }
        if let (Some(script), Some(outcome)) = (&self.shared.nostr, outcomes.first_mut()) {
            script.finish(self.shared.times.measure_ns(), &mut outcome.ends);
        }
        let times = &self.shared.times;
        let measured_ns = times.end_ns().saturating_sub(times.measure_ns());
        let last_arrivals = outcomes.iter().map(|outcome| outcome.last_arrival_ns);
        let last_arrival_ns = last_arrivals.max().unwrap_or(0);
        let drained_ns = last_arrival_ns.saturating_sub(times.end_ns());
        let recorder = &mut self.watch.recorder;
        let drain = recorder.finish(measured_ns, drained_ns, connected);
        self.course.measure_ns = times.measure_ns();
        self.course.silence = self.watch.silence.longest;
        let mut report = RelayReport::new(Gathered {
            plan: self.plan,
            relay: self.relay,
            head: self.head,
            outcomes,
            recorder: self.watch.recorder,
            drain,
            measured_ns,
            cpu_share,
            script: self.shared.nostr.as_ref(),
            course: self.course,
        });
        report.aborted = self.watch.aborted;
        if let Some(url) = &self.plan.metrics_url {
            self.scrapes.tell(url, &mut report);
        }
        Ok(report)
    }

    /// Returns the CPU share of the measured time.
    fn steer(&mut self, interrupt: &AtomicBool) -> Result<f64, RunError> {
        self.await_connected(interrupt)?;
        if interrupt.load(Ordering::Relaxed) {
            return Err(RunError::new(
                "interrupted before every client was connected",
            ));
        }
        let start_ns = self.shared.clock.now_ns() + HEAD_START.as_nanos() as u64;
        let before = self.relay.ramp + self.relay.warmup;
        self.shared.times.set(start_ns, before, self.relay.duration);
        self.wake();
        let cpu = self.sleep_until(self.shared.times.measure_ns(), interrupt)?;
        if let Some(url) = &self.plan.metrics_url {
            let before = Scrape::of(url).map_err(RunError::new)?;
            self.scrapes.before = Some(before);
        }
        let cpu_until = self.sleep_until(self.shared.times.end_ns(), interrupt)?;
        self.course.interrupted = interrupt.load(Ordering::Relaxed);
        if self.is_over(interrupt) {
            let now_ns = self.shared.clock.now_ns();
            self.shared.times.end_at(now_ns);
            self.wake();
        }
        if self.is_deserted() {
            self.course.deserted = Some(Deserted {
                at_ns: self.shared.clock.now_ns(),
                sent: self.watch.totals().sent,
                probe: probe(self.shared.address),
            });
        }
        self.scrapes.at_end = self.plan.metrics_url.as_deref().map(Scrape::of);
        let times = &self.shared.times;
        let measured_ns = times.end_ns().saturating_sub(times.measure_ns()).max(1);
        let cpu_share = cpu_until.saturating_sub(cpu).as_nanos() as f64 / measured_ns as f64;
        self.drain()?;
        self.scrapes.after = self.plan.metrics_url.as_deref().map(Scrape::of);
        Ok(cpu_share)
    }

    /// Whether the run should stop.
    fn is_over(&self, interrupt: &AtomicBool) -> bool {
        interrupt.load(Ordering::Relaxed) || self.watch.aborted.is_some() || self.is_deserted()
    }

    /// No reader or no publisher is left.
    fn is_deserted(&self) -> bool {
        let totals = self.watch.totals();
        self.relay.full() > 0 && totals.readers == 0
            || self.relay.publishers > 0 && totals.publishers == 0
    }

    /// Waits until every client is upgraded, or for the interrupt.
    fn await_connected(&mut self, interrupt: &AtomicBool) -> Result<(), RunError> {
        let mut missing = self.threads.len();
        while missing > 0 && !interrupt.load(Ordering::Relaxed) {
            match self.notices.recv_timeout(TICK) {
                Ok(Notice::Failed(reason)) => return Err(RunError::new(reason)),
                Ok(_) => missing -= 1,
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RunError::new("a thread of the generator ended early"));
                }
            }
        }
        Ok(())
    }

    /// Sleeps until `until_ns` or the interrupt. Returns the process's CPU time then.
    fn sleep_until(&mut self, until_ns: u64, interrupt: &AtomicBool) -> Result<Duration, RunError> {
        loop {
            let now_ns = self.shared.clock.now_ns();
            // The end moves if a thread has nothing left to send.
            let until_ns = until_ns.min(self.shared.times.end_ns());
            if now_ns >= until_ns || self.is_over(interrupt) {
                return Ok(process_cpu());
            }
            let next_ns = until_ns.min(self.watch.look_next_ns).max(now_ns + 1);
            std::thread::sleep(TICK.min(Duration::from_nanos(next_ns - now_ns)));
            self.hear()?;
            self.look();
        }
    }

    /// Handles the notices of the threads so far.
    fn hear(&mut self) -> Result<(), RunError> {
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Failed(reason) => return Err(RunError::new(reason)),
                Notice::Sent => self.sending -= 1,
                Notice::Connected => {}
            }
        }
        Ok(())
    }

    /// Waits until everything that was sent has arrived and no repeat comes, or until nothing has
    /// come for too long.
    fn drain(&mut self) -> Result<(), RunError> {
        let (mut moved, mut last_move) = (0, Instant::now());
        let (mut seen, mut last_seen) = (0, Instant::now());
        loop {
            self.hear()?;
            let totals = self.watch.totals();
            if totals.sent + totals.arrivals != moved {
                (moved, last_move) = (totals.sent + totals.arrivals, Instant::now());
            }
            if totals.seen != seen {
                (seen, last_seen) = (totals.seen, Instant::now());
            }
            let is_quiet = totals.sent == 0 || last_seen.elapsed() > REPEAT_PATIENCE;
            let is_all = self.sending == 0 && totals.arrivals >= totals.expected;
            let has_waited = last_move.elapsed() > DRAIN_PATIENCE;
            if is_all && (is_quiet || has_waited) || self.relay.full() > 0 && totals.readers == 0 {
                return Ok(());
            }
            if has_waited {
                self.course.gave_up = true;
                return Ok(());
            }
            std::thread::sleep(DRAIN_TICK);
            self.look();
        }
    }

    fn look(&mut self) {
        self.watch.look(&self.shared.clock, &self.shared.times);
    }

    fn wake(&self) {
        for waker in &self.wakers {
            // A thread that cannot be woken sees the flag at its next event.
            let _ = waker.wake();
        }
    }
}

/// Whether the relay accepts connections (it may have restarted).
fn probe(address: SocketAddr) -> Result<(), ErrorKind> {
    let until = Instant::now() + PROBE_PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(TICK);
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error.kind()),
            Err(_) => std::thread::sleep(TICK),
        }
    }
}
