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

/// By how much a figure may differ and be the same.
const TOLERANCE: f64 = 0.1;

/// Lists, shows, compares and charts the runs of a history
#[derive(Clone, Debug, Args)]
pub struct History {
    /// The history
    #[arg(long, value_name = "FILE", default_value = "runs.db", global = true)]
    history: PathBuf,

    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// One line for each run (the default)
    List(Filter),
    /// The report of a run, in any form
    Show {
        /// Its number
        run: i64,
        #[command(flatten)]
        forms: Forms,
    },
    /// Two runs, figure by figure
    Compare {
        /// Number of the earlier run
        before: i64,
        /// Number of the later run
        after: i64,
    },
    /// A figure from run to run
    Chart {
        /// Which one
        #[arg(value_enum, default_value_t = Figure::P99)]
        figure: Figure,
        #[command(flatten)]
        filter: Filter,
    },
    /// Keep reports that were written as JSON
    Add {
        /// They
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl History {
    /// Does what was asked for.
    ///
    /// # Errors
    /// There is no such history or run, or something cannot be written.
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
        let cannot = || format!("no report can be read from {}", file.display());
        let json = fs::read(file).with_context(cannot)?;
        let report = Report::read(&json).map_err(anyhow::Error::msg);
        store.add(&report.with_context(cannot)?)?;
    }
    Ok(())
}

fn compare(store: &Store, before: i64, after: i64) -> anyhow::Result<()> {
    let (Report::Relay(before), Report::Relay(after)) = (store.get(before)?, store.get(after)?)
    else {
        bail!("handshakes are not compared");
    };
    print(&Comparison::of(&before, &after, TOLERANCE).text())
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Writes the performance dashboard: a page over all runs of a history, and one for each
#[derive(Clone, Debug, Args)]
pub struct Dashboard {
    /// The history
    #[arg(long, value_name = "FILE", default_value = "runs.db")]
    history: PathBuf,

    /// The folder to write into; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// What the page is called
    #[arg(long, default_value = "Performance")]
    title: String,

    /// Runs on the page, the latest ones
    #[command(flatten)]
    filter: Filter,
}

impl Dashboard {
    /// Does what was asked for.
    ///
    /// # Errors
    /// There is no such history, or a file cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        let store = Store::open_existing(&self.history)?;
        let cannot = || format!("the dashboard cannot be written to {}", self.out.display());
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
