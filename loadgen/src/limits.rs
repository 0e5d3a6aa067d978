//! The process's limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::RunError;

/// Descriptors besides the connections: polls, timers, wakers, the standard streams.
const SPARE: u64 = 1100;

/// Raises the soft limit so that `connections` fit.
///
/// # Errors
/// The hard limit is too low.
pub(crate) fn raise_open_files(connections: u64) -> Result<(), RunError> {
    let wanted = connections + SPARE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|_| {
        let most = limit.maximum.unwrap_or(u64::MAX);
        RunError::new(format!(
            "{connections} connections need more open files than {most}"
        ))
    })
}
