// Pages in headless Chromium: those of examples/, served by a relay at /demo/ or opened as files, and the
// dashboard.
//
// Run by scripts/test-clients, which installs playwright-core and axe-core and finds Chromium
// (CHROMIUM). SCREENSHOTS names a folder for pictures of the pages.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { DEADLINE_MS, tool } from './relay.mjs';

const { chromium } = tool('playwright-core');
const AXE = readFileSync(tool.resolve('axe-core/axe.min.js'), 'utf8');

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
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

export const LOOKS = [
  { name: 'desktop-light', colorScheme: 'light', viewport: { width: 1200, height: 760 } },
  { name: 'desktop-dark', colorScheme: 'dark', viewport: { width: 1200, height: 760 } },
  { name: 'phone-light', colorScheme: 'light', viewport: { width: 320, height: 568 } },
  { name: 'phone-dark', colorScheme: 'dark', viewport: { width: 390, height: 780 } },
];

export function launch(...flags) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    chromiumSandbox: false,
    args: [...FLAGS, ...flags],
    timeout: DEADLINE_MS,
  });
}

// The address of a page as the relay serves it, or as a file; settings go into the fragment.
export function served(relay, page, settings = {}) {
  return `http://${relay.address}/demo/${page}#${new URLSearchParams(settings)}`;
}

export function asFile(page, settings = {}) {
  return `${pathToFileURL(join(EXAMPLES, page)).href}#${new URLSearchParams(settings)}`;
}

// Opens a tab. Requests for anything that is neither beside the page nor on the relay, and every
// error of its scripts, are collected in `offences`.
export async function open(context, url, prepare = () => {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.offences = [];
  const { origin, protocol } = new URL(url);
  const home = protocol === 'file:' ? pathToFileURL(EXAMPLES).href : `${origin}/`;
  page.on('request', (request) => {
    const asked = request.url();
    const isOwn = asked.startsWith(home) || asked.startsWith('blob:');
    const isRelays = protocol === 'file:' && /^http:\/\/127\.0\.0\.1:\d+\//.test(asked);
    if (!isOwn && !isRelays) page.offences.push(asked);
  });
  page.on('pageerror', (error) => page.offences.push(String(error)));
  page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) page.offences.push(message.text());
  });
  await prepare(page);
  await page.goto(url);
  return page;
}

export function connected(page) {
  return page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor();
}

export async function finish(...pages) {
  for (const page of pages) {
    assert.deepEqual(page.offences, []);
    await page.close();
  }
}

// A picture, if SCREENSHOTS is set.
export async function picture(page, name, options = {}) {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`), ...options });
}

// Nothing is wider than the window, the title is present, the buttons can be reached, and nothing
// violates the rules for accessible pages (WCAG 2.1 A and AA, including contrast).
export async function assertUsable(page, buttons) {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= page.viewportSize().width, `${width} pixels wide`);
  const cut = await page.evaluate(() => [...document.querySelectorAll('h1 .brand')]
    .filter((title) => title.clientWidth > 1 && title.scrollWidth > title.clientWidth)
    .map((title) => title.textContent));
  assert.deepEqual(cut, [], 'a title is cut off');
  for (const name of buttons) {
    await page.getByRole('button', { name, exact: true }).click({ trial: true });
  }
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];
    const { violations } = await globalThis.axe.run({ runOnly: { type: 'tag', values: tags } });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
  });
  assert.deepEqual(found, []);
}

// No two texts lie over each other, nothing reaches out of the window but what scrolls in a box of its own, and
// no chart is in such a box: half a chart says something else than the whole one.
export async function assertFits(page) {
  const found = await page.evaluate(() => {
    const isSeen = (element) => {
      const box = element.getBoundingClientRect();
      return box.width > 1 && box.height > 1 && element.checkVisibility({ checkVisibilityCSS: true });
    };
    const scroller = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const flow = getComputedStyle(at).overflowX;
        if (at !== document.documentElement && (flow === 'auto' || flow === 'scroll')
          && at.scrollWidth > at.clientWidth) return at;
      }
      return null;
    };
    // The right end of a text that an ellipsis may shorten.
    const clip = (element) => (getComputedStyle(element).overflowX === 'hidden'
      ? element.getBoundingClientRect().right : Infinity);
    const isChart = (element) => element.matches('svg, canvas, .plot');
    const offences = [];
    for (const element of document.body.querySelectorAll('*')) {
      if (!isSeen(element) || (scroller(element) && !isChart(element))) continue;
      const { left, right } = element.getBoundingClientRect();
      if (left < -0.5 || right > innerWidth + 0.5) {
        offences.push(`outside: ${element.outerHTML.slice(0, 80)} from ${left} to ${right}`);
      }
    }
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const words = node.textContent.trim();
      if (!words || !isSeen(node.parentElement) || node.parentElement.closest('title, script')) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const edge = clip(node.parentElement);
      for (const { left, top, right, bottom } of range.getClientRects()) {
        const box = { left, top, bottom, right: Math.min(right, edge) };
        texts.push({ words, box, of: scroller(node.parentElement) });
      }
    }
    for (const [at, one] of texts.entries()) {
      for (const other of texts.slice(at + 1)) {
        if (one.of !== other.of || one.words === other.words) continue;
        const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
        const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
        // A box of letters is a little higher than its line.
        if (wide > 1 && high > 4) offences.push(`"${one.words}" over "${other.words}"`);
      }
    }
    return offences;
  });
  assert.deepEqual(found, []);
}
