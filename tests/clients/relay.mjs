// The relay's binary as the tests with Node clients drive it: started on a free port, stopped.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

// Longest wait for anything: a bound for failures, not a measure.
export const DEADLINE_MS = 30_000;

// A package that scripts/test-clients has installed.
export const tool = createRequire(new URL('../../.tools/node/package.json', import.meta.url));

// Rejects if the promise is not settled by the deadline.
export async function soon(promise, what = 'an event') {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export class Relay {
  // Starts a relay with `settings` for --set, on a free port of 127.0.0.1 unless one is given.
  static async start({ settings = [], port = 0 } = {}) {
    const relay = new Relay();
    relay.directory = mkdtempSync(join(tmpdir(), 'corecast-clients-'));
    const all = ['metrics.port=0', 'server.host=127.0.0.1', 'engine.shards=2', ...settings];
    const options = all.flatMap((setting) => ['--set', setting]);
    relay.child = spawn(process.env.CORECAST_BIN, ['--port', String(port), ...options], {
      cwd: relay.directory,
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    relay.ended = once(relay.child, 'close');
    relay.log = [];
    const address = await soon(relay.#address(), 'the listening address');
    if (address === undefined) {
      await relay.stop();
      throw new Error(`the relay did not start:\n${relay.log.join('\n')}`);
    }
    relay.address = address;
    relay.port = Number(address.split(':').at(-1));
    return relay;
  }

  // Reads the log to its end, so that the relay never blocks on it; resolves at the address.
  #address() {
    return new Promise((resolve) => {
      let address;
      const lines = createInterface({ input: this.child.stderr });
      lines.on('line', (line) => {
        this.log.push(line);
        const found = / listening address=(\S+)/.exec(line);
        if (found) address = found[1];
        // The last line that it writes at startup.
        const admin = / metrics and health address=(\S+)/.exec(line);
        if (admin) {
          this.admin = admin[1];
          resolve(address);
        }
      });
      lines.on('close', () => resolve(undefined));
    });
  }

  url(room = '/') {
    return `ws://${this.address}${room}`;
  }

  // Signals it to end and waits until it has. It must exit successfully.
  async stop() {
    this.child.kill('SIGTERM');
    try {
      const [code, signal] = await soon(this.ended, 'the end of the relay');
      assert.deepEqual([code, signal], [0, null], this.log.join('\n'));
    } finally {
      this.child.kill('SIGKILL');
      rmSync(this.directory, { recursive: true, force: true });
    }
  }
}
