//! The sizes of the pieces of an input, chosen by the input itself.

/// The sizes chosen by the first two bytes of an input, in turn, and the stream that follows.
///
/// 0 stands for 256, so that every size is at least one byte.
pub(crate) fn split_sizes(data: &[u8]) -> Option<([usize; 2], &[u8])> {
    let (sizes, stream) = data.split_first_chunk::<2>()?;
    let size = |byte: u8| if byte == 0 { 256 } else { usize::from(byte) };
    Some((sizes.map(size), stream))
}
