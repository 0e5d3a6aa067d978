//! Questions to a shard, from a thread that waits for the answer.

use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::{ConnectionId, Recipient};
use crate::wire::frame::MessageKind;

/// A question. It is called once, on the shard.
pub(super) type Ask = Box<dyn FnOnce(&mut dyn Asked) + Send>;

/// A shard that is asked. Each call does a bounded amount of work; longer questions are asked in
/// parts.
pub(super) trait Asked {
    /// Passes on up to `most` members of a room, from slot `from` on. Returns the slot to continue
    /// at, if there may be more.
    fn tell_members(
        &self,
        room: &RoomKey,
        from: u32,
        most: usize,
        tell: &mut dyn FnMut(&Recipient<'_>),
    ) -> Option<u32>;

    /// Closes members of a room, from slot `from` on. Returns how many, and the slot to continue
    /// at, if there may be more.
    fn close_members(
        &mut self,
        room: &RoomKey,
        from: u32,
        code: u16,
        reason: &str,
    ) -> (usize, Option<u32>);

    /// Closes those of these connections that are open WebSockets of this endpoint. Returns how
    /// many.
    fn close_open(
        &mut self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        code: u16,
        reason: &str,
    ) -> usize;

    /// Sends to those of these connections that are open WebSockets of this endpoint. Returns how
    /// many.
    fn send_open(
        &mut self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        kind: MessageKind,
        payload: &[u8],
    ) -> usize;

    /// Closes open WebSockets whose terms no longer hold, from slot `from` on. Returns how many,
    /// and the slot to continue at, if there may be more.
    fn recheck(&mut self, from: usize) -> (usize, Option<usize>);
}
