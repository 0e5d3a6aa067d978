//! Frames from a client (RFC 6455 §5, RFC 7692 §6).

use corecast::wire::decoder::DecoderLimits;

use crate::readers::{LIMITS, compare, read_with_ours};
use crate::sizes::split_sizes;

/// Where permessage-deflate was agreed on.
const COMPRESSED: DecoderLimits = DecoderLimits {
    allows_compressed: true,
    ..LIMITS
};

/// The target: one list of items and one verdict whatever the pieces, and those of tungstenite,
/// which knows no compression.
///
/// # Panics
///
/// Where that does not hold.
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
