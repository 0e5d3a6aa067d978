//! Requests as they arrive: in pieces, and several after one another (RFC 9112 §9.3.2).
//!
//! Incomplete requests are kept, and so are those that must wait until others had their turn: a
//! connection that pipelines requests gets no more of a turn than any other.

use super::bodies::Step;
use crate::engine::clients::Clients;
use crate::engine::clients::connection::Phase;
use crate::engine::edge::Edge;
use crate::engine::ids::Key;

impl Edge {
    /// Handles bytes of requests, and bytes that follow them.
    pub(in crate::engine) fn handle_request(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) {
        let head_bytes_max = clients.core.settings().limits.head_bytes;
        let Some(connection) = clients.core.connection(key) else {
            return;
        };
        let cold = connection.cold_if_any();
        let Some(cold) = cold.filter(|cold| !cold.received.is_empty()) else {
            if let Some(rest) = self.handle_requests(clients, key, bytes, received_ns) {
                self.keep(clients, key, bytes[rest..].to_vec());
            }
            return;
        };
        cold.received.extend_from_slice(bytes);
        let is_worth_it = match cold.wanted_bytes {
            // A head ends with a line, so without a new line end there is nothing to parse yet.
            0 => bytes.contains(&b'\n') || cold.received.len() > head_bytes_max,
            wanted => cold.received.len() >= wanted,
        };
        if is_worth_it {
            let mut kept = std::mem::take(&mut cold.received);
            if let Some(rest) = self.handle_requests(clients, key, &mut kept, received_ns) {
                kept.drain(..rest);
                self.keep(clients, key, kept);
            }
        } else {
            clients.count_held(key);
        }
    }

    /// Handles complete requests. Returns where the bytes to keep begin, if any.
    pub(in crate::engine) fn handle_requests(
        &self,
        clients: &mut Clients,
        key: Key,
        bytes: &mut [u8],
        received_ns: u64,
    ) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match clients.core.connection(key)?.phase() {
                Phase::Request => {}
                Phase::Open => {
                    clients.handle_frames(key, &mut bytes[at..], received_ns);
                    return None;
                }
                _ => return None,
            }
            match self.handle_one(clients, key, &bytes[at..], received_ns) {
                Step::Done(used) => at += used,
                Step::Incomplete | Step::Deferred => return Some(at),
                Step::Ended => return None,
            }
            if at < bytes.len()
                && clients.core.work().is_quantum_spent()
                && self.cut_requests(clients, key)
            {
                return Some(at);
            }
        }
        None
    }

    /// Leaves further requests of the connection to a later turn. Returns whether it still expects
    /// requests.
    fn cut_requests(&self, clients: &mut Clients, key: Key) -> bool {
        let connection = clients.core.connection(key);
        let Some(connection) = connection.filter(|each| each.phase() == Phase::Request) else {
            return false;
        };
        connection.cold_mut().is_left = true;
        clients.core.queue_read_on(key);
        true
    }

    /// Handles requests that were left when others had their turn. Returns whether there were any.
    pub(in crate::engine) fn handle_cut_requests(&self, clients: &mut Clients, key: Key) -> bool {
        let connection = clients.core.connection(key);
        let cold = connection.and_then(|connection| connection.cold_if_any());
        let Some(cold) = cold.filter(|cold| cold.is_left) else {
            return false;
        };
        cold.is_left = false;
        let mut kept = std::mem::take(&mut cold.received);
        let now_ns = clients.core.clock().now_ns();
        if let Some(rest) = self.handle_requests(clients, key, &mut kept, now_ns) {
            kept.drain(..rest);
            self.keep(clients, key, kept);
        } else {
            clients.count_held(key);
        }
        true
    }

    /// Keeps bytes for later, without spare capacity: a large body may have preceded them.
    pub(in crate::engine) fn keep(&self, clients: &mut Clients, key: Key, mut bytes: Vec<u8>) {
        if bytes.capacity() / 4 > bytes.len() {
            bytes.shrink_to_fit();
        }
        if let Some(connection) = clients.core.connection(key) {
            connection.cold_mut().received = bytes;
            clients.count_held(key);
        }
    }
}
