// The dashboard in headless Chromium, with clients that talk, clients that do not read, and a relay
// that disappears.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import { LOOKS, assertUsable, finish, launch, open as openPage, picture } from './browser.mjs';
import { DEADLINE_MS, Relay, soon, tool } from './relay.mjs';

const WebSocket = tool('ws');

const TOKEN = 'a/token+for the dashboard='.replaceAll(' ', '-');
const settings = [
  'engine.send_buffer_bytes=64KiB', 'slow_client.outbox_age=60s', 'keepalive.ping=off',
  'keepalive.pong=off', 'endpoints.notes.kind=nostr', 'endpoints.notes.path=/nostr',
];
let relay;
let load;
let browser;

// Five clients of a room, one of which sends every 10 ms, and one that never reads.
class Load {
  static async start(to) {
    const running = new Load();
    running.clients = Array.from({ length: 5 }, () => new WebSocket(to.url('/load')));
    await soon(Promise.all(running.clients.map((client) => once(client, 'open'))));
    running.stalled = connect(to.port, '127.0.0.1');
    running.stalled.write('GET /load HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\n'
      + 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
      + 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n');
    running.stalled.on('error', () => {});
    await soon(once(running.stalled, 'readable'));
    const message = Buffer.alloc(8_000);
    running.timer = setInterval(() => running.clients[0].send(message), 10);
    return running;
  }

  stop() {
    clearInterval(this.timer);
    for (const client of this.clients) client.terminate();
    this.stalled.destroy();
  }
}

before(async () => {
  relay = await Relay.start({ settings });
  load = await Load.start(relay);
  browser = await launch();
});

after(async () => {
  load?.stop();
  await browser?.close();
  await relay?.stop();
});

function open(context, { of = relay, prepare } = {}) {
  return openPage(context, `http://${of.admin}/`, prepare);
}

const says = (page, words) =>
  page.getByRole('status').filter({ hasText: new RegExp(`^${words}$`) }).waitFor();
const tile = (page, name) => page.locator('.tile', { hasText: name }).locator('strong');

// Waits until the text of `locator` holds.
async function until(locator, holds, what) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const text = await locator.textContent();
    if (holds(text)) return text;
    assert.ok(Date.now() < deadline, `never: ${what}; ${text}`);
    await locator.page().waitForTimeout(100);
  }
}

test('a relay for Nostr has a row of its own', async () => {
  const context = await browser.newContext();
  const page = await open(context);
  const client = new WebSocket(relay.url('/nostr'));
  await soon(once(client, 'open'));
  client.send('["REQ","s",{}]');
  const row = page.locator('#nostr tr');
  await until(row, (text) => /^notes\s*1/.test(text), 'one subscription');
  client.terminate();
  await until(row, (text) => /^notes\s*0/.test(text), 'no subscription');
  await finish(page);
  await context.close();
});

test('it shows what the relay does while it does it', async () => {
  const context = await browser.newContext();
  const page = await open(context);
  await says(page, 'Live');
  await until(tile(page, 'Clients'), (text) => text.trim() === '6', 'six clients');
  await until(tile(page, 'Messages in'), (text) => Number.parseFloat(text) > 20, 'messages');
  await until(tile(page, 'Deliveries'), (text) => Number.parseFloat(text) > 100, 'deliveries');
  await until(tile(page, 'Latency p99'), (text) => /[µm]s/.test(text), 'a latency');
  assert.equal(await page.locator('#shards tr').count(), 2);
  assert.equal(await page.locator('#heat-empty').isVisible(), false);
  const slow = page.locator('#slow tr').first();
  await until(slow, (text) => text.includes('hub'), 'a slow client');
  assert.ok(!(await slow.textContent()).includes('127.0.0.1'), 'its address is nobody\'s business');
  const leaving = new WebSocket(relay.url('/other'));
  await soon(once(leaving, 'open'));
  leaving.close(1000);
  await until(page.locator('#ends'), (text) => text.includes('client closed'), 'a close');
  await page.getByText('Config in effect').click();
  await until(page.locator('#config'), (text) => text.includes('send_buffer_bytes: 64KiB'), 'the config');
  await finish(page);
  await context.close();
});

test('where WebSockets are kept from it, it asks', async () => {
  const context = await browser.newContext();
  const page = await open(context, { prepare: (page) => page.addInitScript(() => {
    globalThis.WebSocket = class {
      constructor() {
        setTimeout(() => this.onclose());
      }

      close() {}
    };
  }) });
  await says(page, 'Polling');
  const facts = page.locator('#facts');
  const first = await until(facts, (text) => text.includes('so far'), 'a snapshot');
  await until(facts, (text) => text !== first, 'another one');
  await finish(page);
  await context.close();
});

test('the token opens it, for this tab, and is in no address and no log', async () => {
  const guarded = await Relay.start({ settings: [`admin.token=${TOKEN}`, 'metrics.host=0.0.0.0'] });
  guarded.admin = guarded.admin.replace('0.0.0.0', '127.0.0.1');
  const asked = [];
  const context = await browser.newContext({ viewport: { width: 390, height: 780 } });
  const page = await open(context, { of: guarded, prepare: (page) => {
    page.on('request', (request) => asked.push(request.url()));
    page.on('websocket', (socket) => asked.push(socket.url()));
  } });
  await page.getByRole('heading', { name: 'This dashboard needs a token' }).waitFor();
  assert.equal(await page.getByText('Config in effect').isVisible(), false);
  await picture(page, 'dashboard-sign-in');
  await assertUsable(page, ['Open']);
  await page.getByLabel('Token').fill('not the token');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: 'not the token' }).waitFor();
  await page.getByLabel('Token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await says(page, 'Live');
  await page.reload();
  await says(page, 'Live');
  assert.ok(asked.some((url) => url.endsWith('/dashboard/stream')), asked);
  const said = [...asked, page.url(), ...guarded.log].join('\n');
  assert.ok(!said.includes(TOKEN) && !said.includes(encodeURIComponent(TOKEN)), said);
  assert.ok(!(await page.content()).includes(TOKEN), 'nor does the config on it show it');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'This dashboard needs a token' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'This dashboard needs a token' }).waitFor();
  await finish(page);
  await context.close();
  await guarded.stop();
});

test('it says when the relay is gone, and goes on when it is back', async () => {
  const first = await Relay.start({ settings });
  const port = first.admin.split(':').at(-1);
  const context = await browser.newContext();
  const page = await open(context, { of: first });
  await says(page, 'Live');
  await first.stop();
  await says(page, 'Connection lost');
  const second = await Relay.start({ settings: [...settings, `metrics.port=${port}`] });
  await says(page, 'Live');
  await finish(page);
  await context.close();
  await second.stop();
});

test('in light and dark, on a desktop and a phone, nothing is cut off or hard to read', async () => {
  const pages = await Promise.all(LOOKS.map(async ({ name, ...look }) => {
    const context = await browser.newContext(look);
    return { name, context, page: await open(context) };
  }));
  for (const { name, context, page } of pages) {
    await page.bringToFront();
    await says(page, 'Live');
    await until(tile(page, 'Latency p99'), (text) => /[µm]s/.test(text), 'a latency');
    await picture(page, `dashboard-${name}`, { fullPage: true });
    await page.getByText('Config in effect').click();
    await assertUsable(page, []);
    await finish(page);
    await context.close();
  }
});
