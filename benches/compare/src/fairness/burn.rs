//! A process that takes a share of a CPU for nothing: the control.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::getppid;
use rustix::time::{ClockId, clock_gettime};

/// The name of the command.
pub(crate) const COMMAND: &str = "burn";
/// It works for a part of each period and sleeps for the rest.
const PERIOD: Duration = Duration::from_millis(5);
/// The time limit, in case its parent does not end it.
const LONGEST: Duration = Duration::from_secs(120);
const STEPS: u32 = 1 << 12;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The share of a CPU, 0 to 1
    #[arg(long)]
    share: f64,
}

/// Burns CPU time until it is ended or its parent is gone.
pub(crate) fn run(args: &Args) {
    let (began, parent) = (Instant::now(), getppid());
    let share = args.share.clamp(0.0, 1.0);
    let mut wanted = cpu_time();
    while getppid() == parent && began.elapsed() < LONGEST {
        let period_began = Instant::now();
        wanted = (wanted + PERIOD.mul_f64(share)).max(cpu_time());
        while cpu_time() < wanted {
            (0..STEPS).for_each(|step| {
                black_box(step);
            });
        }
        thread::sleep(PERIOD.saturating_sub(period_began.elapsed()));
    }
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
