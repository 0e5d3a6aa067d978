//! Child processes: started on their own CPU, and always ended with the driver.

use std::fs::File;
use std::io::Seek;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const POLL: Duration = Duration::from_millis(5);
const START_PATIENCE: Duration = Duration::from_secs(10);
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Where children run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    pub(crate) allowed: CpuSet,
    /// The server's CPU and the generator's. None if there is only one.
    pub(crate) pair: Option<(usize, usize)>,
}

impl Cpus {
    /// The last CPU that this process may use for the server, the first for the generator: never
    /// two threads of one core if there are two cores.
    pub(crate) fn of_this_process() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("asking for the CPUs")?;
        let mut cpus = Self {
            allowed,
            pair: None,
        };
        if let [first, .., last] = cpus.usable()[..] {
            cpus.pair = Some((last, first));
        }
        Ok(cpus)
    }

    /// The CPUs that this process may use.
    pub(crate) fn usable(&self) -> Vec<usize> {
        let all = 0..CpuSet::MAX_CPU;
        all.filter(|cpu| self.allowed.is_set(*cpu)).collect()
    }

    /// Runs `start` on these CPUs, which its child processes inherit; on all CPUs if the list is
    /// empty.
    fn on<T>(&self, cpus: &[usize], start: impl FnOnce() -> T) -> Result<T> {
        if cpus.is_empty() {
            return Ok(start());
        }
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        sched_setaffinity(None, &set).context("pinning")?;
        let result = start();
        sched_setaffinity(None, &self.allowed).context("unpinning")?;
        Ok(result)
    }
}

/// Set by SIGINT and SIGTERM: every wait checks it.
pub(crate) type Interrupt = Arc<AtomicBool>;

/// A child that ends when this is dropped.
pub(crate) struct Running {
    child: Child,
    /// The file for its stdout, if it will be read: a file does not fill up as a pipe does.
    output: Option<File>,
    interrupt: Interrupt,
}

impl Running {
    /// Starts `command` on the CPUs `on`.
    pub(crate) fn start(
        mut command: Command,
        cpus: &Cpus,
        on: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = cpus
            .on(on, || command.spawn())?
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            child,
            output: None,
            interrupt: Arc::clone(interrupt),
        })
    }

    /// The same, and keeps its stdout for [`output`](Self::output).
    pub(crate) fn start_for_output(
        mut command: Command,
        cpus: &Cpus,
        on: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let output = tempfile::tempfile().context("making a file for a program's output")?;
        command.stdout(output.try_clone()?);
        let mut running = Self::start(command, cpus, on, interrupt)?;
        running.output = Some(output);
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes its stdin, if that is a pipe.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Waits until it has written `word` to its stdout, which is kept.
    pub(crate) fn wait_for(&mut self, word: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !self.said()?.contains(word) {
            pause(&self.interrupt)?;
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it was {word}");
            }
            ensure!(Instant::now() < deadline, "it did not become {word}");
        }
        Ok(())
    }

    /// Its output up to now.
    fn said(&self) -> Result<String> {
        let output = self.output.as_ref().context("its output was not kept")?;
        let mut bytes = vec![0; output.metadata()?.len() as usize];
        output.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it ends, at most for `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            pause(&self.interrupt)?;
            ensure!(
                Instant::now() < deadline,
                "it did not end within {patience:?}"
            );
        }
    }

    /// Its output, once it has ended.
    pub(crate) fn output(&mut self) -> Result<String> {
        let mut output = self.output.take().context("its output was not kept")?;
        output.rewind()?;
        Ok(std::io::read_to_string(output)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sleeps between two checks of a condition. An interrupt is an error, so that everything unwinds.
pub(crate) fn pause(interrupt: &AtomicBool) -> Result<()> {
    ensure!(!interrupt.load(Ordering::Relaxed), "interrupted");
    sleep(POLL);
    Ok(())
}

/// A listening server.
pub(crate) struct Server {
    running: Running,
    address: SocketAddr,
}

impl Server {
    /// Starts `command`, in which `{port}` stands for a free port, in `folder`, and waits until it
    /// accepts connections. Its output goes to `NAME.log` there.
    pub(crate) fn start(
        name: &str,
        command: &[String],
        folder: &Path,
        cpus: &Cpus,
        on: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        Self::start_at(free_port()?, name, command, folder, cpus, on, interrupt)
    }

    /// The same with a port that was chosen before.
    #[allow(clippy::too_many_arguments, reason = "it starts another process")]
    pub(crate) fn start_at(
        port: u16,
        name: &str,
        command: &[String],
        folder: &Path,
        cpus: &Cpus,
        on: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let words: Vec<String> = command
            .iter()
            .map(|word| word.replace("{port}", &port.to_string()))
            .collect();
        let (program, args) = words.split_first().context("an empty command")?;
        let log = File::create(folder.join(format!("{}.log", name.replace([' ', '/', ','], "-"))))?;
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let mut running = Running::start(command, cpus, on, interrupt)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect(address).is_err() {
            pause(interrupt)?;
            if let Some(status) = running.child.try_wait()? {
                bail!("{name} ended with {status} before it listened; see its log");
            }
            ensure!(
                Instant::now() < deadline,
                "{name} does not listen on port {port}"
            );
        }
        Ok(Self { running, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, with `ws` or `wss` as the scheme.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/", self.address)
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Raises the soft limit of open files to the hard one, for the children. Returns the limit.
pub(crate) fn raise_open_files() -> Option<u64> {
    let Rlimit { maximum, current } = getrlimit(Resource::Nofile);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}
