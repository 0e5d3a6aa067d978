//! Requests on one connection: head, body, and the request after it (RFC 9112).

use corecast::wire::http::{BodyLength, ChunkedDecoder, Head, HeadLimits, HeaderSpace, HttpError};

use crate::pieces::pieces;
use crate::sizes::split_sizes;

/// Small, so that short inputs reach them.
const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 1024,
    target_bytes: 256,
};
/// Room for an accepted request, written in full.
const WIDE: HeadLimits = HeadLimits {
    head_bytes: 4096,
    target_bytes: 4096,
};
const BODY_BYTES_MAX: usize = 600;

/// An accepted request.
#[derive(PartialEq, Eq, Debug)]
struct Accepted {
    line: (String, String, u8),
    parts: (String, Option<String>),
    headers: Vec<(String, Vec<u8>)>,
    keep_alive: bool,
    expects_continue: bool,
    framing: BodyLength,
    /// The head as received, including the empty lines before it.
    head: Vec<u8>,
    body: Vec<u8>,
}

/// The end of reading.
#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    /// This many bytes wait for the rest of a request.
    Open(usize),
    Failed(HttpError),
    /// The last request was an upgrade, or ended the connection.
    Ended,
}

/// The target: one verdict for any split into pieces, nothing ambiguous accepted, and an accepted
/// request is accepted again when it is rewritten.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn http_head(data: &[u8]) {
    let Some((sizes, stream)) = split_sizes(data) else {
        return;
    };
    let whole = read(stream, &[]);
    let pieced = read(stream, &sizes);
    assert_eq!(pieced, whole, "in pieces of {sizes:?}, and whole");
    for request in &whole.0 {
        request.check_unambiguous();
        request.check_round_trip();
        request.check_chunked_round_trip(sizes);
    }
}

/// Reads requests as the engine does: an incomplete one is read again with the next bytes.
fn read(stream: &[u8], sizes: &[usize]) -> (Vec<Accepted>, Verdict) {
    let (mut kept, mut accepted) = (Vec::new(), Vec::new());
    let mut chunked = None;
    for piece in pieces(stream, sizes) {
        kept.extend_from_slice(piece);
        loop {
            match read_one(&kept, &mut chunked) {
                Ok(None) => break,
                Ok(Some((request, end))) => {
                    chunked = None;
                    kept.drain(..end);
                    let is_last = !request.keep_alive;
                    accepted.push(request);
                    if is_last {
                        return (accepted, Verdict::Ended);
                    }
                }
                Err(error) => return (accepted, Verdict::Failed(error)),
            }
        }
        let room = LIMITS.head_bytes + BODY_BYTES_MAX;
        assert!(chunked.is_some() || kept.len() < room, "too much is kept");
    }
    let open = kept.len();
    (accepted, Verdict::Open(open))
}

/// An incomplete chunked body: its decoder, its bytes so far, and the consumed length.
type Chunked = (ChunkedDecoder, Vec<u8>, usize);

fn read_one(
    kept: &[u8],
    chunked: &mut Option<Chunked>,
) -> Result<Option<(Accepted, usize)>, HttpError> {
    let mut space = HeaderSpace::new();
    let Some((head, head_len)) = Head::parse(kept, &mut space, &LIMITS)? else {
        return Ok(None);
    };
    let (body, end) = match head.body {
        BodyLength::None => (Vec::new(), head_len),
        BodyLength::Length(length) if length > BODY_BYTES_MAX as u64 => {
            return Err(HttpError::BodyTooLarge);
        }
        BodyLength::Length(length) => {
            let end = head_len + length as usize;
            match kept.get(head_len..end) {
                Some(body) => (body.to_vec(), end),
                None => return Ok(None),
            }
        }
        BodyLength::Chunked => {
            let (decoder, body, consumed) =
                chunked.get_or_insert_with(|| (ChunkedDecoder::new(), Vec::new(), head_len));
            let progress = decoder.feed(&kept[*consumed..], body, BODY_BYTES_MAX)?;
            *consumed += progress.consumed;
            assert!(body.len() <= BODY_BYTES_MAX && *consumed <= kept.len());
            if !progress.done {
                assert_eq!(*consumed, kept.len(), "input is left of an open body");
                return Ok(None);
            }
            (body.clone(), *consumed)
        }
    };
    Ok(Some((Accepted::new(&head, &kept[..head_len], body), end)))
}

impl Accepted {
    fn new(head: &Head<'_>, bytes: &[u8], body: Vec<u8>) -> Accepted {
        let headers = head.headers.iter();
        Accepted {
            line: (head.method.into(), head.target.into(), head.version),
            parts: (head.path.into(), head.query.map(str::to_owned)),
            headers: headers
                .map(|header| (header.name.to_owned(), header.value.to_vec()))
                .collect(),
            keep_alive: head.keep_alive() && !head.is_upgrade(),
            expects_continue: head.expects_continue,
            framing: head.body,
            head: bytes.to_vec(),
            body,
        }
    }

    /// Checks, without a parser, for anything that would let another parser see a different
    /// request.
    fn check_unambiguous(&self) {
        let first = self.head.iter().position(|byte| !b"\r\n".contains(byte));
        let text = &self.head[first.expect("a request line")..];
        let is_line_end = |at: usize| text[at] == b'\r' && text.get(at + 1) == Some(&b'\n');
        for (at, byte) in text.iter().enumerate() {
            assert_ne!(*byte, 0, "NUL at {at}");
            assert!(*byte != b'\r' || is_line_end(at), "bare CR at {at}");
            assert!(
                *byte != b'\n' || at > 0 && is_line_end(at - 1),
                "bare LF at {at}"
            );
        }
        let (method, target, version) = &self.line;
        assert!(method.bytes().all(is_token_byte) && !method.is_empty());
        assert!(target.len() <= LIMITS.target_bytes && *version <= 1);
        assert!(
            target.bytes().all(|byte| byte.is_ascii_graphic()),
            "{target}"
        );
        let count = |name: &str| {
            let named = self.headers.iter();
            named
                .filter(|header| header.0.eq_ignore_ascii_case(name))
                .count()
        };
        for (name, value) in &self.headers {
            assert!(
                !name.is_empty() && name.bytes().all(is_token_byte),
                "{name}"
            );
            assert!(
                value
                    .iter()
                    .all(|&byte| byte == b'\t' || !byte.is_ascii_control())
            );
        }
        let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
        assert!(lengths + codings <= 1, "two framings");
        assert!(count("host") == 1 || *version == 0 && count("host") == 0);
        let lines = text.windows(2).filter(|pair| pair == b"\r\n").count();
        assert_eq!(lines, self.headers.len() + 2, "a line is no header");
    }

    /// Written in full and read again, it is the same request.
    fn check_round_trip(&self) {
        let (method, target, version) = &self.line;
        let mut text = format!("{method} {target} HTTP/1.{version}\r\n").into_bytes();
        for (name, value) in &self.headers {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        let mut space = HeaderSpace::new();
        let (head, len) = Head::parse(&text, &mut space, &WIDE)
            .expect("what was accepted is acceptable")
            .expect("what was whole is whole");
        assert_eq!(len, text.len());
        let again = Accepted::new(&head, &self.head, self.body.clone());
        assert_eq!(&again, self);
    }

    /// The body, chunked anew, is the same body.
    fn check_chunked_round_trip(&self, sizes: [usize; 2]) {
        let mut chunks = Vec::new();
        for piece in pieces(&self.body, &sizes) {
            chunks.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunks.extend_from_slice(piece);
            chunks.extend_from_slice(b"\r\n");
        }
        chunks.extend_from_slice(b"0\r\n\r\n");
        let (mut decoder, mut body) = (ChunkedDecoder::new(), Vec::new());
        let progress = decoder.feed(&chunks, &mut body, self.body.len());
        let progress = progress.expect("chunks as the standard has them");
        assert!(progress.done && progress.consumed == chunks.len());
        assert_eq!(body, self.body);
    }
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
