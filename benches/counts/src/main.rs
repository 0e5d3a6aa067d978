//! Instruction counts of the codec, the fan-out and whole turns, by callgrind, compared with
//! limits: a regression gate that does not depend on the machine's load.
//!
//! ```text
//! counts check              exit code 1 if something takes too many, 77 if it cannot be judged
//! counts update             freezes what has no limit yet; limits that are there stay
//! counts raise NAME WHY     what it takes now becomes the limit, and the reason stays beside it
//! ```
//!
//! Another compiler generates other instructions, and the C library's `memcpy` is counted too:
//! limits are kept for each compiler and target, and without one nothing is judged. Only counts of
//! a release build are meaningful.

mod callgrind;
mod frozen;
mod turns;
mod work;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::frozen::{Counts, Frozen, Verdict};

const USAGE: &str = "usage: counts check | update | raise NAME WHY";
const FILE: &str = "benches/counts/frozen.json";
const SKIPPED: u8 = 77;
/// On a busy machine a thing may take a turn more, so turns over a limit are counted again.
const AGAIN_MAX: usize = 2;
/// The compiler and the target.
const BUILT: &str = concat!(env!("COMPILER"), ", ", env!("TARGET_TRIPLE"));

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let file = Path::new(FILE);
    let done = match words[..] {
        // Called by itself, under valgrind.
        ["run", name] => run(name, 0),
        ["run", name, times] => times
            .parse()
            .context("a number of times")
            .and_then(|times| run(name, times)),
        ["check"] => check(file),
        ["update"] => update(file),
        ["raise", name, why] => raise(file, name, why),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("counts: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(name: &str, times: u64) -> Result<ExitCode> {
    if let Some(turns) = turns::find(name) {
        println!("{}", (turns.work)(times)?);
        return Ok(ExitCode::SUCCESS);
    }
    let work = work::ALL.iter().find(|(each, _)| *each == name);
    work.with_context(|| format!("unknown name {name:?}"))?.1();
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path) -> Result<ExitCode> {
    let frozen = Frozen::read(file)?;
    let Some(limits) = frozen.of(BUILT) else {
        println!("skipped: {} has no limits for {BUILT}", file.display());
        return Ok(ExitCode::from(SKIPPED));
    };
    if !callgrind::is_there() {
        println!("skipped: valgrind is not installed");
        return Ok(ExitCode::from(SKIPPED));
    }
    let mut counts = count_all()?;
    for _ in 0..AGAIN_MAX {
        if frozen::judge(&counts, limits)
            .iter()
            .all(|(_, each)| is_within(each))
        {
            break;
        }
        for (name, count) in callgrind::count_turns()? {
            counts
                .entry(name)
                .and_modify(|least| *least = count.min(*least));
        }
    }
    let mut is_ok = true;
    for (name, verdict) in frozen::judge(&counts, limits) {
        println!("{name:<42} {verdict}");
        is_ok &= is_within(&verdict);
    }
    if !is_ok {
        println!("raising a limit needs a reason: scripts/bench counts --raise NAME --why REASON");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn is_within(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Within { .. })
}

fn update(file: &Path) -> Result<ExitCode> {
    can_count()?;
    let mut frozen = match file.exists() {
        true => Frozen::read(file)?,
        false => Frozen::default(),
    };
    let counts = count_all()?;
    let new = frozen.add(BUILT, &commit(), &counts);
    for (name, count) in &counts {
        let word = if new.contains(name) { "new" } else { "" };
        println!("{name:<42} {count:>10}  {word}");
    }
    frozen.write(file)?;
    Ok(ExitCode::SUCCESS)
}

fn raise(file: &Path, name: &str, why: &str) -> Result<ExitCode> {
    can_count()?;
    let mut frozen = Frozen::read(file)?;
    let count = count_all()?.get(name).copied();
    let count = count.with_context(|| format!("unknown name {name:?}"))?;
    frozen.raise(BUILT, name, count, why)?;
    frozen.write(file)?;
    println!("{name:<42} {count:>10}");
    Ok(ExitCode::SUCCESS)
}

fn can_count() -> Result<()> {
    ensure!(callgrind::is_there(), "valgrind is not installed");
    ensure!(
        !cfg!(debug_assertions),
        "only counts of a release build are meaningful"
    );
    Ok(())
}

/// The commit that is checked out.
fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    let text = output.ok().map(|output| output.stdout);
    let text = text.and_then(|text| String::from_utf8(text).ok());
    let text = text.unwrap_or_default().trim().to_owned();
    match text.is_empty() {
        true => "unknown".to_owned(),
        false => text,
    }
}

fn count_all() -> Result<Counts> {
    let mut counts = Counts::new();
    for (name, _) in &work::ALL {
        counts.insert((*name).to_owned(), callgrind::count_work(name)?);
    }
    counts.extend(callgrind::count_turns()?);
    Ok(counts)
}
