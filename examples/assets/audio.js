'use strict';
// A room to talk in. Sound leaves this page as frames (assets/frames.js), over /ws/{username},
// which sends them to everybody but the sender. Each speaker with a marked stream has a player of
// its own (assets/worklets.js).

// More bytes wait in this page than the connection sends: frames are dropped, because late ones are
// useless.
const WAITING_BYTES_MAX = 8 * 2 * FRAME_SAMPLES;
const RECEIVED_BYTES_MAX = 64 * 1024;
const SPEAKERS_MAX = 16;
// A speaker that was silent for this long is shown as quiet, and later not at all.
const QUIET_MS = 1_000;
const GONE_MS = 20_000;
const HEALTH_EVERY_MS = 5_000;
const TONE_GAIN = 0.25;
// The meters show from there up to full volume.
const METER_FLOOR_DB = -60;
const UNMARKED = 'unmarked';

const stream = crypto.getRandomValues(new Uint32Array(1))[0];
let sequence = 0;
let framesSent = 0;
let framesHeard = 0;

// The sound of this page while it is in the room: context, cutter, master, meter.
let sound = null;
// The sound that this page sends: its kind, and how to end it.
let source = { kind: 'none', stop() {} };
let wasEverOpen = false;
const speakers = new Map();

// ---- The room ----------------------------------------------------------------------------------

const connection = new Connection({
  address: () => relayUrl(userPath()).href,
  state(state, words) {
    showState(state, words);
    showJoined();
  },
  opened() {
    wasEverOpen = true;
    if (isPhone()) showSettings(false);
    pollHealth();
  },
  received: hear,
  unusable(error) {
    leave();
    showUnusable(error);
  },
  async lost(_reason, wasOpen) {
    if (wasOpen || wasEverOpen || !await isNameTaken()) return false;
    leave();
    showProblem(`Somebody called ${userName()} is in the room already. Take another name.`);
    return true;
  },
});

function userName() {
  return byId('name').value.trim();
}

function userPath() {
  const path = byId('path').value.trim().replace(/^\/*/, '/').replace(/\/+$/, '');
  return `${path}/${encodeURIComponent(userName())}`;
}

// A browser does not report why a WebSocket was refused; a plain request to the same address gets
// the reason.
async function isNameTaken() {
  try {
    return (await fetch(httpUrl(userPath()))).status === 409;
  } catch {
    return false;
  }
}

async function join() {
  showProblem('');
  // A name of dots alone would lead upwards in the path.
  if (/^\.*$/.test(userName())) return showProblem('Take another name.');
  memory.set('name', userName());
  wasEverOpen = false;
  try {
    sound ??= await openSound();
  } catch (error) {
    return showProblem(`There is no sound: ${error.message}`);
  }
  connection.start();
  requestAnimationFrame(showLevels);
}

function leave() {
  connection.stop();
  setSource('none');
  for (const speaker of [...speakers.values()]) speaker.remove();
  sound?.context.close();
  sound = null;
  showJoined();
}

async function openSound() {
  if (!globalThis.AudioWorkletNode || !isSecureContext) {
    throw new Error('browsers have it on https pages and on localhost alone.');
  }
  const context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: 'interactive' });
  const text = () => `data:text/javascript,${encodeURIComponent(`(${soundWorklets})()`)}`;
  await context.audioWorklet.addModule(
    location.protocol === 'file:' ? text() : 'assets/worklets.js',
  );
  const mono = { channelCount: 1, channelCountMode: 'explicit', outputChannelCount: [1] };
  const cutter = new AudioWorkletNode(context, 'cutter', mono);
  cutter.port.onmessage = ({ data }) => speak(data);
  const meter = new AnalyserNode(context, { fftSize: 2_048 });
  const master = new GainNode(context, { gain: Number(byId('volume').value) });
  // A node that is not connected to the destination is not run; the cutter itself is silent.
  cutter.connect(context.destination);
  master.connect(context.destination);
  return { context, cutter, meter, master };
}

// ---- Speaking ----------------------------------------------------------------------------------

function speak(samples) {
  if (source.kind === 'none' || !connection.isOpen) return;
  if (connection.waiting > WAITING_BYTES_MAX) return;
  markFrame(samples, { stream, sequence, name: userName() });
  sequence = (sequence + 1) & 0xffff;
  connection.send(samples);
  framesSent += 1;
}

const sources = {
  none: () => ({ stop() {} }),

  tone() {
    const { context } = sound;
    const gain = new GainNode(context, { gain: TONE_GAIN });
    const oscillator = new OscillatorNode(context, { frequency: pitch() });
    oscillator.connect(gain);
    oscillator.start();
    return { node: gain, oscillator, stop: () => oscillator.stop() };
  },

  async microphone() {
    if (!navigator.mediaDevices) throw new DOMException('', 'NotFoundError');
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true };
    const media = await navigator.mediaDevices.getUserMedia({ audio });
    const stop = () => { for (const track of media.getTracks()) track.stop(); };
    if (sound === null) {
      stop();
      return { stop };
    }
    return { node: sound.context.createMediaStreamSource(media), stop };
  },
};

let choices = 0;

async function setSource(kind) {
  choices += 1;
  const choice = choices;
  stopSource();
  byId('source-problem').textContent = '';
  let next;
  try {
    next = await sources[kind]();
  } catch (error) {
    byId('source-problem').textContent = whyNoMicrophone(error);
    return;
  }
  // The user chose another source while the browser asked for permission.
  if (choice !== choices) return next.stop();
  source = { kind, ...next };
  for (const end of sound ? [sound.cutter, sound.meter] : []) source.node?.connect(end);
  showSource();
}

function stopSource() {
  source.node?.disconnect();
  source.stop();
  source = { kind: 'none', stop() {} };
  showSource();
}

function whyNoMicrophone(error) {
  const known = {
    NotAllowedError: 'This page may not use the microphone: allow it in the browser.',
    NotFoundError: 'There is no microphone here. The tone needs none.',
  };
  return known[error.name] ?? `The microphone cannot be used: ${error.message}`;
}

function pitch() {
  return Number(byId('pitch').value);
}

// ---- Listening ---------------------------------------------------------------------------------

function hear(data) {
  // Text messages are for other clients.
  if (!(data instanceof ArrayBuffer) || sound === null) return;
  const { byteLength } = data;
  if (byteLength === 0 || byteLength % 2 !== 0 || byteLength > RECEIVED_BYTES_MAX) return;
  const samples = new Int16Array(data);
  const mark = readMark(samples);
  // The relay echoes our own frames.
  if (mark?.stream === stream) return;
  speakerOf(mark)?.hear(samples, mark);
  framesHeard += 1;
}

// The speaker of a frame; none if there are too many.
function speakerOf(mark) {
  const key = mark?.stream ?? UNMARKED;
  const known = speakers.get(key);
  if (known) return known;
  if (speakers.size >= SPEAKERS_MAX) {
    const quietest = [...speakers.values()].reduce((a, b) => (a.heardAt < b.heardAt ? a : b));
    if (!quietest.isQuiet) return null;
    quietest.remove();
  }
  const speaker = new Speaker(key, mark?.name || 'Unnamed');
  speakers.set(key, speaker);
  pollHealth();
  return speaker;
}

// A speaker: a player, its volume, its meter and its card. All clients without marks share one.
class Speaker {
  #player;
  #gain;
  #sequence = null;
  #missing = 0;
  #card = byId('speaker').content.firstElementChild.cloneNode(true);

  constructor(key, name) {
    const { context, master } = sound;
    this.key = key;
    this.heardAt = performance.now();
    this.#player = new AudioWorkletNode(context, 'player', {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { mixes: key === UNMARKED },
    });
    this.#player.port.onmessage = ({ data }) => this.#show(data);
    this.#gain = new GainNode(context);
    this.meter = new AnalyserNode(context, { fftSize: 2_048 });
    this.#player.connect(this.#gain).connect(master);
    this.#player.connect(this.meter);
    this.bar = this.#card.querySelector('.meter');
    this.#fill(name);
    byId('speakers').append(this.#card);
  }

  get isQuiet() {
    return performance.now() - this.heardAt > QUIET_MS;
  }

  hear(samples, mark) {
    if (mark && this.#sequence !== null) {
      const ahead = (mark.sequence - this.#sequence - 1) & 0xffff;
      // A distance of more than half the range means behind, not ahead.
      if (ahead < 0x8000) this.#missing += ahead;
    }
    this.#sequence = mark?.sequence ?? null;
    this.heardAt = performance.now();
    this.#player.port.postMessage(samples, [samples.buffer]);
  }

  remove() {
    this.#player.disconnect();
    this.#player.port.postMessage('end');
    this.#card.remove();
    speakers.delete(this.key);
  }

  #fill(name) {
    const card = this.#card;
    const [title, mute] = [card.querySelector('.name'), card.querySelector('.mute')];
    const volume = card.querySelector('.volume');
    title.textContent = name;
    title.style.setProperty('--hue', hue(name));
    this.bar.setAttribute('aria-label', `Level of ${name}`);
    volume.setAttribute('aria-label', `Volume of ${name}`);
    mute.setAttribute('aria-label', `Mute ${name}`);
    const apply = () => {
      const isMuted = mute.getAttribute('aria-pressed') === 'true';
      this.#gain.gain.value = isMuted ? 0 : Number(volume.value);
    };
    volume.addEventListener('input', apply);
    mute.addEventListener('click', () => {
      mute.setAttribute('aria-pressed', String(mute.getAttribute('aria-pressed') !== 'true'));
      apply();
    });
  }

  #show({ delayMs, gaps, skips, isPlaying }) {
    const facts = [
      [gaps, 'late'], [skips, 'skipped'], [this.#missing, 'missing'],
    ].filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
    const delay = isPlaying ? `${delayMs} ms buffered` : 'quiet';
    this.#card.querySelector('.delay').textContent = delay;
    this.#card.querySelector('.gaps').textContent = facts.join(', ');
    this.#card.classList.toggle('quiet', this.isQuiet);
  }
}

// ---- Display ---------------------------------------------------------------------------------

function showJoined() {
  const isJoined = sound !== null;
  byId('join').textContent = isJoined ? 'Leave' : 'Join';
  byId('join').classList.toggle('primary', !isJoined);
  for (const id of ['relay', 'path', 'name']) byId(id).disabled = isJoined;
  showSource();
}

function showSource() {
  const isJoined = sound !== null;
  for (const button of document.querySelectorAll('[data-source]')) {
    button.disabled = !isJoined;
    button.setAttribute('aria-pressed', String(button.dataset.source === source.kind));
  }
  byId('pitch-label').hidden = source.kind !== 'tone';
  byId('advice').textContent = isJoined ? {
    none: 'You are listening. Choose what the others hear.',
    microphone: 'The others hear you. With headphones they do not hear themselves.',
    tone: 'The others hear a tone of this pitch.',
  }[source.kind] : 'Join to listen. Then speak, or send a tone.';
}

// Runs once per animation frame while this page is in the room.
function showLevels() {
  if (sound === null) return;
  showLevel(byId('own-meter'), sound.meter);
  for (const speaker of [...speakers.values()]) {
    showLevel(speaker.bar, speaker.meter);
    if (performance.now() - speaker.heardAt > GONE_MS) speaker.remove();
  }
  setText(byId('frames-sent'), framesSent);
  setText(byId('frames-heard'), framesHeard);
  setText(byId('speakers-count'), speakers.size > 0 ? `${speakers.size}` : '');
  byId('nobody').hidden = speakers.size > 0;
  requestAnimationFrame(showLevels);
}

const heights = new Float32Array(2_048);

function showLevel(bar, meter) {
  meter.getFloatTimeDomainData(heights);
  let peak = 0;
  for (const height of heights) peak = Math.max(peak, Math.abs(height));
  const level = 1 - (20 * Math.log10(Math.max(peak, 1e-6))) / METER_FLOOR_DB;
  bar.style.setProperty('--level', Math.min(1, Math.max(0, level)).toFixed(3));
  bar.classList.toggle('loud', peak > 0.99);
}

function setText(shown, value) {
  const text = String(value);
  if (shown.textContent !== text) shown.textContent = text;
}

// The number of connections of the relay.
async function pollHealth() {
  if (document.hidden) return;
  let count = '–';
  try {
    const health = await (await fetch(httpUrl('/health'), { cache: 'no-store' })).json();
    if (Number.isFinite(health.count)) count = health.count;
  } catch { /* It is asked again. */ }
  byId('count').textContent = count;
}

// ---- User actions ---------------------------------------------------------------------------

byId('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  if (sound === null) join();
  else leave();
});
for (const button of document.querySelectorAll('[data-source]')) {
  button.addEventListener('click', () => setSource(button.dataset.source));
}
byId('pitch').addEventListener('input', () => {
  byId('pitch-shown').textContent = pitch();
  source.oscillator?.frequency.setTargetAtTime(pitch(), 0, 0.02);
});
byId('volume').addEventListener('input', () => {
  if (sound) sound.master.gain.value = Number(byId('volume').value);
});

wireHead(connection);
offerRelay();
byId('path').value = GIVEN.get('path') ?? '/ws/';
const guest = `Guest ${100 + Math.floor(Math.random() * 900)}`;
byId('name').value = GIVEN.get('name') ?? memory.get('name') ?? guest;
showJoined();
pollHealth();
setInterval(pollHealth, HEALTH_EVERY_MS);
