// The dashboard in headless Chromium, with clients that talk, clients that do not read, and a relay
// that disappears.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import { LOOKS, assertFits, assertUsable, finish, launch, open as openPage, picture } from './browser.mjs';
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

test('a lost connection greys the figures, says their age and is in the title', async () => {
  const first = await Relay.start({ settings });
  const port = first.admin.split(':').at(-1);
  const context = await browser.newContext();
  const page = await open(context, { of: first });
  await says(page, 'Live');
  const facts = page.locator('#facts');
  await until(facts, (text) => text.includes('up '), 'an uptime');
  const ink = () => page.locator('.tile strong').first().evaluate((one) => getComputedStyle(one).color);
  const [fresh, title] = [await ink(), await page.title()];
  assert.equal(title, 'Corecast dashboard');
  await first.stop();
  await says(page, 'Connection lost');
  const seconds = (text) => Number(/^last data (\d+) s ago, retrying$/.exec(text)?.[1] ?? Number.NaN);
  const age = page.locator('#age');
  const early = seconds(await until(age, (text) => seconds(text) >= 0, 'an age'));
  await until(age, (text) => seconds(text) > early, 'an age that grows');
  assert.equal(await page.title(), 'Connection lost · Corecast dashboard');
  assert.notEqual(await ink(), fresh, 'the figures are not dimmed');
  assert.ok(!(await facts.textContent()).includes('up '), 'an uptime that nobody knows');
  await page.setViewportSize({ width: 390, height: 780 });
  await picture(page, 'dashboard-lost-phone');
  await assertFits(page);
  await page.setViewportSize({ width: 1200, height: 760 });
  await picture(page, 'dashboard-lost');
  await assertUsable(page, []);
  const second = await Relay.start({ settings: [...settings, `metrics.port=${port}`] });
  await says(page, 'Live');
  await until(facts, (text) => text.includes('up '), 'an uptime');
  assert.deepEqual([await page.title(), await ink()], [title, fresh]);
  assert.equal(await age.isVisible(), false);
  await finish(page);
  await context.close();
  await second.stop();
});

// A page that gets a minute of snapshots, each with these latencies, one with an outlier of 4 s.
async function withOutlier(context) {
  const page = await open(context, { prepare: (page) => page.addInitScript(() => {
    globalThis.WebSocket = class {
      close() {}
    };
  }) });
  await page.locator('#figures').waitFor();
  await page.evaluate(async () => {
    const snapshot = await (await fetch('dashboard/snapshot')).json();
    const usual = [{ below: 40_960, count: 90 }, { below: 114_688, count: 10 }];
    for (let second = 0; second < 60; second += 1) {
      const buckets = second === 30 ? [...usual, { below: 2 ** 32, count: 1 }] : usual;
      globalThis.take(JSON.stringify({
        ...snapshot, at_unix_ms: snapshot.at_unix_ms + second * 1_000,
        latency: { ...snapshot.latency, p50_us: 40, p99_us: 114, max_us: 114, buckets },
      }));
    }
  });
  return page;
}

// The contrast of two colours by WCAG 2.1.
function contrast(...colors) {
  const [low, high] = colors.map((color) => {
    const [r, g, b] = color.map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }).sort((one, other) => one - other);
  return (high + 0.05) / (low + 0.05);
}

for (const colorScheme of ['light', 'dark']) {
  test(`one outlier leaves the axis to the others, and every cell is seen: ${colorScheme}`, async () => {
    const context = await browser.newContext({ colorScheme });
    const page = await withOutlier(context);
    const { top, shades, card, columns } = await page.evaluate(() => {
      /* global colors, heatScale, heatShades, at, LEFT */
      const canvas = at('heat');
      const pen = canvas.getContext('2d');
      const ratio = canvas.width / canvas.clientWidth;
      const numbers = (color) => {
        const probe = document.createElement('canvas').getContext('2d');
        probe.fillStyle = color;
        probe.fillRect(0, 0, 1, 1);
        return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
      };
      const step = (canvas.clientWidth - 2 - LEFT) / 60;
      // The colours from the top down in the middle of a second.
      const column = (second) => {
        const x = Math.round((LEFT + (second + 0.5) * step) * ratio);
        const { data } = pen.getImageData(x, 0, 1, canvas.height);
        return Array.from({ length: canvas.height }, (_, y) => [...data.slice(4 * y, 4 * y + 4)]);
      };
      return {
        top: 10 ** heatScale().high, card: numbers(colors()('card')),
        shades: heatShades(colors()).map(numbers), columns: [column(30), column(20)],
      };
    });
    assert.ok(top < 1e6, `the axis ends at ${top} ns`);
    const isCell = ([r, g, b]) => shades.some((shade) => shade.join() === [r, g, b].join());
    const [outlier, usual] = columns;
    assert.ok(isCell(outlier[6]), `no cell in the row at the top: ${outlier[6]}`);
    assert.ok(!isCell(usual[6]), 'a cell without a message');
    const share = (usual.findLastIndex(isCell) - usual.findIndex(isCell)) / usual.length;
    assert.ok(share > 0.2, `the usual latencies have ${share} of the height`);
    const contrasts = shades.map((shade) => contrast(shade, card));
    assert.ok(contrasts[0] >= 3, `the lightest cell has ${contrasts[0]}`);
    const growing = contrasts.slice(1).filter((each, at) => each > contrasts[at]);
    assert.equal(growing.length, shades.length - 1, contrasts.join());
    await picture(page, `dashboard-outlier-${colorScheme}`);
    await finish(page);
    await context.close();
  });
}

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
    await assertFits(page);
    await page.getByText('Config in effect').click();
    await assertUsable(page, []);
    await finish(page);
    await context.close();
  }
});
