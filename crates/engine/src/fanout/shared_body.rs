//! The end of a message that many clients get behind heads of their own.

use std::sync::Arc;

use super::bodies::Body;
use super::bundle::Bundle;
use super::segment::LiveBytes;
use crate::limits::SHARED_BODY_BYTES_MIN;
use crate::wire::deflate::{Deflater, append_stored_head, stored_bytes, window_bits_for};
use crate::wire::frame::{Opcode, append_frame_head};

/// The end of a message that many clients get, each behind a head of its own
/// ([`Client::send_shared`](crate::Client::send_shared)): copied once, deflated once at the most,
/// and never again, whatever the number of clients and on whatever shards they are. It is freed
/// with the last clone of it and the last frame that waits.
#[derive(Clone, Debug)]
pub struct SharedBody {
    plain: Arc<Body>,
    deflated: Option<DeflatedBody>,
}

/// The form for clients that can inflate.
#[derive(Clone, Debug)]
struct DeflatedBody {
    body: Arc<Body>,
    /// The smallest window that it can be inflated with, as a power of two.
    window_bits: u8,
}

impl SharedBody {
    /// Copies `payload`, counted in `live`, and deflates it at that level where that makes it
    /// smaller.
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

    /// Its bytes as they are.
    pub fn bytes(&self) -> &[u8] {
        self.plain.bytes()
    }

    /// How many those are.
    pub fn len(&self) -> usize {
        self.plain.bytes().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a form for clients that can inflate.
    pub fn is_deflated(&self) -> bool {
        self.deflated.is_some()
    }

    /// Gathers the frame of a message that begins with `head`, for a client that inflates with a
    /// window of `window_bits` (0: not at all). Returns how many bytes it is smaller for that.
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

    /// The deflated form, where the client can inflate it and all of the message becomes smaller;
    /// with how much smaller.
    fn deflated_for(&self, head_bytes: usize, window_bits: u8) -> Option<(&Arc<Body>, usize)> {
        let deflated = self.deflated.as_ref();
        let deflated = deflated.filter(|each| each.window_bits <= window_bits)?;
        let plain_bytes = head_bytes + self.len();
        let bytes = stored_bytes(head_bytes) + deflated.body.bytes().len();
        let saved = plain_bytes.checked_sub(bytes)?;
        (saved > 0).then_some((&deflated.body, saved))
    }
}
