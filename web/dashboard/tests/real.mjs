/**
 * The dashboard against the real binary playing the demo city: it goes live, shows the emergency from its
 * reasons to the settled bill, survives a lost connection, and has no findings of axe.
 *
 *   node tests/real.mjs PATH_TO_SHERS [--picture FILE.png]     (CHROMIUM names the browser)
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const binary = process.argv[2];
const picture = process.argv.includes('--picture') ? process.argv[process.argv.indexOf('--picture') + 1] : null;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const LIMIT_MS = 120_000;

const data = mkdtempSync(join(tmpdir(), 'shers-browser-'));
const server = spawn(binary, ['demo', '--listen', '127.0.0.1:0', '--data-dir', data, '--speed', '40'], { stdio: ['ignore', 'pipe', 'ignore'] });
const link = await new Promise((found, failed) => {
  createInterface({ input: server.stdout }).on('line', (line) => {
    const match = /http:\/\/\S+/.exec(line);
    if (match) found(match[0]);
  });
  server.on('exit', (code) => failed(new Error(`shers ended with ${code}`)));
});

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
let crashedIncident = '';
const complaints = [];
let passed = 0;
let failure = null;
const step = async (name, run) => {
  await run();
  passed++;
  process.stdout.write(`ok   ${name}\n`);
};

try {
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 }, colorScheme: 'dark' });
  page.setDefaultTimeout(LIMIT_MS);
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/WebSocket|ERR_|status of 40/.test(message.text())) complaints.push(message.text());
  });
  await page.goto(link);
  await step('the dashboard goes live and says that it is an exercise', async () => {
    await page.waitForSelector('.link.live');
    assert.ok(!page.url().includes('token'), 'the token stays out of the address');
    assert.match(await page.locator('body').innerText(), /exercise/i);
  });
  await step('an emergency appears with its reasons', async () => {
    await page.waitForSelector('.queue-card');
    await page.locator('.queue-card').first().click();
    await page.waitForFunction(() => /NEWS2|SOS|fall/i.test(document.body.innerText));
  });
  await step('a unit is on its way and its assignment is explained', async () => {
    await page.waitForFunction(() => /closest/i.test(document.body.innerText));
    if (picture) {
      await page.waitForTimeout(9_000);
      await page.screenshot({ path: picture });
    }
  });
  await step('an incident crashed in mid-dispatch lives again and its story goes on', async () => {
    await page.click('#tab-supervision');
    const row = page.locator('tr[data-actor^="incident/"]').first();
    const actor = await row.getAttribute('data-actor');
    const of = `tr[data-actor="${actor}"]`;
    const life = Number(await page.locator(`${of} [data-life]`).getAttribute('data-life'));
    await page.locator(`${of} button:text-is("Crash")`).click();
    await page.waitForFunction(([at, before]) => Number(document.querySelector(`${at} [data-life]`)?.getAttribute('data-life')) > before, [of, life]);
    await page.waitForFunction((at) => /panic/.test(document.querySelector(at)?.textContent ?? '') && /Running/i.test(document.querySelector(at)?.textContent ?? ''), of);
    await page.waitForSelector('.tree .deaths');
    if (picture) await page.screenshot({ path: picture.replace('.png', '-supervision.png') });
    crashedIncident = actor.slice('incident/'.length);
  });
  await step('the stream comes back after the connection was lost', async () => {
    await page.context().setOffline(true);
    await page.context().setOffline(false);
    await page.waitForSelector('.link.live');
  });
  await step('a bill is settled and its incident closes', async () => {
    await page.waitForFunction(() => /PAID/.test(document.body.innerText) || document.querySelector('[data-bill="PAID"]'));
  });
  await step('the incident that was crashed came to its end like any other', async () => {
    // Its row leaves the tree when nothing can happen to it any more.
    await page.waitForFunction((id) => !document.querySelector(`tr[data-actor="incident/${id}"]`), crashedIncident);
  });
  await step('axe finds nothing (WCAG 2.2 AA)', async () => {
    await page.evaluate(AXE);
    const result = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'] }));
    assert.deepEqual(result.violations.map((violation) => violation.id), []);
  });
  assert.deepEqual(complaints, [], 'errors in the console');
} catch (error) {
  failure = error;
  process.stdout.write(`FAIL ${String(error.stack ?? error)}\n`);
} finally {
  await browser.close();
  server.removeAllListeners('exit');
  server.kill('SIGTERM');
  await new Promise((ended) => server.on('exit', ended));
  rmSync(data, { recursive: true, force: true });
}
process.stdout.write(`${passed} passed, ${failure ? 1 : 0} failed\n`);
process.exit(failure ? 1 : 0);
