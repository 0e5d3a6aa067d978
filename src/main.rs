//! The corecast binary: read the command line, load, start, wait for signals.

fn main() {}
