//! Notes on their way to the thread that writes the store.

use corecast_nostr::{Note, Store, StoreError};
use crossbeam_channel::Sender;

/// A note for the store's writer.
pub(in super::super) struct Write {
    pub(super) note: Note,
    pub(super) done: Sender<Result<(), StoreError>>,
}

impl Write {
    /// Writes it, and tells the thread that waits for it.
    pub(in super::super) fn carry_out(self, store: &dyn Store) {
        let value = self.note.value.as_deref().map(str::as_bytes);
        // The thread waits, unless the endpoint has ended.
        let _ = self.done.send(store.set_note(&self.note.name, value));
    }
}
