//! What is found.

use serde::Serialize;

/// How well something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not for as many or as fast as it could.
    Warn,
    /// The relay cannot do what its config says.
    Fail,
}

/// What was found about one setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at, a fixed word.
    pub check: &'static str,
    /// How well it is.
    pub level: Level,
    /// What was found, and what it means.
    pub found: String,
    /// What to do, where anything is to be done.
    pub advice: Option<String>,
    /// The command that does it, where one does.
    pub command: Option<String>,
}
