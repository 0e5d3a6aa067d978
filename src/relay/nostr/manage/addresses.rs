//! Addresses that get no WebSocket.

use super::super::Nostr;
use super::super::shard::{Inner, NostrShard};
use crate::engine::{Admission, Client, OnShard, Peer, Refused};

/// Policy violation (RFC 6455 §7.4.1).
const BLOCKED_CODE: u16 = 1008;
const BLOCKED_REASON: &str = "blocked: this address is blocked";

impl Nostr {
    /// The refusal of a client whose address is blocked.
    pub(in super::super) fn refuse_blocked<S>(&self, peer: Peer) -> Option<Admission<S>> {
        let is_blocked = self.shared.common.desk.blocks(peer.ip());
        let told = "This address is blocked.";
        is_blocked.then(|| Admission::Refuse(Refused::new(403, "ip_blocked", told)))
    }

    /// Closes a client that has opened while its address was being blocked.
    pub(in super::super) fn close_if_blocked(&self, client: &mut Client<'_>) {
        if self.shared.common.desk.blocks(client.peer().ip()) {
            client.close(BLOCKED_CODE, BLOCKED_REASON);
        }
    }
}

impl Inner {
    /// Looks through all clients of the shard for blocked addresses, in the next turns.
    pub(in super::super) fn look_for_blocked(&mut self, shard: &mut OnShard<'_, NostrShard>) {
        self.looks_at = Some(0);
        shard.ask_for_turn();
    }

    /// Closes some clients whose address is blocked. Returns whether more are to be looked at.
    pub(in super::super) fn close_blocked(&mut self, shard: &mut OnShard<'_, NostrShard>) -> bool {
        let Some(from) = self.looks_at.take() else {
            return false;
        };
        let moderation = self.seen.moderation();
        let mut blocked = Vec::new();
        self.looks_at = shard.clients_from(from, |id, peer| {
            if peer.ip().is_some_and(|ip| moderation.blocks(ip)) {
                blocked.push(id);
            }
        });
        for id in blocked {
            if let Some(mut client) = shard.client(id) {
                client.close(BLOCKED_CODE, BLOCKED_REASON);
            }
        }
        self.looks_at.is_some()
    }
}
