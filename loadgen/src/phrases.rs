//! Phrases shared by all formats of a report: verdicts, names of figures, the load.

use crate::report::{
    Bound, Change, Generator, Machine, Mark, MarkCause, NostrFigures, Quantiles, QueryFigures,
    Reason, RelayReport, Storm, SyncFigures, Walk,
};
use crate::units::{amount, bytes, grouped, ratio, time};

/// Whether something is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Neutral,
    /// The figures are not reliable.
    Doubtful,
    Bad,
}

/// One statement about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) mood: Mood,
    pub(crate) text: String,
}

impl Verdict {
    fn new(mood: Mood, text: impl Into<String>) -> Self {
        Self {
            mood,
            text: text.into(),
        }
    }
}

/// The statements to read before any figure, the most important first.
pub(crate) fn verdicts(report: &RelayReport) -> Vec<Verdict> {
    let mut found = vec![match (report.right, report.config.publishers) {
        (true, 0) => Verdict::new(Mood::Good, "all connections held"),
        (true, _) => Verdict::new(Mood::Good, "every delivery right"),
        (false, _) => Verdict::new(Mood::Bad, wrong(report)),
    }];
    let mood = match report.right {
        true => Mood::Doubtful,
        false => Mood::Bad,
    };
    let told = report.findings.iter();
    found.extend(told.map(|finding| Verdict::new(mood, finding.text.clone())));
    found.extend(marks(report).map(|text| Verdict::new(Mood::Doubtful, text)));
    if !report.valid {
        let reasons = report.invalid_reasons.join("; ");
        let text = format!("not valid, the generator was the bottleneck: {reasons}");
        found.push(Verdict::new(Mood::Doubtful, text));
    }
    if let Some(aborted) = &report.aborted {
        let text = format!(
            "aborted after {}: {}",
            time(aborted.at_ms as f64 * 1e6),
            aborted.condition
        );
        found.push(Verdict::new(Mood::Bad, text));
    }
    if report.interrupted {
        found.push(Verdict::new(Mood::Doubtful, "ended early by a signal"));
    }
    if let Some(comparison) = &report.comparison {
        let mood = self::mood(comparison.verdict);
        let text = match comparison.verdict {
            Change::Better => "better than the earlier run",
            Change::Same => "the same as the earlier run",
            Change::Worse => "worse than the earlier run",
            Change::Undecided => "not decided against the earlier run",
        };
        found.push(Verdict::new(mood, text));
    }
    if !report.latency_comparable && report.config.publishers > 0 {
        let text = "closed loop: latency is mostly the window's own queue";
        found.push(Verdict::new(Mood::Neutral, text));
    }
    found
}

/// The quantiles of which more than a tenth is the generator's own; `None` if there are none.
pub(crate) fn marks(report: &RelayReport) -> Option<String> {
    let of = |mark: &Mark| {
        let cause = match mark.cause {
            MarkCause::Lateness => "sent late",
            MarkCause::ReceiveLag => "handled late",
        };
        format!("{} ({cause}, {:.0} %)", mark.quantile, mark.share * 100.0)
    };
    let all: Vec<_> = report.marks.iter().map(of).collect();
    (!all.is_empty()).then(|| format!("the generator's own: {}", all.join(", ")))
}

/// Advice for a run that is not valid.
pub(crate) fn hint(report: &RelayReport) -> Option<String> {
    let url = &report.config.url;
    let is_here = ["://127.", "://localhost", "://[::1]"]
        .iter()
        .any(|host| url.contains(host));
    (!report.valid && is_here).then(|| {
        // A closed loop does not ask for it.
        let can_be_realtime = !report.generator.is_realtime && report.config.rate.is_some();
        format!(
            "generator and relay share the {} core(s) of this machine: {}fewer threads of the \
                relay, or separate cores for each (taskset), may help",
            report.head.machine.cores,
            if can_be_realtime {
                "real-time scheduling of the generator (CAP_SYS_NICE, or ulimit -r 1), "
            } else {
                ""
            },
        )
    })
}

/// The scheduling of the generator's threads.
pub(crate) fn scheduling(generator: &Generator) -> &'static str {
    match generator.is_realtime {
        true => "real-time",
        false => "normal",
    }
}

fn wrong(report: &RelayReport) -> String {
    let kinds: Vec<String> = report
        .errors
        .iter()
        .map(|kind| format!("{} {}", grouped(kind.count), kind.error))
        .collect();
    format!("wrong deliveries: {}", kinds.join(", "))
}

/// Whether a change is good news.
pub(crate) fn mood(change: Change) -> Mood {
    match change {
        Change::Better => Mood::Good,
        Change::Same => Mood::Neutral,
        Change::Undecided => Mood::Doubtful,
        Change::Worse => Mood::Bad,
    }
}

/// A change in one word.
pub(crate) fn change(change: Change) -> &'static str {
    match change {
        Change::Better => "better",
        Change::Same => "same",
        Change::Worse => "worse",
        Change::Undecided => "undecided",
    }
}

/// The result of a walk: the highest rate that meets its target, and how certain it is.
pub(crate) fn knee(walk: &Walk) -> String {
    let Some(knee) = walk.knee else {
        return match walk.bound {
            Bound::Target => "none: no rate met the target",
            Bound::Generator => "none: limited by the generator",
            Bound::HighestTried | Bound::Unfinished => {
                "none: the walk ended before a rate was confirmed"
            }
        }
        .to_owned();
    };
    let knee = amount(knee, "1/s");
    let rate = match walk.bound {
        Bound::Target => format!("{knee} messages/s"),
        Bound::Generator => format!("≥ {knee} messages/s, limited by the generator"),
        Bound::HighestTried => format!("≥ {knee} messages/s (highest tried)"),
        Bound::Unfinished => format!("≥ {knee} messages/s, ended early"),
    };
    match walk.confirmed_by {
        0 => format!("{rate}, in one run"),
        runs => format!("{rate}, in {runs} runs of {runs}"),
    }
}

/// The interval of a change: `-1.0…+12.3 %`.
pub(crate) fn interval(interval: Option<[f64; 2]>) -> String {
    let Some([low, high]) = interval else {
        return "–".to_owned();
    };
    let (low, high) = (ratio(Some(low)), ratio(Some(high)));
    format!("{}…{high}", low.trim_end_matches(" %"))
}

/// The machine of the run.
pub(crate) fn machine(machine: &Machine) -> String {
    let Machine {
        os,
        kernel,
        arch,
        cpu,
        cores,
        memory_bytes,
    } = machine;
    let memory = bytes(*memory_bytes);
    format!("{cores} core(s) of {cpu}, {memory}, {os} {kernel} {arch}")
}

/// All non-empty distributions of a run, by name.
pub(crate) fn distributions(report: &RelayReport) -> Vec<(&'static str, Quantiles)> {
    let (corrected, uncorrected) = (&report.latency.corrected, &report.latency.uncorrected);
    let mut all = vec![
        ("each receiver", report.latency_ns),
        ("first receiver", corrected.first.quantiles),
        ("last receiver", corrected.last.quantiles),
        ("each, uncorrected", uncorrected.each.quantiles),
        ("first, uncorrected", uncorrected.first.quantiles),
        ("last, uncorrected", uncorrected.last.quantiles),
        ("each, sent in time", report.latency.in_time.quantiles),
        (
            "each, without receive lag",
            report.latency.arrived.quantiles,
        ),
        ("answer", answers(report)),
        ("lateness of sending", report.lateness_ns.quantiles),
        ("receive lag", report.receive_lag_ns.quantiles),
    ];
    if let Some(within) = report
        .server
        .as_ref()
        .and_then(|server| server.relay_latency_ns)
    {
        all.push(("within the server", within));
    }
    all.push(("connect", report.connect_ns.quantiles));
    all.push(("connect, TCP alone", report.tcp_connect_ns));
    if let Some(churn) = &report.churn {
        all.push(("connect again", churn.connect_ns.quantiles));
    }
    all.retain(|(_, of)| of.count > 0);
    all
}

/// The head of the table of storms.
pub(crate) const STORMS: [&str; 5] = [
    "storms",
    "dropped",
    "back",
    "recovery, median",
    "recovery, max",
];

/// The storms: connections that were dropped at once, and the time until all were back. Empty
/// without storms.
pub(crate) fn storms(storms: &[Storm]) -> Vec<Vec<String>> {
    let mut times: Vec<u64> = storms.iter().map(|storm| storm.recovery_ns).collect();
    times.sort_unstable();
    let Some(max) = times.last() else {
        return Vec::new();
    };
    let sum = |of: fn(&Storm) -> u64| grouped(storms.iter().map(of).sum());
    vec![vec![
        grouped(storms.len() as u64),
        sum(|storm| storm.dropped),
        sum(|storm| storm.back),
        time(times[times.len() / 2] as f64),
        time(*max as f64),
    ]]
}

/// The answers of a Nostr relay, row by row.
pub(crate) fn nostr(figures: &NostrFigures) -> Vec<(&'static str, String)> {
    let told = |reasons: &[Reason]| {
        let each = reasons.iter();
        let each = each.map(|one| format!("{} {}", grouped(one.count), one.prefix));
        match each.collect::<Vec<_>>() {
            none if none.is_empty() => "0".to_owned(),
            each => each.join(", "),
        }
    };
    let [right, wrong] = match figures.syncs {
        Some(_) => ["ended", "refused"],
        None => ["OK true", "false"],
    };
    let mut rows = vec![(
        "answers",
        format!(
            "{right} {}   {wrong} {}   none {}   notices {}",
            grouped(figures.accepted),
            told(&figures.refused),
            grouped(figures.unanswered),
            grouped(figures.notices)
        ),
    )];
    if figures.subscriptions > 0 {
        let [subscriptions, filters] = [figures.subscriptions, figures.filters].map(grouped);
        let closed = told(&figures.closed);
        rows.push((
            "subscribed",
            format!("{subscriptions}   different filters {filters}   closed {closed}"),
        ));
    }
    rows.extend(figures.syncs.as_ref().map(synchronized));
    if let Some(queries) = &figures.queries {
        rows.extend(queried(queries, &told(&figures.closed)));
    }
    if let Some(stored) = &figures.stored {
        let [accepted, found] = [stored.accepted, stored.found].map(grouped);
        let missing = grouped(stored.missing);
        rows.push((
            "stored",
            match &*stored.by {
                "count" => format!("{found} of {accepted} acknowledged events, by COUNT"),
                "query" => format!("{found} of {accepted} were looked at, missing {missing}"),
                _ => "not checked: the relay answers neither COUNT nor REQ".to_owned(),
            },
        ));
    }
    rows
}

fn queried(queries: &QueryFigures, closed: &str) -> [(&'static str, String); 2] {
    let [answered, wrong, found, expected] = [
        queries.answered,
        queries.wrong,
        queries.rows,
        queries.expected_rows,
    ]
    .map(grouped);
    let [missing, unasked, repeated, reordered, damaged] = [
        queries.missing_rows,
        queries.unasked_rows,
        queries.repeated_rows,
        queries.reordered_rows,
        queries.damaged_rows,
    ]
    .map(grouped);
    let rate = grouped(queries.rows_per_second.round() as u64);
    let answers = format!("answered {answered}   wrong {wrong}   closed {closed}");
    let rows = format!(
        "{found} of {expected}   {rate}/s   missing {missing}   unasked {unasked}   \
         repeated {repeated}   reordered {reordered}   damaged {damaged}"
    );
    [("queries", answers), ("rows", rows)]
}

fn synchronized(syncs: &SyncFigures) -> (&'static str, String) {
    let [rounds, sent, received] =
        [syncs.rounds, syncs.bytes_sent, syncs.bytes_received].map(grouped);
    let text = format!("rounds {rounds}   digits sent {sent}   received {received}");
    ("synchronized", text)
}

/// From due to the answer, for events that others should get or query: if clients only publish that
/// is the latency itself. Empty for any other load.
pub(crate) fn answers(report: &RelayReport) -> Quantiles {
    let nostr = report.nostr.as_ref();
    let nostr = nostr.filter(|nostr| nostr.subscriptions > 0 || nostr.queries.is_some());
    nostr.map_or_else(Quantiles::default, |nostr| nostr.ok_ns.quantiles)
}

/// The requested load, option by option.
pub(crate) fn load(report: &RelayReport) -> Vec<Vec<String>> {
    let config = &report.config;
    let pace = match (config.publishers, config.rate, config.window) {
        (0, ..) => "none".to_owned(),
        (_, Some(rate), _) => {
            let arrivals = config.arrivals.as_deref().unwrap_or("constant");
            format!("{} messages/s, {arrivals}", amount(rate, "1/s"))
        }
        (_, None, window) => format!("closed loop, window {}", window.unwrap_or_default()),
    };
    let seconds = |ms: u64| time(ms as f64 * 1e6);
    let mut rows = vec![
        ("scenario", report.head.scenario.clone()),
        ("clients", grouped(config.clients.into())),
        ("publishers", grouped(config.publishers.into())),
        ("rate", pace),
        (
            "payload",
            format!(
                "{} bytes, {}, {}",
                config.size_bytes, config.opcode, config.payload
            ),
        ),
        ("receivers", config.expect.clone()),
        ("rooms", grouped(config.rooms.into())),
        ("warm-up", seconds(config.warmup_ms)),
        ("duration", seconds(config.duration_ms)),
        ("measured", time(report.measured_ms * 1e6)),
        (
            "threads",
            format!(
                "{}, {} scheduling",
                config.threads,
                scheduling(&report.generator)
            ),
        ),
        ("seed", config.seed.to_string()),
    ];
    rows.extend(special(report));
    let pair = |(name, value): (&str, String)| vec![name.to_owned(), value];
    rows.into_iter().map(pair).collect()
}

/// Options that most runs do not have.
fn special(report: &RelayReport) -> Vec<(&'static str, String)> {
    let config = &report.config;
    let mut rows = Vec::new();
    let mut count = |name, count: u32| {
        if count > 0 {
            rows.push((name, grouped(count.into())));
        }
    };
    count("stalled readers", config.stalled);
    count("slow readers", config.slow_readers);
    count("churning", config.churning);
    if config.storm_every_ms > 0 {
        rows.push(("a storm every", time(config.storm_every_ms as f64 * 1e6)));
    }
    if config.ramp_ms > 0 {
        rows.push(("ramp", time(config.ramp_ms as f64 * 1e6)));
    }
    if config.deflate {
        rows.push(("deflate", "offered".to_owned()));
    }
    if config.nagle {
        rows.push(("Nagle's algorithm", "on".to_owned()));
    }
    if let Some(nostr) = &config.nostr {
        rows.push(("keys", grouped(nostr.keys.into())));
        if nostr.subscriptions > 0 {
            rows.push((
                "subscriptions a client",
                grouped(nostr.subscriptions.into()),
            ));
        }
        if let Some(events) = nostr.events {
            rows.push(("events", grouped(events.into())));
        }
        if let Some(limit) = nostr.rows {
            rows.push(("rows a query", grouped(limit.into())));
        }
        if nostr.subscriptions > 0 || nostr.rows.is_some() {
            rows.push(("filters", nostr.filters.clone()));
            rows.push(("authors a filter", grouped(nostr.authors.into())));
        }
        if let Some(differences) = nostr.differences {
            rows.push(("differences", grouped(differences.into())));
        }
    }
    if let Some(url) = &config.push_url {
        rows.push(("pushed to", url.clone()));
    }
    if !config.source_ips.is_empty() {
        rows.push(("source addresses", config.source_ips.join(", ")));
    }
    rows
}
