//! The command line: a run with the formats and the history of its report, or a command on stored
//! runs.

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
    /// The options of a run.
    #[command(flatten)]
    pub run: Args,

    /// The outputs of its report.
    #[command(flatten)]
    pub forms: Forms,

    /// Store the report in this SQLite file; an HTML report then also charts the earlier runs of
    /// the same load
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,

    /// Show the run as one line on a terminal, not as a full-window live view
    #[arg(long)]
    pub no_live: bool,

    /// A command instead of a run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Compares two servers in pairs of runs
    Ab(Box<Ab>),
    /// Lists, shows, compares and charts the runs of a history
    History(History),
    /// Writes the performance dashboard: a page over all runs of a history, and one page for each
    Dashboard(Dashboard),
    /// Completions and the manual page.
    #[command(flatten)]
    Describe(Describe),
}
