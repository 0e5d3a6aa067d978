//! The options of `loadgen ab`, as typed.

use super::parse::parse_pairs;
use super::{Args, URL_DEFAULT};
use crate::error::PlanError;
use crate::output::Forms;
use crate::plan::{Pairs, Work};

/// Compares two servers under the same load, in pairs of runs in random order
///
/// Takes the options of a single run. Anything that slows the machine slows both servers, so only
/// the remaining difference is judged: B is better, the same, worse or undecided. If a server is
/// compared with itself, at most 5 % of the comparisons say worse.
#[derive(Clone, Debug, clap::Args)]
pub struct Ab {
    /// The server to compare with
    #[arg(value_name = "URL_A")]
    pub a: String,

    /// The server to judge
    #[arg(value_name = "URL_B")]
    pub b: String,

    /// Pairs of runs; 5 pairs find a difference of one half, 10 a difference of one fifth
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_pairs)]
    pub pairs: u32,

    /// The metrics of B; --metrics-url has those of A
    #[arg(long, value_name = "URL", requires = "metrics_url")]
    pub metrics_url_b: Option<String>,

    /// The options of each run.
    #[command(flatten)]
    pub run: Args,

    /// Output as text, JSON or Markdown.
    #[command(flatten)]
    pub forms: Forms,

    /// Show the runs as one line on a terminal, not as a full-window live view
    #[arg(long)]
    pub no_live: bool,
}

impl Ab {
    /// Checks rules that involve several options.
    ///
    /// # Errors
    /// The first option that does not fit, worded for the person who typed it.
    pub fn plan(&self) -> Result<Pairs, PlanError> {
        let run = &self.run;
        for (option, is_given) in [
            ("--url", run.url != URL_DEFAULT),
            ("--repeat", run.repeat.is_some()),
            ("--rate-steps", run.rate_steps.is_some()),
            ("--find-max", run.find_max.is_some()),
            ("--compare", run.compare.is_some()),
            ("--handshakes", run.handshakes.is_some()),
        ] {
            if is_given {
                return Err(PlanError::new(format!("ab does not support {option}")));
            }
        }
        let plan = |url: &str, metrics_url: &Option<String>| {
            let args = Args {
                url: url.to_owned(),
                metrics_url: metrics_url.clone(),
                tolerance: None,
                ..run.clone()
            };
            args.plan()
        };
        let pairs = Pairs {
            a: plan(&self.a, &run.metrics_url)?,
            b: plan(&self.b, &self.metrics_url_b)?,
            count: self.pairs,
            tolerance: run.tolerance.unwrap_or(super::TOLERANCE_DEFAULT),
        };
        match pairs.a.work {
            Work::Relay(relay) if relay.publishers > 0 => Ok(pairs),
            _ => Err(PlanError::new(
                "ab needs --publishers of at least 1: without messages it has nothing to compare",
            )),
        }
    }
}
