//! The state of management that shards and threads look up.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use corecast_nostr::{
    Bytes32, Event, Forbidden, Hidden, List, Methods, Moderation, Note, NoteError, ParsedEvent,
    RequestProof,
};
use serde_json::Value;

use super::super::clock::unix_now;
use super::super::http::Documents;
use super::super::settings::NostrSettings;
use super::used::{Unusable, Used};

/// The state, and what is derived from it. Both are replaced at once.
struct State {
    moderation: Moderation,
    documents: Documents,
}

/// The state of management of a relay, whether or not it has admins.
pub(in super::super) struct Desk {
    /// The configured admins, who may use every method. Without any, management is off.
    admins: BTreeSet<Bytes32>,
    /// The configured kinds; `None` means all.
    kinds: Option<HashSet<u16>>,
    state: RwLock<Arc<State>>,
    /// The number of changes of the state so far.
    version: AtomicU64,
    used: Mutex<Used>,
}

impl Desk {
    /// Takes over the kinds that the settings accept, since calls may change them.
    pub(in super::super) fn new(settings: &mut NostrSettings) -> Desk {
        let admins = match settings.has_management() {
            true => settings.admins.iter().copied().collect(),
            false => BTreeSet::new(),
        };
        let kinds = settings.events.kinds.take();
        let moderation = Moderation::default();
        let state = State {
            documents: Documents::of(settings, &moderation, kinds.is_some()),
            moderation,
        };
        Desk {
            admins,
            kinds,
            state: RwLock::new(Arc::new(state)),
            version: AtomicU64::new(0),
            used: Mutex::new(Used::new(unix_now())),
        }
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the state from the notes of a store.
    pub(in super::super) fn load(
        &self,
        notes: &[(String, Vec<u8>)],
        settings: &NostrSettings,
    ) -> Result<(), NoteError> {
        self.replace(Moderation::load(notes)?, settings);
        Ok(())
    }

    /// Applies a note that is durable. Only one thread does so.
    pub(super) fn apply(&self, note: &Note, settings: &NostrSettings) -> Result<(), NoteError> {
        let mut moderation = self.state().moderation.clone();
        moderation.apply(note)?;
        self.replace(moderation, settings);
        Ok(())
    }

    fn replace(&self, moderation: Moderation, settings: &NostrSettings) {
        let restricts = self.kinds.is_some() || moderation.restricts_writes();
        let documents = Documents::of(settings, &moderation, restricts);
        let next = Arc::new(State {
            moderation,
            documents,
        });
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Runs `read` on the state.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Moderation) -> T) -> T {
        read(&self.state().moderation)
    }

    /// Runs `read` on the documents that describe the relay.
    pub(in super::super) fn documents<T>(&self, read: impl FnOnce(&Documents) -> T) -> T {
        read(&self.state().documents)
    }

    /// The events that nobody may see.
    pub(in super::super) fn hidden(&self) -> Arc<Hidden> {
        Arc::clone(self.state().moderation.hidden())
    }

    /// Whether an address gets no WebSocket.
    pub(in super::super) fn blocks(&self, ip: Option<IpAddr>) -> bool {
        ip.is_some_and(|ip| self.state().moderation.blocks(ip))
    }

    pub(super) fn is_on(&self) -> bool {
        !self.admins.is_empty()
    }

    pub(super) fn is_configured(&self, key: &Bytes32) -> bool {
        self.admins.contains(key)
    }

    /// The methods that a key may use; `None` if it is not an admin.
    pub(super) fn methods_of(&self, key: &Bytes32) -> Option<Methods> {
        if !self.is_on() {
            return None;
        }
        match self.is_configured(key) {
            true => Some(Methods::All),
            false => self.state().moderation.granted_to(key).cloned(),
        }
    }

    /// Uses an authorization up.
    pub(super) fn take(&self, proof: &RequestProof, now: u64) -> Result<(), Unusable> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.take(proof, now)
    }

    pub(super) fn list(&self, list: List) -> Value {
        self.state().moderation.list(list, self.kinds.as_ref())
    }
}

/// The state as a shard has seen it last, which costs an event no lock.
pub(in super::super) struct Seen {
    desk: Arc<Desk>,
    version: u64,
    state: Arc<State>,
}

impl Seen {
    pub(in super::super) fn new(desk: &Arc<Desk>) -> Seen {
        Seen {
            version: desk.version.load(Ordering::Acquire),
            state: desk.state(),
            desk: Arc::clone(desk),
        }
    }

    /// The current state.
    pub(super) fn moderation(&mut self) -> &Moderation {
        let version = self.desk.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.state = self.desk.state();
        }
        &self.state.moderation
    }

    /// Whether nobody may see the event.
    pub(in super::super) fn hides(&mut self, event: &Event) -> bool {
        self.moderation().hidden().hides(event)
    }

    /// Whether an event may be published. Its id and key are still to be verified.
    pub(in super::super) fn check(&mut self, event: &ParsedEvent<'_>) -> Result<(), Forbidden> {
        self.moderation();
        let (moderation, kinds) = (&self.state.moderation, self.desk.kinds.as_ref());
        moderation.check(&event.id, &event.pubkey, event.kind, kinds)
    }
}
