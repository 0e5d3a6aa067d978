//! Scheduling of the generator's threads: before everything else on the machine, if the system
//! permits it.

use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{Error, ThreadPriority};

use crate::plan::{Pace, Priority, Relay};

impl Priority {
    /// Whether threads with this load ask for real-time scheduling. In a closed loop it would wake
    /// the thread for single deliveries, which lowers the throughput of few clients.
    pub(crate) fn asks(self, relay: &Relay) -> bool {
        match self {
            Self::Auto => relay.publishers > 0 && matches!(relay.pace, Pace::Open { .. }),
            Self::Realtime => true,
            Self::Normal => false,
        }
    }
}

/// Puts the thread that calls into `SCHED_RR` at its lowest priority (`sched(7)`), in front of all
/// threads with normal scheduling. The thread must sleep regularly: while it runs, they do not.
///
/// # Errors
/// The system does not permit it: it needs `CAP_SYS_NICE` or a limit of real-time priority (`ulimit
/// -r`) of at least 1.
pub(crate) fn become_realtime() -> Result<(), String> {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).map_err(
        |error| match error {
            Error::OS(code) => std::io::Error::from_raw_os_error(code).to_string(),
            other => format!("{other:?}"),
        },
    )
}
