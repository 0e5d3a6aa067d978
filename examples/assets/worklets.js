'use strict';
// The code of the audio thread. The page loads this file twice: as a script, for the text of
// `soundWorklets` (a page that was opened as a file cannot load a module by its address), and as
// the module of the worklets, where it registers them.

function soundWorklets() {
  const FRAME_SAMPLES = 4_096;
  const BLOCK_SAMPLES = 128;

  // Cuts its input into frames of 16 bits, and posts each.
  class Cutter extends AudioWorkletProcessor {
    #frame = new Int16Array(FRAME_SAMPLES);
    #filled = 0;

    process([[channel]]) {
      // No input is connected: a partial frame is not continued later.
      if (channel === undefined) {
        this.#filled = 0;
        return true;
      }
      for (const sample of channel) {
        const clamped = Math.max(-1, Math.min(1, sample));
        this.#frame[this.#filled] = Math.round(clamped * 32_767);
        this.#filled += 1;
        if (this.#filled === FRAME_SAMPLES) {
          this.port.postMessage(this.#frame, [this.#frame.buffer]);
          this.#frame = new Int16Array(FRAME_SAMPLES);
          this.#filled = 0;
        }
      }
      return true;
    }
  }

  // About 2.7 s.
  const RING_SAMPLES = 1 << 17;
  // Playing starts when this much is buffered. Late frames raise it, a quiet minute lowers it.
  const TARGET_MIN = 2 * FRAME_SAMPLES;
  const TARGET_MAX = 8 * FRAME_SAMPLES;
  const TARGET_STEP = FRAME_SAMPLES / 2;
  // This much over the target is too far behind the speaker: it is skipped.
  const EXCESS_SAMPLES = 3 * FRAME_SAMPLES;
  // A frame that comes this soon after its stream ran dry was late; after a longer time, the
  // speaker had paused.
  const LATE_S = 0.5;
  const CALM_S = 60;
  const REPORT_S = 0.25;

  // The jitter buffer of one speaker: plays frames one after the other, sample for sample. When it
  // runs dry or skips, it fades out and in over one block to avoid a click.
  //
  // With `mixes` the frames may be those of several speakers that cannot be told apart: then a
  // frame that would have to wait too long is mixed into the frame before, as if two played side by
  // side.
  class Player extends AudioWorkletProcessor {
    #ring = new Float32Array(RING_SAMPLES);
    // Counted from the beginning; the index in the ring is the remainder.
    #read = 0;
    #written = 0;
    #target = TARGET_MIN;
    #isPlaying = false;
    #fadesIn = false;
    #skips = false;
    #stoppedAt = -Infinity;
    #calmSince = 0;
    #reportAt = 0;
    #facts = { gaps: 0, skips: 0 };
    #mixes;
    #isOver = false;

    constructor({ processorOptions }) {
      super();
      this.#mixes = processorOptions.mixes;
      this.port.onmessage = ({ data }) => {
        if (data === 'end') this.#isOver = true;
        else this.#take(data);
      };
    }

    get #buffered() {
      return this.#written - this.#read;
    }

    #take(samples) {
      if (!this.#isPlaying && currentTime - this.#stoppedAt < LATE_S) this.#adapt();
      const limit = this.#target + EXCESS_SAMPLES;
      const isTooMuch = this.#buffered + samples.length > limit;
      const isMixed = isTooMuch && this.#mixes && this.#buffered >= samples.length;
      const from = isMixed ? this.#written - samples.length : this.#written;
      samples.forEach((sample, at) => {
        const place = (from + at) % RING_SAMPLES;
        this.#ring[place] = sample / 32_768 + (isMixed ? this.#ring[place] : 0);
      });
      this.#written = Math.max(this.#written, from + samples.length);
      if (isTooMuch && !this.#mixes) this.#skips = true;
      // The ring is no longer than this: older samples are overwritten.
      this.#read = Math.max(this.#read, this.#written - RING_SAMPLES);
    }

    // A frame was late: keep more in the buffer from now on.
    #adapt() {
      this.#stoppedAt = -Infinity;
      this.#facts.gaps += 1;
      this.#target = Math.min(TARGET_MAX, this.#target + TARGET_STEP);
      this.#calmSince = currentTime;
    }

    process(_inputs, [[channel]]) {
      if (!this.#isPlaying && this.#buffered >= this.#target) {
        this.#isPlaying = true;
        this.#fadesIn = true;
      }
      if (this.#isPlaying) this.#play(channel);
      if (currentTime - this.#calmSince > CALM_S) {
        this.#calmSince = currentTime;
        this.#target = Math.max(TARGET_MIN, this.#target - TARGET_STEP);
      }
      if (currentTime >= this.#reportAt) {
        this.#reportAt = currentTime + REPORT_S;
        const delayMs = Math.round((this.#buffered / sampleRate) * 1_000);
        this.port.postMessage({ ...this.#facts, delayMs, isPlaying: this.#isPlaying });
      }
      return !this.#isOver;
    }

    #play(channel) {
      const count = Math.min(channel.length, this.#buffered);
      const isLast = this.#buffered < 2 * BLOCK_SAMPLES;
      const fadesOut = isLast || this.#skips;
      for (let at = 0; at < count; at += 1) {
        const rise = this.#fadesIn ? at / count : 1;
        const fall = fadesOut ? 1 - (at + 1) / count : 1;
        channel[at] = this.#ring[(this.#read + at) % RING_SAMPLES] * rise * fall;
      }
      this.#read += count;
      this.#fadesIn = false;
      if (this.#skips) {
        this.#skips = false;
        this.#facts.skips += 1;
        this.#read = Math.max(this.#read, this.#written - this.#target);
        this.#fadesIn = true;
      }
      if (isLast) {
        this.#isPlaying = false;
        this.#stoppedAt = currentTime;
        this.#read = this.#written;
      }
    }
  }

  registerProcessor('cutter', Cutter);
  registerProcessor('player', Player);
}

if (globalThis.registerProcessor) soundWorklets();
