//! The stand: a relay with one shard, the pair, and the disturbance, each as a process. The relay
//! has a CPU of its own; the pair and the disturbance share another, where the pair has priority.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::Serialize;

use super::scrape::{self, Metrics};
use super::{burn, disturb, pair};
use crate::awake::Awake;
use crate::load::strings;
use crate::measure::Lab;
use crate::process::{Running, Server, free_port, pause};
use crate::procfs;

/// The longest time that a program may take to connect: a million subscriptions take a while.
const READY_PATIENCE: Duration = Duration::from_secs(90);
const END_PATIENCE: Duration = Duration::from_secs(20);
/// A disturbance reaches its full strength after this time.
const SETTLE: Duration = Duration::from_millis(700);
/// The disturbance is killed this long after the pair has begun, if the scene says so.
const BEFORE_KILL: Duration = Duration::from_millis(800);
const LIVEZ_INTERVAL: Duration = Duration::from_millis(100);
const LIVEZ_PATIENCE: Duration = Duration::from_secs(1);
/// A relay that is this busy is saturated, and a generator that is this busy is the bottleneck.
const FULL: f64 = 0.85;
/// A pair whose own lateness exceeds this, and a third of its latency, has measured itself.
const LATE_MS: f64 = 1.0;
/// The priority of processes beside the pair.
const LOWEST: u32 = 19;

/// One relay, and the parameters of its measurement.
pub(super) struct Stand<'a> {
    pub(super) lab: &'a Lab,
    /// The relay's program.
    pub(super) relay: &'a Path,
    pub(super) name: &'a str,
    pub(super) window: Duration,
    pub(super) is_quick: bool,
    /// The pair alone.
    quiet: OnceCell<Reading>,
}

/// The scene of a reading.
#[derive(Clone, Default)]
pub(super) struct Scene {
    /// The relay's keys.
    pub(super) keys: Vec<&'static str>,
    /// The disturbance's arguments.
    pub(super) load: Vec<String>,
    /// More arguments of the pair.
    pub(super) pair: Vec<&'static str>,
    /// Shares of a CPU that are burnt beside the relay and beside the pair.
    pub(super) burn: Option<(f64, f64)>,
    /// Whether `/livez` is polled all the time.
    pub(super) asks_livez: bool,
    /// Whether the disturbance is that its clients vanish.
    pub(super) vanishes: bool,
}

/// The results of a reading.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Reading {
    pub(super) pair: pair::Report,
    /// Shares of a CPU.
    pub(super) relay_cpu: f64,
    pub(super) load_cpu: f64,
    /// The bounds of the longest turn's bucket, in milliseconds.
    pub(super) longest_turn_ms: (f64, f64),
    /// Payload that the relay received.
    pub(super) received_bytes_per_s: f64,
    pub(super) load: disturb::Report,
    /// How often `/livez` did not answer 200 within a second.
    pub(super) livez_failures: u64,
    /// Why the figures say nothing about the relay.
    pub(super) invalid: Vec<String>,
}

/// A running relay.
pub(super) struct Relay {
    server: Server,
    pub(super) admin: SocketAddr,
    plain: SocketAddr,
}

impl Relay {
    pub(super) fn metrics(&self) -> Result<Metrics> {
        Metrics::of(self.admin)
    }

    pub(super) fn resident_mib(&self) -> Result<f64> {
        let bytes = procfs::resident_bytes(self.server.pid()).context("reading VmRSS")?;
        Ok(bytes as f64 / f64::from(1 << 20))
    }

    pub(super) fn cpu_time(&self) -> Result<Duration> {
        Ok(procfs::cpu_time(self.server.pid())?)
    }
}

impl<'a> Stand<'a> {
    pub(super) fn new(lab: &'a Lab, relay: &'a Path, name: &'a str, is_quick: bool) -> Self {
        let window = if is_quick { 1_500 } else { 4_000 };
        Self {
            lab,
            relay,
            name,
            window: Duration::from_millis(window),
            is_quick,
            quiet: OnceCell::new(),
        }
    }

    /// The relay's CPU, and the CPU of everything else.
    fn cpus(&self) -> (Option<usize>, Option<usize>) {
        let pair = self.lab.generator.cpus.pair;
        (pair.map(|(relay, _)| relay), pair.map(|(_, other)| other))
    }

    pub(super) fn relay(&self, keys: &[&str]) -> Result<Relay> {
        let [admin, plain] = [free_port()?, free_port()?];
        let metrics = format!("metrics.port={admin}");
        let fixed = [
            "server.host=127.0.0.1",
            "server.port={port}",
            "metrics.host=127.0.0.1",
            &metrics,
            "limits.connections=0",
            "engine.shards=1",
        ];
        let mut command = vec![self.relay.to_string_lossy().into_owned()];
        for key in fixed.iter().chain(keys) {
            let key = key.replace("{plain}", &plain.to_string());
            command.extend(["--set".to_owned(), key]);
        }
        let generator = &self.lab.generator;
        let server = Server::start(
            &format!("fairness-{}", self.name),
            &command,
            &self.lab.folder,
            &generator.cpus,
            self.cpus().0.as_slice(),
            &generator.interrupt,
        )?;
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Relay {
            server,
            admin: local(admin),
            plain: local(plain),
        })
    }

    /// Starts this program with a command of its own.
    fn start(
        &self,
        command: &str,
        args: &[String],
        cpu: Option<usize>,
        nice: u32,
    ) -> Result<Running> {
        let mut program = Command::new("nice");
        program.args(["-n", &nice.to_string()]);
        program.arg(std::env::current_exe()?).arg(command);
        program.args(args).stdin(Stdio::piped());
        let generator = &self.lab.generator;
        Running::start_for_output(
            program,
            &generator.cpus,
            cpu.as_slice(),
            &generator.interrupt,
        )
    }

    /// A disturbance whose clients are connected. If it should not delay the pair, it may have
    /// priority itself.
    pub(super) fn load(&self, relay: &Relay, args: &[String], nice: u32) -> Result<Running> {
        let to = relay.server.address().to_string();
        let plain = relay.plain.to_string();
        let mut all = args.to_vec();
        all.extend(strings(&["--to", &to, "--plain", &plain]));
        let mut load = self.start(disturb::COMMAND, &all, self.cpus().1, nice)?;
        load.wait_for("ready", READY_PATIENCE)
            .context("the disturbance")?;
        Ok(load)
    }

    /// Ends a disturbance. Returns its results.
    pub(super) fn end(&self, mut load: Running) -> Result<disturb::Report> {
        load.signal(Signal::TERM);
        load.wait(END_PATIENCE).context("the disturbance")?;
        last_line(&load.output()?).context("the disturbance's report")
    }

    fn pair(&self, relay: &Relay, more: &[&str]) -> Result<Running> {
        let to = relay.server.address().to_string();
        let window = self.window.as_millis().to_string();
        let mut args = strings(&["--to", &to, "--window-ms", &window]);
        args.extend(strings(more));
        let mut pair = self.start(pair::COMMAND, &args, self.cpus().1, 0)?;
        pair.wait_for("ready", READY_PATIENCE).context("the pair")?;
        Ok(pair)
    }

    fn burn(&self, share: f64, cpu: Option<usize>, nice: u32) -> Result<Running> {
        let share = format!("{:.4}", share.clamp(0.0, 1.0));
        self.start(burn::COMMAND, &strings(&["--share", &share]), cpu, nice)
    }

    /// The pair alone, measured once.
    pub(super) fn quiet(&self) -> Result<Reading> {
        if let Some(quiet) = self.quiet.get() {
            return Ok(quiet.clone());
        }
        let quiet = self.play(&Scene::default())?;
        Ok(self.quiet.get_or_init(|| quiet).clone())
    }

    /// The pair beside another process that uses the CPU time of the relay and the disturbance.
    pub(super) fn control(&self, scene: &Scene, disturbed: &Reading) -> Result<Reading> {
        let own = self.quiet()?.relay_cpu;
        let burnt = (disturbed.relay_cpu - own).max(0.0);
        self.play(&Scene {
            load: Vec::new(),
            burn: Some((burnt, disturbed.load_cpu)),
            vanishes: false,
            ..scene.clone()
        })
    }

    /// One reading.
    pub(super) fn play(&self, scene: &Scene) -> Result<Reading> {
        let generator = &self.lab.generator;
        let _awake = Awake::start(&generator.cpus, &generator.interrupt);
        let relay = self.relay(&scene.keys)?;
        let mut pair = self.pair(&relay, &scene.pair)?;
        let mut load = match scene.load.is_empty() {
            true => None,
            false => Some(self.load(&relay, &scene.load, LOWEST)?),
        };
        let mut burning = Vec::new();
        if let Some((beside_relay, beside_pair)) = scene.burn {
            let (first, second) = self.cpus();
            burning.push(self.burn(beside_relay, first, 0)?);
            burning.push(self.burn(beside_pair, second, LOWEST)?);
        }
        self.wait(SETTLE)?;
        let livez = scene.asks_livez.then(|| Livez::start(relay.admin));
        let before = Seen::now(&relay, load.as_ref())?;
        pair.close_stdin();
        if scene.vanishes {
            self.wait(BEFORE_KILL)?;
            // A killed process sends no Close, and its sockets are gone at once.
            load.iter().for_each(|load| load.signal(Signal::KILL));
            load = None;
        }
        pair.wait(self.window + END_PATIENCE).context("the pair")?;
        let after = Seen::now(&relay, load.as_ref())?;
        let livez_failures = livez.map_or(0, Livez::end);
        drop(burning);
        let mut reading = Reading {
            pair: last_line(&pair.output()?).context("the pair's report")?,
            livez_failures,
            ..after.since(&before)
        };
        if let Some(load) = load {
            reading.load = self.end(load)?;
        }
        reading.judge();
        Ok(reading)
    }

    pub(super) fn wait(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            pause(&self.lab.generator.interrupt)?;
        }
        Ok(())
    }
}

/// The last line that a program wrote.
fn last_line<T: for<'de> serde::Deserialize<'de>>(output: &str) -> Result<T> {
    let line = output.trim_end().lines().next_back().unwrap_or_default();
    Ok(serde_json::from_str(line)?)
}

impl Reading {
    /// Records why something other than the relay was measured.
    fn judge(&mut self) {
        let late = self.pair.late_p99_ms;
        if late > LATE_MS && late > self.pair.p99_ms / 3.0 {
            let note = format!("the pair itself was late by {late:.1} ms at p99");
            self.invalid.push(note);
        }
        if self.load_cpu > FULL && self.relay_cpu < FULL {
            let note = "the generator was the bottleneck: it was saturated, the relay was not";
            self.invalid.push(note.to_owned());
        }
    }
}

/// A sample of all counters.
struct Seen {
    at: Instant,
    relay_cpu: Duration,
    load_cpu: Option<Duration>,
    metrics: Metrics,
}

impl Seen {
    fn now(relay: &Relay, load: Option<&Running>) -> Result<Self> {
        Ok(Self {
            metrics: relay.metrics()?,
            at: Instant::now(),
            relay_cpu: relay.cpu_time()?,
            load_cpu: load.and_then(|load| procfs::cpu_time(load.pid()).ok()),
        })
    }

    fn since(&self, before: &Self) -> Reading {
        let seconds = (self.at - before.at).as_secs_f64();
        let share = |cpu: Duration| cpu.as_secs_f64() / seconds;
        let load_cpu = self.load_cpu.zip(before.load_cpu);
        let received = |seen: &Self| seen.metrics.sum("corecast_received_payload_bytes_total");
        // A tick ends a turn each tenth of a second: if none has ended, one is still running.
        let longest_turn = self.metrics.longest_turn_since(&before.metrics);
        Reading {
            relay_cpu: share(self.relay_cpu.saturating_sub(before.relay_cpu)),
            load_cpu: load_cpu.map_or(0.0, |(now, then)| share(now.saturating_sub(then))),
            longest_turn_ms: longest_turn.unwrap_or((1e3 * seconds, f64::INFINITY)),
            received_bytes_per_s: (received(self) - received(before)) / seconds,
            ..Reading::default()
        }
    }
}

/// Polls `/livez` all the time.
struct Livez {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Livez {
    fn start(admin: SocketAddr) -> Self {
        let is_over: Arc<AtomicBool> = Arc::default();
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut failures = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = scrape::get(admin, "/livez", LIVEZ_PATIENCE);
                failures += u64::from(!matches!(answer, Ok((200, _))));
                thread::sleep(LIVEZ_INTERVAL);
            }
            failures
        });
        Self { is_over, thread }
    }

    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(1)
    }
}
