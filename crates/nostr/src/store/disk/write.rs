//! Decisions on events that are to be stored, and on those that must go: the same as the memory
//! store's, taken over a layer that becomes durable before it counts.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use super::change::Change;
use super::keys::{self, mark};
use super::layer::{Layer, Space};
use super::state::Vanishing;
use super::tables::Sums;
use super::view::{SharedLayer, View};
use crate::event::{Event, EventAddress};
use crate::hex::Bytes32;
use crate::kind::VANISH;
use crate::query::{Position, Seq};
use crate::store::deletion::{self, Target};
use crate::store::{DeletionRule, Nip09, Outcome, StoreError};

pub(super) fn write(layer: &SharedLayer) -> RwLockWriteGuard<'_, Layer> {
    layer.write().unwrap_or_else(PoisonError::into_inner)
}

/// Changes that are being decided on.
pub(super) struct Draft {
    /// The store below the draft's own layer, which is the first one.
    view: View,
    layer: SharedLayer,
    pub(super) changes: Vec<Change>,
    pub(super) last_seq: Seq,
    pub(super) sums: Sums,
    pub(super) vanishing: Vanishing,
}

/// An event with its number.
type Found = (Seq, Arc<Event>);

impl Draft {
    pub(super) fn new(mut view: View, last_seq: Seq, sums: Sums, vanishing: Vanishing) -> Draft {
        let layer = SharedLayer::default();
        view.layers.insert(0, Arc::clone(&layer));
        Draft {
            view,
            layer,
            changes: Vec::new(),
            last_seq,
            sums,
            vanishing,
        }
    }

    /// Its layer.
    pub(super) fn into_layer(self) -> Layer {
        std::mem::take(&mut *write(&self.layer))
    }

    pub(super) fn store(
        &mut self,
        event: &Arc<Event>,
        rule: &dyn DeletionRule,
    ) -> Result<Outcome, StoreError> {
        if self.is_vanished(event)? {
            self.delete_targets(event, rule)?;
            self.bury_targets(event)?;
            return Ok(Outcome::Vanished);
        }
        if self
            .view
            .get(Space::Index, &keys::id(event.id()))?
            .is_some()
        {
            return Ok(Outcome::Duplicate);
        }
        let is_deleted = self.is_deleted(event, rule)?;
        let mut is_superseded = false;
        if let Some(address) = event.address() {
            let stored = self.version_of(&address)?;
            let stored_at = stored.as_ref().map(|(_, version)| Position::of(version));
            let newest = stored_at
                .into_iter()
                .chain(self.buried_version_of(&address)?)
                .min();
            is_superseded = deletion::is_superseded(Position::of(event), newest);
            // Even if this version is refused, it ends the older one.
            if let Some((seq, version)) = stored.filter(|_| !is_superseded) {
                self.remove(seq, &version);
            }
        }
        if is_deleted {
            self.bury_version(event)?;
            return Ok(Outcome::Deleted);
        }
        if is_superseded {
            return Ok(Outcome::Superseded);
        }
        self.delete_targets(event, rule)?;
        if let Some((key, until)) = deletion::vanish_of(event) {
            self.vanish(key, until)?;
        }
        Ok(Outcome::Stored(self.insert(event)))
    }

    /// Whether an event is refused by what was stored before, except for a newer version or the
    /// event itself.
    pub(super) fn refuses(&self, event: &Event) -> Result<bool, StoreError> {
        if self.is_vanished(event)? || self.is_deleted(event, &Nip09)? {
            return Ok(true);
        }
        let newest = event
            .address()
            .map(|address| self.buried_version_of(&address));
        let newest = newest.transpose()?.flatten();
        Ok(deletion::is_superseded(Position::of(event), newest))
    }

    fn insert(&mut self, event: &Arc<Event>) -> Seq {
        self.last_seq += 1;
        self.sums.events += 1;
        self.sums.bytes += event.json().len() as u64;
        write(&self.layer).insert(self.last_seq, event);
        self.changes
            .push(Change::Insert(self.last_seq, Arc::clone(event)));
        self.last_seq
    }

    fn remove(&mut self, seq: Seq, event: &Event) {
        self.sums.events = self.sums.events.saturating_sub(1);
        self.sums.bytes = self.sums.bytes.saturating_sub(event.json().len() as u64);
        write(&self.layer).remove(seq, event);
        self.changes.push(Change::Remove(seq));
    }

    pub(super) fn set_mark(&mut self, key: Vec<u8>, value: Option<&[u8]>) {
        write(&self.layer).set_mark(&key, value);
        self.changes
            .push(Change::Mark(key.into(), value.map(Box::from)));
    }

    /// Does a change of the log once more.
    pub(super) fn repeat(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Insert(seq, event) => {
                self.last_seq = seq - 1;
                self.insert(event);
            }
            Change::Remove(seq) => {
                if let Some(event) = self.view.event(*seq)? {
                    self.remove(*seq, &event);
                }
            }
            Change::Mark(key, value) => {
                if let Some(vanishing) = mark::vanishing_key(key) {
                    self.vanishing
                        .set(vanishing, value.as_deref().and_then(time));
                }
                self.set_mark(key.to_vec(), value.as_deref());
            }
        }
        Ok(())
    }

    /// Whether a deletion that came before applies to an event that comes now.
    fn is_deleted(&self, event: &Event, rule: &dyn DeletionRule) -> Result<bool, StoreError> {
        let deletions = self.deletions_of(&Target::Id(*event.id()))?;
        if deletions
            .iter()
            .any(|each| deletion::deletes_by_id(each, event, rule))
        {
            return Ok(true);
        }
        if let Some(address) = event.address() {
            let hash = deletion::address_hash(&address);
            let deletions = self.deletions_of(&Target::Address(address))?;
            if deletions
                .iter()
                .any(|each| deletion::deletes_by_address(each, event, rule))
            {
                return Ok(true);
            }
            let until = self.mark(&mark::deleted_address(&hash))?;
            if until
                .as_deref()
                .and_then(time)
                .is_some_and(|until| event.created_at() <= until)
            {
                return Ok(true);
            }
        }
        if deletion::may_be_deleted(event) {
            for owner in deletion::owners(event) {
                if self.mark(&mark::deleted(event.id(), &owner))?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn deletions_of(&self, target: &Target) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut rows = self
            .view
            .list(&keys::deletions_of(target), Bound::Unbounded, 0)?;
        let mut deletions = Vec::new();
        while let Some((_, row)) = rows.next()? {
            deletions.extend(self.view.event(row.seq)?);
        }
        Ok(deletions)
    }

    /// Removes the stored events that a deletion names; other events have no effect.
    fn delete_targets(
        &mut self,
        deletion: &Event,
        rule: &dyn DeletionRule,
    ) -> Result<(), StoreError> {
        for target in deletion::targets(deletion) {
            let found = match &target {
                Target::Id(id) => self.event_with(&keys::id(id))?,
                Target::Address(address) => self.version_of(address)?,
            };
            let is_due = |event: &Event| match &target {
                Target::Id(_) => deletion::deletes_by_id(deletion, event, rule),
                Target::Address(_) => deletion::deletes_by_address(deletion, event, rule),
            };
            if let Some((seq, event)) = found
                && is_due(&event)
            {
                self.bury_version(&event)?;
                self.remove(seq, &event);
            }
        }
        Ok(())
    }

    fn version_of(&self, address: &EventAddress) -> Result<Option<Found>, StoreError> {
        self.event_with(&keys::address(address))
    }

    fn event_with(&self, key: &[u8]) -> Result<Option<Found>, StoreError> {
        let place = self.view.get(Space::Index, key)?;
        let Some(row) = place.as_deref().and_then(keys::Row::parse) else {
            return Ok(None);
        };
        Ok(self.view.event(row.seq)?.map(|event| (row.seq, event)))
    }

    fn mark(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        self.view.get(Space::Marks, key)
    }

    fn buried_version_of(&self, address: &EventAddress) -> Result<Option<Position>, StoreError> {
        let place = self.mark(&mark::newest(&deletion::address_hash(address)))?;
        Ok(place.as_deref().and_then(keys::position_at_end))
    }

    /// Remembers a version of an address, if the event is one: older ones are superseded.
    fn bury_version(&mut self, event: &Event) -> Result<(), StoreError> {
        if let Some(address) = event.address() {
            let own = Position::of(event);
            if self
                .buried_version_of(&address)?
                .is_none_or(|known| own < known)
            {
                let key = mark::newest(&deletion::address_hash(&address));
                self.set_mark(key, Some(&keys::tail(&own)));
            }
        }
        Ok(())
    }

    /// Remembers what a deletion names; other events have no targets.
    fn bury_targets(&mut self, deletion: &Event) -> Result<(), StoreError> {
        let signer = *deletion.pubkey();
        for target in deletion::targets(deletion) {
            match target {
                Target::Id(id) => self.set_mark(mark::deleted(&id, &signer), Some(&[])),
                Target::Address(address) if address.pubkey == signer => {
                    let key = mark::deleted_address(&deletion::address_hash(&address));
                    self.raise(key, deletion.created_at())?;
                }
                Target::Address(_) => {}
            }
        }
        Ok(())
    }

    /// Sets a time that only goes up. Returns it.
    fn raise(&mut self, key: Vec<u8>, to: u64) -> Result<u64, StoreError> {
        let known = self.mark(&key)?.as_deref().and_then(time);
        let until = known.map_or(to, |known| known.max(to));
        if known != Some(until) {
            self.set_mark(key, Some(&until.to_be_bytes()));
        }
        Ok(until)
    }

    fn is_vanished(&self, event: &Event) -> Result<bool, StoreError> {
        let mut failed = None;
        let is_vanished = deletion::is_vanished(event, |key| {
            let mark = self.mark(&mark::vanished(key)).unwrap_or_else(|error| {
                failed = Some(error);
                None
            });
            mark.as_deref().and_then(time)
        });
        failed.map_or(Ok(is_vanished), Err)
    }

    /// Hides the events of a key up to that time.
    fn vanish(&mut self, key: Bytes32, until: u64) -> Result<(), StoreError> {
        let until = self.raise(mark::vanished(&key), until)?;
        if !self.vanished(&key, until, 1)?.is_empty() {
            self.vanishing.set(key, Some(until));
            self.set_mark(mark::vanishing(&key), Some(&until.to_be_bytes()));
        }
        Ok(())
    }

    /// Up to `most` events that a key's request to vanish covers.
    fn vanished(&self, key: &Bytes32, until: u64, most: usize) -> Result<Vec<Found>, StoreError> {
        let mut found: Vec<Found> = Vec::new();
        let from = Bound::Included(Position::first_of(until));
        for list in [keys::author(key), keys::wraps_for(key)] {
            let mut rows = self.view.list(&list, from, 0)?;
            while found.len() < most
                && let Some((_, row)) = rows.next()?
            {
                let is_new = row.kind != VANISH && found.iter().all(|(seq, _)| *seq != row.seq);
                if is_new && let Some(event) = self.view.event(row.seq)? {
                    found.push((row.seq, event));
                }
            }
        }
        Ok(found)
    }

    /// Removes up to `most` events of keys that have vanished. Returns how many.
    pub(super) fn remove_vanished(&mut self, most: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        while removed < most
            && let Some((key, until)) = self.vanishing.first()
        {
            let found = self.vanished(&key, until, most - removed)?;
            if found.is_empty() {
                self.vanishing.set(key, None);
                self.set_mark(mark::vanishing(&key), None);
            }
            removed += found.len();
            found
                .iter()
                .try_for_each(|(seq, event)| self.bury_and_remove(*seq, event))?;
        }
        Ok(removed)
    }

    /// Removes up to `most` expired events. Returns how many.
    pub(super) fn remove_expired(&mut self, now: u64, most: usize) -> Result<usize, StoreError> {
        let (from, end) = keys::expired_until(now);
        let expired = self.view.scan(Space::Index, &from, &end, most)?;
        for (_, row) in &expired {
            let seq = keys::Row::parse(row).map(|row| row.seq);
            let event = seq.map(|seq| self.view.event(seq)).transpose()?.flatten();
            if let Some((seq, event)) = seq.zip(event) {
                self.bury_and_remove(seq, &event)?;
            }
        }
        Ok(expired.len())
    }

    /// Removes an event whose effect stays: that of a deletion on its targets, and that of a
    /// version on older ones.
    fn bury_and_remove(&mut self, seq: Seq, event: &Event) -> Result<(), StoreError> {
        self.bury_targets(event)?;
        self.bury_version(event)?;
        self.remove(seq, event);
        Ok(())
    }
}

/// The time that a mark has as its value.
pub(super) fn time(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}
