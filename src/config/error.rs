//! What can be wrong with a configuration: a list of problems, each with its place.

use std::fmt;

/// Everything that is wrong with a configuration, in the order of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where an operator finds it: `config.yaml:12:3 server.prot`, `environment PORT`,
    /// `--set server.port`.
    pub place: String,
    /// What is wrong and what was probably meant.
    pub message: String,
}

/// Keys that do not go together.
pub(super) struct Conflict {
    /// Their paths, the one to change first.
    pub(super) paths: Vec<String>,
    /// What is wrong and what to do.
    pub(super) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl fmt::Display for ConfigError {
    /// One problem a line.
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
