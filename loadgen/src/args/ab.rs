//! `loadgen ab`, as it is typed.

use super::parse::parse_pairs;
use super::{Args, URL_DEFAULT};
use crate::error::PlanError;
use crate::output::Forms;
use crate::plan::{Pairs, Work};

/// Two servers under the same load, in pairs of runs whose order changes
///
/// Takes the options of a single run. Whatever slows the machine slows both servers, and only what
/// is left is judged: B is better, the same, worse, or that is undecided. Of comparisons of a
/// server with itself, at most 5 % say worse.
#[derive(Clone, Debug, clap::Args)]
pub struct Ab {
    /// The server that is compared with
    #[arg(value_name = "URL_A")]
    pub a: String,

    /// The server that is judged
    #[arg(value_name = "URL_B")]
    pub b: String,

    /// Pairs of runs; 5 find a difference of half, 10 one of a fifth
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_pairs)]
    pub pairs: u32,

    /// The metrics of B, where --metrics-url has those of A
    #[arg(long, value_name = "URL", requires = "metrics_url")]
    pub metrics_url_b: Option<String>,

    /// What to run.
    #[command(flatten)]
    pub run: Args,

    /// How to tell what it came to: as text, JSON or Markdown.
    #[command(flatten)]
    pub forms: Forms,

    /// Show the runs on a terminal as one line, not as a live view of the whole window
    #[arg(long)]
    pub no_live: bool,
}

impl Ab {
    /// Checks what the single options cannot see.
    ///
    /// # Errors
    /// The first thing that does not fit, in words for the person who typed it.
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
                return Err(PlanError::new(format!("ab knows no {option}")));
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
                "ab needs --publishers, or there is nothing to compare",
            )),
        }
    }
}
