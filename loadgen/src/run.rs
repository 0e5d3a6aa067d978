//! The coordinator of a relay run: starts the threads, sets the times, waits for the deliveries,
//! adds up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::clock::process_cpu;
use crate::control::{Notice, Progress, Shared};
use crate::outcome::Outcome;
use crate::plan::{Handshakes, Plan, Relay, Work};
use crate::report::{HandshakeReport, RelayReport, Report};
use crate::snapshot::{Phase, Snapshot};
use crate::worker::Worker;
use crate::{RunError, handshakes, limits};

/// Between the last connection and the first message: all threads have heard of it by then.
const HEAD_START: Duration = Duration::from_millis(20);
/// How often the coordinator looks at the interrupt flag and the counters.
const TICK: Duration = Duration::from_millis(50);
/// How often the observer is called.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
const DRAIN_TICK: Duration = Duration::from_millis(5);
/// After the last message was sent, deliveries are awaited until none has come for this long.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// Runs a plan to its end, or until `interrupt` is set: then it still reports.
///
/// `observe` is called four times a second on this thread, see [`Snapshot`].
///
/// # Errors
/// A connection or handshake failed, or the system refused threads or descriptors.
pub fn run(
    plan: &Plan,
    interrupt: &AtomicBool,
    observe: &mut dyn FnMut(&Snapshot),
) -> Result<Report, RunError> {
    let address = plan
        .target
        .resolve()
        .map_err(|error| RunError::new(error.to_string()))?;
    let shared = Arc::new(Shared::new(plan, address));
    match plan.work {
        Work::Relay(relay) => {
            limits::raise_open_files(u64::from(relay.clients))?;
            let report = Coordinator::start(plan, shared, relay, observe)?.run(interrupt)?;
            Ok(Report::Relay(Box::new(report)))
        }
        Work::Handshakes(work) => {
            limits::raise_open_files(u64::from(work.concurrency))?;
            let report = run_handshakes(plan, &shared, work, interrupt)?;
            Ok(Report::Handshakes(Box::new(report)))
        }
    }
}

fn run_handshakes(
    plan: &Plan,
    shared: &Arc<Shared>,
    work: Handshakes,
    interrupt: &AtomicBool,
) -> Result<HandshakeReport, RunError> {
    let cpu_before = process_cpu();
    let from = Instant::now();
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| scope.spawn(move || handshakes::run(shared, work, thread, interrupt)))
            .collect();
        threads
            .into_iter()
            .map(|thread| joined(thread.join()))
            .collect::<Vec<_>>()
    });
    let elapsed = from.elapsed();
    let outcomes = results
        .into_iter()
        .collect::<Result<Result<Vec<_>, _>, _>>()??;
    let cpu = process_cpu().saturating_sub(cpu_before);
    Ok(HandshakeReport::new(plan, work, &outcomes, elapsed, cpu))
}

fn joined<T>(result: std::thread::Result<T>) -> Result<T, RunError> {
    result.map_err(|_| RunError::new("a thread of the generator panicked"))
}

/// A relay run under way.
struct Coordinator<'a> {
    plan: &'a Plan,
    relay: Relay,
    shared: Arc<Shared>,
    notices: Receiver<Notice>,
    progress: Vec<Arc<Progress>>,
    wakers: Vec<Waker>,
    threads: Vec<JoinHandle<Outcome>>,
    /// Threads that have not sent everything yet.
    sending: usize,
    observe: &'a mut dyn FnMut(&Snapshot),
    look_next: Instant,
}

impl<'a> Coordinator<'a> {
    fn start(
        plan: &'a Plan,
        shared: Arc<Shared>,
        relay: Relay,
        observe: &'a mut dyn FnMut(&Snapshot),
    ) -> Result<Self, RunError> {
        let (sender, notices) = channel();
        let (mut progress, mut wakers, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..plan.threads {
            let counters = Arc::new(Progress::default());
            let (sender, own) = (sender.clone(), Arc::clone(&counters));
            let (worker, waker) = Worker::new(Arc::clone(&shared), relay, number, sender, own)?;
            let builder = std::thread::Builder::new().name(format!("loadgen-{number}"));
            threads.push(builder.spawn(move || worker.run())?);
            progress.push(counters);
            wakers.push(waker);
        }
        let sending = threads.len();
        Ok(Self {
            plan,
            relay,
            shared,
            notices,
            progress,
            wakers,
            threads,
            sending,
            observe,
            look_next: Instant::now(),
        })
    }

    fn run(mut self, interrupt: &AtomicBool) -> Result<RelayReport, RunError> {
        let result = self.steer(interrupt);
        self.shared.finish();
        self.wake();
        let threads = std::mem::take(&mut self.threads);
        let outcomes: Result<Vec<_>, _> = threads
            .into_iter()
            .map(|thread| joined(thread.join()))
            .collect();
        let (interrupted, cpu_share) = result?;
        Ok(RelayReport::new(
            self.plan,
            self.relay,
            outcomes?,
            &self.shared.times,
            cpu_share,
            interrupted,
        ))
    }

    /// Gives back whether the run was interrupted, and the CPU share of the measured time.
    fn steer(&mut self, interrupt: &AtomicBool) -> Result<(bool, f64), RunError> {
        self.await_connected(interrupt)?;
        if interrupt.load(Ordering::Relaxed) {
            return Err(RunError::new(
                "interrupted before every client was connected",
            ));
        }
        let start_ns = self.shared.clock.now_ns() + HEAD_START.as_nanos() as u64;
        self.shared
            .times
            .set(start_ns, self.relay.warmup, self.relay.duration);
        self.wake();
        let cpu = self.sleep_until(self.shared.times.measure_ns(), interrupt)?;
        let cpu_until = self.sleep_until(self.shared.times.end_ns(), interrupt)?;
        let interrupted = interrupt.load(Ordering::Relaxed);
        if interrupted {
            self.shared.times.end_at(self.shared.clock.now_ns());
            self.wake();
        }
        let measured_ns = self
            .shared
            .times
            .end_ns()
            .saturating_sub(self.shared.times.measure_ns())
            .max(1);
        let cpu_share = cpu_until.saturating_sub(cpu).as_nanos() as f64 / measured_ns as f64;
        self.drain()?;
        Ok((interrupted, cpu_share))
    }

    /// Waits until every client is upgraded, or for the interrupt.
    fn await_connected(&mut self, interrupt: &AtomicBool) -> Result<(), RunError> {
        let mut missing = self.threads.len();
        while missing > 0 && !interrupt.load(Ordering::Relaxed) {
            match self.notices.recv_timeout(TICK) {
                Ok(Notice::Failed(reason)) => return Err(RunError::new(reason)),
                Ok(_) => missing -= 1,
                Err(RecvTimeoutError::Timeout) => self.show(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RunError::new("a thread of the generator ended"));
                }
            }
        }
        Ok(())
    }

    /// Sleeps until `until_ns` or the interrupt. Gives back the process's CPU time then.
    fn sleep_until(&mut self, until_ns: u64, interrupt: &AtomicBool) -> Result<Duration, RunError> {
        loop {
            let now_ns = self.shared.clock.now_ns();
            if now_ns >= until_ns || interrupt.load(Ordering::Relaxed) {
                return Ok(process_cpu());
            }
            std::thread::sleep(TICK.min(Duration::from_nanos(until_ns - now_ns)));
            self.hear()?;
            self.show();
        }
    }

    /// Takes what the threads have told so far.
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

    /// Waits until everything that was sent has arrived, or nothing has come for too long.
    fn drain(&mut self) -> Result<(), RunError> {
        let mut last = (0, Instant::now());
        loop {
            self.hear()?;
            let (sent, arrivals) = self.totals();
            if self.sending == 0 && arrivals >= sent * self.receivers_of_each() {
                return Ok(());
            }
            if sent + arrivals != last.0 {
                last = (sent + arrivals, Instant::now());
            } else if last.1.elapsed() > DRAIN_PATIENCE {
                return Ok(());
            }
            std::thread::sleep(DRAIN_TICK);
            self.show();
        }
    }

    fn receivers_of_each(&self) -> u64 {
        u64::from(self.relay.live() - u32::from(!self.relay.echo))
    }

    fn totals(&self) -> (u64, u64) {
        self.progress.iter().fold((0, 0), |(sent, arrivals), one| {
            let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            (sent + load(&one.sent), arrivals + load(&one.arrivals))
        })
    }

    fn wake(&self) {
        for waker in &self.wakers {
            // A thread that cannot be woken looks at the flag at its next event.
            let _ = waker.wake();
        }
    }

    fn show(&mut self) {
        if Instant::now() < self.look_next {
            return;
        }
        self.look_next = Instant::now() + LOOK_INTERVAL;
        let connected = |one: &Arc<Progress>| one.connected.load(Ordering::Relaxed);
        let (sent, received) = self.totals();
        let times = &self.shared.times;
        let now_ns = self.shared.clock.now_ns();
        let (phase, until_ns) = match times.start_ns() {
            None => (Phase::Connecting, None),
            Some(_) if now_ns < times.measure_ns() => (Phase::WarmUp, Some(times.measure_ns())),
            Some(_) if now_ns < times.end_ns() => (Phase::Measuring, Some(times.end_ns())),
            Some(_) => (Phase::Draining, None),
        };
        (self.observe)(&Snapshot {
            phase,
            elapsed_ms: now_ns / 1_000_000,
            remaining_ms: until_ns.map(|until_ns| (until_ns - now_ns) / 1_000_000),
            connected: self.progress.iter().map(connected).sum(),
            clients: self.relay.clients.into(),
            sent,
            received,
            ..Snapshot::default()
        });
    }
}
