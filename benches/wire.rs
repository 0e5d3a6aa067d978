//! The cost of the protocol code: frames in and out, unmasking, the opening handshake.
//!
//! `cargo bench --bench wire`. Target: under 25 ns per small incoming frame, under 1.5 µs per
//! handshake.

use std::hint::black_box;

use corecast::wire::decoder::{Decoder, DecoderLimits, Input, Item};
use corecast::wire::frame::{Opcode, append_frame, server_frame_bytes};
use corecast::wire::handshake;
use corecast::wire::http::{Head, HeadLimits, HeaderSpace};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes: 1 << 20,
    frame_bytes: 1 << 20,
    allows_compressed: false,
};
const FRAMES: usize = 64;
const SMALL_BYTES: usize = 128;
const LARGE_BYTES: usize = 16 * 1024;

/// Few enough inputs at a time to stay in the cache, like freshly received bytes.
const IN_CACHE: BatchSize = BatchSize::NumIterations(4);

/// Chromium's request, including a cookie.
const BROWSER_HEAD: &[u8] = b"GET /rooms/lobby?since=1712 HTTP/1.1\r\n\
    Host: relay.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/131.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://app.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=2b1f8c1e5d7a4e0f9c3b6a7d8e9f0a1b; theme=dark\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// Masked frames of this many bytes, all letters.
fn client_frames(opcode: Opcode, count: usize, payload_bytes: usize) -> Vec<u8> {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.extend_from_slice(&[0x80 | opcode as u8, 0x80 | 126]);
        bytes.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        bytes.extend_from_slice(&key);
        bytes.extend((0..payload_bytes).map(|i| b'a' ^ key[i % 4]));
    }
    bytes
}

/// Decodes one input as the engine does, until nothing is left. Returns the messages.
fn decode(decoder: &mut Decoder, bytes: &mut [u8]) -> usize {
    let mut input = Input::new(bytes);
    let mut messages = 0;
    while let Ok(Some(item)) = decoder.next(&mut input, &LIMITS) {
        if let Item::Message(message) = item {
            black_box(message.payload);
            messages += 1;
        }
    }
    messages
}

fn bench_decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, opcode, count, payload_bytes) in [
        ("64 text frames of 128 B", Opcode::Text, FRAMES, SMALL_BYTES),
        (
            "64 binary frames of 128 B",
            Opcode::Binary,
            FRAMES,
            SMALL_BYTES,
        ),
        ("1 text frame of 16 KiB", Opcode::Text, 1, LARGE_BYTES),
        ("1 binary frame of 16 KiB", Opcode::Binary, 1, LARGE_BYTES),
    ] {
        let frames = client_frames(opcode, count, payload_bytes);
        assert_eq!(decode(&mut Decoder::new(), &mut frames.clone()), count);
        group.throughput(Throughput::Elements(count as u64));
        let copy = || frames.clone();
        group.bench_function(name, |b| {
            b.iter_batched_ref(copy, |bytes| decode(&mut Decoder::new(), bytes), IN_CACHE);
        });
    }
    // In pieces of 4 KiB every byte is unmasked once and copied once.
    let frame = client_frames(Opcode::Text, 1, LARGE_BYTES);
    group.throughput(Throughput::Bytes(LARGE_BYTES as u64));
    group.bench_function("1 text frame of 16 KiB in 4 KiB pieces", |b| {
        let decode_pieces = |bytes: &mut Vec<u8>| {
            let mut decoder = Decoder::new();
            for piece in bytes.chunks_mut(4096) {
                decode(&mut decoder, piece);
            }
        };
        b.iter_batched_ref(|| frame.clone(), decode_pieces, IN_CACHE);
    });
    group.finish();
}

fn bench_encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("append_frame");
    for (name, payload_bytes) in [("128 B", SMALL_BYTES), ("16 KiB", LARGE_BYTES)] {
        let payload = vec![b'a'; payload_bytes];
        let mut out = Vec::with_capacity(server_frame_bytes(payload_bytes));
        group.throughput(Throughput::Bytes(payload_bytes as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                append_frame(&mut out, Opcode::Text, black_box(&payload));
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn bench_handshake(c: &mut Criterion) {
    let limits = HeadLimits {
        head_bytes: 8192,
        target_bytes: 2048,
    };
    let mut out = Vec::with_capacity(256);
    c.bench_function("handshake/parse", |b| {
        b.iter(|| {
            let mut space = HeaderSpace::new();
            let head = Head::parse(black_box(BROWSER_HEAD), &mut space, &limits);
            black_box(head.is_ok());
        });
    });
    c.bench_function("handshake/parse, check and accept", |b| {
        b.iter(|| {
            let mut space = HeaderSpace::new();
            let head = Head::parse(black_box(BROWSER_HEAD), &mut space, &limits);
            let Ok(Some((head, _))) = head else {
                panic!("the head is whole")
            };
            let Ok(upgrade) = handshake::check(&head) else {
                panic!("the upgrade is good")
            };
            out.clear();
            handshake::append_accept(&mut out, &upgrade, None, &[]);
            black_box(&out);
        });
    });
}

criterion_group!(benches, bench_decode, bench_encode, bench_handshake);
criterion_main!(benches);
