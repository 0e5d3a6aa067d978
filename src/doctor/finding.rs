//! The result of a check.

use serde::Serialize;

/// The verdict on a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The setting is as it should be.
    Ok,
    /// The relay works, but for fewer clients or more slowly than it could.
    Warn,
    /// The relay cannot do what its config says.
    Fail,
}

/// The result of the check of one setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// The verdict.
    pub level: Level,
    /// The value and its consequence.
    pub found: String,
    /// The recommended change, if there is one.
    pub advice: Option<String>,
    /// The command for that change, if there is one.
    pub command: Option<String>,
}
