//! Headers of a request, and room for them on the caller's stack.

use std::mem::MaybeUninit;

/// Headers of one request; more are a 431.
pub const HEADERS_MAX: usize = 100;

/// As many as browsers and most proxies send. Room for so many is filled faster than for all.
const FEW: usize = 24;

/// One header of a request, as it was sent, without the white space around its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'b> {
    /// A token, in whatever case it came (RFC 9110 §5.1).
    pub name: &'b str,
    /// Any bytes but control characters, UTF-8 or not; tabs are among them (RFC 9110 §5.5).
    pub value: &'b [u8],
}

impl Header<'_> {
    const EMPTY: Self = Header {
        name: "",
        value: b"",
    };
}

/// Room for the headers of one head, on the caller's stack. Making one writes nothing.
#[derive(Debug)]
pub struct HeaderSpace<'b> {
    few: MaybeUninit<[Header<'b>; FEW]>,
    many: MaybeUninit<[Header<'b>; HEADERS_MAX]>,
}

impl<'b> HeaderSpace<'b> {
    /// Room for one [`Head::parse`](super::Head::parse).
    pub const fn new() -> Self {
        HeaderSpace {
            few: MaybeUninit::uninit(),
            many: MaybeUninit::uninit(),
        }
    }

    /// Keeps what httparse found, which is at most [`HEADERS_MAX`].
    pub(super) fn keep(&mut self, found: &[httparse::Header<'b>]) -> &[Header<'b>] {
        if found.len() <= FEW {
            fill(&mut self.few, found)
        } else {
            fill(&mut self.many, found)
        }
    }
}

impl Default for HeaderSpace<'_> {
    fn default() -> Self {
        HeaderSpace::new()
    }
}

/// Writes all of the room, since a part of it alone cannot be shown to be written.
#[inline]
fn fill<'s, 'b, const N: usize>(
    room: &'s mut MaybeUninit<[Header<'b>; N]>,
    found: &[httparse::Header<'b>],
) -> &'s [Header<'b>] {
    let headers = room.write([Header::EMPTY; N]);
    for (header, &httparse::Header { name, value }) in headers.iter_mut().zip(found) {
        *header = Header { name, value };
    }
    &headers[..found.len().min(N)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_kept_in_their_order_however_many_they_are() {
        let names: Vec<String> = (0..HEADERS_MAX).map(|at| format!("x-{at}")).collect();
        for len in [0, 1, FEW, FEW + 1, HEADERS_MAX] {
            let sent = names[..len].iter().map(|name| (name.as_str(), b"\xFF"));
            let found: Vec<_> = sent
                .clone()
                .map(|(name, value)| httparse::Header { name, value })
                .collect();
            let expected: Vec<_> = sent.map(|(name, value)| Header { name, value }).collect();
            assert_eq!(HeaderSpace::new().keep(&found), expected, "{len}");
        }
    }
}
