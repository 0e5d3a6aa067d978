//! The masking of client frames (RFC 6455 §5.3): every payload byte XOR one of four key bytes.

/// Bytes per step of the main loop: whole vector registers, so that the compiler needs no tail
/// loop within it.
const BLOCK_BYTES: usize = 32;

/// Masks or unmasks in place; byte `i` is combined with `key[i % 4]`.
#[inline]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let wide: [u8; BLOCK_BYTES] = std::array::from_fn(|i| key[i % 4]);
    let (blocks, rest) = payload.as_chunks_mut::<BLOCK_BYTES>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    let word = u32::from_ne_bytes(key);
    let (words, tail) = rest.as_chunks_mut::<4>();
    for bytes in words {
        *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The key for the bytes after the first `done` of a payload that arrives in pieces.
#[inline]
pub(super) fn advance(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4])
            .collect()
    }

    #[test]
    fn every_length_and_alignment_matches_the_definition() {
        let key = [0x12, 0x34, 0x56, 0x78];
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        for offset in 0..8 {
            for len in 0..200 {
                let mut copy = bytes.clone();
                apply(&mut copy[offset..offset + len], key);
                assert_eq!(copy[..offset], bytes[..offset]);
                assert_eq!(
                    copy[offset..offset + len],
                    reference(&bytes[offset..][..len], key)
                );
                assert_eq!(copy[offset + len..], bytes[offset + len..]);
            }
        }
    }

    #[test]
    fn a_payload_in_two_pieces_is_masked_as_one() {
        let key = [1, 2, 4, 8];
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 0..=bytes.len() {
            let mut copy = bytes.clone();
            let (first, second) = copy.split_at_mut(cut);
            apply(first, key);
            apply(second, advance(key, cut));
            assert_eq!(copy, reference(&bytes, key), "cut at {cut}");
        }
    }
}
