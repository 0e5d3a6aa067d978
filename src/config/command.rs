//! `corecast config`: explains keys, and writes what is made from their rows.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::reference::{explain, overview, reference_page};
use super::schema::json_schema;

/// Clap's exit code for a command line that cannot be parsed.
const EXIT_USAGE: u8 = 2;

/// The arguments of `corecast config`.
#[derive(Debug, Args)]
pub struct ConfigCommand {
    /// A key such as limits.message_bytes, or a section such as limits [default: list all keys]
    #[arg(value_name = "KEY")]
    key: Option<String>,

    /// Print the JSON Schema of config.yaml, for editors
    #[arg(long, conflicts_with_all = ["key", "page"])]
    schema: bool,

    /// Print the page docs/configuration.md
    #[arg(long, conflicts_with = "key")]
    page: bool,
}

impl ConfigCommand {
    /// Prints the requested text to standard output.
    pub(crate) fn run(&self) -> ExitCode {
        let text = match (&self.key, self.schema, self.page) {
            (_, true, _) => Ok(json_schema()),
            (_, _, true) => Ok(reference_page()),
            (Some(key), ..) => explain(key),
            (None, ..) => Ok(overview("")),
        };
        match text {
            Ok(text) => print(&text),
            Err(message) => {
                let _ = writeln!(io::stderr(), "error: {message}");
                ExitCode::from(EXIT_USAGE)
            }
        }
    }
}

/// Writes a text to standard output.
pub(crate) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
