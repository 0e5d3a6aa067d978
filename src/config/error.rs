//! The errors of a configuration: a list of problems, each with its place.

use std::fmt;

/// All problems of a configuration, in the order of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place as shown to the operator: `config.yaml:12:3 server.prot`, `environment PORT`,
    /// `--set server.port`.
    pub place: String,
    /// The problem and, if known, what was probably meant.
    pub message: String,
}

/// Keys whose values contradict each other.
pub(super) struct Conflict {
    /// Their paths, the one to change first.
    pub(super) paths: Vec<String>,
    /// The problem and how to solve it.
    pub(super) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl fmt::Display for ConfigError {
    /// Writes one problem on each line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
