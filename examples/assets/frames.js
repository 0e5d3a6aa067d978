'use strict';
// Frames of sound: 4,096 samples of 48 kHz, 16 bits, mono, little-endian, no header. That is what
// the audio clients of earlier relays send and play, so nothing can be put before or between the
// samples, and a message of another kind could break them.
//
// To identify speakers nevertheless, a frame can carry a mark: the lowest bits of its first
// samples, one bit each, name the speaker. It changes a sample by at most 1 of 32,768, about 90 dB
// below full volume, which is inaudible; a client that does not know marks plays the frame as it
// is.
//
//   bytes  content, numbers little-endian, in each byte the lowest bit first
//   2      "CA"
//   4      stream: a random number for as long as a page is open
//   2      sequence number of the frame within its stream, modulo 65,536
//   1      bytes of the name, at most 48
//   n      the name, UTF-8
//   4      FNV-1a of all that, 32 bits

const SAMPLE_RATE = 48_000;
const FRAME_SAMPLES = 4_096;
const NAME_BYTES_MAX = 48;
const MARK = [0x43, 0x41];
const MARK_BYTES = { magic: 2, stream: 4, sequence: 2, length: 1, hash: 4 };
const HEAD_BYTES = MARK_BYTES.magic + MARK_BYTES.stream + MARK_BYTES.sequence + MARK_BYTES.length;

// Marks a frame (an Int16Array) in place. A frame that is too short is not changed.
function markFrame(samples, { stream, sequence, name }) {
  const text = nameBytes(name);
  const bytes = new Uint8Array(HEAD_BYTES + text.length + MARK_BYTES.hash);
  if (bytes.length * 8 > samples.length) return;
  const view = new DataView(bytes.buffer);
  bytes.set(MARK);
  view.setUint32(2, stream, true);
  view.setUint16(6, sequence & 0xffff, true);
  view.setUint8(8, text.length);
  bytes.set(text, HEAD_BYTES);
  view.setUint32(bytes.length - 4, fnv1a(bytes.subarray(0, bytes.length - 4)), true);
  bytes.forEach((byte, at) => {
    for (let bit = 0; bit < 8; bit += 1) {
      const place = at * 8 + bit;
      samples[place] = (samples[place] & ~1) | ((byte >> bit) & 1);
    }
  });
}

// The mark of a frame; null if it has none.
function readMark(samples) {
  const head = bytesOf(samples, 0, HEAD_BYTES);
  if (head === null || head[0] !== MARK[0] || head[1] !== MARK[1]) return null;
  const length = head[8];
  if (length > NAME_BYTES_MAX) return null;
  const bytes = bytesOf(samples, 0, HEAD_BYTES + length + MARK_BYTES.hash);
  if (bytes === null) return null;
  const view = new DataView(bytes.buffer);
  const end = bytes.length - MARK_BYTES.hash;
  if (view.getUint32(end, true) !== fnv1a(bytes.subarray(0, end))) return null;
  const name = new TextDecoder().decode(bytes.subarray(HEAD_BYTES, end));
  return { stream: view.getUint32(2, true), sequence: view.getUint16(6, true), name };
}

// The bytes encoded from byte `from` on; null if the frame is too short.
function bytesOf(samples, from, count) {
  if ((from + count) * 8 > samples.length) return null;
  return Uint8Array.from({ length: count }, (_, at) => {
    let byte = 0;
    for (let bit = 0; bit < 8; bit += 1) byte |= (samples[(from + at) * 8 + bit] & 1) << bit;
    return byte;
  });
}

// A name as UTF-8, cut at a character boundary to the size of a mark.
function nameBytes(name) {
  const bytes = new Uint8Array(NAME_BYTES_MAX);
  const { written } = new TextEncoder().encodeInto(name, bytes);
  return bytes.subarray(0, written);
}

function fnv1a(bytes) {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
