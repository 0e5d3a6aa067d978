//! `corecast doctor`: what of this machine's settings would hold the relay up, and what to do.
//!
//! Called by [`crate::config::cli`], in a process that does nothing else. It reads `/proc` and
//! `/sys` and changes nothing. What cannot be read is not judged: not every kernel has everything,
//! and a container sees a part.

mod checks;
mod finding;
mod machine;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

pub use self::finding::{Finding, Level};
use self::machine::Machine;
use crate::config::Config;

/// `corecast doctor`
#[derive(Debug, Args)]
pub struct DoctorCommand {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,

    /// Look below this folder for /proc and /sys, such as where a host's are mounted
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub root: PathBuf,
}

impl DoctorCommand {
    /// Prints what it finds. The exit code is 1 where the relay cannot do what its config says.
    pub fn run(&self, config: &Config) -> ExitCode {
        let findings = examine(config, &self.root);
        let text = match self.json {
            true => serde_json::to_string_pretty(&findings).map(|json| json + "\n"),
            false => Ok(report(&findings)),
        };
        let printed = text.map_err(io::Error::from);
        let printed = printed.and_then(|text| io::stdout().write_all(text.as_bytes()));
        match printed {
            Ok(()) if findings.iter().all(|each| each.level != Level::Fail) => ExitCode::SUCCESS,
            // Nobody is left to tell where the other end of a pipe is closed.
            _ => ExitCode::FAILURE,
        }
    }
}

/// Looks at everything that the relay with this config depends on. `root` is `/`, or where a
/// machine's `/proc` and `/sys` are.
pub fn examine(config: &Config, root: &std::path::Path) -> Vec<Finding> {
    checks::all(config, &Machine::new(root))
}

/// A line for each finding, and below it what to do.
fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        text += &format!("{level}  {:<16} {}\n", finding.check, finding.found);
        for line in [&finding.advice, &finding.command].into_iter().flatten() {
            text += &format!("{:24}{line}\n", "");
        }
    }
    let count = |level| findings.iter().filter(|each| each.level == level).count();
    text + &match (count(Level::Fail), count(Level::Warn)) {
        (0, 0) => "\nAll is well.\n".to_owned(),
        (fails, warns) => format!("\n{fails} to fix, {warns} to consider.\n"),
    }
}
