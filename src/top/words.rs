//! Texts about clients that the screen and the text output share.

use crate::admin::dashboard::{Reason, SlowClient, Snapshot};

/// The name of a slow client: its address if it is shown, else its id.
pub(super) fn who(client: &SlowClient) -> &str {
    client.address.as_deref().unwrap_or(&client.connection)
}

/// The reasons of closed and refused connections, the most frequent first.
pub(super) fn ends(snapshot: &Snapshot) -> Vec<(&'static str, &Reason)> {
    let closes = snapshot.closes.iter().map(|reason| ("closed", reason));
    let refusals = snapshot.refusals.iter().map(|reason| ("refused", reason));
    let mut ends: Vec<_> = closes.chain(refusals).collect();
    ends.sort_by_key(|(_, reason)| std::cmp::Reverse(reason.total));
    ends
}
