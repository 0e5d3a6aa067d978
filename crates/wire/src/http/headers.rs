//! Headers of a request, and room for them on the caller's stack.

use std::mem::MaybeUninit;

/// Headers of one request; more are a 431.
pub const HEADERS_MAX: usize = 100;

/// One header of a request, as it was sent, without the white space around its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'b> {
    /// A token, in its original case (RFC 9110 §5.1).
    pub name: &'b str,
    /// Any bytes but control characters, UTF-8 or not; tabs are allowed (RFC 9110 §5.5).
    pub value: &'b [u8],
}

/// The headers of a request, in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers<'b>(pub(super) &'b [httparse::Header<'b>]);

impl<'b> Headers<'b> {
    /// The number of headers.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the headers.
    pub fn iter(self) -> HeadersIter<'b> {
        HeadersIter(self.0.iter())
    }
}

impl<'b> IntoIterator for Headers<'b> {
    type Item = Header<'b>;
    type IntoIter = HeadersIter<'b>;

    fn into_iter(self) -> HeadersIter<'b> {
        self.iter()
    }
}

/// An iterator over [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'b>(std::slice::Iter<'b, httparse::Header<'b>>);

impl<'b> Iterator for HeadersIter<'b> {
    type Item = Header<'b>;

    #[inline]
    fn next(&mut self) -> Option<Header<'b>> {
        self.0.next().map(own)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for HeadersIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(own)
    }
}

impl ExactSizeIterator for HeadersIter<'_> {}

fn own<'b>(&httparse::Header { name, value }: &httparse::Header<'b>) -> Header<'b> {
    Header { name, value }
}

/// Room for the headers of one head, on the caller's stack. Making one writes nothing.
#[derive(Debug)]
pub struct HeaderSpace<'b> {
    pub(super) slots: [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX],
}

impl HeaderSpace<'_> {
    /// Room for one [`Head::parse`](super::Head::parse).
    pub const fn new() -> Self {
        HeaderSpace {
            slots: [const { MaybeUninit::uninit() }; HEADERS_MAX],
        }
    }
}

impl Default for HeaderSpace<'_> {
    fn default() -> Self {
        HeaderSpace::new()
    }
}
