//! The report of two servers for people: at most 80 columns.

use super::page::Page;
use super::series::{compared, judged};
use crate::report::PairsReport;
use crate::units::grouped;

impl PairsReport {
    /// The report as text, with a line break at the end.
    pub fn text(&self) -> String {
        let mut out = Page::default();
        out.row("A", &self.a);
        out.row("B", &self.b);
        let mut pairs = format!("{} of runs, in changing order", self.pairs.len());
        if self.run_again > 0 {
            pairs += &format!("; {} ran again, not valid", self.run_again);
        }
        out.row("pairs", &pairs);
        let percent = self.tolerance * 100.0;
        out.row("tolerance", &format!("{percent} %"));
        out.blank();
        let columns = format!(
            "{:10}{:>10}{:>10}{:>10}{:>17}",
            "", "A", "B", "B over A", "95 %"
        );
        out.row("", &columns);
        compared(&mut out, &self.figures);
        out.blank();
        let [a, b] = self.wrong_deliveries.map(grouped);
        if !self.right {
            out.row(
                "WRONG",
                &format!("deliveries or orders: {a} of A, {b} of B"),
            );
        }
        if let Some(aborted) = &self.aborted {
            out.row("ABORTED", &aborted.condition);
        }
        judged(&mut out, "B is", self.verdict, &self.caveats);
        out.0
    }
}
