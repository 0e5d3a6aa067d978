//! Corecast beside other Nostr relays: publishing, queries and fan-out, each on a fresh store.
//!
//! ```text
//! contenders ──▶ each round: each relay ──▶ reading ──▶ results ──▶ table | nostr.json
//! ```
//!
//! The relays take turns, round by round, and ratios are taken within a round. The load generator
//! checks every answer event by event.

mod contenders;
mod reading;
mod results;
mod table;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::awake::Awake;
use crate::comparison::{order, progress};
use crate::machine::{Machine, StolenTime, cores};
use crate::measure::Lab;
use crate::process;
use contenders::Contender;
use reading::{LARGE, Reading, Wanted};
use results::{FLOOR, Outcome, Run};

/// Files that are open besides one for each subscriber.
const OTHER_FILES: u64 = 500;
/// Rounds of a fan-out to so many subscribers that connecting takes longer than all else.
const LARGE_ROUNDS_MAX: u32 = 2;

/// The request.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// Stored events that are queried.
    pub(crate) events: u32,
    /// Numbers of subscribers.
    pub(crate) fanouts: Vec<u32>,
    /// Only relays whose name contains one of these; all if it is empty.
    pub(crate) relays: Vec<String>,
    /// Our own program.
    pub(crate) relay: PathBuf,
    /// The folder of the peers.
    pub(crate) peers: PathBuf,
    pub(crate) strfry: Option<PathBuf>,
    /// The server on one CPU, and the generator on another.
    pub(crate) is_pinned: bool,
    /// The file for all readings.
    pub(crate) file: PathBuf,
    /// The file for the table.
    pub(crate) page: PathBuf,
}

/// Measures, prints and stores the readings. True if every target was reached.
///
/// # Errors
/// An interrupt, or a file that cannot be written. Earlier readings are kept.
pub(crate) fn run(lab: &Lab, plan: &Plan) -> Result<bool> {
    let contenders = chosen(plan)?;
    let measures = results::measures(&plan.fanouts);
    let mut machine = Machine::describe(&lab.generator.cpus);
    if !plan.is_pinned {
        machine.pinning = "NOT pinned: all CPUs for both".to_owned();
    }
    let window_ms = lab.window.as_millis() as u64;
    let mut run = Run::new(machine, plan.rounds, window_ms, plan.events);
    run.contenders = contenders.iter().map(Outcome::of).collect();
    run.contenders.push(Outcome::of_floor());
    for outcome in &run.contenders {
        if let Some(why) = &outcome.skipped {
            println!("{}: skipped: {why}", outcome.name);
        }
    }
    let began = Instant::now();
    for round in 1..=plan.rounds {
        run.quiet.watch(&lab.generator.interrupt)?;
        let wanted = wanted(plan, round);
        for index in order(round, run.contenders.len()) {
            let contender = contenders.get(index);
            let name = contender.map_or(FLOOR, |one| one.name);
            progress(&format!("{round}/{}: {name}", plan.rounds));
            take(lab, contender, &wanted, &mut run, index)?;
        }
        run.seconds = began.elapsed().as_secs();
        run.is_finished = round == plan.rounds;
        run.compute(&measures);
        run.write(&plan.file)?;
    }
    progress("");
    let page = table::markdown(&run, &measures);
    crate::results::write_whole(&plan.page, &page)?;
    println!(
        "{page}\nwrote {} and {}",
        plan.file.display(),
        plan.page.display()
    );
    Ok(run.is_ok())
}

fn chosen(plan: &Plan) -> Result<Vec<Contender>> {
    let all = contenders::all(&plan.relay, &plan.peers, plan.strfry.as_deref());
    let is_chosen = |one: &Contender| {
        let mut names = plan.relays.iter();
        plan.relays.is_empty() || names.any(|name| one.name.contains(name.as_str()))
    };
    let chosen: Vec<_> = all.into_iter().filter(is_chosen).collect();
    ensure!(!chosen.is_empty(), "no relay has such a name");
    Ok(chosen)
}

fn wanted(plan: &Plan, round: u32) -> Wanted {
    let files = process::raise_open_files().unwrap_or(u64::MAX);
    let fits = |subscribers: &&u32| {
        let is_possible = u64::from(**subscribers) + OTHER_FILES <= files;
        is_possible && (**subscribers < LARGE || round <= LARGE_ROUNDS_MAX)
    };
    let fanouts = plan.fanouts.iter().filter(fits);
    Wanted {
        events: plan.events,
        // As many deliveries a second as every relay can send.
        fanouts: fanouts
            .map(|count| (*count, if *count < LARGE { "5" } else { "1" }))
            .collect(),
        is_pinned: plan.is_pinned,
    }
}

/// One reading of one contender, or of the floor. A contender that fails is left out from then on.
fn take(
    lab: &Lab,
    contender: Option<&Contender>,
    wanted: &Wanted,
    run: &mut Run,
    index: usize,
) -> Result<()> {
    let outcome = &mut run.contenders[index];
    if outcome.skipped.is_some() {
        outcome.readings.push(None);
        return Ok(());
    }
    let _awake = Awake::start(&lab.generator.cpus, &lab.generator.interrupt);
    let stolen = StolenTime::start()?;
    let reading: Result<Reading> = match contender {
        Some(contender) => reading::read(lab, contender, wanted),
        None => reading::read_floor(lab),
    };
    run.quiet.keep(stolen.end(cores())?);
    match reading {
        Ok(reading) => outcome.readings.push(Some(reading)),
        Err(error) if lab.generator.interrupt.load(Ordering::Relaxed) => return Err(error),
        Err(error) => {
            println!("{}: {error:#}", outcome.name);
            outcome.readings.push(None);
            outcome.skipped = Some(format!("{error:#}"));
        }
    }
    Ok(())
}

/// The command line's part of a [`Plan`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Load of one reading in milliseconds
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) window_ms: u64,
    /// Stored events that are queried
    #[arg(long, default_value_t = 5_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=200_000))]
    events: u32,
    /// Numbers of subscribers that an event goes to, with commas; 5,000 and more in two rounds only
    #[arg(
        long,
        default_value = "1000,10000",
        value_delimiter = ',',
        value_name = "LIST"
    )]
    fanout: Vec<u32>,
    /// Only relays whose name contains this; may be given several times
    #[arg(long = "relay", value_name = "NAME")]
    relays: Vec<String>,
    /// strfry's program
    #[arg(long, value_name = "PATH")]
    strfry: Option<PathBuf>,
    /// Let server and generator use all CPUs, instead of one each
    #[arg(long)]
    not_pinned: bool,
    /// Directory of the peers that `scripts/bench nostr` built
    #[arg(long, default_value = ".tools/nostr-peers", value_name = "FOLDER")]
    nostr_peers: PathBuf,
    /// Keep all readings in the results as NAME.json, and the table as NAME.md
    #[arg(long, default_value = "nostr", value_name = "NAME")]
    #[arg(value_parser = crate::results::parse_name)]
    name: String,
}

impl Args {
    pub(crate) fn plan(&self, relay: PathBuf, results: &std::path::Path) -> Result<Plan> {
        fs::create_dir_all(results)?;
        Ok(Plan {
            rounds: self.rounds,
            events: self.events,
            fanouts: self.fanout.clone(),
            relays: self.relays.clone(),
            relay,
            peers: self.nostr_peers.clone(),
            strfry: self.strfry.clone(),
            is_pinned: !self.not_pinned,
            file: results.join(format!("{}.json", self.name)),
            page: results.join(format!("{}.md", self.name)),
        })
    }
}
