'use strict';
// A chat through a relay. A message is JSON, {"name", "text", "at"}; anything else is shown as it
// is. Other users' text only ever becomes text nodes, never markup.

// A relay that does not echo confirms nothing: a message counts as sent after this time.
const ECHO_WAIT_MS = 3_000;
const SHOWN_MAX = 500;
const TEXT_MAX = 10_000;
const NAME_MAX = 40;
const ROOMS_MAX = 12;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

let unread = 0;
let lastSentAt = 0;
// The room that the log shows, and the rooms that this tab has visited.
let joined = null;
let rooms = [];
// Messages of this tab that have not come back yet, in the order of sending: the exact text of the
// frame and its element. They are the last ones in the log.
const pending = new Map();
// The last frames that this tab sent, so that one that comes back late is not shown twice.
const sent = new Set();
const SENT_MAX = 200;

// ---- The connection ----------------------------------------------------------------------------

const connection = new Connection({
  address: () => relayUrl(roomPath()).href,
  state: showChatState,
  opened,
  received: receive,
  unusable: showUnusable,
  lost(reason, wasOpen) {
    giveUpPending();
    if (wasOpen) note(`Connection lost: ${reason}`);
  },
});

function loadSettings() {
  offerRelay();
  byId('room').value = GIVEN.get('room') ?? '/';
  const guest = `Guest ${100 + Math.floor(Math.random() * 900)}`;
  byId('name').value = GIVEN.get('name') ?? memory.get('name') ?? guest;
  rooms = (memory.get('rooms') ?? '').split('\n').filter((room) => room.startsWith('/'));
}

function roomPath() {
  const room = byId('room').value.trim();
  return room.startsWith('/') ? room : `/${room}`;
}

function connect() {
  giveUpPending();
  showProblem('');
  enter(roomPath());
  connection.start();
}

function opened() {
  note(`You are in ${joined} as ${byId('name').value}`);
  if (isPhone()) showSettings(false);
}

function showChatState(state, words) {
  showState(state, words);
  byId('connect').textContent = state === 'open' ? 'Reconnect' : 'Connect';
  byId('send').disabled = state !== 'open';
}

// ---- Rooms -------------------------------------------------------------------------------------

// The log shows one room: entering another one clears it.
function enter(room) {
  if (room !== joined) {
    joined = room;
    byId('log').replaceChildren();
    byId('empty').hidden = false;
    byId('newer').hidden = true;
  }
  byId('room').value = room;
  byId('room-shown').textContent = room;
  if (!rooms.includes(room)) rooms = [...rooms, room].slice(-ROOMS_MAX);
  memory.set('rooms', rooms.join('\n'));
  showRooms();
}

// One button for each room that was visited.
function showRooms() {
  byId('rooms').replaceChildren(...rooms.map((room) => {
    const button = element('button', 'small', room);
    button.type = 'button';
    if (room === joined) button.setAttribute('aria-current', 'true');
    button.classList.toggle('chosen', room === joined);
    button.addEventListener('click', () => {
      byId('room').value = room;
      connectAndLink();
      byId('text').focus();
    });
    return button;
  }));
  byId('rooms').hidden = rooms.length < 2;
}

// The address bar has a link that leads into this room.
function connectAndLink() {
  connect();
  const link = new URLSearchParams({ room: joined });
  if (!SERVED_BY) link.set('relay', byId('relay').value);
  history.replaceState(null, '', `#${link}`);
}

// ---- Messages ----------------------------------------------------------------------------------

function send(text) {
  // Frames of a tab are unique, so that each can be recognised by its text when it comes back.
  lastSentAt = Math.max(Date.now(), lastSentAt + 1);
  const message = { name: byId('name').value, text, at: lastSentAt };
  const frame = JSON.stringify(message);
  connection.send(frame);
  sent.add(frame);
  if (sent.size > SENT_MAX) sent.delete(sent.values().next().value);
  const shown = show({ ...message, isOwn: true });
  shown.classList.add('pending');
  pending.set(frame, shown);
  setTimeout(() => { if (pending.get(frame) === shown) settle(frame); }, ECHO_WAIT_MS);
}

// A frame of this tab is no longer pending.
function settle(frame, outcome = '') {
  const shown = pending.get(frame);
  pending.delete(frame);
  shown.classList.remove('pending');
  if (outcome) shown.querySelector('time').textContent += ` · ${outcome}`;
}

function giveUpPending() {
  for (const frame of [...pending.keys()]) settle(frame, 'not confirmed');
}

function receive(data) {
  if (!sent.has(data)) show(parse(data));
  else if (pending.has(data)) settle(data);
}

// A message of any form, as an entry that can be shown.
function parse(data) {
  if (typeof data !== 'string') {
    return { name: 'Binary', text: `${data.byteLength} bytes`, at: Date.now(), isRaw: true };
  }
  try {
    const { name, text, at } = JSON.parse(data);
    if (typeof text === 'string') {
      const isTime = Number.isFinite(at) && Math.abs(at) < 8.64e15;
      const from = typeof name === 'string' && name.trim() ? name : 'Somebody';
      return { name: from.slice(0, NAME_MAX), text, at: isTime ? at : Date.now() };
    }
  } catch { /* Not JSON: shown as it is. */ }
  return { name: 'Text', text: data, at: Date.now(), isRaw: true };
}

function show({ name, text, at, isOwn = false, isRaw = false }) {
  const shown = element('article', `message${isOwn ? ' own' : ''}${isRaw ? ' raw' : ''}`);
  shown.style.setProperty('--hue', hue(name));
  const head = element('div', 'head');
  const time = element('time', '', clock.format(at));
  time.dateTime = new Date(at).toISOString();
  head.append(element('span', 'name', isOwn ? 'You' : name), time);
  const body = text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)} …` : text;
  shown.append(head, element('div', 'text', body));
  shown.dataset.from = `${isOwn} ${name}`;
  return place(shown);
}

function note(text) {
  place(element('article', 'note', text));
}

// Puts an element after the room's messages and before this tab's pending ones, so that every tab
// shows the relay's order. The view scrolls along if the reader is at the end.
function place(shown) {
  const log = byId('log');
  const isOwn = shown.classList.contains('own');
  const isFollowed = isAtEnd() || isOwn;
  log.insertBefore(shown, isOwn ? null : pending.values().next().value ?? null);
  while (log.childElementCount > SHOWN_MAX) log.firstElementChild.remove();
  for (const each of [log.firstElementChild, shown, shown.nextElementSibling]) group(each);
  const isMessage = shown.dataset.from !== undefined;
  if (isMessage) byId('empty').hidden = true;
  if (isFollowed) toEnd();
  else byId('newer').hidden = false;
  if (document.hidden && isMessage) showUnread(unread + 1);
  return shown;
}

// Consecutive messages of one sender share one head.
function group(shown) {
  const from = shown?.dataset.from;
  const before = shown?.previousElementSibling?.dataset.from;
  shown?.classList.toggle('follows', from !== undefined && from === before);
}

function isAtEnd() {
  const log = byId('log');
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function toEnd() {
  const log = byId('log');
  log.scrollTop = log.scrollHeight;
  byId('newer').hidden = true;
}

function showUnread(count) {
  unread = count;
  document.title = count > 0 ? `(${count}) Corecast chat` : 'Corecast chat';
}

// ---- User actions ---------------------------------------------------------------------------

byId('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  byId('name').value = byId('name').value.trim() || 'Guest';
  memory.set('name', byId('name').value);
  connectAndLink();
});
byId('name').addEventListener('change', () => memory.set('name', byId('name').value));
byId('compose').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = byId('text').value.trim();
  if (text && connection.isOpen) {
    send(text);
    byId('text').value = '';
  }
  byId('text').focus();
});
byId('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId('compose').requestSubmit();
  }
});
byId('newer').addEventListener('click', toEnd);
byId('log').addEventListener('scroll', () => {
  if (isAtEnd()) byId('newer').hidden = true;
});
document.addEventListener('visibilitychange', () => { if (!document.hidden) showUnread(0); });

wireHead(connection);
loadSettings();
showSettings(!isPhone());
connect();
