'use strict';
// Shared by all pages: the relay's address, a connection to it that reconnects by itself, and the
// part of the page that shows its state.

const byId = (id) => document.getElementById(id);

// If a relay serves these pages, that relay is the only one that they can and need to reach: the
// part of the address before /demo/. Empty for a file, or on another server.
const SERVED_BY = /^https?:$/.test(location.protocol) && location.pathname.includes('/demo/')
  ? location.origin + location.pathname.slice(0, location.pathname.lastIndexOf('/demo/'))
  : '';

// The settings in a link: page.html#relay=…&room=…
const GIVEN = new URLSearchParams(location.hash.slice(1));

// The settings that this tab remembers. A page that is opened as a file may have no storage.
const memory = {
  get(key) {
    try { return sessionStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    try { sessionStorage.setItem(key, value); } catch { /* Then it is asked for again. */ }
  },
};

// ---- Addresses ---------------------------------------------------------------------------------

// Fills the field `relay`, or hides it if there is no choice.
function offerRelay() {
  const isRemote = location.protocol.startsWith('http')
    && !['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const host = isRemote ? location.hostname : 'localhost';
  const guess = `${scheme}://${host}:8443/`;
  byId('relay').value = SERVED_BY ? relayUrl('', SERVED_BY).href : GIVEN.get('relay') ?? guess;
  byId('relay').closest('label').hidden = SERVED_BY !== '';
}

// The address of `path` (with an optional query) on the relay, for a WebSocket. Throws if the field
// `relay` has no address.
function relayUrl(path, base = byId('relay').value.trim()) {
  const url = new URL(base);
  if (url.protocol === 'http:') url.protocol = 'ws:';
  if (url.protocol === 'https:') url.protocol = 'wss:';
  if (!['ws:', 'wss:'].includes(url.protocol) || url.hash) throw new Error('no WebSocket address');
  const [own, ...query] = path.split('?');
  url.pathname = url.pathname.replace(/\/+$/, '') + own.replaceAll('#', '%23');
  if (query.length > 0) url.search = query.join('?');
  return url;
}

// The same for a plain request.
function httpUrl(path) {
  return relayUrl(path).href.replace(/^ws/, 'http');
}

// ---- A connection that comes back --------------------------------------------------------------

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 20_000;
// A connection that lasts this long makes the next retry quick again.
const STABLE_MS = 5_000;

// Calls `on.state(state, words)` with each state: idle, connecting, open, waiting, failed; and
// `on.opened()`, `on.received(data)`, `on.lost(reason, wasOpen)`. An error of `on.address()` is
// passed to `on.unusable(error)`. A promise that `on.lost` returns is awaited; true ends the
// retries.
class Connection {
  #on;
  #socket = null;
  #attempts = 0;
  #retryTimer = 0;
  #stableTimer = 0;

  constructor(on) {
    this.#on = on;
    addEventListener('online', () => this.retryNow());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  // Bytes that wait in this page.
  get waiting() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  // Connects, replacing any earlier connection.
  start() {
    this.#attempts = 0;
    this.#connect();
  }

  // Ends the connection, if there is one, without trying again.
  stop() {
    this.#drop();
    this.#on.state('idle', 'Not connected');
  }

  retryNow() {
    if (!this.#retryTimer) return;
    this.#connect();
  }

  send(data) {
    this.#socket.send(data);
  }

  #drop() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#stableTimer);
    this.#retryTimer = 0;
    const old = this.#socket;
    this.#socket = null;
    old?.close(1000);
  }

  #connect() {
    this.#drop();
    let socket;
    try {
      socket = new WebSocket(this.#on.address());
    } catch (error) {
      this.#on.state('failed', 'Not connected');
      this.#on.unusable(error);
      return;
    }
    this.#socket = socket;
    let wasOpen = false;
    socket.binaryType = 'arraybuffer';
    this.#on.state('connecting', 'Connecting…');
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      wasOpen = true;
      this.#stableTimer = setTimeout(() => { this.#attempts = 0; }, STABLE_MS);
      this.#on.state('open', 'Connected');
      this.#on.opened?.();
    };
    socket.onmessage = ({ data }) => { if (socket === this.#socket) this.#on.received(data); };
    socket.onclose = (event) => { if (socket === this.#socket) this.#lost(event, wasOpen); };
  }

  async #lost(event, wasOpen) {
    const ended = this.#socket;
    clearTimeout(this.#stableTimer);
    this.#on.state('connecting', wasOpen ? 'Connection lost' : 'Connecting…');
    const isOver = await this.#on.lost?.(reasonOf(event), wasOpen);
    if (ended !== this.#socket) return;
    this.#socket = null;
    if (isOver) return this.#on.state('failed', 'Not connected');
    this.#attempts += 1;
    // The delay doubles each time, less a random part of up to half of it, so that clients of a
    // restarted relay spread out.
    const full = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(this.#attempts - 1, 10));
    this.#retryAt(Date.now() + full * (0.5 + Math.random() / 2));
  }

  #retryAt(due) {
    const left = Math.ceil((due - Date.now()) / 1000);
    if (left <= 0) return this.#connect();
    this.#on.state('waiting', `Retrying in ${left} s`);
    const untilNextSecond = (due - Date.now()) % 1000 || 1000;
    this.#retryTimer = setTimeout(() => this.#retryAt(due), untilNextSecond);
  }
}

function reasonOf(event) {
  const known = { 1001: 'the relay is going away', 1009: 'a message was too big',
    1012: 'the relay restarts', 1013: 'this page was too slow' };
  return event.reason || known[event.code] || 'the relay is not reachable';
}

// ---- The head of the page ----------------------------------------------------------------------

// Shows a state of the connection, with a Retry button while the next attempt is pending.
function showState(state, words) {
  byId('state').className = `state ${state}`;
  byId('state-words').textContent = words;
  // Announced once to screen readers: the countdown is only shown.
  const said = state === 'waiting' ? 'Connection lost, retrying' : words;
  if (byId('state-said').textContent !== said) byId('state-said').textContent = said;
  byId('retry').hidden = state !== 'waiting';
}

function showSettings(isShown) {
  byId('settings').hidden = !isShown;
  byId('settings-toggle').setAttribute('aria-expanded', String(isShown));
}

function showProblem(text) {
  byId('problem').textContent = text;
  byId('relay').setAttribute('aria-invalid', String(text !== ''));
  if (text) showSettings(true);
}

function showUnusable(error) {
  const hint = 'Write it as ws://host:port/ or wss://host:port/.';
  const why = error.name === 'SecurityError' ? 'A page loaded by https needs wss://.' : hint;
  showProblem(`This is no address of a relay that can be used from here. ${why}`);
}

function isPhone() {
  return innerWidth < 720;
}

// A colour for a name, the same in every tab.
function hue(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}

// An element with a class and a text.
function element(tag, className = '', text = '') {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function wireHead(connection) {
  byId('settings-toggle').addEventListener('click', () => showSettings(byId('settings').hidden));
  byId('retry').addEventListener('click', () => connection.retryNow());
}
