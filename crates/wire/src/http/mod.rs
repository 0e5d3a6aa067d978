//! One strict HTTP/1.1 reader and writer, for upgrades and plain requests alike (RFC 9112).
//!
//! The engine collects bytes until [`Head::parse`] yields a head, then answers with a [`Response`]
//! or, for an upgrade, through [`super::handshake`]. On top of httparse it enforces the rules that
//! keep two parsers from seeing two different requests in one (request smuggling): no bare LF, no
//! folded lines, one Host, one length, no unknown coding. Every refusal has its own variant of
//! [`HttpError`] with its status. Everything is bounded before it is kept.

mod chunked;
mod error;
mod head;
mod headers;
mod percent;
mod response;

pub use chunked::{ChunkedDecoder, Progress};
pub use error::HttpError;
pub use head::{BodyLength, Head, HeadLimits};
pub use headers::{HEADERS_MAX, Header, HeaderSpace, Headers, HeadersIter};
pub use percent::{form_decode, percent_decode, query_value};
pub use response::Response;

pub(super) use head::list_items;
pub(super) use response::is_emittable;

/// Passes the head of a whole request, within common limits, to a unit test.
///
/// # Panics
///
/// `request` is not a whole request.
#[cfg(any(test, feature = "testing"))]
pub fn with_head<T>(request: &str, test: impl FnOnce(&Head<'_>) -> T) -> T {
    let limits = HeadLimits {
        head_bytes: 8_192,
        target_bytes: 2_048,
    };
    let mut space = HeaderSpace::new();
    let parsed = Head::parse(request.as_bytes(), &mut space, &limits);
    let (head, _) = parsed.expect("a head").expect("a whole one");
    test(&head)
}
