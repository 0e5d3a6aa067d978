//! A stream of bytes in pieces, as a socket gives it.

/// `bytes` in pieces of the sizes that are given, over and over; in one piece where there are none.
pub(crate) fn pieces<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |&size| size.clamp(1, rest.len()));
        let (piece, after) = rest.split_at(size);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The sizes that the first two bytes of an input ask for, in turn, and the stream that follows.
///
/// 0 stands for 256, so that every size is at least one byte.
pub(crate) fn split_sizes(data: &[u8]) -> Option<([usize; 2], &[u8])> {
    let (sizes, stream) = data.split_first_chunk::<2>()?;
    let size = |byte: u8| if byte == 0 { 256 } else { usize::from(byte) };
    Some((sizes.map(size), stream))
}
