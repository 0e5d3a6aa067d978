//! A batch: all that one shard publishes in one turn, encoded once.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Recipients;
use super::room::Room;
use super::segment::{Buffer, LiveBytes};
use super::tickets::ShardSet;
use crate::limits::{MESSAGE_BYTES_MAX, SHARED_FRAME_BYTES_MAX};
use crate::wire::deflate::{Deflater, window_bits_for};
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
    /// The same frames for members that can inflate, where that makes any of them smaller.
    pub deflated: Option<Deflated>,
    /// When the oldest frame had been received, in nanoseconds of the process's clock.
    pub received_ns: u64,
    /// Who gets each frame; `None` where all of them go to everybody.
    pub recipients: Option<Arc<[Recipients]>>,
}

/// The variant of a run for members that can inflate. Frame by frame it stands for the plain run;
/// what does not become smaller is in it as it is.
#[derive(Clone)]
pub struct Deflated {
    /// The frames of the run, and nothing else.
    pub buffer: Arc<Buffer>,
    /// The smallest window that all of them can be inflated with, as a power of two.
    pub window_bits: u8,
}

impl Run {
    /// The bytes of the run, its variant included.
    pub fn held_bytes(&self) -> usize {
        let deflated = self.deflated.as_ref();
        self.bytes.len() + deflated.map_or(0, |deflated| deflated.buffer.bytes().len())
    }

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
    /// The bytes of all buffers, variants included.
    pub bytes: usize,
    live: Arc<LiveBytes>,
}

impl Batch {
    /// What it takes beside the buffers.
    fn cost(&self) -> usize {
        size_of::<Batch>() + self.runs.capacity() * size_of::<Run>()
    }

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

impl Drop for Batch {
    fn drop(&mut self) {
        self.live.subtract(self.cost());
    }
}

/// Where a frame's bytes are until the batch is sealed.
enum Place {
    /// In the turn's buffer.
    Shared { start: u32, end: u32 },
    /// In a buffer of its own.
    Large(Vec<u8>),
}

/// The deflated form of a frame, until the batch is sealed.
struct DeflatedFrame {
    bytes: std::ops::Range<usize>,
    window_bits: u8,
}

struct Pending {
    room: u32,
    place: Place,
    deflated: Option<DeflatedFrame>,
    received_ns: u64,
    recipients: Recipients,
}

/// Gathers what a shard publishes in a turn.
pub struct BatchBuilder {
    bytes: Vec<u8>,
    /// Deflated frames.
    deflated: Vec<u8>,
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
            deflated: Vec::new(),
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
            deflated: None,
            received_ns,
            recipients,
        });
    }

    /// Deflates the frame that was appended last, whose opcode and payload these are, once for all
    /// members that can inflate. Returns whether that made it smaller; where it did not, they get
    /// the plain frame.
    pub fn deflate_last(
        &mut self,
        deflater: &mut Deflater,
        level: u8,
        opcode: Opcode,
        payload: &[u8],
    ) -> bool {
        let start = self.deflated.len();
        let Some(last) = self.frames.last_mut() else {
            return false;
        };
        if !deflater.append(&mut self.deflated, opcode, payload, level) {
            return false;
        }
        self.bytes_pending += self.deflated.len() - start;
        last.deflated = Some(DeflatedFrame {
            bytes: start..self.deflated.len(),
            window_bits: window_bits_for(payload.len()),
        });
        true
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
        let mut frames = self.frames.drain(..).peekable();
        let mut batch = Batch {
            runs: Vec::new(),
            bytes: 0,
            live: Arc::clone(&self.live),
        };
        let mut gather = Gather {
            first_frame: 0,
            position: 0,
            shared: shared.as_ref(),
            deflated: &self.deflated,
            live: &self.live,
        };
        let mut of_run = Vec::new();
        while let Some(frame) = frames.next() {
            let room = Arc::clone(&self.rooms[frame.room as usize]);
            let run = match frame.place {
                Place::Large(own) => {
                    let buffer = Arc::new(Buffer::new(own, Box::default(), &self.live));
                    let deflated = frame.deflated.map(|deflated| gather.alone(&deflated));
                    large_run(room, buffer, deflated, frame.received_ns, frame.recipients)
                }
                Place::Shared { .. } => {
                    let place = frame.room;
                    of_run.push(frame);
                    let same = |next: &Pending| next.room == place && next.place.is_shared();
                    while let Some(next) = frames.next_if(same) {
                        of_run.push(next);
                    }
                    match gather.run(room, &mut of_run) {
                        Some(run) => run,
                        None => {
                            of_run.clear();
                            continue;
                        }
                    }
                }
            };
            batch.bytes += run.held_bytes();
            batch.runs.push(run);
        }
        drop(frames);
        self.live.add(batch.cost());
        self.reset();
        batch
    }

    /// What it holds from one turn to the next, in bytes.
    pub fn held_bytes(&self) -> usize {
        let frames = self.frames.capacity() * size_of::<Pending>();
        let rooms = self.rooms.capacity() * size_of::<Arc<Room>>();
        let places = self.places.capacity() * size_of::<(u64, u32)>();
        self.bytes.capacity() + self.deflated.capacity() + frames + rooms + places
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
        self.deflated.clear();
        self.rooms.clear();
        self.places.clear();
        self.interleaved = false;
        self.bytes_pending = 0;
    }

    /// Gives back memory that grew under load. Called every few seconds, between turns.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            self.deflated = Vec::new();
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
    deflated: &'a [u8],
    live: &'a Arc<LiveBytes>,
}

impl Gather<'_> {
    /// Takes the frames out, and leaves the memory for those of the next run.
    fn run(&mut self, room: Arc<Room>, frames: &mut Vec<Pending>) -> Option<Run> {
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
            deflated: self.variant(frames, &buffer, self.first_frame),
            buffer,
            received_ns,
            recipients: selective.then(|| frames.drain(..).map(|frame| frame.recipients).collect()),
        };
        frames.clear();
        self.first_frame += count;
        self.position += bytes;
        Some(run)
    }

    /// The variant of a run in the shared buffer, whose frames begin with number `first_frame`
    /// there: frame by frame what was deflated, or a copy of what was not.
    fn variant(&self, frames: &[Pending], plain: &Buffer, first_frame: u32) -> Option<Deflated> {
        let deflated = frames.iter().flat_map(|frame| &frame.deflated);
        let window_bits = deflated.map(|deflated| deflated.window_bits).max()?;
        let encoded = |(number, frame): (u32, &Pending)| match &frame.deflated {
            Some(deflated) => &self.deflated[deflated.bytes.clone()],
            None => {
                let range = plain.frame_range(number);
                &plain.bytes()[range.start as usize..range.end as usize]
            }
        };
        let encoded: Vec<&[u8]> = (first_frame..).zip(frames).map(encoded).collect();
        let ends = encoded.iter().scan(0, |end, bytes| {
            *end += bytes.len() as u32;
            Some(*end)
        });
        let ends = match encoded.len() {
            1 => Box::default(),
            _ => ends.collect(),
        };
        let buffer = Buffer::new(encoded.concat(), ends, self.live);
        Some(Deflated {
            buffer: Arc::new(buffer),
            window_bits,
        })
    }

    /// The variant of a run of one frame.
    fn alone(&self, deflated: &DeflatedFrame) -> Deflated {
        let bytes = self.deflated[deflated.bytes.clone()].to_vec();
        Deflated {
            buffer: Arc::new(Buffer::new(bytes, Box::default(), self.live)),
            window_bits: deflated.window_bits,
        }
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
    deflated: Option<Deflated>,
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
        deflated,
        received_ns,
        recipients,
    }
}

#[cfg(test)]
mod tests;
