//! Messages to one client that its endpoint sent after it had published to a room of that client.
//! They must follow what was published, which reaches the members only after the turn's reading,
//! and may wait for the tickets of other shards.

use std::collections::VecDeque;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::engine::ids::{Key, RoomId};
use crate::exchange::Until;
use crate::fanout::meter::{Charge, Meter};
use crate::fanout::shared_body::SharedBody;
use crate::wire::frame::{Opcode, server_frame_bytes};

/// A message that waits for published frames.
pub(super) struct Behind {
    pub(super) key: Key,
    /// The rooms whose frames it follows, and the point in each.
    pub(super) rooms: Vec<(RoomId, Until)>,
    pub(super) opcode: Opcode,
    pub(super) payload: Payload,
    pub(super) received_ns: u64,
}

/// The content of the message.
pub(super) enum Payload {
    Whole(Box<[u8]>),
    /// A head of its own and a shared body.
    Shared(Box<[u8]>, SharedBody),
}

impl Payload {
    fn len(&self) -> usize {
        match self {
            Payload::Whole(payload) => payload.len(),
            Payload::Shared(head, body) => head.len() + body.len(),
        }
    }

    /// The number of bytes that are not shared.
    fn own_bytes(&self) -> usize {
        match self {
            Payload::Whole(own) | Payload::Shared(own, _) => own.len(),
        }
    }
}

/// The messages of one client, in the order in which they were sent.
#[derive(Default)]
struct Waiting {
    messages: VecDeque<Behind>,
    /// The bytes of their frames.
    frame_bytes: usize,
}

/// The messages that wait on a shard.
pub(super) struct BehindRooms {
    /// By the client's slot.
    by_client: FxHashMap<u32, Waiting>,
    bytes: usize,
    charge: Charge,
}

impl BehindRooms {
    pub(super) fn new(meter: &Rc<Meter>) -> BehindRooms {
        BehindRooms {
            by_client: FxHashMap::default(),
            bytes: 0,
            charge: Charge::new(meter),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// Whether any wait for the client. If so, what is sent to it now has to wait too.
    #[inline]
    pub(super) fn has_any_for(&self, key: Key) -> bool {
        !self.is_empty() && self.by_client.contains_key(&key.index)
    }

    pub(super) fn push(&mut self, behind: Behind) {
        self.bytes += behind.cost();
        self.charge.set(self.bytes);
        let waiting = self.by_client.entry(behind.key.index).or_default();
        waiting.frame_bytes += server_frame_bytes(behind.payload.len());
        waiting.messages.push_back(behind);
    }

    /// The bytes of the frames that wait for the client, before compression.
    #[inline]
    pub(super) fn bytes_for(&self, key: Key) -> usize {
        if self.is_empty() {
            return 0;
        }
        let waiting = self.by_client.get(&key.index);
        // Some may be left of an earlier client in this slot.
        let waiting =
            waiting.filter(|each| each.messages.back().is_some_and(|last| last.key == key));
        waiting.map_or(0, |waiting| waiting.frame_bytes)
    }

    /// Removes the messages that wait for the client in this slot.
    pub(super) fn take(&mut self, index: u32) -> Option<VecDeque<Behind>> {
        let waiting = self.by_client.remove(&index)?.messages;
        self.bytes -= waiting.iter().map(Behind::cost).sum::<usize>();
        self.charge.set(self.bytes);
        Some(waiting)
    }
}

impl BehindRooms {
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Behind> {
        let waiting = self.by_client.values_mut();
        waiting.flat_map(|waiting| &mut waiting.messages)
    }

    /// The slots of the clients that messages wait for.
    pub(super) fn clients(&self) -> Vec<u32> {
        self.by_client.keys().copied().collect()
    }
}

impl Behind {
    fn cost(&self) -> usize {
        size_of::<Behind>() + self.payload.own_bytes()
    }
}
