// A Nostr relay for the tests with Node clients: its URL must be known before it starts, because
// clients sign it (NIP-42).

import { once } from 'node:events';
import { createServer } from 'node:net';

import { Relay } from './relay.mjs';

export const NAME = 'A relay <of "ours">';
const STARTS_MAX = 5;

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// Starts one at /nostr; its URL is `nostr`. If another process takes the port meanwhile, another
// port is tried.
export async function startNostr(settings = []) {
  for (let starts = 1; ; starts += 1) {
    const port = await freePort();
    const nostr = `ws://127.0.0.1:${port}/nostr`;
    const own = [
      'endpoints.nostr.kind=nostr',
      'endpoints.nostr.path=/nostr',
      `endpoints.nostr.nostr.urls=[${nostr}]`,
      `endpoints.nostr.nostr.info.name='${NAME}'`,
    ];
    try {
      return Object.assign(await Relay.start({ port, settings: [...own, ...settings] }), { nostr });
    } catch (error) {
      if (starts === STARTS_MAX || !/in use/i.test(error.message)) throw error;
    }
  }
}
