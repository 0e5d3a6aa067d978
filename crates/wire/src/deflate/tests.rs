use proptest::prelude::*;

use super::*;
use crate::decoder::{Decoder, DecoderLimits, Input, Item, Passive};

const LIMIT: usize = 100_000;

/// The payload of a server's frame; RSV1, FIN and the opcode are checked.
fn payload_of(frame: &[u8], first: u8) -> &[u8] {
    assert_eq!(frame[0], first);
    let header_len = match frame[1] {
        0..=125 => 2,
        126 => 4,
        _ => 10,
    };
    &frame[header_len..]
}

/// A message as a client would compress it, with this level, window and flush.
fn compressed_by_client(message: &[u8], level: u32, window_bits: u8) -> Vec<u8> {
    let level = Compression::new(level);
    let mut stream = Compress::new_with_window_bits(level, false, window_bits);
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 1_000);
    stream
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .unwrap();
    assert!(out.ends_with(&TAIL) && out.len() < out.capacity());
    out.truncate(out.len() - TAIL.len());
    out
}

fn binary(payload: &[u8]) -> Message<'_> {
    let kind = MessageKind::Binary;
    Message { kind, payload }
}

fn inflated(payload: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Inflater::default();
    let message = inflater.inflate(binary(payload), LIMIT);
    message.map(|message| message.payload.to_vec())
}

/// Incompressible bytes.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Text with repeats at all distances.
fn words(bytes: usize) -> Vec<u8> {
    let noise = noise(bytes);
    let words = noise.iter().flat_map(|byte| {
        let word = ["lorem ", "ipsum ", "dolor ", "sit ", "amet, "];
        word[usize::from(byte % 5)].bytes()
    });
    words.take(bytes).collect()
}

#[test]
fn the_examples_of_the_standard_are_inflated() {
    // RFC 7692 §7.2.3.1, .3, .4, .5 and .6.
    for (payload, message) in [
        (&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..], "Hello"),
        (
            &[
                0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00,
            ],
            "Hello",
        ),
        (&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], "Hello"),
        (
            &[
                0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00,
            ],
            "Hello",
        ),
        (&[0x00], ""),
    ] {
        assert_eq!(inflated(payload).unwrap(), message.as_bytes());
    }
    // §7.2.3.2: the second "Hello" refers to the first, whose context is never taken over.
    let second = [0xF2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(inflated(&second), Err(InflateError::Malformed));
    let mut inflater = Inflater::default();
    let first = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    assert!(inflater.inflate(binary(&first), LIMIT).is_ok());
    let second = inflater.inflate(binary(&second), LIMIT);
    assert_eq!(second, Err(InflateError::Malformed));
}

#[test]
fn the_standards_hello_is_decoded_from_one_and_two_frames() {
    // RFC 7692 §7.2.3.1, masked with zeros.
    let whole: &[u8] = &[
        0xC1, 0x87, 0, 0, 0, 0, 0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00,
    ];
    let split: &[u8] = &[
        0x41, 0x83, 0, 0, 0, 0, 0xF2, 0x48, 0xCD, 0x80, 0x84, 0, 0, 0, 0, 0xC9, 0xC9, 0x07, 0x00,
    ];
    let limits = DecoderLimits {
        message_bytes: 7,
        frame_bytes: 7,
        allows_compressed: true,
    };
    for (frames, fragments) in [(whole, 0), (split, 1)] {
        let mut frames = frames.to_vec();
        let mut decoder = Decoder::new();
        let mut input = Input::new(&mut frames);
        for _ in 0..fragments {
            let item = decoder.next(&mut input, &limits).unwrap();
            assert_eq!(item, Some(Item::Passive(Passive::Fragment)));
        }
        let Some(Item::Compressed(message)) = decoder.next(&mut input, &limits).unwrap() else {
            panic!("no compressed message");
        };
        assert_eq!(message.kind, MessageKind::Text);
        let mut inflater = Inflater::default();
        let message = inflater.inflate(message, 5).unwrap();
        assert_eq!(message.payload, b"Hello");
    }
}

#[test]
fn incomplete_or_invalid_deflate_is_refused() {
    let message = words(5_000);
    let whole = compressed_by_client(&message, 6, 15);
    assert_eq!(inflated(&whole).unwrap(), message);
    for cut in 0..whole.len() {
        assert!(inflated(&whole[..cut]) != Ok(message.clone()), "{cut}");
    }
    for bad in [
        &[][..],
        // A reserved type of block.
        &[0xFF],
        &noise(1_000),
        // A last block without the empty one after it.
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
        // Half of "Hello".
        &[0xF2, 0x48, 0xCD],
    ] {
        assert_eq!(inflated(bad), Err(InflateError::Malformed), "{bad:x?}");
    }
}

#[test]
fn text_is_judged_when_it_is_inflated() {
    let mut inflater = Inflater::default();
    for (text, is_valid) in [(&b"caf\xC3\xA9"[..], true), (b"caf\xC3", false)] {
        let payload = compressed_by_client(text, 1, 15);
        let kind = MessageKind::Text;
        let payload = &payload[..];
        let outcome = inflater.inflate(Message { kind, payload }, LIMIT);
        assert_eq!(outcome.is_ok(), is_valid);
        assert!(is_valid || outcome == Err(InflateError::InvalidUtf8));
        assert!(inflater.inflate(binary(payload), LIMIT).is_ok());
    }
}

#[test]
fn a_bomb_costs_no_more_memory_than_the_limit() {
    // A hundred megabytes in a hundred kilobytes, and twice the limit in one kilobyte.
    let bomb = compressed_by_client(&vec![0; 100 << 20], 9, 15);
    assert!(bomb.len() < 110_000);
    for (bomb, limit) in [(&bomb[..], 1 << 20), (&bomb[..1_000], 500_000)] {
        let mut inflater = Inflater::default();
        let outcome = inflater.inflate(binary(bomb), limit);
        assert_eq!(outcome, Err(InflateError::TooBig));
        assert!(inflater.held_bytes() <= INFLATE_BYTES + limit + CHUNK_BYTES);
        inflater.shrink();
        assert_eq!(inflater.held_bytes(), INFLATE_BYTES);
    }
}

#[test]
fn the_limit_holds_to_the_byte() {
    let mut inflater = Inflater::default();
    for bytes in [
        1,
        100,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        200_000,
    ] {
        for message in [vec![b'x'; bytes], noise(bytes)] {
            let payload = compressed_by_client(&message, 6, 15);
            let exact = inflater.inflate(binary(&payload), bytes);
            assert_eq!(exact.map(|message| message.payload.len()), Ok(bytes));
            let less = inflater.inflate(binary(&payload), bytes - 1);
            assert_eq!(less, Err(InflateError::TooBig));
        }
    }
    let empty = inflater.inflate(binary(&[0x00]), 0);
    assert_eq!(empty.map(|message| message.payload.len()), Ok(0));
}

#[test]
fn small_windows_of_clients_can_be_inflated() {
    for window_bits in 9..=15 {
        for bytes in [0, 10, 300, 70_000] {
            let message = words(bytes);
            let payload = compressed_by_client(&message, 6, window_bits);
            assert_eq!(inflated(&payload).unwrap(), message);
        }
    }
}

/// An independent DEFLATE walker: the largest distance that a payload uses, and its output.
mod walk {
    struct Bits<'b> {
        bytes: &'b [u8],
        at: usize,
    }

    impl Bits<'_> {
        fn bit(&mut self) -> u32 {
            let bit = self.bytes[self.at / 8] >> (self.at % 8) & 1;
            self.at += 1;
            u32::from(bit)
        }

        fn number(&mut self, bits: u32) -> u32 {
            (0..bits).fold(0, |sum, place| sum | self.bit() << place)
        }
    }

    /// A canonical Huffman code (RFC 1951 §3.2.2), decoded bit by bit: the symbols of each length.
    struct Code([Vec<usize>; 16]);

    impl Code {
        fn new(lengths: impl IntoIterator<Item = u8>) -> Code {
            let mut symbols: [Vec<usize>; 16] = Default::default();
            for (symbol, len) in lengths.into_iter().enumerate() {
                symbols[usize::from(len)].push(symbol);
            }
            Code(symbols)
        }

        fn symbol(&self, bits: &mut Bits<'_>) -> usize {
            let (mut code, mut first) = (0, 0);
            for symbols in &self.0[1..] {
                code |= bits.bit() as usize;
                if let Some(symbol) = symbols.get(code - first) {
                    return *symbol;
                }
                first = (first + symbols.len()) << 1;
                code <<= 1;
            }
            panic!("no such code");
        }
    }

    fn codes(bits: &mut Bits<'_>) -> (Code, Code) {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let (literals, distances) = (bits.number(5) + 257, bits.number(5) + 1);
        let mut of_lengths = vec![0; 19];
        for place in ORDER.iter().take(bits.number(4) as usize + 4) {
            of_lengths[*place] = bits.number(3) as u8;
        }
        let of_lengths = Code::new(of_lengths);
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < (literals + distances) as usize {
            let (value, times) = match of_lengths.symbol(bits) {
                16 => (lengths[lengths.len() - 1], 3 + bits.number(2)),
                17 => (0, 3 + bits.number(3)),
                18 => (0, 11 + bits.number(7)),
                len => (len as u8, 1),
            };
            lengths.extend((0..times).map(|_| value));
        }
        let distances = lengths.split_off(literals as usize);
        (Code::new(lengths), Code::new(distances))
    }

    fn fixed_codes() -> (Code, Code) {
        let literal = |symbol: u32| match symbol {
            0..=143 | 280.. => 8,
            144..=255 => 9,
            256..=279 => 7,
        };
        (Code::new((0..288).map(literal)), Code::new([5; 30]))
    }

    /// Base and extra bits of a length or distance symbol (RFC 1951 §3.2.5): `each` symbols share
    /// each number of extra bits.
    fn value(symbol: usize, each: usize, first: u32, bits: &mut Bits<'_>) -> u32 {
        let extra = (symbol / each).saturating_sub(1) as u32;
        let before: u32 = (0..symbol)
            .map(|symbol| 1 << (symbol / each).saturating_sub(1))
            .sum();
        first + before + bits.number(extra)
    }

    pub(super) fn inflate(payload: &[u8]) -> (Vec<u8>, usize) {
        let bytes = [payload, &[0, 0, 0xFF, 0xFF]].concat();
        let mut bits = Bits {
            bytes: &bytes,
            at: 0,
        };
        let (mut out, mut largest) = (Vec::new(), 0);
        while bits.at < bytes.len() * 8 {
            assert_eq!(bits.bit(), 0, "a last block");
            let (literals, distances) = match bits.number(2) {
                0 => {
                    bits.at = bits.at.next_multiple_of(8);
                    let len = bits.number(16);
                    assert_eq!(bits.number(16), len ^ 0xFFFF);
                    out.extend((0..len).map(|_| bits.number(8) as u8));
                    continue;
                }
                1 => fixed_codes(),
                _ => codes(&mut bits),
            };
            loop {
                match literals.symbol(&mut bits) {
                    literal @ 0..=255 => out.push(literal as u8),
                    256 => break,
                    symbol => {
                        let len = match symbol {
                            285 => 258,
                            symbol => value(symbol - 257, 4, 3, &mut bits),
                        };
                        let symbol = distances.symbol(&mut bits);
                        let distance = value(symbol, 2, 1, &mut bits) as usize;
                        largest = largest.max(distance);
                        (0..len).for_each(|_| out.push(out[out.len() - distance]));
                    }
                }
            }
        }
        (out, largest)
    }
}

#[test]
fn a_message_fits_the_window_that_is_said_and_uses_it() {
    let mut deflater = Deflater::default();
    for level in LEVELS {
        let mut largest = 0;
        for window_bits in WINDOW_BITS {
            let bytes = 1 << window_bits;
            assert_eq!(window_bits_for(bytes), window_bits);
            assert_eq!(window_bits_for(bytes + 1), (window_bits + 1).min(15));
            // The only repetition is at the largest distance.
            let mut message = noise(bytes);
            let (start, end) = message.split_at_mut(bytes / 2);
            end[bytes / 4..].copy_from_slice(&start[..bytes / 4]);
            let mut frame = Vec::new();
            if deflater.append(&mut frame, Opcode::Binary, &message, level) {
                let payload = payload_of(&frame, 0xC2);
                let (out, distance) = walk::inflate(payload);
                assert!(out == message && distance <= bytes, "{distance}");
                largest = largest.max(distance);
            }
        }
        assert!(largest > 1 << 14, "level {level}: no distance was seen");
    }
    assert_eq!((window_bits_for(0), window_bits_for(1)), (8, 8));
    assert_eq!(window_bits_for(usize::MAX), 15);
}

#[test]
fn messages_say_nothing_about_each_other() {
    let mut deflater = Deflater::default();
    let message = words(500);
    let mut frames = [Vec::new(), Vec::new()];
    for frame in &mut frames {
        assert!(deflater.append(frame, Opcode::Text, &message, 1));
    }
    assert_eq!(frames[0], frames[1], "the second would refer to the first");
}

#[test]
fn incompressible_messages_append_nothing() {
    let mut deflater = Deflater::default();
    let good = words(600);
    for level in LEVELS {
        let mut alone = Vec::new();
        assert!(Deflater::default().append(&mut alone, Opcode::Text, &good, level));
        for bytes in [0, 1, 5, 200, 5_000, 300_000] {
            let mut out = b"before".to_vec();
            assert!(!deflater.append(&mut out, Opcode::Text, &noise(bytes), level));
            assert_eq!(out, b"before");
            assert!(deflater.append(&mut out, Opcode::Text, &good, level));
            assert_eq!(out[6..], alone, "level {level} behind {bytes} bytes");
        }
    }
    deflater.shrink();
    assert_eq!(deflater.scratch.capacity(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn deflated_messages_inflate_with_any_inflater(
        pieces in prop::collection::vec(("[a-e ]{0,40}", 1..20_usize), 0..40),
        level in LEVELS,
    ) {
        let message: String = pieces.iter().map(|(piece, times)| piece.repeat(*times)).collect();
        let mut frame = Vec::new();
        if !Deflater::default().append(&mut frame, Opcode::Text, message.as_bytes(), level) {
            return Ok(());
        }
        let payload = payload_of(&frame, 0xC1);
        prop_assert!(payload.len() < message.len());
        let mut inflater = Inflater::default();
        let kind = MessageKind::Text;
        let own = inflater.inflate(Message { kind, payload }, message.len());
        prop_assert_eq!(own.map(|message| message.payload), Ok(message.as_bytes()));
        prop_assert_eq!(&walk::inflate(payload).0, message.as_bytes());
    }

    #[test]
    fn a_compressed_message_is_the_same_in_any_fragments_and_pieces(
        message in prop::collection::vec(0..4_u8, 0..3_000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        piece in 1..200_usize,
    ) {
        let payload = compressed_by_client(&message, 1, 15);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len())).collect();
        cuts.extend([0, payload.len()]);
        cuts.sort_unstable();
        let mut bytes = Vec::new();
        let fragments = cuts.len() - 1;
        for (number, ends) in cuts.windows(2).enumerate() {
            let first = if number == 0 { 0x42 } else { 0 };
            let fin = if number + 1 == fragments { 0x80 } else { 0 };
            append_masked(&mut bytes, first | fin, &payload[ends[0]..ends[1]]);
            // A ping between the fragments.
            append_masked(&mut bytes, 0x89, b"?");
        }
        let limits = DecoderLimits {
            message_bytes: payload.len(),
            frame_bytes: u64::MAX,
            allows_compressed: true,
        };
        let (mut decoder, mut inflater) = (Decoder::new(), Inflater::default());
        let (mut messages, mut pings) = (Vec::new(), 0);
        for piece in bytes.chunks_mut(piece) {
            let mut input = Input::new(piece);
            while let Some(item) = decoder.next(&mut input, &limits).unwrap() {
                match item {
                    Item::Compressed(compressed) => {
                        let inflated = inflater.inflate(compressed, message.len());
                        messages.push(inflated.unwrap().payload.to_vec());
                    }
                    Item::Ping(_) => pings += 1,
                    Item::Passive(Passive::Fragment) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        prop_assert_eq!(messages, [message]);
        prop_assert_eq!(pings, fragments);
    }

    #[test]
    fn nothing_that_is_received_does_harm(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Inflater::default().inflate(binary(&payload), 10_000) {
            prop_assert!(message.payload.len() <= 10_000);
        }
    }
}

/// A client's frame, masked with zeros.
fn append_masked(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

#[test]
fn a_stored_head_and_a_body_deflated_by_itself_are_one_message() {
    let mut deflater = Deflater::default();
    for body_bytes in [100, 600, 70_000] {
        let body = words(body_bytes);
        for head_bytes in [0, 1, 40, 65_535, 65_536, 140_000] {
            let head = noise(head_bytes);
            let deflated = deflater.deflate_body(&body, 6).expect("smaller").to_vec();
            let mut frame = Vec::new();
            append_stored_head(&mut frame, Opcode::Binary, &head, deflated.len());
            let whole_bytes = frame.len() + deflated.len();
            frame.extend_from_slice(&deflated);
            let payload = payload_of(&frame, 0xC2);
            assert_eq!(payload.len(), stored_bytes(head_bytes) + deflated.len());
            assert_eq!(frame.len(), whole_bytes);
            let whole = [&head[..], &body].concat();
            let mut inflater = Inflater::default();
            let message = inflater.inflate(binary(payload), 1 << 20).expect("DEFLATE");
            assert!(message.payload == whole, "{head_bytes} and {body_bytes}");
        }
    }
}

#[test]
fn a_body_refers_to_nothing_before_itself() {
    // With a window of 256 bytes, none of the head is left in it when the body comes.
    let mut deflater = Deflater::default();
    let body = words(256);
    let deflated = deflater.deflate_body(&body, 9).expect("smaller");
    let mut alone = Decompress::new_with_window_bits(false, 9);
    let mut out = Vec::with_capacity(1_000);
    let flush = FlushDecompress::Sync;
    alone
        .decompress_vec(deflated, &mut out, flush)
        .expect("DEFLATE");
    assert_eq!(out, body);
    assert_eq!(window_bits_for(body.len()), 8);
}

#[test]
fn a_body_that_a_stored_head_would_eat_up_stays_plain() {
    let mut deflater = Deflater::default();
    assert!(deflater.deflate_body(&noise(600), 6).is_none());
    for bytes in 0..64 {
        let body = vec![b'a'; bytes];
        if let Some(deflated) = deflater.deflate_body(&body, 6) {
            let message = [b"h", &body[..]].concat();
            assert!(stored_bytes(1) + deflated.len() < message.len());
        }
    }
}
