/**
 * The dashboard in a real browser against the mock server: what a dispatcher does with keys and mouse,
 * resuming after a lost connection, the content security policy, and WCAG 2.2 AA in both colour schemes.
 *
 *   node tests/browser.mjs [--pictures DIR]      (CHROMIUM names the browser, default /usr/bin/chromium)
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { start } from './mock-server.mjs';

const pictures = process.argv.includes('--pictures') ? process.argv[process.argv.indexOf('--pictures') + 1] : null;
const roads = process.argv.includes('--roads') ? process.argv[process.argv.indexOf('--roads') + 1] : undefined;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });

let passed = 0;
const failed = [];

/** Runs one test in a fresh page on a fresh server. */
async function check(name, run, { scheme = 'dark', size = [1600, 1000], signedIn = true, ...mockOptions } = {}) {
  const mock = await start({ live: false, roads, ...mockOptions });
  const page = await browser.newPage({ viewport: { width: size[0], height: size[1] }, colorScheme: scheme });
  const complaints = [];
  page.on('pageerror', (e) => complaints.push(e.message));
  page.on('console', (m) => {
    // A lost or refused connection is part of some tests, and browsers always report it.
    if (m.type() === 'error' && !/WebSocket|ERR_|status of 40/.test(m.text())) complaints.push(m.text());
  });
  try {
    await page.goto(signedIn ? mock.link : mock.address);
    if (signedIn) await page.waitForSelector('.link.live');
    await run(page, mock);
    assert.deepEqual(complaints, [], 'errors in the console');
    passed++;
    process.stdout.write(`ok   ${name}\n`);
  } catch (error) {
    failed.push(name);
    process.stdout.write(`FAIL ${name}\n     ${String(error.stack ?? error).split('\n').slice(0, 6).join('\n     ')}\n`);
  } finally {
    await page.close();
    await mock.stop();
  }
}

const picture = (page, name) => (pictures ? page.screenshot({ path: join(pictures, `${name}.png`) }) : null);
const selectedTitle = (page) => page.locator('.incident-head h2').textContent();

await check('the token leaves the link and stays in the tab', async (page) => {
  assert.ok(!page.url().includes('token'));
  await page.reload();
  await page.waitForSelector('.queue-card');
});

await check('without a token there is a form, and a wrong one is refused in words', async (page) => {
  await page.fill('#token', 'x'.repeat(32));
  await page.click('button[type=submit]');
  await page.waitForSelector('.problem');
  assert.match(await page.locator('.problem').textContent(), /not accepted/);
  await picture(page, 'sign-in');
}, { signedIn: false });

await check('the keys move through the queue, open, acknowledge and recommend', async (page, mock) => {
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  assert.match(await selectedTitle(page), /Fall confirmed/);
  await page.keyboard.press('a');
  await page.waitForFunction(() => !document.querySelector('.queue-card.selected.fresh'));
  const sent = mock.requests.filter((r) => r.path.endsWith('/acknowledge'));
  assert.equal(sent.length, 1);
  assert.ok(sent[0].key, 'a POST carries an Idempotency-Key');
  await page.keyboard.press('d');
  await page.waitForSelector('dialog .board');
  await picture(page, 'assign');
  await page.locator('dialog .board .primary').click();
  await page.waitForSelector('.assigned');
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'topic');
});

await check('the topic filter shows what matches and explains a mistake', async (page) => {
  await page.fill('#topic', 'incident.#');
  await page.waitForFunction(() => [...document.querySelectorAll('.event-row .kind')].every((k) => k.textContent.startsWith('incident.')));
  assert.ok(await page.locator('.event-row').count() > 3);
  await page.fill('#topic', 'inc*');
  await page.waitForSelector('#topic-problem');
});

await check('cancelling asks for a reason first', async (page, mock) => {
  await page.locator('.queue-card').nth(1).click();
  await page.locator('.actions .danger').click();
  assert.ok(await page.locator('dialog button[type=submit]').isDisabled());
  await page.fill('#reason', 'caller rang back');
  await page.locator('dialog button[type=submit]').click();
  await page.waitForSelector('.phase-cancelled');
  assert.equal(mock.requests.filter((r) => r.path.endsWith('/cancel')).length, 1);
});

await check('a dialog takes the keys from the moment it is there', async (page) => {
  await page.locator('.queue-card').nth(1).click();
  await page.waitForSelector('.actions .danger');
  const shown = await page.evaluate(() => new Promise((resolve) => {
    new MutationObserver((_, observer) => {
      const dialog = document.querySelector('dialog');
      if (!dialog) return;
      observer.disconnect();
      resolve(dialog.open);
    }).observe(document.body, { childList: true, subtree: true });
    document.querySelector('.actions .danger').click();
  }));
  assert.equal(shown, true);
  await page.keyboard.press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
});

await check('a lost connection is shown, and the stream goes on without a hole or a repeat', async (page, mock) => {
  await page.waitForSelector('.event-row');
  mock.drop();
  await page.waitForSelector('.link:not(.live)');
  for (let n = 0; n < 5; n++) mock.emit('supervision.restarted', 'supervision/n', null, { actor: `unit/X-${n}`, cause: 'panic', detail: '', incarnation: 2, restarts: 1, back_at: null });
  await page.waitForSelector('.link.live', { timeout: 8000 });
  await page.fill('#topic', 'supervision.#');
  await page.waitForFunction(() => document.querySelectorAll('.event-row').length === 5);
});

await check('bills, messages and supervision offer what a person can do', async (page) => {
  await page.click('#tab-bills');
  await page.waitForSelector('text=Write off…');
  await picture(page, 'bills');
  await page.click('#tab-messages');
  await page.waitForSelector('text=sandbox-messaging');
  await page.click('#tab-supervision');
  await page.waitForSelector('text=Quarantined');
  assert.ok(await page.locator('text=Crash').count() > 0);
  await picture(page, 'supervision');
  await page.locator('button:text-is("Release")').click();
  await page.waitForSelector('.toast.good');
});

await check('a bill shows its saga as it runs, and a person retries it or writes it off with a reason', async (page, mock) => {
  const bill = mock.db.bills.find((b) => b.step === 'confirm-payment');
  const said = (kind, data) => mock.emit(`billing.${kind}`, `bill/${bill.bill_id}`, bill.incident_id, { bill_id: bill.bill_id, incident_id: bill.incident_id, ...data });
  const marked = (step, mark) => page.waitForSelector(`.saga [data-step="${step}"].${mark}`);
  await page.click('#tab-bills');
  await page.locator('.board tr', { hasText: 'Confirm payment' }).locator('.cell-link').click();
  await marked('confirm-payment', 'now');
  assert.match(await page.locator('.saga [data-step="confirm-payment"]').textContent(), /cancel the payment, then release the claim/);
  said('pending', { step: 'capture-payment', attempt: 1, payment_id: 'pi_1' });
  await marked('capture-payment', 'now');
  said('pending', { step: 'capture-payment', attempt: 1, retry_at: new Date(Date.now() + 60_000).toISOString(), reason: 'no answer in time' });
  await page.waitForFunction(() => /1 try without an end, again in/.test(document.querySelector('.saga')?.textContent ?? ''));
  said('stuck', { step: 'capture-payment', reason: 'no answer in time (tried 8 times)' });
  await marked('capture-payment', 'stuck');
  await page.waitForSelector('.saga-attention');
  await picture(page, 'saga-stuck');
  await page.locator('.incident button:text-is("Write off…")').click();
  assert.ok(await page.locator('dialog button[type=submit]').isDisabled(), 'not without a reason');
  await page.keyboard.press('Escape');
  await page.locator('.incident button:text-is("Retry")').click();
  await page.waitForSelector('.toast.good');
  const sent = mock.requests.find((r) => r.path.endsWith('/retry'));
  assert.ok(sent.key, 'a POST carries an Idempotency-Key');
  said('pending', { step: 'compensate', attempt: bill.attempt, code: 'card-declined', reason: 'the card was declined' });
  await marked('settled', 'now');
  said('compensated', { what: 'payment-cancelled' });
  await page.waitForFunction(() => /payment cancelled/.test(document.querySelector('.saga')?.textContent ?? ''));
  said('failed', { code: 'card-declined', reason: 'the card was declined' });
  await marked('settled', 'failed');
  await page.locator('.incident button:text-is("Write off…")').click();
  await page.fill('#reason', 'hardship case');
  await page.locator('dialog button[type=submit]').click();
  await page.waitForFunction(() => /Written off/.test(document.querySelector('.saga')?.textContent ?? ''));
});

await check('outside an exercise there is no banner and nothing can be crashed', async (page) => {
  await page.click('#tab-supervision');
  assert.equal(await page.locator('.exercise').count(), 0);
  assert.equal(await page.locator('button:text-is("Crash")').count(), 0);
}, { exercise: false });

await check('an incident that waits for a person shows who could go, what each offers, who not and why, and a move', async (page, mock) => {
  await page.locator('.queue-card', { hasText: 'Waiting for a person' }).click();
  const box = page.locator('.recommended');
  await box.locator('table.board tbody tr').first().waitFor();
  assert.match(await box.locator('h3').textContent(), /a person decides/);
  assert.match(await box.locator('table.board tbody tr').first().textContent(), /best.*✓ ALS/s);
  assert.match(await box.locator('.diversion').textContent(), /Diversion advised.*sooner.*later/s);
  assert.match(await box.textContent(), /Drive times: built-in\. A person sends units/);
  await box.locator('details summary').click();
  assert.ok(await box.locator('.excluded li').count() > 0);
  await picture(page, 'recommendation');
  await box.locator('.row-actions .primary').click();
  await page.waitForSelector('.toast.good');
  assert.equal(mock.requests.filter((r) => r.path.endsWith('/assignments')).length, 1);
});

await check('response times are shown by category and area', async (page) => {
  await page.getByRole('button', { name: 'Times', exact: true }).click();
  const text = await page.locator('dialog .kpis').textContent();
  for (const part of ['All incidents', 'Category 1', 'Area Vaduz (9)', '78 %']) assert.ok(text.includes(part), `${part} in ${text}`);
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document.querySelector('dialog'), { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'] }));
  assert.deepEqual(found.violations.map((v) => v.id), []);
  await picture(page, 'times');
});

await check('the map pans, zooms and selects with mouse and keys', async (page) => {
  const scale = () => page.locator('.scale').textContent();
  const before = await scale();
  await page.focus('.map-host');
  for (let n = 0; n < 4; n++) await page.keyboard.press('+');
  await page.waitForFunction((old) => document.querySelector('.scale').textContent !== old, before);
  await page.keyboard.press('0');
  await page.waitForFunction((old) => document.querySelector('.scale').textContent === old, before);
  await page.locator('[aria-label=Legend]').click();
  await page.waitForSelector('.legend');
  await picture(page, 'legend');
});

for (const scheme of ['dark', 'light']) {
  for (const size of [[1600, 1000], [1280, 800], [480, 900]]) {
    await check(`WCAG 2.2 AA and no sideways scrolling, ${scheme}, ${size[0]}×${size[1]}`, async (page) => {
      await page.evaluate(AXE);
      const faults = async (where) => {
        const result = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
        assert.deepEqual(result.violations.map((v) => `${where}: ${v.id} ${v.nodes[0].target}`), []);
      };
      await page.locator('.queue-card').first().click();
      await page.waitForSelector('.timeline li');
      await picture(page, `${scheme}-${size[0]}`);
      await faults('incident');
      await page.locator('.incident .scroll').evaluate((n) => n.scrollTo(0, 1e6));
      await picture(page, `${scheme}-${size[0]}-below`);
      for (const tab of ['bills', 'messages', 'supervision']) {
        await page.click(`#tab-${tab}`);
        await faults(tab);
      }
      await page.keyboard.press('?');
      await page.waitForSelector('dialog');
      await faults('help');
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'no sideways scrolling');
    }, { scheme, size });
  }
}

await browser.close();
process.stdout.write(`${passed} passed, ${failed.length} failed\n`);
process.exit(failed.length ? 1 : 0);
