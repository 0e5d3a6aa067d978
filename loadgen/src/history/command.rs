//! `loadgen history` and `loadgen dashboard`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::show::{self, Figure};
use super::{Filter, Store};
use crate::output::Forms;
use crate::page::dashboard;
use crate::report::{Comparison, Report};

/// A difference up to this share counts as no change.
const TOLERANCE: f64 = 0.1;

/// Lists, shows, compares and charts the runs of a history
#[derive(Clone, Debug, Args)]
pub struct History {
    /// The history file
    #[arg(long, value_name = "FILE", default_value = "runs.db", global = true)]
    history: PathBuf,

    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// One line for each run (the default)
    List(Filter),
    /// The report of a run in any format
    Show {
        /// Its number
        run: i64,
        #[command(flatten)]
        forms: Forms,
    },
    /// Compares two runs, figure by figure
    Compare {
        /// Number of the earlier run
        before: i64,
        /// Number of the later run
        after: i64,
    },
    /// Charts one figure from run to run
    Chart {
        /// The figure
        #[arg(value_enum, default_value_t = Figure::P99)]
        figure: Figure,
        #[command(flatten)]
        filter: Filter,
    },
    /// Stores reports that were written as JSON
    Add {
        /// The report files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl History {
    /// Runs the command.
    ///
    /// # Errors
    /// The history or the run does not exist, or an output cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        if let Some(Action::Add { files }) = &self.action {
            return add(&self.history, files);
        }
        let store = Store::open_existing(&self.history)?;
        let list = Action::List(Filter {
            last: 30,
            ..Filter::default()
        });
        match self.action.as_ref().unwrap_or(&list) {
            Action::List(filter) => print(&show::list(&store.list(filter)?)),
            Action::Show { run, forms } => {
                forms.check()?;
                let report = store.get(*run)?;
                forms.tell(&report, &store.earlier(&report)?)
            }
            Action::Compare { before, after } => compare(&store, *before, *after),
            Action::Chart { figure, filter } => print(&show::chart(&store.list(filter)?, *figure)),
            Action::Add { .. } => Ok(()),
        }
    }
}

fn add(history: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
    let mut store = Store::open(history)?;
    for file in files {
        let cannot = || format!("cannot read a report from {}", file.display());
        let json = fs::read(file).with_context(cannot)?;
        let report = Report::read(&json).map_err(anyhow::Error::msg);
        store.add(&report.with_context(cannot)?)?;
    }
    Ok(())
}

fn compare(store: &Store, before: i64, after: i64) -> anyhow::Result<()> {
    let (Report::Relay(before), Report::Relay(after)) = (store.get(before)?, store.get(after)?)
    else {
        bail!("reports of handshakes cannot be compared");
    };
    print(&Comparison::of(&before, &after, TOLERANCE).text())
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Writes the performance dashboard: a page over all runs of a history, and one page for each
#[derive(Clone, Debug, Args)]
pub struct Dashboard {
    /// The history file
    #[arg(long, value_name = "FILE", default_value = "runs.db")]
    history: PathBuf,

    /// The directory to write into; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Title of the page
    #[arg(long, default_value = "Performance")]
    title: String,

    /// The runs on the page: the latest ones
    #[command(flatten)]
    filter: Filter,
}

impl Dashboard {
    /// Runs the command.
    ///
    /// # Errors
    /// The history does not exist, or a file cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        let store = Store::open_existing(&self.history)?;
        let cannot = || format!("cannot write the dashboard to {}", self.out.display());
        let folder = self.out.join("runs");
        fs::create_dir_all(&folder).with_context(cannot)?;
        let rows = store.list(&self.filter)?;
        for row in &rows {
            let report = store.get(row.id)?;
            let earlier = store.earlier(&report)?;
            let page = crate::page::render(&report, &earlier);
            let name = folder.join(row.id.to_string());
            fs::write(name.with_extension("html"), page).with_context(cannot)?;
            fs::write(name.with_extension("json"), report.json()?).with_context(cannot)?;
        }
        let page = dashboard::render(&self.title, &rows);
        fs::write(self.out.join("index.html"), page).with_context(cannot)
    }
}
