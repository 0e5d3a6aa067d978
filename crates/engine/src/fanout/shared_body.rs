//! The end of a message that many clients get behind heads of their own.

use std::sync::Arc;

use super::bodies::Body;
use super::bundle::Bundle;
use super::segment::LiveBytes;
use crate::limits::SHARED_BODY_BYTES_MIN;
use crate::wire::deflate::{Deflater, append_stored_head, stored_bytes, window_bits_for};
use crate::wire::frame::{Opcode, append_frame_head};

/// The end of a message that many clients get, each behind a head of its own
/// ([`Client::send_shared`](crate::Client::send_shared)). It is copied once and deflated at most
/// once, for any number of clients on any number of shards. It is freed with its last clone and the
/// last frame that waits.
#[derive(Clone, Debug)]
pub struct SharedBody {
    plain: Arc<Body>,
    deflated: Option<DeflatedBody>,
}

/// The form for clients that can inflate.
#[derive(Clone, Debug)]
struct DeflatedBody {
    body: Arc<Body>,
    /// The smallest window that can inflate it, as a power of two.
    window_bits: u8,
}

impl SharedBody {
    /// Copies `payload`, counted in `live`, and deflates it with `deflater` and its level if that
    /// makes it smaller.
    pub(crate) fn new(
        payload: &[u8],
        deflater: Option<(&mut Deflater, u8)>,
        live: &Arc<LiveBytes>,
    ) -> SharedBody {
        let deflated = deflater.and_then(|(deflater, level)| deflater.deflate_body(payload, level));
        SharedBody {
            plain: Body::new(payload, live),
            deflated: deflated.map(|deflated| DeflatedBody {
                body: Body::new(deflated, live),
                window_bits: window_bits_for(payload.len()),
            }),
        }
    }

    /// The plain bytes.
    pub fn bytes(&self) -> &[u8] {
        self.plain.bytes()
    }

    /// The number of plain bytes.
    pub fn len(&self) -> usize {
        self.plain.bytes().len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a form for clients that can inflate.
    pub fn is_deflated(&self) -> bool {
        self.deflated.is_some()
    }

    /// Appends the frame of a message that begins with `head` to `bundle`, for a client that
    /// inflates with a window of `window_bits` (0: it cannot inflate). Returns how many bytes
    /// deflating saves.
    pub(crate) fn gather(
        &self,
        bundle: &mut Bundle,
        opcode: Opcode,
        head: &[u8],
        window_bits: u8,
    ) -> usize {
        let (body, saved) = match self.deflated_for(head.len(), window_bits) {
            Some((deflated, saved)) => {
                let bytes = deflated.bytes().len();
                append_stored_head(bundle.frame(), opcode, head, bytes);
                (deflated, saved)
            }
            None => {
                append_frame_head(bundle.frame(), opcode, head, self.len());
                (&self.plain, 0)
            }
        };
        if body.bytes().len() < SHARED_BODY_BYTES_MIN {
            bundle.frame().extend_from_slice(body.bytes());
            bundle.end_frame(None);
        } else {
            bundle.end_frame(Some(body));
        }
        saved
    }

    /// The deflated form, with the bytes that it saves, if the client can inflate it and it makes
    /// the whole message smaller.
    fn deflated_for(&self, head_bytes: usize, window_bits: u8) -> Option<(&Arc<Body>, usize)> {
        let deflated = self.deflated.as_ref();
        let deflated = deflated.filter(|each| each.window_bits <= window_bits)?;
        let plain_bytes = head_bytes + self.len();
        let bytes = stored_bytes(head_bytes) + deflated.body.bytes().len();
        let saved = plain_bytes.checked_sub(bytes)?;
        (saved > 0).then_some((&deflated.body, saved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decoder::Message;
    use crate::wire::deflate::Inflater;
    use crate::wire::frame::MessageKind;

    /// The frame that a client gets, how many of its bytes are in a shared body, and the bytes
    /// saved.
    fn frame(body: &SharedBody, head: &[u8], window_bits: u8) -> (Vec<u8>, usize, usize) {
        let mut bundle = Bundle::default();
        let saved = body.gather(&mut bundle, Opcode::Binary, head, window_bits);
        let buffer = bundle.freeze(&Arc::default());
        let frame: Vec<u8> = buffer
            .pieces(0, buffer.len() as u32)
            .flatten()
            .copied()
            .collect();
        let shared = frame.len() - buffer.bytes().len();
        (frame, shared, saved)
    }

    /// Letters without a pattern, which DEFLATE makes smaller.
    fn letters(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 24) as u8 % 16
        };
        (0..bytes).map(|_| letter()).collect()
    }

    #[test]
    fn clients_with_a_large_enough_window_get_the_deflated_form() {
        let payload = letters(2_000);
        let (live, mut deflater) = (Arc::default(), Deflater::default());
        let body = SharedBody::new(&payload, Some((&mut deflater, 6)), &live);
        let whole = [b"head", &payload[..]].concat();
        for (window_bits, is_deflated) in
            [(0, false), (8, false), (10, false), (11, true), (15, true)]
        {
            let (frame, shared, saved) = frame(&body, b"head", window_bits);
            assert_eq!(frame[0], if is_deflated { 0xC2 } else { 0x82 });
            assert_eq!(frame.len() + saved, 4 + whole.len());
            assert_eq!(saved > 0, is_deflated);
            assert!(shared > SHARED_BODY_BYTES_MIN, "not copied: {shared}");
            if is_deflated {
                let kind = MessageKind::Binary;
                let message = Message {
                    kind,
                    payload: &frame[4..],
                };
                let mut inflater = Inflater::default();
                let inflated = inflater.inflate(message, 10_000).expect("DEFLATE");
                assert!(inflated.payload == whole);
            } else {
                assert!(frame[4..] == whole);
            }
        }
    }

    #[test]
    fn a_head_whose_blocks_cost_what_deflating_saves_is_sent_plain() {
        let payload = letters(200);
        let live = Arc::default();
        let mut deflater = Deflater::default();
        let body = SharedBody::new(&payload, Some((&mut deflater, 9)), &live);
        assert!(body.is_deflated());
        let head = letters(20 * 65_535);
        let (frame, _, saved) = frame(&body, &head, 15);
        assert_eq!((frame[0], saved), (0x82, 0));
    }

    #[test]
    fn a_short_body_is_copied_and_a_longer_one_is_not() {
        let live = Arc::default();
        for (bytes, is_shared) in [
            (0, false),
            (1, false),
            (SHARED_BODY_BYTES_MIN - 1, false),
            (SHARED_BODY_BYTES_MIN, true),
        ] {
            let body = SharedBody::new(&letters(bytes), None, &live);
            let (frame, shared, _) = frame(&body, b"head", 15);
            assert_eq!(shared, if is_shared { bytes } else { 0 });
            assert!(frame.ends_with(&letters(bytes)));
        }
    }
}
