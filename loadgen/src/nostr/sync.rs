//! Synchronizations (NIP-77): clients whose sets differ from what is stored find out how.
//!
//! A set is drawn by the seed: some stored events are missing in it, and it has some that nobody
//! stored. Several clients share one, since a client keeps no state between two messages but what
//! it has found.

use std::collections::{BTreeSet, HashMap};

use corecast_nostr::{sync_message, to_hex};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};

use super::draw::{Draws, in_parallel};
use super::text::append_text;
use crate::error::RunError;
use crate::plan::NostrSync;
use crate::report::SyncFigures;
use crate::stamp::SplitMix;

/// The number of sets.
const SETS: u32 = 8;
/// Memory of an event in a set.
const ITEM_BYTES: u64 = 40;
/// Limit for one message of a client, in bytes before the hexadecimal form.
const MESSAGE_BYTES_MAX: u64 = 60_000;
/// Arbitrary constant that keeps the draws for sets apart from others.
const DRAWN: u64 = 0x7379_6e63;
/// The events are spread over this many seconds before the run.
pub(super) const SPREAD_S: u64 = 7 * 24 * 3_600;

/// Prefix of the names.
const NAME: &str = "sync-";

/// The events that are stored, and the sets of the clients.
pub(crate) struct Syncs {
    /// In JSON.
    pub(crate) stored: Vec<Box<[u8]>>,
    filter: String,
    sets: Vec<Set>,
}

impl std::fmt::Debug for Syncs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Syncs")
            .field("stored", &self.stored.len())
            .finish_non_exhaustive()
    }
}

struct Set {
    storage: NegentropyStorageVector,
    /// The first message, in hexadecimal digits.
    first: String,
    /// Events that only the client has, and those that only the relay has.
    differences: (BTreeSet<Id>, BTreeSet<Id>),
}

/// Memory of the sets for that many stored events.
pub(super) fn sets_bytes(events: u32, sync: NostrSync) -> u64 {
    u64::from(SETS) * ITEM_BYTES * (u64::from(events) + u64::from(sync.differences))
}

impl Syncs {
    /// Signs the events and draws the sets.
    ///
    /// # Errors
    /// A set is not accepted by the library.
    pub(super) fn new(
        draws: &Draws,
        events: u32,
        sync: NostrSync,
        seed: u64,
        run: &str,
    ) -> Result<Self, RunError> {
        let numbers: Vec<u32> = (0..events).collect();
        let signed = in_parallel(&numbers, |number| {
            let event = draws.sign(*number);
            let id = Id::from_byte_array(*event.id());
            let json = Box::<[u8]>::from(event.json().as_bytes());
            (event.created_at(), id, json)
        });
        let places: Vec<(u64, Id)> = signed.iter().map(|(at, id, _)| (*at, *id)).collect();
        let sets = (0..SETS).map(|number| {
            let random = SplitMix(seed ^ DRAWN ^ u64::from(number) << 32);
            Set::new(&places, sync.differences, random)
        });
        let sets: Result<Vec<Set>, negentropy::Error> = sets.collect();
        Ok(Self {
            stored: signed.into_iter().map(|(_, _, json)| json).collect(),
            filter: json!({"#t": [run]}).to_string(),
            sets: sets.map_err(|error| RunError::new(error.to_string()))?,
        })
    }

    fn set(&self, number: u32) -> &Set {
        &self.sets[number as usize % self.sets.len()]
    }

    /// Appends the first message of a synchronization, as a frame.
    pub(super) fn append(&self, out: &mut Vec<u8>, mask: [u8; 4], number: u32) {
        let first = &self.set(number).first;
        let head = format!("[\"NEG-OPEN\",\"{NAME}{number}\",{},\"", self.filter);
        append_text(out, mask, &[head.as_bytes(), first.as_bytes(), b"\"]"]);
    }
}

impl Set {
    fn new(
        stored: &[(u64, Id)],
        differences: u32,
        mut random: SplitMix,
    ) -> Result<Set, negentropy::Error> {
        let missing_max = (differences as usize / 2).min(stored.len());
        let mut missing = BTreeSet::new();
        while missing.len() < missing_max {
            missing.insert((random.next() % stored.len() as u64) as usize);
        }
        let mut storage = NegentropyStorageVector::with_capacity(stored.len());
        let (mut only_mine, mut only_theirs) = (BTreeSet::new(), BTreeSet::new());
        for (index, (created_at, id)) in stored.iter().enumerate() {
            match missing.contains(&index) {
                true => _ = only_theirs.insert(*id),
                false => storage.insert(*created_at, *id)?,
            }
        }
        let newest = stored.iter().map(|(created_at, _)| *created_at).max();
        let newest = newest.unwrap_or(SPREAD_S);
        for _ in missing_max..differences as usize {
            let mut id = [0; 32];
            for part in id.chunks_exact_mut(8) {
                part.copy_from_slice(&random.next().to_le_bytes());
            }
            let id = Id::from_byte_array(id);
            storage.insert(newest - random.next() % SPREAD_S, id)?;
            only_mine.insert(id);
        }
        storage.seal()?;
        let mut client = Negentropy::borrowed(&storage, MESSAGE_BYTES_MAX)?;
        let first = to_hex(&client.initiate()?);
        Ok(Set {
            storage,
            first,
            differences: (only_mine, only_theirs),
        })
    }
}

/// The synchronizations of one thread that are under way, and the sums of those that are over.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    open: HashMap<u32, Progress>,
    pub(super) figures: SyncFigures,
}

#[derive(Debug, Default)]
struct Progress {
    have: Vec<Id>,
    need: Vec<Id>,
}

/// The consequence of a message of the relay.
pub(super) enum Next {
    /// The answer, as a frame.
    Answer(Vec<u8>),
    /// It is over, with this frame as the last; whether the right differences were found.
    Over(Vec<u8>, bool),
    /// It is not of the protocol.
    Wrong(String),
}

/// The number of a synchronization, by its name.
pub(super) fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix(NAME)?.parse().ok()
}

impl Syncing {
    /// Handles a NEG-MSG.
    pub(super) fn take(&mut self, syncs: &Syncs, mask: [u8; 4], number: u32, hex: &Value) -> Next {
        let set = syncs.set(number);
        let progress = self.open.entry(number).or_insert_with(|| {
            self.figures.bytes_sent += set.first.len() as u64;
            Progress::default()
        });
        self.figures.rounds += 1;
        self.figures.bytes_received += hex.as_str().unwrap_or_default().len() as u64;
        let message = match sync_message(&hex.to_string()) {
            Ok(message) => message,
            Err(error) => return Next::Wrong(error.to_string()),
        };
        let reconciled =
            Negentropy::borrowed(&set.storage, MESSAGE_BYTES_MAX).and_then(|mut client| {
                client.set_initiator();
                client.reconcile_with_ids(&message, &mut progress.have, &mut progress.need)
            });
        let name = format!("{NAME}{number}");
        let mut frame = Vec::new();
        match reconciled {
            Ok(Some(answer)) => {
                let hex = to_hex(&answer);
                self.figures.bytes_sent += hex.len() as u64;
                let text = json!(["NEG-MSG", name, hex]).to_string();
                append_text(&mut frame, mask, &[text.as_bytes()]);
                Next::Answer(frame)
            }
            Ok(None) => {
                let found = self.open.remove(&number).unwrap_or_default();
                let found = (
                    found.have.into_iter().collect(),
                    found.need.into_iter().collect(),
                );
                let text = json!(["NEG-CLOSE", name]).to_string();
                append_text(&mut frame, mask, &[text.as_bytes()]);
                Next::Over(frame, found == set.differences)
            }
            Err(error) => Next::Wrong(error.to_string()),
        }
    }
}
