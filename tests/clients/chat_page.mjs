// The chat page in headless Chromium, used as in practice: in several tabs, from a relay and as a
// file.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

import { LOOKS, asFile, assertUsable, connected, finish, launch, open as openPage, picture, served }
  from './browser.mjs';
import { Relay, soon, tool } from './relay.mjs';

const WebSocket = tool('ws');

const settings = ['pages.enabled=true'];
let relay;
let browser;

before(async () => {
  relay = await Relay.start({ settings });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await relay?.stop();
});

// Opens a tab in the room and waits until it is connected.
async function open(context, { name, room = '/', at = served }) {
  const url = at === asFile
    ? asFile('chat.html', { relay: relay.url('/'), room, name })
    : served(relay, 'chat.html', { room, name });
  const page = await openPage(context, url);
  await connected(page);
  return page;
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

test('what is said in a row stays in a row, also before the relay has sent it back', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada', room: '/row' });
  const ben = await open(context, { name: 'Ben', room: '/row' });
  const texts = ['one', 'two', 'three', 'four', 'five'];
  const shown = await ada.evaluate((all) => {
    const message = document.querySelector('textarea');
    for (const text of all) {
      message.value = text;
      message.form.requestSubmit();
    }
    return [...document.querySelectorAll('.message .text')].map((each) => each.textContent);
  }, texts);
  assert.deepEqual(shown, texts);
  assert.deepEqual(await heard(ada, 'five'), texts.map((text) => ['You', text]));
  assert.deepEqual(await heard(ben, 'five'), texts.map((text) => ['Ada', text]));
  await finish(ada, ben);
  await context.close();
});

test('it works as a file too', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada', room: '/file', at: asFile });
  const ben = await open(context, { name: 'Ben', room: '/file', at: asFile });
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
  await ada.getByLabel('All pages').and(ada.locator(':focus')).waitFor();
  await ada.keyboard.press('Tab');
  await ada.getByLabel('Connection settings').and(ada.locator(':focus')).waitFor();
  await ada.keyboard.press('Tab');
  await ada.getByLabel('Room (path)').and(ada.locator(':focus')).waitFor();
  await ada.keyboard.press('ControlOrMeta+a');
  await ada.keyboard.type('after');
  await ada.keyboard.press('Enter');
  await ada.getByText('You are in /after as Ada').waitFor();
  assert.match(ada.url(), /room=%2Fafter/);
  await say(ada, 'moved');
  assert.deepEqual(await heard(ben, 'moved'), [['Ada', 'moved']]);
  await finish(ada, ben);
  await context.close();
});

test('a room that was visited is one click away, with a log of its own', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada', room: '/one' });
  await say(ada, 'said in one');
  await heard(ada, 'said in one');
  await ada.getByLabel('Room (path)').fill('two');
  await ada.keyboard.press('Enter');
  await ada.getByText('You are in /two as Ada').waitFor();
  assert.equal(await ada.getByText('said in one').count(), 0);
  await ada.getByRole('button', { name: '/one' }).click();
  await ada.getByText('You are in /one as Ada').waitFor();
  await ada.reload();
  await connected(ada);
  await ada.getByRole('button', { name: '/two' }).waitFor();
  await finish(ada);
  await context.close();
});

test('an address that cannot be used is said and not retried', async () => {
  const context = await browser.newContext();
  const ada = await open(context, { name: 'Ada', at: asFile });
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
  await picture(ada, 'chat-phone-lost');
  await assertUsable(ada, ['Retry']);
  relay = await Relay.start({ port, settings });
  for (const page of [ada, ben]) await connected(page);
  await say(ada, 'back again');
  assert.deepEqual(await heard(ben, 'back again'), [['Ada', 'back again']]);
  await finish(ada, ben);
  await context.close();
});

for (const { name, ...look } of LOOKS) {
  test(`nothing is cut off, out of reach or hard to read: ${name}`, async () => {
    const context = await browser.newContext(look);
    const room = `/${name}`;
    const ada = await open(context, { name: 'Ada', room });
    const ben = await open(context, { name: 'Ben', room });
    await ada.bringToFront();
    await picture(ada, `chat-${name}-empty`);
    await say(ben, 'Morning! Is the relay up?');
    await heard(ada, 'relay up');
    await say(ada, 'It is. Two shards, one order for everybody.');
    await say(ada, `A long word: ${'abcdefghij'.repeat(12)}`);
    await heard(ben, 'A long word');
    await say(ben, 'Lines\nstay lines, and <b>markup</b> stays text ✓');
    await heard(ada, 'stay lines');
    await ada.bringToFront();
    await picture(ada, `chat-${name}`);
    await assertUsable(ada, ['Send', 'Connection settings']);
    await finish(ada, ben);
    await context.close();
  });
}
