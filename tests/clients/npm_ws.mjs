// The relay driven by npm's `ws`, as its users would, over real sockets.
//
// Run by scripts/test-clients, which installs the package and sets CORECAST_BIN. The tests share
// one relay, each in rooms of its own, unless one needs other settings. Every wait has a deadline,
// and no test sleeps.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

import { Relay, soon, tool } from './relay.mjs';

const WebSocket = tool('ws');

const MESSAGE_BYTES_MAX = 1 << 20;
// Around each length at which the frame header changes its form (RFC 6455 §5.2), and the limit.
const SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, MESSAGE_BYTES_MAX];

let relay;
before(async () => {
  relay = await Relay.start();
});
after(() => relay.stop());

// A client in the room, whose messages can be awaited one by one.
class Client {
  static async join(room, { at = relay, ...options } = {}) {
    const client = new Client();
    client.heard = [];
    client.waiting = [];
    client.socket = new WebSocket(at.url(room), options);
    client.socket.on('message', (data, isBinary) => client.#take({ data, isBinary }));
    client.closed = once(client.socket, 'close').then(([code, reason]) => {
      client.#take(undefined);
      return { code, reason: String(reason) };
    });
    client.upgraded = once(client.socket, 'upgrade');
    await soon(once(client.socket, 'open'), 'an open connection');
    return client;
  }

  #take(message) {
    const waits = this.waiting.shift();
    if (waits) waits(message);
    else this.heard.push(message);
  }

  send(data, options = {}) {
    const sent = new Promise((resolve, reject) => {
      this.socket.send(data, options, (error) => (error ? reject(error) : resolve()));
    });
    return soon(sent, 'the end of a send');
  }

  next() {
    if (this.heard.length > 0) return Promise.resolve(this.heard.shift());
    return soon(new Promise((resolve) => this.waiting.push(resolve)), 'a message');
  }

  async nextText() {
    const message = await this.next();
    assert.ok(message, 'the connection was closed');
    assert.equal(message.isBinary, false);
    return String(message.data);
  }

  async leave() {
    this.socket.close(1000);
    assert.equal((await soon(this.closed, 'the close')).code, 1000);
  }
}

function pattern(size) {
  return Buffer.from(Uint8Array.from({ length: size }, (_, i) => 7 * i + Math.floor(i / 251)));
}

test('messages of every size keep their bytes and their opcode', async () => {
  const clients = [await Client.join('/sizes'), await Client.join('/sizes')];
  for (const size of SIZES) {
    const bytes = pattern(size);
    await clients[0].send(bytes, { binary: true });
    await clients[0].send('x'.repeat(size), { binary: false });
    for (const client of clients) {
      const binary = await client.next();
      assert.equal(binary.isBinary, true);
      assert.ok(bytes.equals(binary.data), `${size} bytes`);
      assert.equal(await client.nextText(), 'x'.repeat(size));
    }
  }
  for (const client of clients) await client.leave();
});

test('one byte over the limit is closed with 1009 and reaches nobody', async () => {
  const [sender, other] = [await Client.join('/limit'), await Client.join('/limit')];
  sender.socket.send(Buffer.alloc(MESSAGE_BYTES_MAX + 1));
  assert.equal((await soon(sender.closed)).code, 1009);
  await other.send('still here');
  assert.equal(await other.nextText(), 'still here');
  await other.leave();
});

test('fragments arrive as one message, also where one splits a character', async () => {
  const [sender, other] = [await Client.join('/fragments'), await Client.join('/fragments')];
  const text = Buffer.from('grüße ✓');
  for (let at = 0; at < text.length; at += 1) {
    await sender.send(text.subarray(at, at + 1), { fin: false, binary: false });
  }
  await sender.send('', { fin: true });
  assert.equal(await other.nextText(), 'grüße ✓');
  await sender.leave();
  await other.leave();
});

test('a ping between fragments is answered before the message ends', async () => {
  const [sender, other] = [await Client.join('/between'), await Client.join('/between')];
  await sender.send('before', { fin: false });
  sender.socket.ping('between');
  const [payload] = await soon(once(sender.socket, 'pong'), 'a pong');
  assert.equal(String(payload), 'between');
  await sender.send(' after', { fin: true });
  assert.equal(await other.nextText(), 'before after');
  await sender.leave();
  await other.leave();
});

test('a client that answers pings stays connected past the pong timeout', async () => {
  const impatient = await Relay.start({ settings: ['keepalive.ping=300ms', 'keepalive.pong=2s'] });
  const client = await Client.join('/', { at: impatient });
  // The tenth ping comes later than a silent client would be closed.
  for (let pings = 0; pings < 10; pings += 1) await soon(once(client.socket, 'ping'), 'a ping');
  await client.send('here');
  assert.equal(await client.nextText(), 'here');
  await client.leave();
  await impatient.stop();
});

test('a close is answered with its own code', async () => {
  for (const code of [1000, 1001, 1008, 1011, 3000, 4999]) {
    const client = await Client.join('/close');
    client.socket.close(code, 'bye');
    assert.equal((await soon(client.closed)).code, code);
  }
});

test('a close without a code is answered with one without', async () => {
  const client = await Client.join('/close');
  client.socket.close();
  // 1005 is reported by the client if the Close frame has no code (RFC 6455 §7.1.5).
  assert.deepEqual(await soon(client.closed), { code: 1005, reason: '' });
});

test('rooms hear their own messages and no others', async () => {
  const rooms = ['/', '/red', '/red/1', '/Red'];
  const members = new Map();
  for (const room of rooms) members.set(room, [await Client.join(room), await Client.join(room)]);
  for (const [room, [first]] of members) await first.send(room);
  // A message of another room would come before this one.
  for (const [first] of members.values()) await first.send('end');
  for (const [room, clients] of members) {
    for (const client of clients) {
      assert.deepEqual([await client.nextText(), await client.nextText()], [room, 'end']);
      await client.leave();
    }
  }
});

test('without echo only the others get a message', async () => {
  const quiet = await Relay.start({ settings: ['endpoints.hub.echo=false'] });
  const [first, second] = [
    await Client.join('/', { at: quiet }),
    await Client.join('/', { at: quiet }),
  ];
  await first.send('from the first');
  assert.equal(await second.nextText(), 'from the first');
  await second.send('from the second');
  assert.equal(await first.nextText(), 'from the second', 'its own message came first');
  await first.leave();
  await second.leave();
  await quiet.stop();
});

test('concurrent publishers are seen in one order by everybody', async () => {
  const [publishers, each] = [8, 500];
  const clients = [];
  for (let i = 0; i < publishers + 8; i += 1) clients.push(await Client.join('/order'));
  const publish = async (client, number) => {
    for (let i = 0; i < each; i += 1) await client.send(`${number} ${i}`);
  };
  const hear = async (client) => {
    const lines = [];
    while (lines.length < publishers * each) lines.push(await client.nextText());
    return lines;
  };
  const hearing = Promise.all(clients.map(hear));
  await Promise.all(clients.slice(0, publishers).map(publish));
  const orders = await hearing;
  for (const order of orders) assert.deepEqual(order, orders[0]);
  for (let number = 0; number < publishers; number += 1) {
    const own = orders[0].filter((line) => line.startsWith(`${number} `));
    assert.deepEqual(own, Array.from({ length: each }, (_, i) => `${number} ${i}`));
  }
  for (const client of clients) await client.leave();
});

test('offered compression is not negotiated unless it is enabled', async () => {
  const client = await Client.join('/plain', { perMessageDeflate: { threshold: 0 } });
  const [response] = await soon(client.upgraded);
  assert.equal(response.headers['sec-websocket-extensions'], undefined);
  assert.equal(client.socket.extensions, '');
  await client.send('compressible '.repeat(1_000));
  assert.equal(await client.nextText(), 'compressible '.repeat(1_000));
  await client.leave();
});

test('with compression everybody gets every message', async () => {
  const deflating = await Relay.start({ settings: ['deflate.enabled=true'] });
  const offers = [
    { threshold: 0 },
    { serverMaxWindowBits: 9, clientMaxWindowBits: 9, threshold: 0 },
    { serverMaxWindowBits: 8 },
    { serverNoContextTakeover: true, clientNoContextTakeover: true },
    false,
  ];
  const clients = [];
  for (const perMessageDeflate of offers) {
    clients.push(await Client.join('/deflate', { at: deflating, perMessageDeflate }));
  }
  for (const [place, { socket }] of clients.entries()) {
    assert.equal(socket.extensions, offers[place] ? 'permessage-deflate' : '');
  }
  for (const size of SIZES) {
    for (const sender of clients) {
      await sender.send(pattern(size), { binary: true });
      await sender.send('again '.repeat(size / 6), { binary: false });
      for (const client of clients) {
        assert.ok(pattern(size).equals((await client.next()).data), `${size} bytes`);
        assert.equal(await client.nextText(), 'again '.repeat(size / 6));
      }
    }
  }
  for (const client of clients) await client.leave();
  await deflating.stop();
});

test('what is too big when it is inflated is closed with 1009', async () => {
  const deflating = await Relay.start({ settings: ['deflate.enabled=true'] });
  const sender = await Client.join('/', { at: deflating, perMessageDeflate: true });
  await sender.send(Buffer.alloc(64 * MESSAGE_BYTES_MAX));
  assert.deepEqual(await soon(sender.closed), {
    code: 1009,
    reason: 'protocol: message_too_big',
  });
  await deflating.stop();
});

test('of the offered subprotocols none is selected', async () => {
  const socket = new WebSocket(relay.url('/'), ['chat', 'graphql-ws']);
  const upgraded = once(socket, 'upgrade');
  // `ws`, like browsers, refuses a connection whose offered protocols were not accepted.
  const [error] = await soon(once(socket, 'error'), 'the refusal');
  assert.match(error.message, /no subprotocol/);
  const [response] = await soon(upgraded);
  assert.equal(response.statusCode, 101);
  assert.equal(response.headers['sec-websocket-protocol'], undefined);
});

test('SIGTERM closes everybody with 1001', async () => {
  const ending = await Relay.start();
  const clients = [];
  for (const room of ['/', '/', '/b']) clients.push(await Client.join(room, { at: ending }));
  const stopped = ending.stop();
  for (const client of clients) assert.equal((await soon(client.closed)).code, 1001);
  await stopped;
});
