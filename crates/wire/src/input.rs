//! Received bytes on their way through a decoder.

/// Received bytes; decoded ones are taken off the front.
#[derive(Debug)]
pub struct Input<'i> {
    pub(super) bytes: &'i mut [u8],
}

impl<'i> Input<'i> {
    /// Bytes as they came from the socket. They are unmasked in place.
    pub fn new(bytes: &'i mut [u8]) -> Input<'i> {
        Input { bytes }
    }

    /// The number of bytes left.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes up to `len` bytes off the front.
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> &'i mut [u8] {
        let bytes = std::mem::take(&mut self.bytes);
        let (front, rest) = bytes.split_at_mut(len.min(bytes.len()));
        self.bytes = rest;
        front
    }
}
