'use strict';
// A console for pushes: one side shows the messages of a client with a token, the other sends a
// back end's requests to the push API. The API key stays in its field: nothing stores it.

const SHOWN_MAX = 100;
const ANSWERS_MAX = 10;
const TEXT_MAX = 4_000;

const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit', minute: '2-digit', second: '2-digit',
});
let received = 0;
let refreshTimer = 0;

// ---- The connection ----------------------------------------------------------------------------

const connection = new Connection({
  address: () => relayUrl(socketPath()).href,
  state(state, words) {
    showState(state, words);
    byId('connect').textContent = state === 'open' ? 'Reconnect' : 'Connect';
    for (const id of ['ping', 'identify']) byId(id).disabled = state !== 'open';
  },
  opened() {
    const token = byId('token').value.trim();
    note(token ? `Connected with the token ${token}` : 'Connected without a token');
    if (isPhone()) showSettings(false);
  },
  received: receive,
  unusable: showUnusable,
  lost(reason, wasOpen) {
    if (wasOpen) note(`Connection lost: ${reason}`);
  },
});

function socketPath() {
  const token = byId('token').value.trim();
  return pathIn('path') + (token ? `?token=${encodeURIComponent(token)}` : '');
}

function pathIn(field) {
  return `/${byId(field).value.trim().replace(/^\/+/, '')}`;
}

// ---- Received ----------------------------------------------------------------------------------

function receive(data) {
  const message = parse(data);
  const now = Date.now();
  if (message?.type === 'pong') {
    return note(`Pong after ${now - message.ts} ms`);
  }
  if (typeof message?.event !== 'string' || typeof message.data !== 'object') {
    const text = typeof data === 'string' ? data : `${data.byteLength} bytes`;
    return place(card({ title: 'Something else', text }));
  }
  const { subject = null, token = null, ts } = message.data ?? {};
  const facts = [`token ${JSON.stringify(token)}`];
  if (Number.isFinite(ts)) facts.push(`sent ${clock.format(ts)}`);
  const text = JSON.stringify(subject, null, 2);
  place(card({ title: message.event, text, facts: facts.join(' · ') }));
  received += 1;
  byId('events-count').textContent = `${received}`;
}

function parse(text) {
  try { return JSON.parse(text); } catch { return undefined; }
}

function note(text) {
  place(card({ title: text, kind: 'note-like' }));
}

// The newest comes first.
function place(shown) {
  byId('events').prepend(shown);
  while (byId('events').childElementCount > SHOWN_MAX) byId('events').lastElementChild.remove();
  byId('no-event').hidden = true;
}

// An entry of one of the lists. Its content becomes text, never markup.
function card({ title, text = '', facts = '', kind = '', button = null }) {
  const shown = element('li', `event ${kind}`);
  const head = element('div', 'title');
  head.append(element('strong', '', title), button ?? timeOf(Date.now()));
  shown.append(head);
  if (text) {
    const cut = text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)} …` : text;
    shown.append(element('pre', '', cut));
  }
  if (facts) shown.append(element('div', 'facts', facts));
  return shown;
}

function timeOf(at) {
  const time = element('time', '', clock.format(at));
  time.dateTime = new Date(at).toISOString();
  return time;
}

// ---- Push --------------------------------------------------------------------------------------

// The body of the request, or nothing if a field is invalid. JSON is sent as it was typed: a number
// keeps its digits.
function body() {
  const fields = [];
  const add = (name, json) => fields.push(`${JSON.stringify(name)}:${json}`);
  add('event_name', JSON.stringify(byId('event-name').value.trim()));
  const subject = byId('subject').value.trim() || 'null';
  if (!isJson('subject', subject, 'The subject')) return undefined;
  add('subject', subject);
  add('delay_seconds', Math.trunc(Number(byId('delay').value)) || 0);
  const to = byId('to').value.trim();
  const target = byId('target').value;
  if (target === 'json' && !isJson('to', to, 'The token')) return undefined;
  if (target !== 'all') add('token', target === 'json' ? to : JSON.stringify(to));
  return `{${fields.join(',')}}`;
}

function isJson(field, text, what) {
  const isValid = parse(text) !== undefined;
  byId(field).setAttribute('aria-invalid', String(!isValid));
  byId('push-problem').textContent = isValid ? '' : `${what} is not JSON. Texts need quotes.`;
  return isValid;
}

// Sends a request to the API. A failed request is shown and returns nothing.
async function ask(method, path, sent) {
  const headers = { 'X-API-KEY': byId('key').value };
  if (sent) headers['Content-Type'] = 'application/json';
  try {
    const response = await fetch(httpUrl(pathIn('api') + path), { method, headers, body: sent });
    return { status: response.status, text: await response.text() };
  } catch {
    const text = SERVED_BY ? 'The relay cannot be reached.'
      : 'The relay cannot be reached from here. Browsers let no other page use a push API with a '
        + 'key: set pages.enabled and open /demo/push.html of the relay, or copy it as curl.';
    showAnswer({ title: 'No answer', text, kind: 'refused' });
    return null;
  }
}

async function push() {
  const sent = body();
  if (sent === undefined) return;
  const answer = await ask('POST', '', sent);
  if (answer === null) return;
  const isOk = answer.status === 200;
  const { queued, delay_seconds: delay } = parse(answer.text)?.data ?? {};
  const isLater = delay > 0;
  const connections = queued === 1 ? 'connection' : 'connections';
  const outcome = isLater ? 'waits' : `queued for ${queued} ${connections}`;
  const title = isOk ? `200: ${outcome}` : `${answer.status}`;
  showAnswer({ title, text: answer.text, kind: isOk ? '' : 'refused' });
  if (isOk && isLater) showWaiting();
}

function showAnswer(answer) {
  byId('answers').prepend(card(answer));
  while (byId('answers').childElementCount > ANSWERS_MAX) byId('answers').lastElementChild.remove();
  byId('no-answer').hidden = true;
}

function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

async function copy() {
  const sent = body();
  if (sent === undefined) return;
  const command = `curl -H "X-API-KEY: $RELAY_API_KEY" -H 'Content-Type: application/json' `
    + `-d ${quoted(sent)} ${quoted(httpUrl(pathIn('api')))}`;
  let title = 'Copied';
  try {
    await navigator.clipboard.writeText(command);
  } catch {
    title = 'As curl';
  }
  showAnswer({ title, text: command });
}

// ---- Pending ------------------------------------------------------------------------------------

async function showWaiting() {
  clearTimeout(refreshTimer);
  const answer = await ask('GET', '/pending');
  if (answer === null) return;
  const { pending = [], count = 0 } = parse(answer.text)?.data ?? {};
  if (answer.status !== 200) {
    showAnswer({ title: `${answer.status}`, text: answer.text, kind: 'refused' });
  }
  byId('waiting').replaceChildren(...pending.map(waitingCard));
  byId('waiting-count').textContent = count > 0 ? `${count}` : '';
  byId('waiting-hint').hidden = pending.length > 0;
  const next = Math.min(...pending.map((each) => each.due_ms));
  if (Number.isFinite(next)) {
    refreshTimer = setTimeout(showWaiting, Math.max(500, next - Date.now() + 200));
  }
}

function waitingCard({ id, due_ms: due, event_name: title, target_user_id: user, broadcast }) {
  const button = element('button', 'small', 'Cancel');
  button.type = 'button';
  button.setAttribute('aria-label', `Cancel ${title}`);
  button.addEventListener('click', async () => {
    button.disabled = true;
    const answer = await ask('DELETE', `/pending/${encodeURIComponent(id)}`);
    if (answer !== null) {
      showAnswer({ title: `${answer.status}: cancel ${title}`, text: answer.text });
    }
    showWaiting();
  });
  const facts = `${broadcast ? 'to everybody' : `to ${user}`} · due ${clock.format(due)}`;
  return card({ title, facts, kind: 'note-like', button });
}

// ---- User actions ---------------------------------------------------------------------------

function showTarget() {
  const target = byId('target').value;
  byId('to-label').hidden = target === 'all';
  byId('to-words').textContent = target === 'json' ? 'Token (JSON)' : 'Token';
}

byId('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  memory.set('token', byId('token').value.trim());
  showProblem('');
  connection.start();
});
byId('push').addEventListener('submit', (event) => {
  event.preventDefault();
  push();
});
byId('target').addEventListener('change', showTarget);
byId('copy').addEventListener('click', copy);
byId('refresh').addEventListener('click', showWaiting);
byId('ping').addEventListener('click', () => {
  connection.send(JSON.stringify({ type: 'ping', ts: Date.now() }));
});
byId('identify').addEventListener('click', () => {
  const token = byId('token').value.trim();
  connection.send(JSON.stringify({ event: 'identify', data: { token } }));
  note(token ? `Identified as ${token}` : 'A relay ignores an empty token');
});
byId('clear').addEventListener('click', () => {
  byId('events').replaceChildren();
  byId('no-event').hidden = false;
});

wireHead(connection);
offerRelay();
byId('path').value = GIVEN.get('path') ?? '/ws';
byId('api').value = GIVEN.get('api') ?? '/api/push';
byId('token').value = GIVEN.get('token') ?? memory.get('token') ?? 'USER_123';
byId('to').value = byId('token').value;
showTarget();
showSettings(!isPhone());
connection.start();
