//! Instructions that the codec and the fan-out take, counted by callgrind and held against
//! thresholds: a regression gate that does not depend on the machine's mood.
//!
//! ```text
//! counts check     exit code 1 where something takes over 3 % more, 77 where it cannot be judged
//! counts update    what it takes now becomes the threshold for this compiler
//! ```
//!
//! Another compiler makes other instructions of the same source, and the C library's `memcpy` is
//! part of what is counted: thresholds are kept for each compiler and target, and where there are
//! none, nothing is judged. Only a release build says anything.

mod thresholds;
mod work;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::thresholds::{Counts, Thresholds, Verdict};

const USAGE: &str = "usage: counts check | update [FILE]";
const FILE: &str = "benches/counts/thresholds.json";
const SKIPPED: u8 = 77;
/// What built this, for what.
const BUILT: &str = concat!(env!("COMPILER"), ", ", env!("TARGET_TRIPLE"));

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest = args.next();
    let done = match command.as_str() {
        // Called by itself, under valgrind.
        "run" => run(&rest.unwrap_or_default()),
        "check" => check(&PathBuf::from(rest.as_deref().unwrap_or(FILE))),
        "update" => update(&PathBuf::from(rest.as_deref().unwrap_or(FILE))),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("counts: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(name: &str) -> Result<ExitCode> {
    let work = work::ALL.iter().find(|(each, _)| *each == name);
    work.with_context(|| format!("nothing is called {name:?}"))?
        .1();
    Ok(ExitCode::SUCCESS)
}

fn check(file: &std::path::Path) -> Result<ExitCode> {
    let thresholds = Thresholds::read(file)?;
    let Some(limits) = thresholds.of(BUILT) else {
        println!("skipped: {} has no thresholds for {BUILT}", file.display());
        return Ok(ExitCode::from(SKIPPED));
    };
    if !has_valgrind() {
        println!("skipped: valgrind is not installed");
        return Ok(ExitCode::from(SKIPPED));
    }
    let counts = count_all()?;
    let mut is_ok = true;
    for (name, verdict) in thresholds::judge(&counts, limits) {
        println!("{name:<42} {verdict}");
        is_ok &= !matches!(verdict, Verdict::Over { .. } | Verdict::Missing);
    }
    Ok(if is_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn update(file: &std::path::Path) -> Result<ExitCode> {
    ensure!(has_valgrind(), "valgrind is not installed");
    ensure!(
        !cfg!(debug_assertions),
        "only a release build says anything"
    );
    let mut thresholds = match file.exists() {
        true => Thresholds::read(file)?,
        false => Thresholds::default(),
    };
    let counts = count_all()?;
    for (name, count) in &counts {
        println!("{name:<42} {count:>10}");
    }
    thresholds.set(BUILT, counts);
    thresholds.write(file)?;
    Ok(ExitCode::SUCCESS)
}

fn has_valgrind() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

fn count_all() -> Result<Counts> {
    let names = work::ALL.iter().map(|(name, _)| *name);
    names
        .map(|name| Ok((name.to_owned(), count(name)?)))
        .collect()
}

/// Instructions of one time.
fn count(name: &str) -> Result<u64> {
    let program = std::env::current_exe().context("asking for this program")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured_part*"])
        .arg(program)
        .args(["run", name])
        .output()
        .context("starting valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "{name} under valgrind ended with {}:\n{said}",
            output.status
        );
    }
    let collected = thresholds::parse_collected(&said);
    let collected = collected.with_context(|| format!("valgrind said no count:\n{said}"))?;
    ensure!(collected > 0, "nothing was counted for {name}");
    Ok(collected / work::REPEATS)
}
