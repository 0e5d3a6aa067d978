//! A batch: all that one shard publishes in one turn, encoded once.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Recipients;
use super::room::Room;
use super::segment::{Buffer, LiveBytes};
use super::tickets::ShardSet;
use crate::limits::{MESSAGE_BYTES_MAX, SHARED_FRAME_BYTES_MAX};
use crate::wire::frame::{Opcode, append_frame, server_frame_bytes};

/// Frames of one room with tickets in a row, side by side in one buffer.
#[derive(Clone)]
pub struct Run {
    /// The room itself, never its name: a room made anew is another one.
    pub room: Arc<Room>,
    /// The ticket of the first frame.
    pub first_ticket: u64,
    /// How many frames there are.
    pub frames: u32,
    /// The first frame's number in the buffer.
    pub first_frame: u32,
    /// Where the frames are in the buffer.
    pub bytes: std::ops::Range<u32>,
    /// The buffer.
    pub buffer: Arc<Buffer>,
    /// When the oldest frame had been received, in nanoseconds of the process's clock.
    pub received_ns: u64,
    /// Who gets each frame; `None` where all of them go to everybody.
    pub recipients: Option<Arc<[Recipients]>>,
}

impl Run {
    /// Takes the run's tickets. Returns the shards that must get it.
    pub fn take_tickets(&mut self) -> ShardSet {
        let (first, shards) = self.room.tickets.take(u64::from(self.frames));
        self.first_ticket = first;
        shards
    }
}

/// All that one shard publishes in one turn.
pub struct Batch {
    /// The runs. Those of one room are in order; runs of different rooms are independent.
    pub runs: Vec<Run>,
    /// The bytes of all buffers.
    pub bytes: usize,
}

impl Batch {
    /// Takes the tickets of every run. Returns the shards that must get the batch. What is between
    /// this and the hand-over holds up every other publisher's frames, so it has to be short.
    pub fn take_tickets(&mut self) -> ShardSet {
        let mut shards = ShardSet::default();
        for run in &mut self.runs {
            shards.add(run.take_tickets());
        }
        shards
    }
}

/// Where a frame's bytes are until the batch is sealed.
enum Place {
    /// In the turn's buffer.
    Shared { start: u32, end: u32 },
    /// In a buffer of its own.
    Large(Vec<u8>),
}

struct Pending {
    room: u32,
    place: Place,
    received_ns: u64,
    recipients: Recipients,
}

/// Gathers what a shard publishes in a turn.
pub struct BatchBuilder {
    bytes: Vec<u8>,
    frames: Vec<Pending>,
    rooms: Vec<Arc<Room>>,
    /// The place of each room in `rooms`, by epoch.
    places: FxHashMap<u64, u32>,
    /// The place of the room that was published to last.
    last_place: u32,
    /// Whether some room's frames are not side by side.
    interleaved: bool,
    bytes_pending: usize,
    live: Arc<LiveBytes>,
}

impl BatchBuilder {
    /// An empty builder. Buffers are counted in `live`.
    pub fn new(live: Arc<LiveBytes>) -> BatchBuilder {
        BatchBuilder {
            bytes: Vec::new(),
            frames: Vec::new(),
            rooms: Vec::new(),
            places: FxHashMap::default(),
            last_place: 0,
            interleaved: false,
            bytes_pending: 0,
            live,
        }
    }

    /// Whether nothing was published in this turn.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The bytes that were published in this turn.
    pub fn bytes_pending(&self) -> usize {
        self.bytes_pending
    }

    /// Encodes a frame: the only copy of its payload that is made for the whole room.
    pub fn append(
        &mut self,
        room: &Arc<Room>,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        let room = self.room_place(room);
        let frame_bytes = server_frame_bytes(payload.len());
        self.bytes_pending += frame_bytes;
        debug_assert!(payload.len() <= MESSAGE_BYTES_MAX);
        // Endpoint code may publish more in a turn than its connections sent.
        let is_full = self.bytes.len() > MESSAGE_BYTES_MAX;
        let place = if frame_bytes > SHARED_FRAME_BYTES_MAX || is_full {
            let mut own = Vec::with_capacity(frame_bytes);
            append_frame(&mut own, opcode, payload);
            Place::Large(own)
        } else {
            let start = self.bytes.len() as u32;
            append_frame(&mut self.bytes, opcode, payload);
            Place::Shared {
                start,
                end: self.bytes.len() as u32,
            }
        };
        self.frames.push(Pending {
            room,
            place,
            received_ns,
            recipients,
        });
    }

    fn room_place(&mut self, room: &Arc<Room>) -> u32 {
        if self
            .rooms
            .get(self.last_place as usize)
            .is_some_and(|last| last.epoch == room.epoch)
        {
            return self.last_place;
        }
        let place = self.rooms.len() as u32;
        let known = *self.places.entry(room.epoch).or_insert(place);
        if known == place {
            self.rooms.push(Arc::clone(room));
        } else {
            self.interleaved = true;
        }
        self.last_place = known;
        known
    }

    /// Freezes what was gathered: the frames of a room side by side, in the order in which they
    /// were published, in buffers of their exact size. The tickets are yet to be taken.
    pub fn seal(&mut self) -> Batch {
        if self.interleaved {
            self.frames.sort_by_key(|frame| frame.room);
        }
        let shared = self.freeze_shared();
        let mut frames = std::mem::take(&mut self.frames).into_iter().peekable();
        let mut batch = Batch {
            runs: Vec::new(),
            bytes: self.bytes_pending,
        };
        let mut gather = Gather {
            first_frame: 0,
            position: 0,
            shared: shared.as_ref(),
        };
        while let Some(frame) = frames.next() {
            let room = Arc::clone(&self.rooms[frame.room as usize]);
            let run = match frame.place {
                Place::Large(own) => {
                    let buffer = Arc::new(Buffer::new(own, Box::default(), &self.live));
                    large_run(room, buffer, frame.received_ns, frame.recipients)
                }
                Place::Shared { .. } => {
                    let mut of_run = vec![frame];
                    let place = of_run[0].room;
                    let same = |next: &Pending| next.room == place && next.place.is_shared();
                    while let Some(next) = frames.next_if(same) {
                        of_run.push(next);
                    }
                    match gather.run(room, of_run) {
                        Some(run) => run,
                        None => continue,
                    }
                }
            };
            batch.runs.push(run);
        }
        self.reset();
        batch
    }

    /// The turn's buffer with the frames in the order of `self.frames`. A small one is copied, so
    /// that the builder's own memory stays warm; a large one is handed over where it is in order.
    fn freeze_shared(&mut self) -> Option<Arc<Buffer>> {
        if self.bytes.is_empty() {
            return None;
        }
        let mut ends = Vec::with_capacity(self.frames.len());
        let mut total = 0;
        for frame in &self.frames {
            if let Place::Shared { start, end } = frame.place {
                total += end - start;
                ends.push(total);
            }
        }
        debug_assert_eq!(total as usize, self.bytes.len());
        let bytes = if self.interleaved {
            let mut gathered = Vec::with_capacity(self.bytes.len());
            for frame in &self.frames {
                if let Place::Shared { start, end } = frame.place {
                    gathered.extend_from_slice(&self.bytes[start as usize..end as usize]);
                }
            }
            gathered
        } else if self.bytes.len() <= SHARED_FRAME_BYTES_MAX {
            self.bytes.as_slice().to_vec()
        } else {
            let next = Vec::with_capacity(self.bytes.len());
            std::mem::replace(&mut self.bytes, next)
        };
        let ends = if ends.len() == 1 {
            Box::default()
        } else {
            ends.into_boxed_slice()
        };
        Some(Arc::new(Buffer::new(bytes, ends, &self.live)))
    }

    fn reset(&mut self) {
        self.bytes.clear();
        self.rooms.clear();
        self.places.clear();
        self.interleaved = false;
        self.bytes_pending = 0;
    }

    /// Gives back memory that grew under load. Called every few seconds, between turns.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            self.frames = Vec::new();
            self.rooms = Vec::new();
            self.places = FxHashMap::default();
        }
    }
}

/// Walks the shared buffer while runs are cut from it.
struct Gather<'a> {
    first_frame: u32,
    position: u32,
    shared: Option<&'a Arc<Buffer>>,
}

impl Gather<'_> {
    fn run(&mut self, room: Arc<Room>, frames: Vec<Pending>) -> Option<Run> {
        let buffer = Arc::clone(self.shared?);
        let bytes: u32 = frames.iter().map(|frame| frame.place.shared_bytes()).sum();
        let received_ns = frames.iter().map(|frame| frame.received_ns).min()?;
        let count = frames.len() as u32;
        let selective = frames
            .iter()
            .any(|frame| !matches!(frame.recipients, Recipients::All));
        let run = Run {
            room,
            first_ticket: 0,
            frames: count,
            first_frame: self.first_frame,
            bytes: self.position..self.position + bytes,
            buffer,
            received_ns,
            recipients: selective
                .then(|| frames.into_iter().map(|frame| frame.recipients).collect()),
        };
        self.first_frame += count;
        self.position += bytes;
        Some(run)
    }
}

impl Place {
    fn is_shared(&self) -> bool {
        matches!(self, Place::Shared { .. })
    }

    fn shared_bytes(&self) -> u32 {
        match self {
            Place::Shared { start, end } => end - start,
            Place::Large(_) => 0,
        }
    }
}

fn large_run(
    room: Arc<Room>,
    buffer: Arc<Buffer>,
    received_ns: u64,
    recipients: Recipients,
) -> Run {
    let bytes = 0..buffer.bytes().len() as u32;
    let recipients = match recipients {
        Recipients::All => None,
        some => Some(Arc::from([some])),
    };
    Run {
        room,
        first_ticket: 0,
        frames: 1,
        first_frame: 0,
        bytes,
        buffer,
        received_ns,
        recipients,
    }
}

#[cfg(test)]
mod tests;
