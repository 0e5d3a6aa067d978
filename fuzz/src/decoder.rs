//! Frames from a client (RFC 6455 §5).

use crate::readers::{LIMITS, compare, read_with_ours};
use crate::split_sizes;

/// The target: one list of items and one verdict whatever the pieces, and those of tungstenite.
///
/// # Panics
///
/// Where that does not hold.
pub(crate) fn decoder(data: &[u8]) {
    let Some((sizes, stream)) = split_sizes(data) else {
        return;
    };
    let whole = read_with_ours(stream, &[], &LIMITS);
    let pieced = read_with_ours(stream, &sizes, &LIMITS);
    assert_eq!(pieced, whole, "in pieces of {sizes:?}, and whole");
    compare(stream, (&sizes, &[]), false);
}
