//! The rules of RFC 6455 one by one, splits at every byte, and what a connection holds meanwhile.

use super::*;

const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes: 1000,
    frame_bytes: 800,
    allows_compressed: false,
};
const KEY: [u8; 4] = [0xA1, 0x02, 0xFF, 0x53];

/// An item that outlives its input.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Owned {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Compressed(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Item<'_>> for Owned {
    fn from(item: Item<'_>) -> Owned {
        match item {
            Item::Message(Message {
                kind: MessageKind::Text,
                payload,
            }) => Owned::Text(payload.to_vec()),
            Item::Message(message) => Owned::Binary(message.payload.to_vec()),
            Item::Compressed(message) => Owned::Compressed(message.kind, message.payload.to_vec()),
            Item::Ping(payload) => Owned::Ping(payload.to_vec()),
            Item::Passive(Passive::Pong(payload)) => Owned::Pong(payload.to_vec()),
            FRAGMENT => unreachable!("it is left out"),
            Item::Close(frame) => {
                Owned::Close(frame.map(|frame| (frame.code, frame.reason.to_owned())))
            }
        }
    }
}

/// The item that a non-final fragment yields.
const FRAGMENT: Item<'_> = Item::Passive(Passive::Fragment);

/// A masked frame with the first byte as given and the length in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ KEY[i % 4]),
    );
    frame
}

fn feed(decoder: &mut Decoder, piece: &[u8]) -> (Vec<Owned>, Option<ProtocolError>) {
    let mut bytes = piece.to_vec();
    let mut input = Input::new(&mut bytes);
    let mut items = Vec::new();
    loop {
        match decoder.next(&mut input, &LIMITS) {
            Ok(Some(FRAGMENT)) => {}
            Ok(Some(item)) => items.push(item.into()),
            Ok(None) => {
                assert!(input.is_empty(), "`None` leaves nothing behind");
                return (items, None);
            }
            Err(error) => return (items, Some(error)),
        }
    }
}

fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Owned>, Option<ProtocolError>) {
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    for piece in pieces {
        let (more, error) = feed(&mut decoder, piece);
        items.extend(more);
        if error.is_some() {
            return (items, error);
        }
    }
    (items, None)
}

#[track_caller]
fn assert_offence(bytes: &[u8], error: ProtocolError) {
    assert_eq!(decode([bytes]).1, Some(error), "in one piece");
    assert_eq!(decode(bytes.chunks(1)).1, Some(error), "byte by byte");
}

#[track_caller]
fn assert_items(bytes: &[u8], items: &[Owned]) {
    assert_eq!(decode([bytes]), (items.to_vec(), None), "in one piece");
    assert_eq!(
        decode(bytes.chunks(1)),
        (items.to_vec(), None),
        "byte by byte"
    );
}

/// Every kind of frame, with empty ones, interleaved control frames and characters over fragments.
fn conversation() -> (Vec<u8>, Vec<Owned>) {
    let text = "κόσμε \u{1F600}".as_bytes();
    let bytes = [
        frame(0x81, b"hi"),
        frame(0x82, b""),
        frame(0x01, &text[..3]),
        frame(0x89, b"are you there"),
        frame(0x00, b""),
        frame(0x00, &text[3..12]),
        frame(0x8A, b""),
        frame(0x80, &text[12..]),
        frame(0x81, text),
        frame(0x02, b""),
        frame(0x80, b"\xFF\x00"),
        frame(0x01, b""),
        frame(0x80, b""),
        frame(0x88, b"\x03\xE8bye"),
    ]
    .concat();
    let items = vec![
        Owned::Text(b"hi".to_vec()),
        Owned::Binary(Vec::new()),
        Owned::Ping(b"are you there".to_vec()),
        Owned::Pong(Vec::new()),
        Owned::Text(text.to_vec()),
        Owned::Text(text.to_vec()),
        Owned::Binary(b"\xFF\x00".to_vec()),
        Owned::Text(Vec::new()),
        Owned::Close(Some((1000, "bye".to_owned()))),
    ];
    (bytes, items)
}

#[test]
fn every_pair_of_splits_gives_the_same_items() {
    let (bytes, items) = conversation();
    assert_items(&bytes, &items);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(
                decode(pieces),
                (items.clone(), None),
                "cut at {first} and {second}"
            );
        }
    }
}

#[test]
fn long_frames_split_anywhere_give_the_same_items() {
    let payload: Vec<u8> = (0..700).map(|i| i as u8).collect();
    let bytes = [
        frame(0x82, &payload),
        frame(0x02, &payload),
        frame(0x80, &payload[..300]),
    ];
    let items = vec![
        Owned::Binary(payload.clone()),
        Owned::Binary([&payload, &payload[..300]].concat()),
    ];
    let bytes = bytes.concat();
    for cut in 0..=bytes.len() {
        assert_eq!(
            decode([&bytes[..cut], &bytes[cut..]]),
            (items.clone(), None),
            "cut at {cut}"
        );
    }
}

#[test]
fn lengths_at_every_boundary_are_read() {
    let limits = DecoderLimits {
        message_bytes: 1 << 20,
        frame_bytes: 1 << 20,
        allows_compressed: false,
    };
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let mut bytes = frame(0x82, &vec![9; len]);
        let mut decoder = Decoder::new();
        let mut input = Input::new(&mut bytes);
        let item = decoder.next(&mut input, &limits).unwrap().unwrap();
        assert_eq!(Owned::from(item), Owned::Binary(vec![9; len]));
        assert!(input.is_empty());
    }
}

#[test]
fn a_whole_frame_is_lent_out_of_the_input() {
    let mut bytes = [frame(0x81, b"first"), frame(0x81, b"second")].concat();
    let range = bytes.as_ptr_range();
    let mut input = Input::new(&mut bytes);
    let mut decoder = Decoder::new();
    let mut seen = 0;
    while let Some(item) = decoder.next(&mut input, &LIMITS).unwrap() {
        let Item::Message(message) = item else {
            panic!("{item:?}")
        };
        assert!(range.contains(&message.payload.as_ptr()));
        seen += 1;
    }
    assert_eq!((seen, decoder.held_bytes()), (2, 0));
}

#[test]
fn every_fragment_but_the_last_is_an_item_an_empty_one_too() {
    let mut bytes = [
        frame(0x01, b""),
        frame(0x00, b""),
        frame(0x00, b"a"),
        frame(0x80, b""),
    ]
    .concat();
    let mut input = Input::new(&mut bytes);
    let mut decoder = Decoder::new();
    for _ in 0..3 {
        assert_eq!(decoder.next(&mut input, &LIMITS), Ok(Some(FRAGMENT)));
    }
    let message = decoder.next(&mut input, &LIMITS).unwrap().map(Owned::from);
    assert_eq!(message, Some(Owned::Text(b"a".to_vec())));
}

#[test]
fn an_unmasked_frame_is_refused() {
    assert_offence(b"\x81\x02hi", ProtocolError::UnmaskedFrame);
}

#[test]
fn reserved_bits_are_refused() {
    for bit in [0x10, 0x20, 0x40] {
        assert_offence(&frame(0x81 | bit, b"hi"), ProtocolError::ReservedBits);
    }
}

#[test]
fn rsv1_only_begins_a_negotiated_compressed_message() {
    let limits = DecoderLimits {
        allows_compressed: true,
        ..LIMITS
    };
    let decode = |bytes: &[u8], piece: usize| {
        let (mut decoder, mut items) = (Decoder::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            let mut piece = piece.to_vec();
            let mut input = Input::new(&mut piece);
            while let Some(item) = decoder.next(&mut input, &limits)? {
                if item != FRAGMENT {
                    items.push(Owned::from(item));
                }
            }
        }
        Ok(items)
    };
    // Compressed bytes are not checked as text.
    let good = [
        frame(0xC1, b"\xFF\xFF"),
        frame(0x81, b"plain"),
        frame(0x41, b"\xF2"),
        frame(0x89, b"?"),
        frame(0x80, b"\x00"),
        frame(0xC2, b""),
        frame(0x01, b"pl"),
        frame(0x80, b"ain"),
    ]
    .concat();
    let items = [
        Owned::Compressed(MessageKind::Text, b"\xFF\xFF".to_vec()),
        Owned::Text(b"plain".to_vec()),
        Owned::Ping(b"?".to_vec()),
        Owned::Compressed(MessageKind::Text, b"\xF2\x00".to_vec()),
        Owned::Compressed(MessageKind::Binary, Vec::new()),
        Owned::Text(b"plain".to_vec()),
    ];
    let open = frame(0x41, b"\xF2");
    let over_all = frame(0x80, &[0; 800]);
    let bad = [
        (frame(0xA1, b"RSV2"), ProtocolError::ReservedBits),
        (frame(0x91, b"RSV3"), ProtocolError::ReservedBits),
        (frame(0xE1, b"RSV1, 2"), ProtocolError::ReservedBits),
        (frame(0xC9, b"ping"), ProtocolError::ReservedBits),
        (frame(0xC8, b""), ProtocolError::ReservedBits),
        (frame(0xC3, b""), ProtocolError::ReservedBits),
        (
            [&open[..], &frame(0xC0, b"")].concat(),
            ProtocolError::ReservedBits,
        ),
        (
            [&open[..], &frame(0xC1, b"")].concat(),
            ProtocolError::ExpectedContinuation,
        ),
        (frame(0xC1, &[0; 801]), ProtocolError::FrameTooBig),
        (
            [&frame(0x41, &[0; 201])[..], &over_all].concat(),
            ProtocolError::MessageTooBig,
        ),
    ];
    for piece in [1, 3, 10_000] {
        assert_eq!(decode(&good, piece).as_deref(), Ok(&items[..]));
        for (bytes, error) in &bad {
            assert_eq!(decode(bytes, piece), Err(*error), "{:x?}", &bytes[..2]);
        }
    }
}

#[test]
fn reserved_opcodes_are_refused_at_their_first_byte() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        assert_offence(&[0x80 | opcode], ProtocolError::ReservedOpcode);
    }
}

#[test]
fn a_fragmented_control_frame_is_refused() {
    for opcode in [0x08, 0x09, 0x0A] {
        assert_offence(&frame(opcode, b""), ProtocolError::FragmentedControl);
    }
}

#[test]
fn control_frames_are_limited_to_125_bytes() {
    for opcode in [0x88, 0x89, 0x8A] {
        assert_offence(&frame(opcode, &[b'a'; 126]), ProtocolError::ControlTooLong);
    }
    assert_items(&frame(0x89, &[b'a'; 125]), &[Owned::Ping(vec![b'a'; 125])]);
}

#[test]
fn a_continuation_of_nothing_is_refused() {
    assert_offence(&frame(0x80, b"hi"), ProtocolError::UnexpectedContinuation);
    let after = [frame(0x01, b"a"), frame(0x80, b"b"), frame(0x00, b"c")].concat();
    assert_offence(&after, ProtocolError::UnexpectedContinuation);
}

#[test]
fn a_new_message_within_a_fragmented_one_is_refused() {
    for opcode in [0x81, 0x82, 0x01, 0x02] {
        let bytes = [frame(0x01, b"a"), frame(opcode, b"b")].concat();
        assert_offence(&bytes, ProtocolError::ExpectedContinuation);
    }
}

#[test]
fn a_length_that_is_not_minimal_is_refused() {
    assert_offence(b"\x82\xFE\x00\x7D", ProtocolError::LengthNotMinimal);
    assert_offence(b"\x82\xFE\x00\x00", ProtocolError::LengthNotMinimal);
    assert_offence(
        b"\x82\xFF\0\0\0\0\0\0\xFF\xFF",
        ProtocolError::LengthNotMinimal,
    );
}

#[test]
fn a_length_with_the_highest_bit_is_refused() {
    assert_offence(b"\x82\xFF\x80\0\0\0\0\0\0\0", ProtocolError::LengthTooLarge);
    assert_offence(
        b"\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        ProtocolError::LengthTooLarge,
    );
}

#[test]
fn a_frame_over_its_limit_is_refused_from_its_header() {
    let whole = frame(0x82, &[0; 801]);
    assert_offence(&whole[..4], ProtocolError::FrameTooBig);
    assert_items(&frame(0x82, &[0; 800]), &[Owned::Binary(vec![0; 800])]);
}

#[test]
fn a_message_over_its_limit_is_refused_from_a_header() {
    let first = frame(0x02, &[0; 800]);
    let over = [&first, &frame(0x80, &[0; 201])[..4]].concat();
    assert_offence(&over, ProtocolError::MessageTooBig);
    let exact = [first, frame(0x80, &[0; 200])].concat();
    assert_items(&exact, &[Owned::Binary(vec![0; 1000])]);

    let limits = DecoderLimits {
        message_bytes: 10,
        frame_bytes: 800,
        allows_compressed: false,
    };
    let mut bytes = frame(0x81, &[b'a'; 11]);
    let verdict = Decoder::new()
        .next(&mut Input::new(&mut bytes[..2]), &limits)
        .map(drop);
    assert_eq!(verdict, Err(ProtocolError::MessageTooBig));
}

#[test]
fn limits_on_data_leave_control_frames_alone() {
    let limits = DecoderLimits {
        message_bytes: 0,
        frame_bytes: 0,
        allows_compressed: false,
    };
    let mut bytes = [frame(0x89, b"ping"), frame(0x81, b"")].concat();
    let mut input = Input::new(&mut bytes);
    let mut decoder = Decoder::new();
    let ping = decoder.next(&mut input, &limits).unwrap().map(Owned::from);
    assert_eq!(ping, Some(Owned::Ping(b"ping".to_vec())));
    let empty = decoder.next(&mut input, &limits).unwrap().map(Owned::from);
    assert_eq!(empty, Some(Owned::Text(Vec::new())));
}

#[test]
fn text_that_is_not_utf8_is_refused_and_binary_may_be_anything() {
    let bad: [&[u8]; 4] = [b"\xFF", b"a\xC0\x80", b"\xED\xA0\x80", b"ends in \xE2\x82"];
    for payload in bad {
        assert_offence(&frame(0x81, payload), ProtocolError::InvalidUtf8);
        let fragments = [frame(0x01, payload), frame(0x80, b"")].concat();
        assert_offence(&fragments, ProtocolError::InvalidUtf8);
        let long = [&[b'a'; 100][..], payload].concat();
        assert_offence(&frame(0x81, &long), ProtocolError::InvalidUtf8);
        assert_items(&frame(0x82, payload), &[Owned::Binary(payload.to_vec())]);
    }
}

#[test]
fn bad_text_is_refused_before_its_frame_is_whole() {
    // The offence is byte 0x90 after 0xF4, ten bytes into a frame of a hundred.
    let payload = [&b"12345678\xF4\x90"[..], &[b'a'; 90]].concat();
    let bytes = frame(0x81, &payload);
    let bad_at = 6 + 9;
    let mut decoder = Decoder::new();
    assert_eq!(feed(&mut decoder, &bytes[..bad_at]), (vec![], None));
    let verdict = feed(&mut decoder, &bytes[bad_at..=bad_at]);
    assert_eq!(verdict, (vec![], Some(ProtocolError::InvalidUtf8)));
}

#[test]
fn bad_text_is_refused_before_its_message_is_whole() {
    assert_offence(&frame(0x01, b"\xE0\x80"), ProtocolError::InvalidUtf8);
    let second = [frame(0x01, b"\xE0"), frame(0x00, b"\x80")].concat();
    assert_offence(&second, ProtocolError::InvalidUtf8);
}

#[test]
fn a_close_may_be_empty_or_have_a_code_and_a_reason() {
    assert_items(&frame(0x88, b""), &[Owned::Close(None)]);
    assert_items(
        &frame(0x88, b"\x03\xE9"),
        &[Owned::Close(Some((1001, String::new())))],
    );
    let reason = "é".repeat(61);
    let payload = [&b"\x0F\xA0"[..], reason.as_bytes()].concat();
    assert_items(
        &frame(0x88, &payload),
        &[Owned::Close(Some((4000, reason)))],
    );
}

#[test]
fn a_close_of_one_byte_is_refused() {
    assert_offence(&frame(0x88, b"\x03"), ProtocolError::CloseTooShort);
}

#[test]
fn a_close_code_that_must_not_be_sent_is_refused() {
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_offence(
            &frame(0x88, &code.to_be_bytes()),
            ProtocolError::InvalidCloseCode,
        );
    }
}

#[test]
fn a_close_reason_that_is_not_utf8_is_refused() {
    assert_offence(
        &frame(0x88, b"\x03\xE8\xC3"),
        ProtocolError::InvalidCloseReason,
    );
}

#[test]
fn nothing_is_decoded_after_a_close() {
    let close = frame(0x88, b"\x03\xE8");
    let bytes = [frame(0x01, b"open"), close, frame(0x81, b"late")].concat();
    for pieces in [
        vec![&bytes[..]],
        bytes.chunks(1).collect(),
        bytes.chunks(12).collect(),
    ] {
        let mut decoder = Decoder::new();
        let items: Vec<_> = pieces
            .iter()
            .flat_map(|piece| feed(&mut decoder, piece).0)
            .collect();
        assert_eq!(items, [Owned::Close(Some((1000, String::new())))]);
        assert!(!decoder.is_mid_message());
        assert_eq!(decoder.held_bytes(), 0);
    }
}

#[test]
fn nothing_is_decoded_after_an_error() {
    let mut decoder = Decoder::new();
    assert_eq!(feed(&mut decoder, b"\x01\x81").1, None);
    assert_eq!(feed(&mut decoder, &KEY).1, None);
    assert_eq!(
        feed(&mut decoder, b"\x00").1,
        Some(ProtocolError::InvalidUtf8)
    );
    assert_eq!(feed(&mut decoder, &frame(0x81, b"late")), (vec![], None));
    assert_eq!((decoder.held_bytes(), decoder.is_mid_message()), (0, false));
}

#[test]
fn memory_grows_with_arrived_not_announced_bytes() {
    let limits = DecoderLimits {
        message_bytes: usize::MAX,
        frame_bytes: u64::MAX,
        allows_compressed: false,
    };
    let mut decoder = Decoder::new();
    let mut header = [&b"\x82\xFF\x40\0\0\0\0\0\0\0"[..], &KEY].concat();
    assert_eq!(
        decoder.next(&mut Input::new(&mut header), &limits),
        Ok(None)
    );
    assert!(decoder.held_bytes() <= size_of::<Partial>());
    let mut received = 0;
    for _ in 0..100 {
        let mut piece = [0; 1000];
        received += piece.len();
        assert_eq!(decoder.next(&mut Input::new(&mut piece), &limits), Ok(None));
        assert!(decoder.held_bytes() <= size_of::<Partial>() + 2 * received);
    }
}

#[test]
fn a_split_frame_ends_in_a_buffer_of_its_own_size() {
    let bytes = frame(0x82, &[5; 700]);
    let mut decoder = Decoder::new();
    feed(&mut decoder, &bytes[..600]);
    let mut rest = bytes[600..].to_vec();
    let mut input = Input::new(&mut rest);
    assert!(decoder.next(&mut input, &LIMITS).unwrap().is_some());
    assert_eq!(decoder.held_bytes(), size_of::<Partial>() + 700);
    assert_eq!(decoder.next(&mut input, &LIMITS), Ok(None));
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn a_connection_is_mid_message_exactly_while_something_is_open() {
    let bytes = [frame(0x01, b"ab"), frame(0x89, b"p"), frame(0x80, b"cd")].concat();
    let mut decoder = Decoder::new();
    assert!(!decoder.is_mid_message());
    for (at, byte) in bytes.chunks(1).enumerate() {
        feed(&mut decoder, byte);
        let is_open = at + 1 < bytes.len();
        assert_eq!(decoder.is_mid_message(), is_open, "after byte {at}");
        assert_eq!(decoder.held_bytes() > 0, is_open, "after byte {at}");
    }
}

#[test]
fn a_split_control_frame_alone_leaves_nothing_behind() {
    let bytes = frame(0x89, b"ping");
    for cut in 1..bytes.len() {
        let mut decoder = Decoder::new();
        feed(&mut decoder, &bytes[..cut]);
        assert!(decoder.is_mid_message() && decoder.held_bytes() > 0);
        let (items, _) = feed(&mut decoder, &bytes[cut..]);
        assert_eq!(items, [Owned::Ping(b"ping".to_vec())]);
        assert!(!decoder.is_mid_message() && decoder.held_bytes() == 0);
    }
}

#[test]
fn lent_items_do_not_count_as_open() {
    let bytes = frame(0x82, b"abcd");
    let mut decoder = Decoder::new();
    feed(&mut decoder, &bytes[..8]);
    let mut rest = bytes[8..].to_vec();
    assert!(
        decoder
            .next(&mut Input::new(&mut rest), &LIMITS)
            .unwrap()
            .is_some()
    );
    assert!(!decoder.is_mid_message());
}

#[test]
fn offences_have_distinct_names_and_standard_close_codes() {
    use ProtocolError::*;
    let all = [
        (UnmaskedFrame, 1002),
        (ReservedBits, 1002),
        (ReservedOpcode, 1002),
        (FragmentedControl, 1002),
        (ControlTooLong, 1002),
        (UnexpectedContinuation, 1002),
        (ExpectedContinuation, 1002),
        (LengthNotMinimal, 1002),
        (LengthTooLarge, 1002),
        (FrameTooBig, 1009),
        (MessageTooBig, 1009),
        (InvalidUtf8, 1007),
        (InvalidDeflate, 1007),
        (CloseTooShort, 1002),
        (InvalidCloseCode, 1002),
        (InvalidCloseReason, 1007),
    ];
    let names: std::collections::HashSet<_> = all.iter().map(|(error, _)| error.name()).collect();
    assert_eq!(names.len(), all.len());
    for (error, code) in all {
        assert_eq!(error.close_code(), code, "{error}");
    }
}
