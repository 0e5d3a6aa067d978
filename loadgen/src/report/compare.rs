//! Runs in short, and repeats among themselves.

use super::{RelayReport, Repeated, Repeats, Summary};

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

    /// The figures that runs are compared by: name, unit, whether less is better, value.
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
    /// The report of the run in the middle, with all of them in it. `None` for none.
    pub(crate) fn of_repeats(reports: Vec<Self>) -> Option<Self> {
        let runs: Vec<_> = reports.iter().map(Summary::of).collect();
        let is_right = reports.iter().all(|report| report.right);
        let interrupted = reports.iter().any(|report| report.interrupted);
        let aborted = reports.iter().find_map(|report| report.aborted.clone());
        let mut sorted = reports;
        sorted.sort_by(|one, other| one.rank().total_cmp(&other.rank()));
        let middle = sorted.len().checked_sub(1)? / 2;
        let mut report = sorted.swap_remove(middle);
        report.right = is_right;
        report.interrupted = interrupted;
        report.aborted = aborted;
        let figures = repeated(&runs);
        report.repeats = Some(Repeats { runs, figures });
        Some(report)
    }

    /// What repeats are sorted by.
    fn rank(&self) -> f64 {
        match self.latency_comparable {
            true => self.latency_ns.p99 as f64,
            false => self.throughput.deliveries_per_second,
        }
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
