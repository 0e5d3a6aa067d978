//! `corecast doctor`: finds settings of this machine that limit the relay, and suggests changes.
//!
//! Called by [`crate::config::cli`], in a process that does nothing else. It reads `/proc` and
//! `/sys` and changes nothing. Settings that cannot be read are skipped, since kernels differ and a
//! container sees only some of them.

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
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,

    /// Folder that contains /proc and /sys, for example those of a host that are mounted there
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub root: PathBuf,
}

impl DoctorCommand {
    /// Prints the findings. The exit code is 1 if the relay cannot do what its config asks for.
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
            // If the reader of the pipe has gone, the error has no receiver.
            _ => ExitCode::FAILURE,
        }
    }
}

/// Checks the settings that matter to a relay with this config. `root` is the folder that contains
/// the machine's `/proc` and `/sys`, usually `/`.
pub fn examine(config: &Config, root: &std::path::Path) -> Vec<Finding> {
    checks::all(config, &Machine::new(root))
}

/// One line for each finding, followed by its advice.
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
        (0, 0) => "\nNo problems found.\n".to_owned(),
        (fails, warns) => format!("\n{fails} to fix, {warns} to consider.\n"),
    }
}
