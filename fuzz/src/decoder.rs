//! Frames from a client (RFC 6455 §5, RFC 7692 §6).

use corecast::wire::decoder::DecoderLimits;

use crate::readers::{LIMITS, compare, read_with_ours};
use crate::sizes::split_sizes;

/// With permessage-deflate negotiated.
const COMPRESSED: DecoderLimits = DecoderLimits {
    allows_compressed: true,
    ..LIMITS
};

/// The target: the same items and verdict for any split into pieces, and the same as tungstenite's,
/// which does not support compression.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn decoder(data: &[u8]) {
    let Some((sizes, stream)) = split_sizes(data) else {
        return;
    };
    for limits in [LIMITS, COMPRESSED] {
        let whole = read_with_ours(stream, &[], &limits);
        let pieced = read_with_ours(stream, &sizes, &limits);
        assert_eq!(pieced, whole, "in pieces of {sizes:?}, and whole");
    }
    compare(stream, (&sizes, &[]), false);
}
