//! Stored runs: an SQLite file with the report of each.
//!
//! The table `test_runs` has the columns that the load test of an earlier relay kept, so a program
//! that reads its history reads this one. `runs` adds the key that groups runs of the same load,
//! the figures that lists and charts need, and the whole report.

mod command;
mod show;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::report::{HandshakeReport, RelayReport, Report};

pub use command::{Dashboard, History};

/// The version of the tables, kept in the file itself.
const VERSION: i64 = 1;
/// The value of the column `kind` for a run of handshakes.
const HANDSHAKES: &str = "handshakes";
/// Wait this long for another generator that writes to the same file.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Earlier runs that a page shows beside one.
pub(crate) const EARLIER_MAX: u32 = 29;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS test_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp DATETIME DEFAULT CURRENT_TIMESTAMP,
    test_type TEXT,
    num_clients INTEGER,
    message_size INTEGER,
    duration_seconds REAL,
    messages_sent INTEGER,
    messages_received INTEGER,
    messages_per_second REAL,
    bytes_sent INTEGER,
    bytes_received INTEGER,
    bandwidth_mbps REAL,
    avg_latency_ms REAL,
    min_latency_ms REAL,
    max_latency_ms REAL,
    p99_latency_ms REAL,
    errors INTEGER,
    avg_connect_time_ms REAL,
    server_url TEXT
);
CREATE INDEX IF NOT EXISTS idx_timestamp ON test_runs(timestamp);
CREATE INDEX IF NOT EXISTS idx_test_type ON test_runs(test_type);
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY REFERENCES test_runs(id),
    started_at_ms INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    kind TEXT NOT NULL,
    scenario TEXT NOT NULL,
    label TEXT,
    load TEXT NOT NULL,
    rate REAL NOT NULL,
    p50_ns INTEGER NOT NULL,
    p99_ns INTEGER NOT NULL,
    p99_9_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    faults INTEGER NOT NULL,
    is_right INTEGER NOT NULL,
    is_valid INTEGER NOT NULL,
    report TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_load ON runs(load, started_at_ms);
";

/// A history of runs.
#[derive(Debug)]
pub struct Store {
    db: Connection,
}

/// A run as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number in this history, from 1.
    pub id: i64,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// `--scenario`.
    pub scenario: String,
    /// `--label`.
    pub label: Option<String>,
    /// Target.
    pub url: String,
    /// Connections.
    pub clients: i64,
    /// A run of handshakes, without messages.
    pub is_handshakes: bool,
    /// Deliveries a second, or handshakes.
    pub rate: f64,
    /// Median latency, or connect time, in nanoseconds.
    pub p50_ns: i64,
    /// Its 99th percentile.
    pub p99_ns: i64,
    /// Its 99.9th percentile.
    pub p99_9_ns: i64,
    /// Its maximum.
    pub max_ns: i64,
    /// Faulty deliveries.
    pub faults: i64,
    /// Every delivery was right.
    pub is_right: bool,
    /// The generator was not the bottleneck.
    pub is_valid: bool,
    /// Key that groups runs of the same load.
    pub load: String,
}

impl Row {
    /// The verdict in a word or two.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.is_right, self.is_valid) {
            (true, true) => "right",
            (true, false) => "not valid",
            (false, _) => "WRONG",
        }
    }
}

const ROW: &str = "SELECT id, runs.started_at, scenario, label, num_clients, rate, p50_ns, p99_ns,
    p99_9_ns, max_ns, faults, is_right, is_valid, load, server_url, kind
    FROM runs JOIN test_runs USING (id)";

fn row(from: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: from.get(0)?,
        started_at: from.get(1)?,
        scenario: from.get(2)?,
        label: from.get(3)?,
        clients: from.get(4)?,
        rate: from.get(5)?,
        p50_ns: from.get(6)?,
        p99_ns: from.get(7)?,
        p99_9_ns: from.get(8)?,
        max_ns: from.get(9)?,
        faults: from.get(10)?,
        is_right: from.get(11)?,
        is_valid: from.get(12)?,
        load: from.get(13)?,
        url: from.get(14)?,
        is_handshakes: from.get::<_, String>(15)? == HANDSHAKES,
    })
}

/// Selects the runs of a list.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filter {
    /// Only this scenario
    #[arg(long)]
    pub scenario: Option<String>,

    /// Only runs with this label
    #[arg(long)]
    pub label: Option<String>,

    /// Only this many, the latest ones
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub last: u32,
}

impl Store {
    /// Opens a history, and creates it if it does not exist.
    ///
    /// # Errors
    /// The file cannot be opened, is not a history, or was made by a later program.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::with(path, OpenFlags::default())
    }

    /// Opens an existing history.
    ///
    /// # Errors
    /// It does not exist or cannot be opened.
    pub fn open_existing(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        ensure!(
            path.is_file(),
            "the history {shown} does not exist: a run with --history {shown} creates it"
        );
        Self::with(path, OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE)
    }

    fn with(path: &Path, flags: OpenFlags) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use the history {}", path.display());
        let db = Connection::open_with_flags(path, flags).with_context(cannot)?;
        db.busy_timeout(WAIT_MAX).with_context(cannot)?;
        let version: i64 = db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .with_context(cannot)?;
        match version {
            0 => {
                db.execute_batch(TABLES).with_context(cannot)?;
                db.pragma_update(None, "user_version", VERSION)
                    .with_context(cannot)?;
            }
            VERSION => {}
            later => bail!("{}: its version is {later}, not {VERSION}", cannot()),
        }
        Ok(Self { db })
    }

    /// Stores a report. Returns its number.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, report: &Report) -> anyhow::Result<i64> {
        let json = serde_json::to_string(report)?;
        let transaction = self.db.transaction()?;
        match report {
            Report::Relay(report) => add_relay(&transaction, report, &json)?,
            Report::Handshakes(report) => add_handshakes(&transaction, report, &json)?,
        }
        let id = transaction.last_insert_rowid();
        transaction.commit()?;
        Ok(id)
    }

    /// The report of a run.
    ///
    /// # Errors
    /// The run does not exist, or the file cannot be read.
    pub fn get(&self, id: i64) -> anyhow::Result<Report> {
        let query = "SELECT report FROM runs WHERE id = ?1";
        let json: Option<String> = self
            .db
            .query_row(query, [id], |row| row.get(0))
            .optional()?;
        let json = json.with_context(|| format!("this history does not contain run {id}"))?;
        Report::read(json.as_bytes()).map_err(|error| anyhow::anyhow!("run {id}: {error}"))
    }

    /// The latest runs, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self, filter: &Filter) -> anyhow::Result<Vec<Row>> {
        let query = format!(
            "{ROW} WHERE (?1 IS NULL OR scenario = ?1) AND (?2 IS NULL OR label = ?2)
             ORDER BY started_at_ms DESC, id DESC LIMIT ?3"
        );
        let mut query = self.db.prepare(&query)?;
        let wanted = params![filter.scenario, filter.label, filter.last];
        let mut rows = query
            .query_map(wanted, row)?
            .collect::<Result<Vec<_>, _>>()?;
        rows.reverse();
        Ok(rows)
    }

    /// The latest runs of the same load that began before this one, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn earlier(&self, report: &Report) -> anyhow::Result<Vec<RelayReport>> {
        let Report::Relay(of) = report else {
            return Ok(Vec::new());
        };
        let mut query = self.db.prepare(
            "SELECT report FROM runs WHERE load = ?1 AND started_at_ms < ?2
             ORDER BY started_at_ms DESC, id DESC LIMIT ?3",
        )?;
        let began = of.head.started_at_ms as i64;
        let found = query.query_map(params![load(of), began, EARLIER_MAX], |row| {
            row.get::<_, String>(0)
        })?;
        let mut earlier = Vec::new();
        for json in found {
            match Report::read(json?.as_bytes()) {
                Ok(Report::Relay(report)) => earlier.push(*report),
                Ok(Report::Handshakes(_)) | Err(_) => {}
            }
        }
        earlier.reverse();
        Ok(earlier)
    }
}

/// The key of a load: all options but the seed.
fn load(report: &RelayReport) -> String {
    let mut config = serde_json::to_value(&report.config).unwrap_or_default();
    if let Some(fields) = config.as_object_mut() {
        fields.remove("seed");
    }
    format!("{} {config}", report.head.scenario)
}

const INSERT_TEST_RUN: &str = "INSERT INTO test_runs (timestamp, test_type, num_clients,
    message_size, duration_seconds, messages_sent, messages_received, messages_per_second,
    bytes_sent, bytes_received, bandwidth_mbps, avg_latency_ms, min_latency_ms, max_latency_ms,
    p99_latency_ms, errors, avg_connect_time_ms, server_url)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

const INSERT_RUN: &str = "INSERT INTO runs (id, started_at_ms, started_at, kind, scenario, label,
    load, rate, p50_ns, p99_ns, p99_9_ns, max_ns, faults, is_right, is_valid, report)
    VALUES (last_insert_rowid(), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
    ?15)";

/// `2026-11-21 10:30:00`, SQLite's format of times.
fn timestamp(started_at: &str) -> String {
    started_at.replace('T', " ").replace('Z', "")
}

fn add_relay(db: &Connection, report: &RelayReport, json: &str) -> rusqlite::Result<()> {
    let (head, config, sums) = (&report.head, &report.config, &report.measured);
    let (latency, rates) = (&report.latency_ns, &report.throughput);
    let size = config.size_bytes as u64;
    let faults = sums.lost + sums.repeated + sums.reordered + sums.damaged + sums.misrouted;
    let ms = |ns: u64| ns as f64 / 1e6;
    db.execute(
        INSERT_TEST_RUN,
        params![
            timestamp(&head.started_at),
            head.scenario,
            config.clients,
            size as i64,
            report.measured_ms / 1e3,
            sums.sent as i64,
            sums.delivered as i64,
            rates.deliveries_per_second,
            (sums.sent * size) as i64,
            (sums.delivered * size) as i64,
            rates.delivered_bytes_per_second * 8.0 / 1e6,
            latency.mean / 1e6,
            ms(latency.min),
            ms(latency.max),
            ms(latency.p99),
            faults as i64,
            report.connect_ns.quantiles.mean / 1e6,
            config.url,
        ],
    )?;
    db.execute(
        INSERT_RUN,
        params![
            head.started_at_ms as i64,
            head.started_at,
            "relay",
            head.scenario,
            head.label,
            load(report),
            rates.deliveries_per_second,
            latency.p50 as i64,
            latency.p99 as i64,
            latency.p99_9 as i64,
            latency.max as i64,
            faults as i64,
            report.right,
            report.valid,
            json,
        ],
    )?;
    Ok(())
}

/// Handshakes have no messages: their columns stay empty, and connect times stand for latency.
fn add_handshakes(db: &Connection, report: &HandshakeReport, json: &str) -> rusqlite::Result<()> {
    let (head, times) = (&report.head, &report.connect_ns.quantiles);
    let failed = u64::from(report.handshakes).saturating_sub(report.completed);
    let load = format!(
        "handshakes {} {} {}",
        report.url, report.concurrency, report.handshakes
    );
    db.execute(
        "INSERT INTO test_runs (timestamp, test_type, num_clients, duration_seconds, errors,
         avg_connect_time_ms, server_url) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            timestamp(&head.started_at),
            head.scenario,
            report.concurrency,
            report.elapsed_ms / 1e3,
            failed as i64,
            times.mean / 1e6,
            report.url,
        ],
    )?;
    db.execute(
        INSERT_RUN,
        params![
            head.started_at_ms as i64,
            head.started_at,
            HANDSHAKES,
            head.scenario,
            head.label,
            load,
            report.handshakes_per_second,
            times.p50 as i64,
            times.p99 as i64,
            times.p99_9 as i64,
            times.max as i64,
            failed as i64,
            true,
            true,
            json,
        ],
    )?;
    Ok(())
}
