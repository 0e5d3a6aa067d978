// The dashboard: draws one snapshot each second. docs/dashboard.md explains the snapshot.
'use strict';

const SECONDS = 300;          // the history that is kept
const WINDOWS = [60, 120, SECONDS];   // the charts show the smallest that holds the history
const SILENCE_MS = 6_000;     // a stream that is silent for this long is lost
const QUIET_MS = 3_000;       // older figures are out of date
const POLLS = 30;             // polls until the stream is tried again
const PROTOCOL = 'corecast.dashboard.v1';
const KEY = 'corecast.admin.token';
const TITLE = document.title;

const at = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ---- numbers for people

function scaled(number, base, units) {
  let unit = 0;
  while (Math.abs(number) >= base * 0.9995 && unit < units.length - 1) {
    number /= base;
    unit += 1;
  }
  const digits = unit === 0 || number >= 99.95 ? 0 : 1;
  return [number.toLocaleString('en', { maximumFractionDigits: digits }), units[unit]];
}

function count(number) {
  if (number < 10 && number % 1 !== 0) return [number.toFixed(1), ''];
  if (number < 10_000) return [Math.round(number).toLocaleString('en'), ''];
  return scaled(number, 1000, ['', 'k', 'M', 'G', 'T']);
}

const bytes = (number) => scaled(number, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
const text = ([number, unit]) => (unit ? `${number} ${unit}` : number);

function micros(us) {
  if (us === null || us === undefined) return ['–', ''];
  if (us < 1_000) return [us < 10 ? us.toFixed(1) : us.toFixed(0), 'µs'];
  if (us < 1_000_000) return [(us / 1_000).toFixed(us < 100_000 ? 1 : 0), 'ms'];
  return [(us / 1_000_000).toFixed(1), 's'];
}

function span(seconds) {
  const parts = [[86_400, 'd'], [3_600, 'h'], [60, 'min'], [1, 's']];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return '0 s';
  let rest = Math.floor(seconds);
  const said = [];
  for (const [size, unit] of parts.slice(first, first + 2)) {
    said.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return said.join(' ');
}

const things = (number, one) => `${text(count(number))} ${one}${number === 1 ? '' : 's'}`;

// ---- elements

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const cell = (content, kind = 'number') => element('td', { class: kind }, content);

// ---- the history: a snapshot for each second, the newest last

const seen = [];
let newest = 0;
let shown = WINDOWS[0];

function remember(snapshot) {
  const second = Math.round(snapshot.at_unix_ms / 1000);
  newest = Math.max(second, newest + 1);
  seen.push({ second: newest, snapshot });
  while (seen[0].second <= newest - SECONDS) seen.shift();
  shown = WINDOWS.find((window) => window > newest - seen[0].second);
}

// ---- drawing

function paper(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function colors() {
  const style = getComputedStyle(at('figures'));
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

// The area below a figure over time; seconds without a snapshot are gaps.
function area(canvas, value, top, color) {
  const { pen, width, height } = paper(canvas);
  const step = width / (shown - 1);
  const x = (second) => width - (newest - second) * step;
  const y = (number) => height - 1.5 - (Math.min(number / top, 1) || 0) * (height - 4);
  let run = [];
  const finish = () => {
    if (run.length === 0) return;
    if (run.length === 1) run.push([run[0][0] + step, run[0][1]]);
    pen.beginPath();
    run.forEach(([px, py], place) => (place ? pen.lineTo(px, py) : pen.moveTo(px, py)));
    pen.strokeStyle = color;
    pen.lineWidth = 1.5;
    pen.lineJoin = 'round';
    pen.stroke();
    pen.lineTo(run.at(-1)[0], height);
    pen.lineTo(run[0][0], height);
    pen.globalAlpha = 0.14;
    pen.fillStyle = color;
    pen.fill();
    pen.globalAlpha = 1;
    run = [];
  };
  let before;
  for (const { second, snapshot } of seen) {
    const number = value(snapshot);
    if (number === null || number === undefined || (before && second > before + 2)) finish();
    if (number !== null && number !== undefined) run.push([x(second), y(number)]);
    before = second;
  }
  finish();
}

// ---- the tiles

const TILES = [
  { name: 'Clients', of: (s) => s.now.clients, as: count,
    more: (s) => things(s.now.rooms, 'room') },
  { name: 'Messages in', of: (s) => s.rates.messages, as: count, unit: '/s', peak: true },
  { name: 'Deliveries', of: (s) => s.rates.deliveries, as: count, unit: '/s', peak: true },
  { name: 'Received', of: (s) => s.rates.message_bytes, as: bytes, unit: '/s', peak: true },
  { name: 'Sent', of: (s) => s.rates.sent_bytes, as: bytes, unit: '/s', peak: true },
  { name: 'Frames per send', of: (s) => s.frames_per_send.mean, as: count,
    more: (s) => `${text(count(s.rates.sends))} sends/s` },
  { name: 'Latency p99', of: (s) => s.latency.p99_us, as: micros,
    more: (s) => `max ${text(micros(s.latency.max_us))}` },
  { name: 'CPU', of: (s) => s.process.cpu_cores * 100, as: count, unit: '%',
    more: (s) => `${text(bytes(s.process.resident_bytes ?? 0))} RAM` },
];

function makeTiles() {
  for (const tile of TILES) {
    tile.value = element('strong', {}, '–');
    tile.note = element('p', {}, '\u00a0');
    tile.canvas = element('canvas', { 'aria-hidden': 'true' });
    at('tiles').append(element('article', { class: 'tile' },
      element('h2', {}, tile.name), tile.value, tile.note, tile.canvas));
  }
}

function drawTiles(snapshot, color) {
  for (const tile of TILES) {
    const number = tile.of(snapshot);
    const [digits, unit] = number === null ? ['–', ''] : tile.as(number);
    const suffix = number === null ? '' : `${unit}${tile.unit ?? ''}`;
    tile.value.replaceChildren(digits, element('small', {}, suffix ? ` ${suffix}` : ''));
    const most = Math.max(0, ...seen.map((each) => tile.of(each.snapshot) ?? 0));
    tile.note.textContent = tile.peak ? `peak ${text(tile.as(most))}` : tile.more(snapshot);
    area(tile.canvas, tile.of, most * 1.1 || 1, color('accent'));
  }
}

// ---- the heat map

const LEFT = 64;
const BOTTOM = 20;
let pointer = null;

const LONGEST_NS = 2 ** 34;   // longer latencies are drawn there
const OVER = 16;              // pixels of the row for outliers above the axis
const SHADES = 6;

// Rounds up to 1, 2 or 5 times a power of ten.
function roundUp(ns) {
  const power = 10 ** Math.floor(Math.log10(ns));
  return power * ([1, 2, 5].find((step) => step * power >= ns * 0.999) ?? 10);
}

// The ends of the axis, as decimal logarithms of nanoseconds. It covers all messages but a
// thousandth, or but one if there are few; outliers far above have a row of their own.
function heatScale() {
  const counts = new Map();
  for (const { snapshot } of seen) {
    for (const { below, count: messages } of snapshot.latency.buckets) {
      const ns = below ?? LONGEST_NS;
      counts.set(ns, (counts.get(ns) ?? 0) + messages);
    }
  }
  const bounds = [...counts.keys()].sort((one, other) => one - other);
  if (bounds.length === 0) return { low: 4, high: 7, isOver: false };
  const total = bounds.reduce((sum, ns) => sum + counts.get(ns), 0);
  const apart = Math.max(Math.floor(total / 1_000), total >= 20 ? 1 : 0);
  let within = 0;
  const usual = bounds.find((ns) => (within += counts.get(ns)) + apart >= total);
  const low = Math.max(2, Math.floor(Math.log10(bounds[0]) - 0.35));
  const high = Math.max(low + 1, Math.log10(roundUp(usual)));
  // Outliers that are nearly on the axis do not deserve a row of their own.
  const isOver = Math.log10(bounds.at(-1)) > high + 0.5;
  return { low, isOver, high: isOver ? high : Math.max(high, Math.log10(roundUp(bounds.at(-1)))) };
}

// Colours from few messages to many, in a form that a canvas and a test can read.
function heatShades(color) {
  const parts = (name) => color(name).match(/[0-9a-f]{2}/gi).map((part) => Number.parseInt(part, 16));
  const [few, many] = [parts('heat-few'), parts('heat-many')];
  return Array.from({ length: SHADES }, (_, shade) => {
    const mixed = few.map((part, at) => part + (many[at] - part) * (shade / (SHADES - 1)));
    return `rgb(${mixed.map(Math.round).join(' ')})`;
  });
}

// The nanoseconds at which a bucket begins and ends.
function edges(below) {
  const top = below ?? LONGEST_NS * 1.19;
  if (below === null) return [LONGEST_NS, top];
  // There are four buckets for each power of two.
  const octave = 2 ** Math.floor(Math.log2(top * 0.999));
  return [below <= 512 ? below / 1.25 : top - octave / 4, top];
}

function drawHeat(color) {
  const { pen, width, height } = paper(at('heat'));
  const { low, high, isOver } = heatScale();
  const [right, floor] = [width - 2, height - BOTTOM];
  const ceiling = isOver ? OVER + 4 : 4;
  const step = (right - LEFT) / shown;
  const x = (second) => right - (newest - second + 1) * step;
  const isAbove = (ns) => isOver && Math.log10(ns) > high + 0.001;
  const y = (ns) => (isAbove(ns) ? OVER / 2
    : ceiling + (high - Math.log10(ns)) / (high - low) * (floor - ceiling));
  const grid = { low, high, isOver, right, floor, ceiling, x, y, isNarrow: width < 480 };
  drawGrid(pen, color, grid);
  const shades = heatShades(color);
  for (const { second, snapshot } of seen) {
    const { buckets } = snapshot.latency;
    const total = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
    const cell = (top, bottom, messages) => {
      const share = Math.sqrt(messages / total);
      pen.fillStyle = shades[Math.min(Math.floor(share * SHADES), SHADES - 1)];
      pen.fillRect(x(second), top, Math.max(step, 1) + 0.3, Math.max(bottom - top, 2));
    };
    let above = 0;
    for (const { below, count: messages } of buckets) {
      const [from, to] = edges(below);
      if (isAbove(below ?? LONGEST_NS)) above += messages;
      else cell(y(Math.min(to, 10 ** high)), y(from), messages);
    }
    if (above > 0) cell(0, OVER - 2, above);
  }
  drawLine(pen, color, 'text', x, y, step, (s) => s.latency.p50_us);
  drawLine(pen, color, 'high', x, y, step, (s) => s.latency.p99_us);
  const isEmpty = !seen.some((each) => each.snapshot.latency.buckets.length);
  at('heat-empty').hidden = !isEmpty;
  drawReadout(pen, color, { x, step, floor });
}

function drawGrid(pen, color, { low, high, isOver, right, floor, ceiling, x, y, isNarrow }) {
  pen.font = '11px system-ui, sans-serif';
  pen.lineWidth = 1;
  pen.strokeStyle = color('grid');
  pen.fillStyle = color('dim');
  pen.textAlign = 'right';
  pen.textBaseline = 'middle';
  const label = (ns) => {
    const [number, unit] = micros(ns / 1_000);
    return `${Number(number)} ${unit}`;
  };
  if (isOver) pen.fillText(`> ${label(10 ** high)}`, LEFT - 8, OVER / 2);
  for (let power = low; power <= high; power += 1) {
    const line = Math.round(y(10 ** power)) + 0.5;
    // The row above has the same label.
    if (isOver && line < ceiling + 12) continue;
    pen.beginPath();
    pen.moveTo(LEFT, line);
    pen.lineTo(right, line);
    pen.stroke();
    pen.fillText(label(10 ** power), LEFT - 8, Math.min(Math.max(line, 8), floor - 4));
  }
  pen.textBaseline = 'alphabetic';
  const [apart, unit] = shown > 120 ? [60, 'min'] : [shown / (isNarrow ? 2 : 4), 's'];
  for (let ago = 0; ago <= shown; ago += apart) {
    const place = ago === 0 ? right : Math.max(x(newest - ago + 1), LEFT);
    pen.textAlign = ago === 0 ? 'right' : ago === shown ? 'left' : 'center';
    const past = `−${unit === 'min' ? ago / 60 : ago} ${unit}`;
    pen.fillText(ago === 0 ? 'now' : past, place, floor + 15);
  }
}

// The edge in the card's colour keeps the line visible on cells of every shade.
function drawLine(pen, color, name, x, y, step, of) {
  pen.lineJoin = 'round';
  pen.beginPath();
  let before;
  for (const { second, snapshot } of seen) {
    const us = of(snapshot);
    if (us === null) continue;
    const [px, py] = [x(second) + step / 2, y(us * 1000)];
    if (before === undefined || second > before + 2) pen.moveTo(px - step / 2, py);
    pen.lineTo(px, py);
    before = second;
  }
  for (const [stroke, wide] of [['card', 4], [name, 1.8]]) {
    pen.strokeStyle = color(stroke);
    pen.lineWidth = wide;
    pen.stroke();
  }
}

function drawReadout(pen, color, { x, step, floor }) {
  const under = pointer === null ? undefined
    : seen.find(({ second }) => pointer >= x(second) && pointer < x(second) + step);
  if (!under) {
    at('readout').textContent = '';
    return;
  }
  const { latency, rates, at_unix_ms: ms } = under.snapshot;
  pen.fillStyle = color('dim');
  pen.globalAlpha = 0.6;
  pen.fillRect(x(under.second), 0, 1, floor);
  pen.globalAlpha = 1;
  at('readout').textContent = [
    new Date(ms).toLocaleTimeString(),
    `p50 ${text(micros(latency.p50_us))}`,
    `p99 ${text(micros(latency.p99_us))}`,
    `max ${text(micros(latency.max_us))}`,
    `${text(count(rates.deliveries))} deliveries/s`,
  ].join(' · ');
}

function drawPercentiles({ latency }) {
  const figures = [['p50', latency.p50_us, 'key'], ['p90', latency.p90_us, ''],
    ['p99', latency.p99_us, 'key high'], ['p99.9', latency.p999_us, ''], ['max', latency.max_us, '']];
  at('percentiles').replaceChildren(...figures.map(([name, us, kind]) =>
    element('li', { class: kind }, element('span', {}, `${name} `),
      element('b', {}, text(micros(us))))));
}

// ---- the tables

const FIGURES = ['Busy', 'Connections', 'Outbox', 'Messages/s', 'Deliveries/s', 'Wakes/s'];

function drawShards(snapshot, color) {
  const body = at('shards');
  while (body.children.length > snapshot.shards.length) body.lastChild.remove();
  snapshot.shards.forEach((shard, place) => {
    const row = body.children[place] ?? body.appendChild(element('tr', {},
      element('th', { scope: 'row' }, String(place)),
      element('td', { class: 'wide' }, element('canvas', { 'aria-hidden': 'true' })),
      ...FIGURES.map((name) => element('td', { class: 'number', 'data-name': name }))));
    const stands = shard.turn_age_ms > 5_000;
    const figures = [
      stands ? 'stuck' : `${(shard.busy * 100).toFixed(shard.busy < 0.0995 ? 1 : 0)} %`,
      count(shard.connections), bytes(shard.outbox_bytes), count(shard.messages),
      count(shard.deliveries), count(shard.wakes)];
    figures.forEach((figure, column) => {
      row.children[column + 2].textContent = Array.isArray(figure) ? text(figure) : figure;
    });
    row.children[2].className = stands || shard.busy > 0.9 ? 'number late' : 'number';
    const of = (s) => s.shards[place]?.busy;
    area(row.querySelector('canvas'), of, 1, color(shard.busy > 0.9 ? 'high' : 'accent'));
  });
}

const none = (words, columns) =>
  element('tr', {}, element('td', { class: 'empty', colspan: columns }, words));

function drawSlow({ slow_clients: clients, slow_clients_total: total }) {
  at('slow-count').textContent = total > 0 ? text(count(total)) : '';
  const rows = clients.map((client) => element('tr', {},
    cell(client.address ?? client.connection, 'mono'), cell(client.endpoint, 'kind'),
    cell(text(micros(client.age_ms * 1000)), client.age_ms >= 5_000 ? 'number late' : 'number'),
    cell(text(bytes(client.outbox_bytes)))));
  at('slow').replaceChildren(...(rows.length ? rows : [none('Everybody keeps up.', 4)]));
}

function drawNostr({ nostr = [] }) {
  at('nostr-panel').hidden = nostr.length === 0;
  at('nostr').replaceChildren(...nostr.map((relay) => element('tr', {},
    element('th', { scope: 'row' }, relay.endpoint),
    ...[relay.subscriptions, relay.accepted, relay.refused, relay.queries, relay.deliveries,
      relay.store_events].map((figure) => cell(text(count(figure)))),
    cell(text(bytes(relay.store_bytes))))));
}

function drawEnds(snapshot) {
  const minute = seen.filter(({ second }) => second > newest - 60);
  const recent = (kind, reason) => minute.reduce((sum, each) =>
    sum + (each.snapshot[kind].find((other) => other.reason === reason)?.recent ?? 0), 0);
  const kinds = [['closes', 'closed'], ['refusals', 'refused']];
  const found = kinds.flatMap(([kind, word]) => snapshot[kind].map(({ reason, total }) =>
    ({ reason, word, total, lately: recent(kind, reason) })));
  found.sort((one, other) => other.lately - one.lately || other.total - one.total);
  const rows = found.map(({ reason, word, total, lately }) => element('tr', {},
    element('td', {}, `${reason.replaceAll('_', ' ')} `, element('span', { class: 'kind' }, word)),
    cell(text(count(lately))), cell(text(count(total)))));
  const words = 'No connection was closed or refused.';
  at('ends').replaceChildren(...(rows.length ? rows : [none(words, 3)]));
  at('ends-window').textContent = minute.length >= 58 ? 'Last minute' : `Last ${minute.length} s`;
}

// ---- one snapshot

let configFrom;

function draw() {
  const snapshot = seen.at(-1)?.snapshot;
  if (!snapshot || document.hidden) return;
  const color = colors();
  drawTiles(snapshot, color);
  drawPercentiles(snapshot);
  drawHeat(color);
  drawShards(snapshot, color);
  drawNostr(snapshot);
  drawSlow(snapshot);
  drawEnds(snapshot);
}

const facts = (snapshot) => [
  things(snapshot.now.connections, 'connection'),
  `${text(bytes(snapshot.now.live_bytes))} waiting to be sent`,
  `${things(snapshot.totals.messages, 'message')} so far`,
];

function take(json) {
  const snapshot = JSON.parse(json);
  if (snapshot.format !== 1) {
    state('lost', 'The relay has another version: reload this page');
    return;
  }
  remember(snapshot);
  at('version').textContent = snapshot.version;
  at('version').title = `commit ${snapshot.commit}`;
  at('version').hidden = false;
  lastAt = performance.now();
  tellAge();
  at('facts').textContent = [
    `up ${span(snapshot.uptime_s)}`,
    ...facts(snapshot),
  ].join(' · ');
  at('notice').hidden = snapshot.ready;
  const words = 'The relay is shutting down and accepts no new connections.';
  at('notice').textContent = snapshot.ready ? '' : words;
  if (configFrom !== undefined && configFrom !== snapshot.config_unix_s) {
    admitted().catch(() => {});
  }
  configFrom = snapshot.config_unix_s;
  draw();
}

// ---- where snapshots come from

function state(kind, words) {
  at('state').className = `state ${kind}`;
  if (at('state-words').textContent !== words) at('state-words').textContent = words;
  const title = kind === 'live' ? TITLE : `${words} · ${TITLE}`;
  if (document.title !== title) document.title = title;
  tellAge();
}

let lastAt;                   // when the last snapshot arrived

// Figures that are out of date are grey and show their age. The uptime is hidden then, since that
// of an old snapshot is not the current one.
function tellAge() {
  const isLost = at('state').classList.contains('lost');
  const age = lastAt === undefined ? 0 : performance.now() - lastAt;
  const isStale = lastAt !== undefined && !at('figures').hidden && (isLost || age >= QUIET_MS);
  const wasStale = document.documentElement.classList.contains('stale');
  document.documentElement.classList.toggle('stale', isStale);
  at('age').hidden = !isStale;
  at('age').textContent = isStale
    ? `last data ${span(age / 1000)} ago${isLost ? ', retrying' : ''}` : '';
  const snapshot = seen.at(-1)?.snapshot;
  if (isStale && snapshot) {
    at('facts').textContent = facts(snapshot).join(' · ');
    if (!snapshot.ready) at('notice').textContent = 'The relay was shutting down.';
  }
  if (isStale !== wasStale) draw();
}

const token = () => sessionStorage.getItem(KEY);

function ask(path) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  return fetch(path, { headers, cache: 'no-store', signal: AbortSignal.timeout(15_000) });
}

// Whether the relay admits us; shows the config, or asks for the token.
async function admitted() {
  const answer = await ask('dashboard/config');
  if (answer.status === 401) {
    signIn(token() ? 'This is not the token.' : '');
    return false;
  }
  const body = await answer.text();
  if (!answer.ok) throw new Error(body);
  at('config').textContent = body;
  at('sign-in').hidden = true;
  at('figures').hidden = false;
  at('sign-out').hidden = !token();
  return true;
}

let signedIn = null;

function signIn(problem) {
  sessionStorage.removeItem(KEY);
  at('figures').hidden = true;
  at('sign-out').hidden = true;
  at('sign-in').hidden = false;
  at('problem').textContent = problem;
  at('token').focus();
  state('', 'Signed out');
}

function protocols() {
  if (!token()) return [PROTOCOL];
  const base64 = btoa(token()).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return [PROTOCOL, `token.${base64}`];
}

// Shows snapshots of the stream until it ends. Returns whether any arrived.
function stream() {
  return new Promise((resolve) => {
    const url = new URL('dashboard/stream', location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, protocols());
    let said = false;
    let silence = setTimeout(() => socket.close(), SILENCE_MS);
    socket.onmessage = ({ data }) => {
      clearTimeout(silence);
      silence = setTimeout(() => socket.close(), SILENCE_MS);
      said = true;
      state('live', 'Live');
      take(data);
    };
    socket.onclose = () => {
      clearTimeout(silence);
      resolve(said);
    };
    leave = () => socket.close();
  });
}

let leave = () => {};

// Polls for snapshots until it is time to try the stream again.
async function poll() {
  for (let polls = 0; polls < POLLS && !at('figures').hidden; polls += 1) {
    const answer = await ask('dashboard/snapshot');
    if (!answer.ok) return;
    take(await answer.text());
    state('live', 'Polling');
  }
}

async function run() {
  let failures = 0;
  for (;;) {
    try {
      if (!(await admitted())) {
        await new Promise((resolve) => { signedIn = resolve; });
        continue;
      }
      failures = 0;
      if (!(await stream()) && !at('figures').hidden) await poll();
    } catch {
      failures += 1;
    }
    if (at('sign-in').hidden && seen.length) state('lost', 'Connection lost');
    else if (at('sign-in').hidden && failures) state('lost', 'No answer, retrying');
    if (failures) await sleep(Math.min(1_000 * failures, 5_000));
  }
}

at('sign-in-form').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at('token').value.trim());
  at('token').value = '';
  signedIn?.();
});
at('sign-out').addEventListener('click', () => {
  signIn('');
  leave();
});
at('heat').addEventListener('pointermove', (event) => {
  pointer = event.offsetX;
  draw();
});
at('heat').addEventListener('pointerleave', () => {
  pointer = null;
  draw();
});
addEventListener('resize', draw);
document.addEventListener('visibilitychange', draw);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
setInterval(tellAge, 1_000);
makeTiles();
run();
