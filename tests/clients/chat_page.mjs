// examples/chat.html in headless Chromium, as people open it: in several tabs, from a static server
// and as a file.
//
// Run by scripts/test-clients, which installs playwright-core, finds Chromium (CHROMIUM) and sets
// CORECAST_BIN. SCREENSHOTS names a folder for pictures of the page.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { DEADLINE_MS, Relay, soon, tool } from './relay.mjs';

const { chromium } = tool('playwright-core');
const WebSocket = tool('ws');

const PAGE = fileURLToPath(new URL('../../examples/chat.html', import.meta.url));
const FLAGS = [
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-domain-reliability',
  '--disable-sync',
  '--no-first-run',
  '--no-pings',
];

let relay;
let browser;
let files;
let site;

before(async () => {
  relay = await Relay.start();
  files = createServer(async (request, response) => {
    const isPage = request.url === '/chat.html';
    response.writeHead(isPage ? 200 : 404, { 'Content-Type': 'text/html; charset=utf-8' });
    response.end(isPage ? await readFile(PAGE) : '');
  });
  files.listen(0, '127.0.0.1');
  await once(files, 'listening');
  site = `http://127.0.0.1:${files.address().port}/chat.html`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    chromiumSandbox: false,
    args: FLAGS,
    timeout: DEADLINE_MS,
  });
});

after(async () => {
  await browser?.close();
  files?.close();
  await relay?.stop();
});

// Opens a tab in the room and waits until it is connected. What it asks for beside the page itself,
// and every error of its script, is collected.
async function open(context, { name, room = '/', page: url = site }) {
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.offences = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:')) {
      page.offences.push(request.url());
    }
  });
  page.on('pageerror', (error) => page.offences.push(String(error)));
  const fragment = new URLSearchParams({ relay: relay.url('/'), room, name });
  await page.goto(`${url}#${fragment}`);
  await connected(page);
  return page;
}

function connected(page) {
  return page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor();
}

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

// The messages that a tab shows, once the last of them has that text.
async function heard(page, last) {
  await page.locator('.message:not(.pending)').filter({ hasText: last }).last().waitFor();
  return page.locator('.message').evaluateAll((messages) =>
    messages.map((message) => [
      message.querySelector('.name').textContent,
      message.querySelector('.text').textContent,
    ]),
  );
}

async function finish(...pages) {
  for (const page of pages) {
    assert.deepEqual(page.offences, []);
    await page.close();
  }
}

// The width that the page's content takes, in CSS pixels.
function widthOf(page) {
  return page.evaluate(() => document.documentElement.scrollWidth);
}

// A picture, where SCREENSHOTS asks for them.
async function picture(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`) });
}

test('two tabs chat, and one in another room hears nothing', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada' });
  const ben = await open(context, { name: 'Ben' });
  const cy = await open(context, { name: 'Cy', room: '/elsewhere' });
  await say(ada, 'Hello Ben');
  await heard(ben, 'Hello Ben');
  await say(ben, 'Hello Ada');
  await heard(ada, 'Hello Ada');
  await say(cy, 'Alone here');
  assert.deepEqual(await heard(ada, 'Hello Ada'), [['You', 'Hello Ben'], ['Ben', 'Hello Ada']]);
  assert.deepEqual(await heard(ben, 'Hello Ada'), [['Ada', 'Hello Ben'], ['You', 'Hello Ada']]);
  assert.deepEqual(await heard(cy, 'Alone here'), [['You', 'Alone here']]);
  await finish(ada, ben, cy);
  await context.close();
});

test('it works as a file too', async () => {
  const context = await browser.newContext();
  const page = pathToFileURL(PAGE).href;
  const [ada, ben] = [
    await open(context, { name: 'Ada', room: '/file', page }),
    await open(context, { name: 'Ben', room: '/file', page }),
  ];
  await say(ada, 'from a file');
  assert.deepEqual(await heard(ben, 'from a file'), [['Ada', 'from a file']]);
  await finish(ada, ben);
  await context.close();
});

test('markup in names and messages stays text', async () => {
  const context = await browser.newContext();
  const evil = '<script>document.title = "owned"</script><img src=x onerror="document.title=1">';
  const ada = await open(context, { name: '<b>Ada</b>', room: '/markup' });
  const ben = await open(context, { name: 'Ben', room: '/markup' });
  await say(ada, evil);
  assert.deepEqual(await heard(ben, 'onerror'), [['<b>Ada</b>', evil]]);
  for (const page of [ada, ben]) {
    assert.equal(await page.locator('.log :is(script, img, b)').count(), 0);
    assert.equal(await page.title(), 'Corecast chat');
  }
  await finish(ada, ben);
  await context.close();
});

test('messages that are no chat messages are shown as they are', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada', room: '/raw' });
  const other = new WebSocket(relay.url('/raw'));
  await soon(once(other, 'open'));
  const forms = ['not JSON', '{"text": 7}', 'null', '[1]', '{"text":"no name","at":1e300}'];
  for (const form of forms) other.send(form);
  other.send(Buffer.alloc(12));
  other.send('{"name": {}, "text": "last", "at": "yesterday"}');
  assert.deepEqual(await heard(ada, 'last'), [
    ...forms.slice(0, 4).map((form) => ['Text', form]),
    ['Somebody', 'no name'],
    ['Binary', '12 bytes'],
    ['Somebody', 'last'],
  ]);
  other.close();
  await finish(ada);
  await context.close();
});

test('the keyboard alone changes the room', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada', room: '/before' });
  const ben = await open(context, { name: 'Ben', room: '/after' });
  await ada.keyboard.press('Tab');
  await ada.getByLabel('Connection settings').and(ada.locator(':focus')).waitFor();
  await ada.keyboard.press('Tab');
  await ada.keyboard.press('Tab');
  await ada.keyboard.press('ControlOrMeta+a');
  await ada.keyboard.type('after');
  await ada.keyboard.press('Enter');
  await ada.getByText('You are in /after as Ada').waitFor();
  await say(ada, 'moved');
  assert.deepEqual(await heard(ben, 'moved'), [['Ada', 'moved']]);
  await finish(ada, ben);
  await context.close();
});

test('an address that cannot be used is said and not retried', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada' });
  await ada.getByLabel('Relay').fill('nonsense');
  await ada.keyboard.press('Enter');
  await ada.getByRole('alert').filter({ hasText: 'no address of a relay' }).waitFor();
  assert.equal(await ada.getByText('Retrying').count(), 0);
  await finish(ada);
  await context.close();
});

test('tabs reconnect after the relay was restarted', async () => {
  const context = await browser.newContext({ viewport: { width: 320, height: 568 } });
  const ada = await open(context, { name: 'Ada', room: '/restart' });
  const ben = await open(context, { name: 'Ben', room: '/restart' });
  const { port } = relay;
  await relay.stop();
  for (const page of [ada, ben]) await page.getByText('Connection lost').first().waitFor();
  assert.equal(await ada.getByRole('button', { name: 'Send' }).isDisabled(), true);
  assert.ok((await widthOf(ada)) <= 320);
  await picture(ada, 'phone-lost');
  relay = await Relay.start({ port });
  for (const page of [ada, ben]) await connected(page);
  await say(ada, 'back again');
  assert.deepEqual(await heard(ben, 'back again'), [['Ada', 'back again']]);
  await finish(ada, ben);
  await context.close();
});

const looks = [
  { name: 'desktop-light', colorScheme: 'light', viewport: { width: 1200, height: 760 } },
  { name: 'phone-dark', colorScheme: 'dark', viewport: { width: 390, height: 780 } },
  { name: 'phone-light', colorScheme: 'light', viewport: { width: 320, height: 568 } },
];
for (const { name, ...look } of looks) {
  test(`nothing is cut off or out of reach: ${name}`, async () => {
    const context = await browser.newContext(look);
    const room = `/${name}`;
    const ada = await open(context, { name: 'Ada', room });
    const ben = await open(context, { name: 'Ben', room });
    await ada.bringToFront();
    await picture(ada, `${name}-empty`);
    await say(ben, 'Morning! Is the relay up?');
    await heard(ada, 'relay up');
    await say(ada, 'It is. Two shards, one order for everybody.');
    await say(ada, `A long word: ${'abcdefghij'.repeat(12)}`);
    await heard(ben, 'A long word');
    await say(ben, 'Lines\nstay lines, and <b>markup</b> stays text ✓');
    await heard(ada, 'stay lines');
    await ada.bringToFront();
    const width = await widthOf(ada);
    assert.ok(width <= look.viewport.width, `${width} pixels wide`);
    for (const button of ['Send', 'Connection settings']) {
      await ada.getByRole('button', { name: button }).click({ trial: button !== 'Send' });
    }
    await picture(ada, name);
    await finish(ada, ben);
    await context.close();
  });
}
