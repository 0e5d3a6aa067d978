//! Compressed messages and the offers of compression (RFC 7692).

use std::io::Cursor;

use corecast::wire::decoder::Message;
use corecast::wire::deflate::offer::negotiate;
use corecast::wire::deflate::{Deflater, InflateError, Inflater, WINDOW_BITS};
use corecast::wire::frame::{MessageKind, Opcode};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use tungstenite::protocol::frame::FrameHeader;

/// Small, so that short inputs reach them.
const LIMITS_BYTES: [usize; 3] = [0, 100, 20_000];
/// The most memory of a stream's state.
const INFLATER_BYTES_MAX: usize = 64 * 1024;
/// Follows a message: the tail that is not sent (RFC 7692 §7.2.1), and an empty last block.
const TAIL_AND_END: &[u8] = b"\x00\x00\xFF\xFF\x01\x00\x00\xFF\xFF";
/// `Hello` (RFC 7692 §7.2.3.1).
const HELLO: &[u8] = b"\xF2\x48\xCD\xC9\xC9\x07\x00";

/// The target. An input begins with a letter: `i` and `t` inflate binary and text; `d` and a level
/// deflate; `o` negotiates offers, one per line.
///
/// # Panics
///
/// If a limit is exceeded, another inflater gets a different result, deflated data does not inflate
/// to the original, one message affects the next, or an agreement is inconsistent.
pub(crate) fn deflate(data: &[u8]) {
    match data {
        [b'i', payload @ ..] => check_inflating(MessageKind::Binary, payload),
        [b't', payload @ ..] => check_inflating(MessageKind::Text, payload),
        [b'd', level, payload @ ..] => check_deflating(*level, payload),
        [b'o', offers @ ..] => check_offers(&String::from_utf8_lossy(offers)),
        _ => {}
    }
}

fn check_inflating(kind: MessageKind, payload: &[u8]) {
    let mut inflater = Inflater::default();
    for limit in LIMITS_BYTES {
        let compressed = Message { kind, payload };
        let result = inflater
            .inflate(compressed, limit)
            .map(|message| message.payload.to_vec());
        assert!(
            inflater.held_bytes() <= INFLATER_BYTES_MAX + limit + 1,
            "memory for {limit} bytes"
        );
        let expected = inflated_by_miniz(payload, limit);
        match (result, expected) {
            (Err(InflateError::InvalidUtf8), Ok(bytes)) => {
                assert!(kind == MessageKind::Text && std::str::from_utf8(&bytes).is_err());
            }
            (Ok(bytes), expected) => {
                assert!(kind == MessageKind::Binary || std::str::from_utf8(&bytes).is_ok());
                assert_eq!(Ok(bytes), expected);
            }
            // If both errors apply, the readers may report either first.
            (Err(ours), Err(theirs)) if ours != InflateError::InvalidUtf8 => {
                assert_ne!(theirs, InflateError::InvalidUtf8);
            }
            (result, expected) => assert_eq!(result, expected, "at most {limit} bytes"),
        }
    }
    let hello = Message {
        kind: MessageKind::Text,
        payload: HELLO,
    };
    let next = inflater
        .inflate(hello, 5)
        .map(|message| message.payload.to_vec());
    assert_eq!(
        next,
        Ok(b"Hello".to_vec()),
        "nothing is left of the message before"
    );
}

/// The same with another implementation's inflater: every stream by itself, up to the end of the
/// input.
fn inflated_by_miniz(payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let input = [payload, TAIL_AND_END].concat();
    let (mut rest, mut inflated) = (&input[..], Vec::new());
    // One byte over the limit, and one for an inflater that needs room to finish.
    let mut room = vec![0; limit + 2];
    let mut stream = Box::<DecompressorOxide>::default();
    while !rest.is_empty() {
        let out = &mut room[inflated.len()..];
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        stream.init();
        let (status, taken, written) = decompress(&mut stream, rest, out, 0, flags);
        inflated.extend_from_slice(&out[..written]);
        if inflated.len() > limit {
            return Err(InflateError::TooBig);
        }
        if status != TINFLStatus::Done {
            return Err(InflateError::Malformed);
        }
        rest = &rest[taken..];
    }
    Ok(inflated)
}

fn check_deflating(level: u8, payload: &[u8]) {
    let mut deflater = Deflater::default();
    let (first, second) = payload.split_at(payload.len() / 3);
    for message in [first, second] {
        let (mut out, mut fresh) = (Vec::new(), Vec::new());
        let is_smaller = deflater.append(&mut out, Opcode::Binary, message, level);
        Deflater::default().append(&mut fresh, Opcode::Binary, message, level);
        assert_eq!(out, fresh, "messages say nothing about each other");
        assert_eq!(is_smaller, !out.is_empty());
        if !is_smaller {
            continue;
        }
        let mut cursor = Cursor::new(&out);
        let header = FrameHeader::parse(&mut cursor)
            .expect("a frame")
            .expect("a header");
        let deflated = &out[cursor.position() as usize..];
        assert!(header.0.rsv1 && header.0.is_final && header.1 == deflated.len() as u64);
        assert!(deflated.len() < message.len());
        let compressed = Message {
            kind: MessageKind::Binary,
            payload: deflated,
        };
        let mut inflater = Inflater::default();
        let inflated = inflater.inflate(compressed, message.len());
        assert_eq!(inflated.map(|inflated| inflated.payload), Ok(message));
        assert_eq!(
            inflated_by_miniz(deflated, message.len()).as_deref(),
            Ok(message)
        );
    }
}

fn check_offers(offers: &str) {
    let Ok(agreed) = negotiate(offers.lines()) else {
        return;
    };
    // Several headers are one list (RFC 9110 §5.3).
    let joined = offers.lines().collect::<Vec<_>>().join(", ");
    assert_eq!(negotiate([joined.as_str()].into_iter()), Ok(agreed));
    if let Some(agreement) = agreed {
        assert!(WINDOW_BITS.contains(&agreement.window_bits()));
        let answer = agreement.to_string();
        let again = negotiate([answer.as_str()].into_iter());
        assert_eq!(again, Ok(Some(agreement)), "{answer}");
    }
}
