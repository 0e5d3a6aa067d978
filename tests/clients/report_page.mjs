// The pages that loadgen writes, in headless Chromium: the report of a run and the dashboard. They
// are files that make no requests, usable in light and dark and on a phone, and a report prints on
// one sheet, even with every section that a report can have.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { LOOKS, assertFits, assertUsable, launch, picture } from './browser.mjs';
import { DEADLINE_MS, Relay } from './relay.mjs';

// The print area of a sheet of A4 at 96 dots an inch, less the margins of 9 mm.
const SHEET = { width: 726, height: 1054 };
const SECONDS = 60;
const CLIENTS = 1_000;

let folder;
let relay;
let browser;

function loadgen(...options) {
  return execFileSync(process.env.LOADGEN_BIN, options, {
    cwd: folder, encoding: 'utf8', timeout: DEADLINE_MS, stdio: ['ignore', 'pipe', 'pipe'],
  });
}

// The report of a real run, with all sections that other runs can have.
function enrich(run) {
  const times = run.latency_ns;
  const { sent, expected, delivered, lost, repeated, reordered, damaged, misrouted } = run;
  const counts = { sent, expected, delivered, lost, repeated, reordered, damaged, misrouted };
  const summary = (rate) => ({
    ...counts, rate, messages_per_second: rate, deliveries_per_second: rate * 5, latency_ns: times,
    lateness_ns: times, cpu_share: 0.1, server_cpu_ns_per_delivery: 1_000, valid: true, right: true,
  });
  const figures = ['p50', 'p99', 'p99.9', 'max'].map((name) => ({ name: `latency ${name}`, unit: 'ns' }));
  figures.push({ name: 'throughput', unit: '1/s' }, { name: 'server CPU', unit: 'ns' });
  const rates = Array.from({ length: 16 }, (_, step) => 100 * (step + 1));
  const reason = (client) => ({ client, reason: `closed by the server: 1013 slow, number ${client % 3}` });
  return {
    ...run,
    label: '<img src=x onerror=alert(1)> a label that says at length what was tried in this run',
    timeline: Array.from({ length: SECONDS }, (_, second) => (
      { ...run.timeline[second % run.timeline.length], at_ms: second * 1_000, for_ms: 1_000 })),
    clients: { ...run.clients, listed: Array.from({ length: CLIENTS }, (_, client) => (
      { ...run.clients.listed[client % run.clients.listed.length], client })) },
    walk: { target: 'p99<5ms', knee: 800, steps: rates.map((rate) => (
      { ...summary(rate), met: rate <= 800, reasons: rate <= 800 ? [] : ['p99 was 9ms'] })) },
    repeats: { runs: [summary(100), summary(101), summary(99)], figures: figures.map((figure) => (
      { ...figure, median: 2e6, min: 1e6, max: 3e6, spread: 1 })) },
    comparison: {
      baseline: { label: 'before', started_at: run.started_at, program: run.program },
      caveats: ['another machine', 'another load: size'],
      figures: figures.map((figure) => ({
        ...figure, lower_is_better: true, before: 1e6, after: 2e6, ratio: 2, change: 'worse' })),
      verdict: 'worse',
    },
    server: {
      url: 'http://127.0.0.1:1/metrics', between_ms: 1_000, cpu_ms: 20, cpu_share: 0.02,
      cpu_ns_per_delivery: 1_500, resident_bytes: 2e7, relay_latency_ns: times, counters: {},
      parts: ['client', 'server', 'rest'].map((name) => ({ name, mean_ns: 1e5, share: 1 / 3 })),
    },
    churn: {
      replaced: 9, failed: 1, reasons: ['refused'], delivered: 9, connect_ns: run.connect_ns,
      storms: [{ dropped: 950, back: 950, recovery_ns: 41e6 }, { dropped: 950, back: 949, recovery_ns: 45e6 }],
    },
    errors: [{ error: 'lost', count: 12 }, { error: 'disconnected', count: 10 }],
    disconnects: { reading: 10, stalled: 0, slow: 0, listed: Array.from({ length: 10 }, (_, n) => reason(n)) },
    aborted: { condition: 'p99>5ms', observed: 6e6, at_ms: 900 },
    valid: false,
    invalid_reasons: ['it sent 3.20ms late at p99', 'a thread was busy 99 % of the time'],
    right: false,
    config: {
      ...run.config, stalled: 3, slow_readers: 5, churning: 950, storm_every_ms: 2_000, ramp_ms: 2_000, deflate: true,
      push_url: 'http://127.0.0.1:1/push/room',
      source_ips: Array.from({ length: 50 }, (_, n) => `127.0.0.${n + 1}`),
    },
  };
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'loadgen-pages-'));
  relay = await Relay.start();
  browser = await launch();
  for (const name of ['first.json', 'run.json']) {
    loadgen('--url', relay.url(), '--clients', '5', '--rate', '100', '--size', '100',
      '--duration', '1200ms', '--warmup', '100ms', '--history', 'runs.db', '--report', name,
      '--report', 'run.html');
  }
  const full = enrich(JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')));
  for (let run = 0; run < 5; run += 1) {
    writeFileSync(join(folder, 'full.json'), JSON.stringify({ ...full, started_at_ms: run }));
    loadgen('history', 'add', 'full.json');
  }
  loadgen('history', 'show', '7', '--report', 'full.html');
  loadgen('dashboard', '--out', 'dashboard');
  loadgen('--url', relay.url(), '--handshakes', '200', '--report', 'connects.html');
});

after(async () => {
  await browser?.close();
  await relay?.stop();
  rmSync(folder, { recursive: true, force: true });
});

// Opens a page of the folder; all its requests besides the page are collected in `offences`.
async function open(t, name, look) {
  const context = await browser.newContext(look);
  t.after(() => context.close());
  const page = await context.newPage();
  const url = pathToFileURL(join(folder, name)).href;
  const offences = [];
  page.on('request', (request) => {
    if (request.url() !== url) offences.push(request.url());
  });
  page.on('console', (message) => offences.push(message.text()));
  page.on('dialog', (dialog) => offences.push(dialog.message()));
  await page.goto(url);
  return { page, offences };
}

// Each accessibility check takes seconds; together, both pages are checked in every look.
const SEEN = {
  full: ['desktop-dark', 'phone-light'],
  'dashboard/index': ['desktop-light', 'phone-dark'],
};

for (const [name, looks] of Object.entries(SEEN)) {
  test(`${name}.html is usable, ${looks.join(' and ')}, and asks for nothing`, async (t) => {
    for (const look of LOOKS.filter((one) => looks.includes(one.name))) {
      const { page, offences } = await open(t, `${name}.html`, look);
      await assertUsable(page, []);
      const charts = await page.locator('.plot').all();
      assert.ok(charts.length >= 4, `${charts.length} charts`);
      for (const chart of charts) {
        const box = await chart.boundingBox();
        assert.ok(box.width > 200 && box.height > 100, JSON.stringify(box));
      }
      await picture(page, `report-${name.replace('/', '-')}-${look.name}`);
      assert.deepEqual(offences, []);
    }
  });
}

for (const name of ['run', 'full']) {
  test(`${name}.html prints on one sheet, and nothing is cut off`, async (t) => {
    const { page } = await open(t, `${name}.html`, { viewport: SHEET });
    const pdf = await page.pdf({ preferCSSPageSize: true, printBackground: true });
    assert.equal(pdf.toString('latin1').match(/\/Type\s*\/Page\b(?!s)/g).length, 1);
    await page.emulateMedia({ media: 'print' });
    const [needed, given] = await page.locator('.sheet').evaluate((sheet) => (
      [sheet.scrollHeight, sheet.clientHeight]));
    assert.ok(needed <= given, `${needed} of ${given} pixels`);
    const tooWide = await page.locator('.wide').evaluateAll((all) => all
      .filter((each) => each.scrollWidth > each.clientWidth)
      .map((each) => each.innerText));
    assert.deepEqual(tooWide, []);
    await picture(page, `report-${name}-print`);
  });
}

// A phone, in light and dark; what is there of charts shows names on its axes.
const PHONES = ['light', 'dark'].map((colorScheme) => (
  { colorScheme, viewport: { width: 390, height: 780 } }));

async function assertFitsPhones(t, url, name) {
  for (const look of PHONES) {
    const context = await browser.newContext(look);
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(url);
    await picture(page, `phone-${name}-${look.colorScheme}`, { fullPage: true });
    await assertFits(page);
    for (const chart of await page.locator('.plot').all()) {
      const labels = await chart.locator('.x span:visible').count();
      assert.ok(labels >= 2, `${labels} names on the lower axis`);
    }
  }
}

for (const name of ['run', 'full', 'connects', 'dashboard/index']) {
  test(`on a phone nothing of ${name}.html is cut off or lies over something else`, async (t) => {
    const url = pathToFileURL(join(folder, `${name}.html`)).href;
    await assertFitsPhones(t, url, name.replace('/', '-'));
  });
}

test('on a phone nothing of /test/benchmark is cut off or lies over something else', async (t) => {
  await assertFitsPhones(t, `http://${relay.admin}/test/benchmark`, 'benchmark');
});

test('on a phone nothing of the comparison with others is cut off either', async (t) => {
  const url = new URL('../../benches/results/report.html', import.meta.url);
  await assertFitsPhones(t, pathToFileURL(fileURLToPath(url)).href, 'comparison');
});

test('series that are marked differ in the shape of their marks, in the legend too', async (t) => {
  const { page } = await open(t, 'dashboard/index.html', LOOKS[0]);
  const chart = page.locator('figure', { hasText: 'Latency from run to run' }).first();
  const looks = await chart.locator('.key.dot').evaluateAll((keys) => keys.map((key) => {
    const { borderRadius, borderWidth } = getComputedStyle(key, '::before');
    return `${borderRadius} ${borderWidth}`;
  }));
  assert.equal(looks.length, 3);
  assert.equal(new Set(looks).size, 3, looks);
  const marks = await chart.locator('.dots').evaluateAll((paths) => paths.map((path) => (
    `${getComputedStyle(path).strokeLinecap} ${path.nextElementSibling?.classList.contains('core')}`)));
  assert.equal(new Set(marks).size, 3, marks);
});

test('the dashboard leads to the report of each run', async (t) => {
  const { page } = await open(t, 'dashboard/index.html', LOOKS[0]);
  await page.locator('tbody a').first().click();
  await page.waitForURL(/\/runs\/\d+\.html$/);
  await page.getByRole('img', { name: /^Half within/ }).waitFor();
});
