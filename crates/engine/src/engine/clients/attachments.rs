//! Values that code other than its endpoint keeps for a connection, one of each type.

use std::any::Any;

/// Values of different types. Without any it takes one word.
#[derive(Default)]
pub(super) struct Attachments(
    #[allow(
        clippy::box_collection,
        reason = "8 bytes in every slab entry instead of 24"
    )]
    Option<Box<Vec<Box<dyn Any + Send>>>>,
);

impl Attachments {
    /// Keeps a value, replacing the one of its type.
    pub(super) fn set<T: Any + Send>(&mut self, value: T) {
        match self.get_mut() {
            Some(earlier) => *earlier = value,
            None => self.0.get_or_insert_default().push(Box::new(value)),
        }
    }

    pub(super) fn get_mut<T: Any + Send>(&mut self) -> Option<&mut T> {
        let values = self.0.as_mut()?;
        values.iter_mut().find_map(|each| each.downcast_mut())
    }

    pub(super) fn as_slice(&self) -> &[Box<dyn Any + Send>] {
        self.0.as_ref().map_or(&[], |values| values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let mut attachments = Attachments::default();
        assert!(attachments.get_mut::<u32>().is_none());
        attachments.set(1_u32);
        attachments.set("one");
        attachments.set(2_u32);
        assert_eq!(attachments.as_slice().len(), 2);
        assert_eq!(attachments.get_mut::<u32>(), Some(&mut 2));
        assert_eq!(attachments.get_mut::<&str>(), Some(&mut "one"));
    }
}
