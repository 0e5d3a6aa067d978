// The Nostr relay in headless Chromium: a page that uses `nostr-tools` over the browser's own
// WebSocket, with the compression that it offers, and the relay's own page.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { LOOKS, assertUsable, finish, launch, open as openPage, picture } from './browser.mjs';
import { NAME, startNostr } from './nostr.mjs';
import { DEADLINE_MS } from './relay.mjs';

const BUNDLE = readFileSync(fileURLToPath(new URL(
  '../../.tools/node/node_modules/nostr-tools/lib/nostr.bundle.js', import.meta.url)));
const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A client</title>
<link rel="icon" href="data:,"><h1>A client</h1><script src="/nostr.js"></script></html>`;
const settings = ['deflate.enabled=true', 'deflate.min_bytes=16'];

let relay;
let site;
let browser;

before(async () => {
  relay = await startNostr(settings);
  site = createServer((request, response) => {
    const isScript = request.url === '/nostr.js';
    response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? BUNDLE : PAGE);
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
  browser = await launch();
});

after(async () => {
  await browser?.close();
  site?.close();
  await relay?.stop();
});

// Opens the client's page. In it `join` opens a connection and `hear` a subscription; their waits
// have a deadline.
async function open(context) {
  const page = await openPage(context, `http://127.0.0.1:${site.address().port}/`);
  await page.evaluate((deadline) => {
    const { NostrTools: nostr } = globalThis;
    const soon = (promise, what) => Promise.race([
      promise,
      new Promise((_, reject) => setTimeout(() => reject(new Error(`no ${what}`)), deadline)),
    ]);
    const user = () => {
      const secret = nostr.generateSecretKey();
      const sign = (draft) => nostr.finalizeEvent(
        { kind: 1, tags: [], content: '', created_at: Math.floor(Date.now() / 1000), ...draft },
        secret);
      return { secret, key: nostr.getPublicKey(secret), sign };
    };
    const join = async (url) => {
      const relay = await soon(nostr.Relay.connect(url), 'connection');
      relay.publishTimeout = deadline;
      relay.baseEoseTimeout = 2 * deadline;
      return relay;
    };
    const hear = (relay, filter) => {
      const [events, waiting] = [[], []];
      let resolves;
      const closed = new Promise((resolve) => {
        resolves = resolve;
      });
      const stored = new Promise((resolve) => {
        relay.subscribe([filter], {
          onevent: (event) => (waiting.shift() ?? ((each) => events.push(each)))(event),
          oninvalidevent: (event) => (waiting.shift() ?? (() => {}))({ invalid: event }),
          oneose: () => resolve(events.splice(0)),
          onclose: resolves,
        });
      });
      const next = () => soon(new Promise((resolve) => {
        if (events.length > 0) resolve(events.shift());
        else waiting.push(resolve);
      }), 'event');
      return { stored: soon(stored, 'EOSE'), closed, next };
    };
    globalThis.client = { nostr, soon, user, join, hear };
  }, DEADLINE_MS);
  return page;
}

// The extensions that the relay accepted, for each WebSocket of the tab, once it is open.
async function negotiated(context, page) {
  const session = await context.newCDPSession(page);
  const found = [];
  session.on('Network.webSocketHandshakeResponseReceived', ({ response }) => {
    const headers = Object.entries(response.headers);
    const [, value] = headers.find(([name]) => /^sec-websocket-extensions$/i.test(name)) ?? [];
    found.push(value);
  });
  await session.send('Network.enable');
  return found;
}

test('a client in a browser publishes, queries and hears what comes, compressed', async () => {
  const context = await browser.newContext();
  const page = await open(context);
  const extensions = await negotiated(context, page);
  const result = await page.evaluate(async (url) => {
    const { user, join, hear, soon } = globalThis.client;
    const text = 'grüße \u{1F980} \u0000 '.repeat(500);
    const [reader, writer, me] = [await join(url), await join(url), user()];
    const first = me.sign({ content: text });
    const answers = [await soon(writer.publish(first), 'OK')];
    const heard = hear(reader, { authors: [me.key] });
    const stored = await heard.stored;
    const later = Array.from({ length: 20 }, (_, i) => me.sign({ content: `${i} ${text}` }));
    for (const event of later) answers.push(await soon(writer.publish(event), 'OK'));
    const live = [];
    for (const _ of later) live.push(await heard.next());
    const count = await soon(reader.count([{ authors: [me.key] }], {}), 'COUNT');
    reader.close();
    writer.close();
    const same = (all, others) => JSON.stringify(all.map(({ id, content, sig }) => [id, content, sig]))
      === JSON.stringify(others.map(({ id, content, sig }) => [id, content, sig]));
    return { answers: [...new Set(answers)], stored: same(stored, [first]), live: same(live, later), count };
  }, relay.nostr);
  assert.deepEqual(result, { answers: [''], stored: true, live: true, count: 21 });
  assert.equal(extensions.length, 2);
  for (const value of extensions) assert.match(value, /^permessage-deflate/);
  await finish(page);
  await context.close();
});

test('a client in a browser proves its key and gets what is for it alone', async () => {
  const context = await browser.newContext();
  const page = await open(context);
  const result = await page.evaluate(async (url) => {
    const { nostr, user, join, hear, soon } = globalThis.client;
    const [sender, receiver] = [user(), user()];
    const [writer, reader] = [await join(url), await join(url)];
    const wrap = (text) => nostr.nip17.wrapEvent(sender.secret, { publicKey: receiver.key }, text);
    const answers = [await soon(writer.publish(wrap('first')), 'OK')];
    const wanted = { kinds: [1_059], '#p': [receiver.key] };
    const refused = await soon(hear(reader, wanted).closed, 'CLOSED');
    answers.push(await soon(reader.auth(receiver.sign), 'OK'));
    const heard = hear(reader, wanted);
    const open = (event) => nostr.nip17.unwrapEvent(event, receiver.secret).content;
    const texts = (await heard.stored).map(open);
    answers.push(await soon(writer.publish(wrap('second')), 'OK'));
    texts.push(open(await heard.next()));
    const own = receiver.sign({ tags: [['-']] });
    const failure = await soon(writer.publish(own).catch((error) => error.message), 'OK');
    answers.push(await soon(reader.publish(own), 'OK'));
    reader.close();
    writer.close();
    return { answers, refused, texts, failure };
  }, relay.nostr);
  const { answers, refused, texts, failure } = result;
  assert.deepEqual([answers, texts], [['', '', '', ''], ['first', 'second']]);
  assert.match(refused, /^auth-required: /);
  assert.match(failure, /^auth-required: /);
  await finish(page);
  await context.close();
});

test('a page of another site may read the information document', async () => {
  const context = await browser.newContext();
  const page = await open(context);
  const information = await page.evaluate(
    (url) => globalThis.client.nostr.nip11.fetchRelayInformation(url), relay.nostr);
  assert.equal(information.name, NAME);
  // The document is requested from another origin than the page's.
  const asked = page.offences.splice(0);
  assert.deepEqual(asked, [relay.nostr.replace('ws:', 'http:')]);
  await finish(page);
  await context.close();
});

test('who opens the address is told what it is, on any screen', async () => {
  for (const { name, ...look } of LOOKS) {
    const context = await browser.newContext(look);
    const page = await openPage(context, relay.nostr.replace('ws:', 'http:'));
    await page.getByRole('heading', { name: NAME }).waitFor();
    assert.equal(await page.title(), NAME);
    await page.getByText('NIPs: 01, 09, 11, 40, 42, 45, 59, 62, 67, 70, 77').waitFor();
    await picture(page, `nostr-${name}`);
    await assertUsable(page, []);
    await finish(page);
    await context.close();
  }
});
