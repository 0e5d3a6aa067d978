// The push console in headless Chromium, as the relay serves it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { LOOKS, asFile, assertUsable, connected, finish, launch, open as openPage, picture, served }
  from './browser.mjs';
import { Relay } from './relay.mjs';

const KEY = 'test-key';

let relay;
let browser;

before(async () => {
  relay = await Relay.start({ settings: ['pages.enabled=true', `api.keys=${KEY}`] });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await relay?.stop();
});

async function contextOf(t, options = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  return context;
}

// Opens the console with a token, and waits until it is connected.
async function open(context, token) {
  const page = await openPage(context, served(relay, 'push.html', { token }));
  await connected(page);
  await page.getByLabel('API key').fill(KEY);
  return page;
}

async function push(page, { event = 'greeting', subject = '{"text": "Hello"}', delay = 0 } = {}) {
  await page.getByLabel('Event name').fill(event);
  await page.getByLabel('Subject').fill(subject);
  await page.getByLabel('Delay in seconds').fill(String(delay));
  await page.getByRole('button', { name: 'Push', exact: true }).click();
}

function entry(page, list, text) {
  return page.getByRole('list', { name: list }).getByRole('listitem').filter({ hasText: text });
}

const received = (page, text) => entry(page, 'Received', text);
const answer = (page, text) => entry(page, 'Answers', text);

test('a push reaches the consoles with its token, and one to everybody reaches all', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, 'ada');
  const ben = await open(context, 'ben');
  await push(ada, { subject: '{"number": 12345678901234567890}' });
  await received(ada, 'greeting').waitFor();
  // Passed on as written; the console shows numbers as JavaScript has them.
  await answer(ada, 'queued for 1 connection').waitFor();
  await ada.getByRole('combobox').selectOption('all');
  await push(ada, { event: 'news' });
  await received(ada, 'news').waitFor();
  await received(ben, 'news').waitFor();
  await answer(ada, 'queued for 2 connections').waitFor();
  assert.equal(await received(ben, 'greeting').count(), 0);
  await finish(ada, ben);
});

test('identify moves the console to another token, and ping is answered', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, 'before');
  await ada.getByRole('textbox', { name: 'Token' }).first().fill('after');
  await ada.getByRole('button', { name: 'Identify' }).click();
  await ada.getByRole('button', { name: 'Ping' }).click();
  await received(ada, /^Pong after \d+ ms/).waitFor();
  await ada.locator('#to').fill('after');
  await push(ada);
  await received(ada, 'token "after"').waitFor();
  await finish(ada);
});

test('a delayed push waits, is listed, and can be cancelled', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, 'later');
  await push(ada, { event: 'never', delay: 600 });
  await answer(ada, '200: waits').waitFor();
  await ada.getByRole('button', { name: 'Cancel never' }).click();
  await answer(ada, '200: cancel never').waitFor();
  await ada.getByText('Pushes with a delay are listed here').waitFor();
  await push(ada, { event: 'soon', delay: 1 });
  await received(ada, 'soon').waitFor();
  assert.equal(await received(ada, 'never').count(), 0);
  await finish(ada);
});

test('what the relay refuses is shown, and JSON is checked before it is sent', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, 'ada');
  await push(ada, { subject: 'no JSON' });
  await ada.getByRole('alert').filter({ hasText: 'The subject is not JSON' }).waitFor();
  assert.equal(await answer(ada, '').count(), 0);
  await ada.getByLabel('API key').fill('wrong');
  await push(ada);
  await answer(ada, 'invalid api key').waitFor();
  await finish(ada);
});

test('markup in pushes stays text', async (t) => {
  const context = await contextOf(t);
  const ada = await open(context, 'ada');
  const evil = '<img src=x onerror="document.title=1"><b>bold</b>';
  await push(ada, { event: evil, subject: JSON.stringify(evil) });
  await received(ada, 'bold').first().waitFor();
  assert.equal(await ada.locator(':is(.events b, .events img)').count(), 0);
  assert.equal(await ada.title(), 'Corecast push');
  await finish(ada);
});

test('no link makes the console talk to another relay', async (t) => {
  const context = await contextOf(t);
  const other = await Relay.start({ settings: [`api.keys=${KEY}`] });
  t.after(() => other.stop());
  const settings = { relay: other.url('/'), token: 'ada' };
  const ada = await openPage(context, served(relay, 'push.html', settings));
  await connected(ada);
  await ada.getByLabel('API key').fill(KEY);
  await push(ada);
  await received(ada, 'greeting').waitFor();
  const isRefused = await ada.evaluate(
    (url) => fetch(url).then(() => false, () => true),
    `http://${other.address}/health`,
  );
  assert.ok(isRefused);
  // The policy forbids it.
  assert.match(ada.offences.splice(0).join('\n'), /connect-src 'self'/);
  await finish(ada);
});

test('as a file it receives, and says how to push', async (t) => {
  const context = await contextOf(t);
  const ada = await openPage(context, asFile('push.html', { relay: relay.url('/'), token: 'ada' }));
  await connected(ada);
  await ada.getByLabel('API key').fill(KEY);
  await push(ada);
  await answer(ada, 'open /demo/push.html').waitFor();
  await finish(ada);
});

for (const { name, ...look } of LOOKS) {
  test(`nothing is cut off, out of reach or hard to read: ${name}`, async (t) => {
    const context = await contextOf(t, look);
    const index = await openPage(context, served(relay, ''));
    await picture(index, `index-${name}`);
    await assertUsable(index, []);
    await index.getByRole('link', { name: 'Push' }).click();
    await index.waitForURL('**/demo/push.html');
    const ada = await open(context, `ada-${name}`);
    await picture(ada, `push-${name}-empty`);
    await push(ada, { subject: `{"text": "Hello", "long": "${'abcdefghij'.repeat(12)}"}` });
    await received(ada, 'greeting').waitFor();
    await push(ada, { event: 'reminder', delay: 3_600 });
    await ada.getByRole('button', { name: 'Cancel reminder' }).first().waitFor();
    await picture(ada, `push-${name}`);
    await assertUsable(ada, ['Push', 'Copy as curl', 'Refresh', 'Ping', 'Clear']);
    await finish(index, ada);
  });
}
