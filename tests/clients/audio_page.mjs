// The audio page in headless Chromium: one tab's sound reaches the other tab's loudspeaker.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import vm from 'node:vm';

import { LOOKS, asFile, assertUsable, connected, finish, launch, open as openPage, picture, served }
  from './browser.mjs';
import { DEADLINE_MS, Relay, soon, tool } from './relay.mjs';

const WebSocket = tool('ws');

const settings = ['pages.enabled=true'];
const FRAME_BYTES = 8_192;
const FRAME_SAMPLES = FRAME_BYTES / 2;
const BLOCK_SAMPLES = 128;

let relay;
let browser;

before(async () => {
  relay = await Relay.start({ settings });
  browser = await launch('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream');
});

after(async () => {
  await browser?.close();
  await relay?.stop();
});

// A browser profile for one test.
async function contextOf(t, options = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  return context;
}

// Opens a tab, and joins the room. Its sent and received frames are collected in `sent` and `got`.
async function open(context, { name, at = served, prepare }) {
  const url = at === asFile
    ? asFile('audio.html', { relay: relay.url('/'), name })
    : served(relay, 'audio.html', { name });
  const sent = [];
  const got = [];
  const page = await openPage(context, url, async (page) => {
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => sent.push(payload));
      socket.on('framereceived', ({ payload }) => got.push(payload));
    });
    await prepare?.(page);
  });
  Object.assign(page, { sent, got });
  await page.getByRole('button', { name: 'Join' }).click();
  await connected(page);
  return page;
}

async function choose(page, source) {
  await page.bringToFront();
  await page.getByRole('button', { name: source, exact: true }).click();
  await page.locator('[aria-pressed="true"]', { hasText: source }).waitFor();
}

// Waits until `enough()`.
async function until(enough, what) {
  const deadline = Date.now() + DEADLINE_MS;
  while (!enough()) {
    assert.ok(Date.now() < deadline, `${what} did not come`);
    await sleep(20);
  }
}

function samplesOf(frames) {
  const bytes = Buffer.concat(frames);
  return new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}

// frames.js, as loaded by the page.
function frames() {
  const path = new URL('../../examples/assets/frames.js', import.meta.url);
  const script = `${readFileSync(path, 'utf8')}\n;({ markFrame, readMark })`;
  return vm.runInNewContext(script, { TextEncoder, TextDecoder });
}

// Makes a page record its players' output in `played`, block by block. That needs a module which
// the page's policy would not allow.
async function tapPlayers(page) {
  await page.addInitScript(() => {
    globalThis.played = [];
    const tap = `registerProcessor('tap', class extends AudioWorkletProcessor {
      held = [];
      process([[channel]]) {
        if (channel !== undefined) this.held.push(...channel);
        if (this.held.length >= 8_192) this.port.postMessage(this.held.splice(0));
        return true;
      }
    });`;
    const { addModule } = AudioWorklet.prototype;
    AudioWorklet.prototype.addModule = async function addBoth(module) {
      await addModule.call(this, URL.createObjectURL(new Blob([tap], { type: 'text/javascript' })));
      return addModule.call(this, module);
    };
    const Node = globalThis.AudioWorkletNode;
    globalThis.AudioWorkletNode = class extends Node {
      constructor(context, name, options) {
        super(context, name, options);
        if (name !== 'player') return;
        const tap = new Node(context, 'tap');
        tap.port.onmessage = ({ data }) => globalThis.played.push(...data);
        super.connect(tap).connect(context.destination);
      }
    };
  });
}

// Compares the played samples with the sent ones. A player that runs dry or skips fades out and in:
// then the next whole frame, which its mark makes unique, shows where it continues. Returns the
// samples in the right place, the blocks that are not, and how often it had to search.
function follow(played, sent) {
  const found = { samples: 0, strayBlocks: 0, looks: 0 };
  let next = null;
  let from = 0;
  for (let at = 0; at < played.length; at += BLOCK_SAMPLES) {
    const block = played.slice(at, at + BLOCK_SAMPLES);
    if (block.every((sample) => sample === 0)) {
      next = null;
      continue;
    }
    if (next === null || !isAt(sent, next, block)) {
      found.looks += next === null ? 0 : 1;
      next = placeOf(sent, played.slice(at, at + FRAME_SAMPLES), from);
    }
    if (next === null) {
      found.strayBlocks += 1;
    } else {
      found.samples += block.length;
      next += block.length;
      from = next;
    }
  }
  return found;
}

function placeOf(sent, frame, from) {
  for (let at = from; at + FRAME_SAMPLES <= sent.length; at += 1) {
    if (frame.length === FRAME_SAMPLES && isAt(sent, at, frame)) return at;
  }
  return null;
}

function isAt(whole, at, part) {
  return part.every((sample, index) => sample === whole[at + index]);
}

test('the tone of one tab is played in the other, sample for sample', async (t) => {
  const context = await contextOf(t, { bypassCSP: true });
  const ada = await open(context, { name: 'Ada' });
  const ben = await open(context, { name: 'Ben', prepare: tapPlayers });
  await choose(ada, 'Tone');
  await ben.locator('.speaker', { hasText: 'Ada' }).waitFor();
  await ben.waitForFunction((enough) => globalThis.played.length > enough, 20 * FRAME_SAMPLES);
  await choose(ada, 'Nothing');
  assert.ok(ada.sent.every((frame) => frame.length === FRAME_BYTES));
  // Over the wire: the frames of one tab arrive at the other, in order.
  await until(() => ben.got.length === ada.sent.length, 'the last frame');
  assert.deepEqual(ben.got, ada.sent);
  const played = await ben.evaluate(() => globalThis.played);
  // On the loudspeaker: those samples in that order, with nothing but fades between them.
  const sent = [...samplesOf(ada.sent)].map((sample) => sample / 32_768);
  const { samples, strayBlocks, looks } = follow(played, sent);
  const said = JSON.stringify({ samples, strayBlocks, looks });
  assert.ok(samples > 10 * FRAME_SAMPLES, said);
  assert.ok(strayBlocks <= (looks + 2) * (FRAME_SAMPLES / BLOCK_SAMPLES + 1), said);
  t.diagnostic(said);
  // And it is that tone: 440 Hz cross zero upwards 440 times a second.
  const rises = sent.filter((sample, at) => at > 0 && sent[at - 1] < 0 && sample >= 0).length;
  const pitch = rises / (sent.length / 48_000);
  assert.ok(Math.abs(pitch - 440) < 5, `${pitch} Hz`);
  await finish(ada, ben);
});

test('speakers are told apart, and each can be muted', async (t) => {
  const context = await contextOf(t);
  const cy = await open(context, { name: 'Cy' });
  const ada = await open(context, { name: 'Ada' });
  const ben = await open(context, { name: 'Bén ✓' });
  await choose(ada, 'Tone');
  await choose(ben, 'Microphone');
  for (const name of ['Ada', 'Bén ✓']) await cy.locator('.speaker', { hasText: name }).waitFor();
  assert.equal(await cy.locator('.speaker').count(), 2);
  await cy.getByRole('button', { name: 'Mute Ada' }).click();
  await cy.locator('.speaker', { hasText: 'Ada' }).getByRole('button', { pressed: true }).waitFor();
  await cy.locator('.speaker', { hasText: 'Ada' }).getByText('ms buffered').waitFor();
  await cy.getByText('Connected').locator('xpath=..').getByText('3', { exact: true }).waitFor();
  await finish(ada, ben, cy);
});

test('frames without a mark are played too', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, { name: 'Ada' });
  const old = new WebSocket(`ws://${relay.address}/ws/old-client`);
  await soon(new Promise((resolve) => { old.onopen = resolve; }), 'a WebSocket');
  const heard = [];
  old.binaryType = 'arraybuffer';
  old.onmessage = ({ data }) => heard.push(data);
  const frame = Int16Array.from({ length: FRAME_SAMPLES }, (_, at) => 8_000 * Math.sin(at / 9));
  for (let count = 0; count < 8; count += 1) old.send(frame);
  old.send('text is for others');
  await ada.locator('.speaker', { hasText: 'Unnamed' }).getByText('ms buffered').waitFor();
  // And the old client gets the format that it knows: frames of that size, and nothing else.
  await choose(ada, 'Tone');
  await until(() => heard.length >= 3, 'frames');
  assert.ok(heard.every((data) => data instanceof ArrayBuffer && data.byteLength === FRAME_BYTES));
  old.close();
  await finish(ada);
});

test('a name that is taken is said, and not tried again', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, { name: 'Ada' });
  const other = await openPage(context, served(relay, 'audio.html', { name: 'Ada' }));
  await other.getByRole('button', { name: 'Join' }).click();
  await other.getByRole('alert').filter({ hasText: 'Somebody called Ada' }).waitFor();
  assert.equal(await other.getByText('Retrying').count(), 0);
  await other.getByLabel('Your name').fill('Ada 2');
  await other.getByRole('button', { name: 'Join' }).click();
  await connected(other);
  await finish(ada, other);
});

test('it works as a file too', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, { name: 'Ada', at: asFile });
  const ben = await open(context, { name: 'Ben', at: asFile });
  await choose(ada, 'Tone');
  await ben.locator('.speaker', { hasText: 'Ada' }).getByText('ms buffered').waitFor();
  await finish(ada, ben);
});

test('a mark is read as it was written, and not where there is none', () => {
  const { markFrame, readMark } = frames();
  const tone = Int16Array.from({ length: FRAME_SAMPLES }, (_, at) => 20_000 * Math.sin(at / 7));
  const marked = tone.slice();
  markFrame(marked, { stream: 0xfedc_ba98, sequence: 65_535, name: 'Ädä ✓' });
  assert.deepEqual({ ...readMark(marked) },
    { stream: 0xfedc_ba98, sequence: 65_535, name: 'Ädä ✓' });
  assert.ok(marked.every((sample, at) => Math.abs(sample - tone[at]) <= 1));
  for (const unmarked of [tone, new Int16Array(FRAME_SAMPLES), new Int16Array(40)]) {
    assert.equal(readMark(unmarked), null);
  }
  // One bit of it is flipped.
  marked[100] ^= 1;
  assert.equal(readMark(marked), null);
  // Too short for the name: not changed.
  const short = new Int16Array(100);
  markFrame(short, { stream: 1, sequence: 1, name: 'Ada' });
  assert.deepEqual(short, new Int16Array(100));
});

for (const { name, ...look } of LOOKS) {
  test(`nothing is cut off, out of reach or hard to read: ${name}`, async (t) => {
    const context = await contextOf(t, look);
    const ada = await open(context, { name: 'Ada' });
    await picture(ada, `audio-${name}-empty`);
    const ben = await open(context, { name: 'Ben with a name of thirty letters' });
    await choose(ben, 'Tone');
    await ada.bringToFront();
    await choose(ada, 'Tone');
    await ada.locator('.speaker').getByText('ms buffered').waitFor();
    await picture(ada, `audio-${name}`);
    await assertUsable(ada, ['Microphone', 'Nothing', 'Connection settings']);
    await finish(ada, ben);
    });
}
