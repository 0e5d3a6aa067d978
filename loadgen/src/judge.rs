//! Whether the figures of a run can be trusted.

use crate::report::{Mark, MarkCause, NostrFigures, RelayReport};

/// A thread that is busy for a larger share of the time is a bottleneck.
const BUSY_SHARE_MAX: f64 = 0.95;

impl RelayReport {
    /// Judges whether every delivery was right, what the generator added to the latency, and
    /// whether it was the bottleneck. Applies to closed and open loops.
    pub(crate) fn judge(&mut self) {
        self.right = self.wrong_deliveries() == 0
            && self.unsent_by.held == 0
            && self.disconnects.reading == 0
            && self.nostr.as_ref().is_none_or(NostrFigures::is_right);
        let (in_time, arrived) = (&self.latency.in_time, &self.latency.arrived);
        self.marks = Mark::all_of(&self.latency_ns, &in_time.quantiles, &arrived.quantiles);
        self.invalid_reasons = self.bottlenecks();
        self.valid = self.invalid_reasons.is_empty();
    }

    fn bottlenecks(&self) -> Vec<String> {
        let decisive = self.marks.iter().filter(|mark| mark.is_decisive());
        let mut reasons: Vec<_> = decisive.map(Mark::reason).collect();
        if self.generator.busiest_thread_share > BUSY_SHARE_MAX {
            let share = self.generator.busiest_thread_share * 100.0;
            reasons.push(format!("a thread was busy {share:.0} % of the time"));
        }
        if self.unsent_by.own > 0 {
            reasons.push(format!(
                "it fell behind its schedule, {} messages were not sent",
                self.unsent_by.own
            ));
        }
        reasons
    }
}

impl Mark {
    /// In words: what the generator added to the quantile, and how much.
    pub(crate) fn reason(&self) -> String {
        let doing = match self.cause {
            MarkCause::Lateness => "it sent late",
            MarkCause::ReceiveLag => "it handled data late",
        };
        let (share, quantile) = (self.share * 100.0, &self.quantile);
        format!("{doing}: {share:.0} % of the latency at {quantile}")
    }
}
