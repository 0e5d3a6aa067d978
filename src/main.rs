//! The corecast binary: read the command line, load, start, wait for signals.

use std::process::ExitCode;

fn main() -> ExitCode {
    match corecast::config::cli::start() {
        Ok(loaded) => {
            eprintln!("{}", loaded.notice);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}
