//! Summaries of runs, and statistics over repeats.

use super::{
    Aborted, Deliveries, Disconnects, ErrorCount, Finding, Order, RelayReport, Repeated, Repeats,
    Summary, Unsent,
};

impl Summary {
    pub(crate) fn of(report: &RelayReport) -> Self {
        let server = report.server.as_ref();
        Self {
            rate: report.config.rate,
            measured: report.measured,
            messages_per_second: report.throughput.messages_per_second,
            deliveries_per_second: report.throughput.deliveries_per_second,
            latency_ns: report.latency_ns,
            lateness_ns: report.lateness_ns.quantiles,
            cpu_share: report.generator.cpu_share,
            server_cpu_ns_per_delivery: server.map(|server| server.cpu_ns_per_delivery),
            recovery_ns: report.recovery_ns().filter(|time| time.is_finite()),
            valid: report.valid,
            right: report.right,
        }
    }

    /// The figures by which runs are compared: name, unit, whether less is better, value.
    pub(super) fn figures(&self) -> Vec<(&'static str, &'static str, bool, f64)> {
        let latency = &self.latency_ns;
        let mut figures = vec![
            ("latency p50", "ns", true, latency.p50 as f64),
            ("latency p99", "ns", true, latency.p99 as f64),
            ("latency p99.9", "ns", true, latency.p99_9 as f64),
            ("latency max", "ns", true, latency.max as f64),
            (
                "throughput",
                "deliveries/s",
                false,
                self.deliveries_per_second,
            ),
        ];
        if let Some(cpu_ns) = self.server_cpu_ns_per_delivery {
            figures.push(("server CPU a delivery", "ns", true, cpu_ns));
        }
        if let Some(recovery_ns) = self.recovery_ns {
            figures.push(("recovery", "ns", true, recovery_ns));
        }
        figures
    }
}

impl RelayReport {
    /// The report of the median run, with all runs in it; counts are sums over the runs. `None` if
    /// there are none.
    pub(crate) fn of_repeats(reports: Vec<Self>) -> Option<Self> {
        let runs: Vec<_> = reports.iter().map(Summary::of).collect();
        let sums = Sums::of(&reports);
        let mut sorted = reports;
        sorted.sort_by(|one, other| one.rank().total_cmp(&other.rank()));
        let middle = sorted.len().checked_sub(1)? / 2;
        let mut report = sorted.swap_remove(middle);
        sums.put_into(&mut report);
        let figures = repeated(&runs);
        report.repeats = Some(Repeats { runs, figures });
        Some(report)
    }

    /// The figure that repeats are sorted by.
    fn rank(&self) -> f64 {
        match self.latency_comparable {
            true => self.latency_ns.p99 as f64,
            false => self.throughput.deliveries_per_second,
        }
    }
}

/// Sums of the counts and findings of several runs.
#[derive(Default)]
struct Sums {
    measured: Deliveries,
    warmup: Deliveries,
    unsent: u64,
    unsent_by: Unsent,
    held_up: u64,
    foreign: u64,
    order: Order,
    disconnects: Disconnects,
    errors: Vec<ErrorCount>,
    untracked: u64,
    findings: Vec<Finding>,
    invalid_reasons: Vec<String>,
    is_wrong: bool,
    interrupted: bool,
    aborted: Option<Aborted>,
}

impl Sums {
    fn of(reports: &[RelayReport]) -> Self {
        let mut sums = Self::default();
        for (run, report) in (1..).zip(reports) {
            sums.add(run, report);
        }
        sums
    }

    fn add(&mut self, run: usize, report: &RelayReport) {
        self.measured.add(&report.measured);
        self.warmup.add(&report.warmup);
        self.unsent += report.unsent;
        self.unsent_by.disconnected += report.unsent_by.disconnected;
        self.unsent_by.held += report.unsent_by.held;
        self.unsent_by.own += report.unsent_by.own;
        self.held_up += report.held_up;
        self.foreign += report.foreign;
        self.order.compared += report.order.compared;
        self.order.differing += report.order.differing;
        self.disconnects.add(&report.disconnects);
        self.untracked += report.latency.untracked;
        for one in &report.errors {
            match self.errors.iter_mut().find(|sum| sum.error == one.error) {
                Some(sum) => sum.count += one.count,
                None => self.errors.push(one.clone()),
            }
        }
        let told = report.findings.iter().map(|finding| Finding {
            text: format!("run {run}: {}", finding.text),
            ..finding.clone()
        });
        self.findings.extend(told);
        let reasons = report.invalid_reasons.iter();
        self.invalid_reasons
            .extend(reasons.map(|reason| format!("run {run}: {reason}")));
        self.is_wrong |= !report.right;
        self.interrupted |= report.interrupted;
        self.aborted = self.aborted.take().or_else(|| report.aborted.clone());
    }

    fn put_into(self, report: &mut RelayReport) {
        report.measured = self.measured;
        report.warmup = self.warmup;
        report.unsent = self.unsent;
        report.unsent_by = self.unsent_by;
        report.held_up = self.held_up;
        report.foreign = self.foreign;
        report.order = self.order;
        report.disconnects = self.disconnects;
        report.errors = self.errors;
        report.latency.untracked = self.untracked;
        report.findings = self.findings;
        report.valid = self.invalid_reasons.is_empty();
        report.invalid_reasons = self.invalid_reasons;
        report.right = !self.is_wrong;
        report.interrupted = self.interrupted;
        report.aborted = self.aborted;
    }
}

fn repeated(runs: &[Summary]) -> Vec<Repeated> {
    let all: Vec<_> = runs.iter().map(Summary::figures).collect();
    let count = all.iter().map(Vec::len).min().unwrap_or(0);
    (0..count)
        .map(|at| {
            let mut values: Vec<f64> = all.iter().map(|figures| figures[at].3).collect();
            values.sort_by(f64::total_cmp);
            let (min, max) = (values[0], values[values.len() - 1]);
            let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
            let (name, unit, ..) = all[0][at];
            Repeated {
                name: name.to_owned(),
                unit: unit.to_owned(),
                median,
                min,
                max,
                spread: if median > 0.0 {
                    (max - min) / median
                } else {
                    0.0
                },
            }
        })
        .collect()
}
