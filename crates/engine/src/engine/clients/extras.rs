//! Data that some connections have and most do not: terms, a pace, attachments.

use std::any::Any;

use super::attachments::Attachments;
use super::pace::Pace;
use crate::engine::answer::Terms;

/// Parts of a connection that take one word of its slab entry. A connection without any of them
/// uses no memory for them.
#[derive(Default)]
pub(super) struct Extras(Option<Box<Parts>>);

#[derive(Default)]
struct Parts {
    terms: Option<Box<Terms>>,
    pace: Option<Box<Pace>>,
    attachments: Attachments,
    low_water_bytes: usize,
}

impl Extras {
    /// The identity of the client, and its expiry.
    pub(super) fn terms(&self) -> Option<&Terms> {
        self.0.as_ref()?.terms.as_deref()
    }

    pub(super) fn set_terms(&mut self, terms: Option<Terms>) {
        if terms.is_some() || self.0.is_some() {
            self.0.get_or_insert_default().terms = terms.map(Box::new);
        }
    }

    /// Its use of its rate limit; `None` if it has no limit.
    pub(super) fn pace(&self) -> Option<&Pace> {
        self.0.as_ref()?.pace.as_deref()
    }

    pub(super) fn pace_mut(&mut self) -> Option<&mut Pace> {
        self.0.as_mut()?.pace.as_deref_mut()
    }

    pub(super) fn pace_or_default(&mut self) -> &mut Pace {
        let parts = self.0.get_or_insert_default();
        parts.pace.get_or_insert_default()
    }

    #[inline]
    pub(super) fn take_pace(&mut self) -> Option<Box<Pace>> {
        self.0.as_mut()?.pace.take()
    }

    #[inline]
    pub(super) fn set_pace(&mut self, pace: Option<Box<Pace>>) {
        if pace.is_some() || self.0.is_some() {
            self.0.get_or_insert_default().pace = pace;
        }
    }

    /// Values that code other than the endpoint keeps for it.
    pub(super) fn attachments(&self) -> &[Box<dyn Any + Send>] {
        let parts = self.0.as_ref();
        parts.map_or(&[], |parts| parts.attachments.as_slice())
    }

    pub(super) fn attached<T: Any + Send>(&mut self) -> Option<&mut T> {
        self.0.as_mut()?.attachments.get_mut()
    }

    pub(super) fn attach<T: Any + Send>(&mut self, value: T) {
        self.0.get_or_insert_default().attachments.set(value);
    }

    /// The bytes that may wait for it when its endpoint is told.
    pub(super) fn low_water_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |parts| parts.low_water_bytes)
    }

    pub(super) fn set_low_water_bytes(&mut self, bytes: usize) {
        self.0.get_or_insert_default().low_water_bytes = bytes;
    }

    /// Drops the values that code other than the endpoint keeps.
    pub(super) fn clear_attachments(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.attachments = Attachments::default();
        }
    }
}
