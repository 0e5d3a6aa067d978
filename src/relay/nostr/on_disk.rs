//! The store of a relay whose configuration names a folder for it.
//!
//! It is opened when the relay starts: a configuration is also loaded to be checked or compared,
//! while another relay may have the folder open.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corecast_nostr::{
    DeletionRule, DiskOptions, DiskStore, Event, Items, Numbered, Outcome, Page, Query, Seq, Store,
    StoreError,
};

/// A store on disk that is opened later.
pub(super) struct StoreOnDisk {
    folder: PathBuf,
    opened: OnceLock<DiskStore>,
}

impl StoreOnDisk {
    pub(super) fn new(folder: PathBuf) -> StoreOnDisk {
        StoreOnDisk {
            folder,
            opened: OnceLock::new(),
        }
    }

    fn opened(&self) -> Result<&DiskStore, StoreError> {
        let closed = || StoreError("it is not open yet".to_owned());
        self.opened.get().ok_or_else(closed)
    }
}

impl Store for StoreOnDisk {
    fn open(&self) -> Result<(), StoreError> {
        if self.opened.get().is_none() {
            let store = DiskStore::open(&self.folder, &DiskOptions::default());
            let store = store.map_err(|error| StoreError(error.to_string()))?;
            // Only the thread that starts the relay opens it.
            let _ = self.opened.set(store);
        }
        Ok(())
    }

    fn commit(
        &self,
        events: &[Arc<Event>],
        rule: &dyn DeletionRule,
    ) -> Result<Vec<Outcome>, StoreError> {
        self.opened()?.commit(events, rule)
    }

    fn last_seq(&self) -> Seq {
        self.opened.get().map_or(0, Store::last_seq)
    }

    fn page(
        &self,
        query: &mut Query,
        rows: usize,
        bytes: usize,
        now: u64,
    ) -> Result<Page, StoreError> {
        self.opened()?.page(query, rows, bytes, now)
    }

    fn since(&self, after: Seq, rows: usize) -> Result<(Vec<Numbered>, Seq), StoreError> {
        self.opened()?.since(after, rows)
    }

    fn items(&self, query: &mut Query, rows: usize, now: u64) -> Result<Items, StoreError> {
        self.opened()?.items(query, rows, now)
    }

    fn tidy(&self, now: u64) -> Result<usize, StoreError> {
        self.opened()?.tidy(now)
    }

    fn size(&self) -> (usize, usize) {
        self.opened.get().map_or((0, 0), Store::size)
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.opened()?.notes()
    }

    fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.opened()?.set_note(name, value)
    }

    fn take_checkpoints(&self) -> Vec<Duration> {
        self.opened
            .get()
            .map_or_else(Vec::new, Store::take_checkpoints)
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.opened()?.recover()
    }
}
