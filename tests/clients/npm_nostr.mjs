// The Nostr relay driven by npm's `nostr-tools`, as its users would, over real sockets.
//
// Run by scripts/test-clients, which installs the package and sets CORECAST_BIN. The tests share
// one relay, each with keys of its own. Every wait has a deadline, and no test sleeps.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { NAME, startNostr } from './nostr.mjs';
import { DEADLINE_MS, soon, tool } from './relay.mjs';

globalThis.WebSocket ??= tool('ws');
// The library leaves some timers running; they must not delay the exit.
const { setTimeout: start } = globalThis;
globalThis.setTimeout = (...timer) => start(...timer).unref();
const library = new URL('../../.tools/node/node_modules/nostr-tools/lib/esm/', import.meta.url);
const {
  Relay, SimplePool, finalizeEvent, generateSecretKey, getPublicKey, nip11, nip17, sortEvents,
} = await import(new URL('index.js', library));

const TEXT = 'grüße \u{1F980} \u0000\u001f\u007f "\\/" \b\f\n\r\t \u2028 \ufdd1 </script>';
const now = () => Math.floor(Date.now() / 1000);

let relay;
before(async () => {
  relay = await startNostr();
});
after(() => relay.stop());

// A key with connections of its own.
class User {
  constructor() {
    this.secret = generateSecretKey();
    this.key = getPublicKey(this.secret);
    this.sign = async (template) => finalizeEvent(template, this.secret);
  }

  event({ kind = 1, tags = [], content = '', created_at = now() } = {}) {
    return finalizeEvent({ kind, tags, content, created_at }, this.secret);
  }

  // A connection that fails the test if the library would give up silently.
  static async join(t) {
    const connection = await soon(Relay.connect(relay.nostr), 'a connection');
    connection.publishTimeout = DEADLINE_MS;
    connection.baseEoseTimeout = 2 * DEADLINE_MS;
    connection.notices = [];
    connection.onnotice = (text) => connection.notices.push(text);
    t.after(() => {
      connection.close();
      assert.deepEqual(connection.notices, []);
    });
    return connection;
  }
}

function publish(connection, event) {
  return soon(connection.publish(event), 'an OK');
}

// A subscription that can be awaited: `stored` up to its EOSE, then each of `next`, or `closed`.
class Heard {
  constructor(connection, filters, options = {}) {
    this.events = [];
    this.waiting = [];
    this.invalid = [];
    this.closed = new Promise((resolve) => {
      this.resolveClosed = resolve;
    });
    this.stored = new Promise((resolve) => {
      this.subscription = connection.subscribe(filters, {
        onevent: (event) => this.#take(event),
        oninvalidevent: (event) => this.invalid.push(event),
        oneose: () => resolve(this.events.splice(0)),
        onclose: this.resolveClosed,
        eoseTimeout: 2 * DEADLINE_MS,
        ...options,
      });
    });
  }

  #take(event) {
    const waits = this.waiting.shift();
    if (waits) waits(event);
    else this.events.push(event);
  }

  next() {
    if (this.events.length > 0) return Promise.resolve(this.events.shift());
    return soon(new Promise((resolve) => this.waiting.push(resolve)), 'an event');
  }
}

async function query(connection, ...filters) {
  const heard = new Heard(connection, filters);
  const stored = await soon(heard.stored, 'EOSE');
  assert.deepEqual(heard.invalid, []);
  heard.subscription.close();
  return stored;
}

const bare = ({ id, pubkey, created_at, kind, tags, content, sig }) => (
  { id, pubkey, created_at, kind, tags, content, sig });
const ids = (events) => events.map((event) => event.id);

test('what is published is found, character by character', async (t) => {
  const [user, connection] = [new User(), await User.join(t)];
  const sent = user.event({ content: TEXT, tags: [['t', TEXT], ['x'], [], ['d', '', 'b']] });
  assert.equal(await publish(connection, sent), '');
  for (const filter of [
    { ids: [sent.id] }, { authors: [user.key] }, { '#t': [TEXT], authors: [user.key] },
  ]) {
    assert.deepEqual((await query(connection, filter)).map(bare), [bare(sent)]);
  }
  assert.deepEqual(await query(connection, { authors: [user.key], '#t': ['x'] }), []);
  assert.match(await publish(connection, sent), /^duplicate: /);
});

test('200 events come newest first, as far as the limit goes, and are counted', async (t) => {
  const [user, connection] = [new User(), await User.join(t)];
  const since = now() - 1_000;
  // Two of each second, so that ids decide.
  const events = Array.from({ length: 200 }, (_, i) => (
    user.event({ content: `${i}`, created_at: since + Math.floor(i * 7 / 2) % 100 })));
  const answers = await Promise.all(events.map((event) => publish(connection, event)));
  assert.deepEqual(new Set(answers), new Set(['']));
  const sorted = ids(sortEvents([...events]));
  const mine = { authors: [user.key] };
  assert.deepEqual(ids(await query(connection, mine)), sorted);
  assert.deepEqual(ids(await query(connection, { ...mine, limit: 7 })), sorted.slice(0, 7));
  const window = { ...mine, since: since + 10, until: since + 19 };
  const within = events.filter(({ created_at: at }) => at >= since + 10 && at <= since + 19);
  assert.deepEqual(ids(await query(connection, window)), ids(sortEvents(within)));
  // Each event once, even if several filters match it.
  assert.deepEqual(ids(await query(connection, mine, window)), sorted);
  assert.equal(await soon(connection.count([mine, window], {}), 'a COUNT'), 200);
  assert.equal(await soon(connection.count([window], {}), 'a COUNT'), within.length);
});

test('subscriptions of one connection get what comes, each its own, until they end', async (t) => {
  const [user, other] = [new User(), new User()];
  const [reader, writer] = [await User.join(t), await User.join(t)];
  const own = new Heard(reader, [{ authors: [user.key] }]);
  const both = new Heard(reader, [{ authors: [other.key] }, { '#p': [other.key] }], { id: 'b ü' });
  assert.deepEqual([await soon(own.stored), await soon(both.stored)], [[], []]);
  const sent = [user.event(), other.event(), user.event({ tags: [['p', other.key]] })];
  for (const event of sent) await publish(writer, event);
  for (const event of [sent[0], sent[2]]) assert.equal((await own.next()).id, event.id);
  for (const event of [sent[1], sent[2]]) assert.equal((await both.next()).id, event.id);
  own.subscription.close();
  // By now the relay has read the CLOSE.
  await query(reader, { ids: [sent[0].id] });
  const last = user.event({ content: 'last', tags: [['p', other.key]] });
  await publish(writer, last);
  assert.equal((await both.next()).id, last.id);
  assert.deepEqual([own.events, own.invalid, both.invalid], [[], [], []]);
});

test('of replaceable and addressable events the latest stays', async (t) => {
  const [user, connection] = [new User(), await User.join(t)];
  const live = new Heard(connection, [{ authors: [user.key] }]);
  await soon(live.stored);
  const at = now();
  for (const [kind, tags] of [[0, []], [10_002, []], [30_023, [['d', 'ü']]]]) {
    const [old, fresh, stale] = [10, 5, 7].map((ago) => (
      user.event({ kind, tags, content: `${ago}`, created_at: at - ago })));
    await publish(connection, old);
    await publish(connection, fresh);
    await assert.rejects(publish(connection, stale), /^Error: duplicate: /);
    const found = await query(connection, { authors: [user.key], kinds: [kind] });
    assert.deepEqual(ids(found), [fresh.id]);
    assert.deepEqual([(await live.next()).id, (await live.next()).id], [old.id, fresh.id]);
  }
  const another = user.event({ kind: 30_023, tags: [['d', '']], created_at: at - 20 });
  await publish(connection, another);
  const both = await query(connection, { authors: [user.key], kinds: [30_023] });
  assert.deepEqual(both.map((event) => event.content), ['5', '']);
});

test('ephemeral events are sent on and are not kept', async (t) => {
  const [user, reader, writer] = [new User(), await User.join(t), await User.join(t)];
  const live = new Heard(reader, [{ kinds: [20_001], authors: [user.key] }]);
  await soon(live.stored);
  const sent = user.event({ kind: 20_001, content: 'now' });
  assert.equal(await publish(writer, sent), '');
  assert.deepEqual(bare(await live.next()), bare(sent));
  assert.deepEqual(await query(reader, { ids: [sent.id] }), []);
});

test('what is not taken is refused with its reason', async (t) => {
  const [user, connection] = [new User(), await User.join(t)];
  const good = user.event({ content: 'a' });
  const forged = user.event({ content: 'b' });
  for (const [event, reason] of [
    [{ ...good, content: 'b' }, /^Error: invalid: id /],
    [{ ...forged, sig: good.sig }, /^Error: invalid: sig /],
    [user.event({ created_at: now() + 3_600 }), /^Error: invalid: created_at /],
    [user.event({ tags: [['expiration', `${now() - 10}`]] }), /^Error: invalid: .*expired/],
    [user.event({ content: 'x'.repeat(256 << 10) }), /^Error: invalid: .*bytes/],
    [user.event({ kind: 22_242 }), /^Error: invalid: /],
  ]) {
    await assert.rejects(publish(connection, event), reason);
  }
  assert.deepEqual(await query(connection, { authors: [user.key] }), []);
  const large = user.event({ content: 'x'.repeat(200_000) });
  assert.equal(await publish(connection, large), '');
  assert.deepEqual(ids(await query(connection, { authors: [user.key] })), [large.id]);
});

test('a subscription that cannot be is closed with its reason', async (t) => {
  const connection = await User.join(t);
  for (const [filter, reason] of [
    [{ ids: ['ab'] }, /^invalid: ids/],
    [{ kinds: ['1'] }, /^invalid: kinds/],
    [{ search: 'x' }, /^unsupported: /],
    [{ kinds: [1_059] }, /^auth-required: /],
    [{ '#t': Array.from({ length: 10_001 }, (_, i) => `${i}`) }, /^blocked: /],
  ]) {
    const heard = new Heard(connection, [filter]);
    assert.match(await soon(heard.closed, 'CLOSED'), reason);
    await assert.rejects(soon(connection.count([filter], {}), 'CLOSED'), { message: reason });
  }
});

test('private events go to those whom they name, once they have proven to be those', async (t) => {
  const [sender, receiver, other] = [new User(), new User(), new User()];
  const anybody = await User.join(t);
  const wrap = nip17.wrapEvent(sender.secret, { publicKey: receiver.key }, TEXT);
  const old = sender.event({ kind: 4, tags: [['p', receiver.key]], content: 'secret' });
  for (const event of [wrap, old]) assert.equal(await publish(anybody, event), '');
  assert.deepEqual(await query(anybody, { ids: [wrap.id, old.id] }), []);
  assert.equal(await soon(anybody.count([{ ids: [wrap.id] }], {})), 0);

  const seen = {};
  for (const [name, user] of Object.entries({ sender, receiver, other })) {
    const connection = await User.join(t);
    // The refusal carries the challenge, and the library keeps it.
    const refused = new Heard(connection, [{ kinds: [1_059], '#p': [receiver.key] }]);
    assert.match(await soon(refused.closed), /^auth-required: /);
    assert.equal(await soon(connection.auth(user.sign), 'OK for AUTH'), '');
    seen[name] = ids(await query(connection, { kinds: [4, 1_059], '#p': [receiver.key] })).sort();
    if (user === receiver) {
      const [found] = await query(connection, { kinds: [1_059] });
      assert.equal(nip17.unwrapEvent(found, user.secret).content, TEXT);
      assert.equal(await soon(connection.count([{ kinds: [1_059] }], {})), 1);
    }
  }
  const both = [wrap.id, old.id].sort();
  assert.deepEqual(seen, { sender: [old.id], receiver: both, other: [] });
});

test('a pool proves its key when it is asked to, and goes on', async (t) => {
  const [sender, receiver] = [new User(), new User()];
  const pool = new SimplePool();
  t.after(() => pool.destroy());
  const anybody = await User.join(t);
  await publish(anybody, nip17.wrapEvent(sender.secret, { publicKey: receiver.key }, 'first'));
  const [heard, waiting] = [[], []];
  const next = () => soon(new Promise((resolve) => {
    if (heard.length > 0) resolve(heard.shift());
    else waiting.push(resolve);
  }), 'a wrap');
  const closed = [];
  let eose;
  const level = new Promise((resolve) => {
    eose = resolve;
  });
  const subscription = pool.subscribe([relay.nostr], { kinds: [1_059], '#p': [receiver.key] }, {
    onauth: receiver.sign,
    oneose: eose,
    onclose: (reasons) => closed.push(...reasons),
    onevent: (event) => {
      const waits = waiting.shift();
      if (waits) waits(event);
      else heard.push(event);
    },
    maxWait: DEADLINE_MS,
  });
  const read = async () => nip17.unwrapEvent(await next(), receiver.secret).content;
  assert.equal(await read(), 'first');
  await soon(level, 'EOSE');
  await publish(anybody, nip17.wrapEvent(sender.secret, { publicKey: receiver.key }, 'second'));
  assert.equal(await read(), 'second');
  assert.deepEqual(closed, []);
  subscription.close();
});

test('a protected event is taken from its author alone', async (t) => {
  const [author, other] = [new User(), new User()];
  const event = author.event({ tags: [['-']], content: 'mine' });
  const anybody = await User.join(t);
  await assert.rejects(publish(anybody, event), /^Error: auth-required: /);
  assert.equal(await soon(anybody.auth(other.sign)), '');
  await assert.rejects(publish(anybody, event), /^Error: restricted: /);
  assert.deepEqual(await query(anybody, { ids: [event.id] }), []);
  const pool = new SimplePool();
  t.after(() => pool.destroy());
  const [sent] = pool.publish([relay.nostr], event, { onauth: author.sign });
  assert.equal(await soon(sent, 'OK'), '');
  assert.deepEqual(ids(await query(anybody, { ids: [event.id] })), [event.id]);
});

test('a proof for another relay or with another challenge is refused', async (t) => {
  const user = new User();
  for (const [name, value] of [['relay', 'wss://relay.example/nostr'], ['challenge', 'abc']]) {
    const connection = await User.join(t);
    const refused = new Heard(connection, [{ kinds: [4] }]);
    assert.match(await soon(refused.closed), /^auth-required: /);
    const sign = async (template) => {
      const tags = template.tags.map((tag) => (tag[0] === name ? [name, value] : tag));
      return user.sign({ ...template, tags });
    };
    await assert.rejects(soon(connection.auth(sign)), /^Error: invalid: /);
    const again = new Heard(connection, [{ kinds: [4] }]);
    assert.match(await soon(again.closed), /^auth-required: /);
  }
});

test('a pool gets, queries and publishes', async (t) => {
  const user = new User();
  const pool = new SimplePool();
  t.after(() => pool.destroy());
  const events = [3, 2, 1].map((ago) => user.event({ content: `${ago}`, created_at: now() - ago }));
  for (const event of events) {
    assert.deepEqual(await soon(Promise.all(pool.publish([relay.nostr], event))), ['']);
  }
  const mine = { authors: [user.key] };
  const found = await soon(pool.querySync([relay.nostr], mine, { maxWait: DEADLINE_MS }));
  assert.deepEqual(ids(sortEvents(found)), ids(sortEvents([...events])));
  const latest = await soon(pool.get([relay.nostr], mine, { maxWait: DEADLINE_MS }));
  assert.equal(latest.id, events[2].id);
});

test('the information document says what the relay does', async () => {
  const information = await soon(nip11.fetchRelayInformation(relay.nostr), 'the document');
  assert.equal(information.name, NAME);
  assert.deepEqual(information.supported_nips, [1, 9, 11, 40, 42, 45, 59, 62, 67, 70, 77]);
  assert.equal(information.limitation.max_message_length, 512_000);
  assert.equal(information.limitation.auth_required, false);
});
