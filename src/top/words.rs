//! What a snapshot says of clients, on a screen and in a pipe alike.

use crate::admin::dashboard::{Reason, SlowClient, Snapshot};

/// How a client that is behind is called.
pub(super) fn who(client: &SlowClient) -> &str {
    client.address.as_deref().unwrap_or(&client.connection)
}

/// Why connections ended and were refused, what is most frequent first.
pub(super) fn ends(snapshot: &Snapshot) -> Vec<(&'static str, &Reason)> {
    let closes = snapshot.closes.iter().map(|reason| ("closed", reason));
    let refusals = snapshot.refusals.iter().map(|reason| ("refused", reason));
    let mut ends: Vec<_> = closes.chain(refusals).collect();
    ends.sort_by_key(|(_, reason)| std::cmp::Reverse(reason.total));
    ends
}
