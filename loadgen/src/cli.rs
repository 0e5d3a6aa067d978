//! The command line: a run with the forms that its report comes in and where it is kept, or what
//! is done with runs that were kept.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use corecast_terminal::describe::Describe;

use crate::args::{Ab, Args, EXAMPLES};
use crate::history::{Dashboard, History};
use crate::output::Forms;

/// Loads a WebSocket relay and checks every delivery.
///
/// Every client receives; some publish. Each message carries the time at which it was due, its
/// publisher and its number, and every receiver checks order, gaps, repeats and content.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadgen", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to run.
    #[command(flatten)]
    pub run: Args,

    /// How to tell what it came to.
    #[command(flatten)]
    pub forms: Forms,

    /// Keep the report in this file of SQLite, and show on a page how the figures went over the
    /// earlier runs of the same load
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,

    /// Show the run on a terminal as one line, not as a live view of the whole window
    #[arg(long)]
    pub no_live: bool,

    /// Something else than a run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done beside a run.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Compares two servers in pairs of runs
    Ab(Box<Ab>),
    /// Lists, shows, compares and charts the runs of a history
    History(History),
    /// Writes the performance dashboard: a page over all runs of a history, and one for each
    Dashboard(Dashboard),
    /// Completions and the manual page.
    #[command(flatten)]
    Describe(Describe),
}
