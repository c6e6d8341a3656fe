/** The rows of a bill's saga: marks, tries, and what a failure would undo. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { saga, undone } from '../model/saga.js';

const chf = (amount_minor) => ({ amount_minor, currency: 'CHF' });
const entry = (kind, step, text = '') => ({ at: '2026-03-01T12:00:00Z', kind: `billing.${kind}`, step, text });
const bill = (over) => ({
  bill_id: 'i', incident_id: 'i', patient_id: 'p', state: 'PENDING', step: 'eligibility', attention: null, total: chf(1000), insurer: null,
  patient_share: null, attempt: 1, tries: 0, payment_id: null, provider: null, charged: null, reason: null, code: null, coverage_reason: null,
  retry_at: null, written_off: false, lines: [], history: [entry('pending', 'eligibility')], updated_at: '', ...over,
});
const split = { insurer: chf(900), patient_share: chf(100) };
const steps = (...names) => names.map((name) => entry('pending', name));
const marks = (over) => saga(bill(over)).map((row) => row.mark).join(' ');

test('a running saga shows what is done, what is under way and what is to come', () => {
  assert.equal(marks({}), 'now todo todo todo todo');
  assert.equal(marks({ step: 'eligibility-queued' }), 'now todo todo todo todo');
  assert.equal(marks({ ...split, step: 'confirm-payment', history: steps('eligibility', 'create-payment', 'confirm-payment') }), 'done done now todo todo');
  assert.equal(marks({ ...split, step: 'capture-payment', attention: 'stuck', history: steps('eligibility', 'create-payment', 'confirm-payment', 'capture-payment') }), 'done done done stuck todo');
  assert.equal(marks({ ...split, state: 'PAID', step: 'settled' }), 'done done done done done');
  assert.equal(marks({ insurer: chf(1000), patient_share: chf(0), state: 'PAID', step: 'settled' }), 'done skipped skipped skipped done');
});

test('an undone saga shows where it failed and what was undone', () => {
  const history = [...steps('eligibility', 'create-payment', 'confirm-payment', 'compensate'), entry('compensated', null, 'payment-cancelled')];
  const undoing = { ...split, step: 'compensate', history };
  assert.equal(marks(undoing), 'done undone failed skipped now');
  assert.equal(marks({ ...undoing, attention: 'stuck' }), 'done undone failed skipped stuck');
  assert.equal(marks({ ...undoing, state: 'FAILED', step: 'settled' }), 'done undone failed skipped failed');
  assert.deepEqual(undone(bill(undoing)), ['payment-cancelled']);
  assert.equal(saga(bill({ state: 'FAILED', step: 'settled', written_off: true })).at(-1)?.text, 'Written off');
});

test('a new attempt does not show what an earlier one did', () => {
  const history = [...steps('eligibility', 'create-payment', 'compensate'), entry('compensated', null, 'payment-cancelled'), ...steps('eligibility')];
  assert.equal(marks({ attempt: 2, history }), 'now todo todo todo todo');
  assert.deepEqual(undone(bill({ attempt: 2, history })), []);
});

test('each step says what a failure there would undo, the last thing done first', () => {
  const insured = saga(bill({ ...split, step: 'create-payment', history: steps('eligibility', 'create-payment') })).map((row) => row.undoes);
  assert.deepEqual(insured, [[], ['cancel the payment', 'release the claim'], ['cancel the payment', 'release the claim'], ['cancel the payment, or refund it if it was charged', 'release the claim'], []]);
  const alone = saga(bill({ insurer: chf(0), patient_share: chf(1000), step: 'create-payment' }))[1];
  assert.deepEqual(alone.undoes, ['cancel the payment']);
  assert.ok(saga(bill({ ...split, state: 'PAID', step: 'settled' })).every((row) => row.undoes.length === 0));
});

test('tries are shown at the step that is tried', () => {
  const rows = saga(bill({ ...split, step: 'confirm-payment', tries: 3, history: steps('eligibility', 'create-payment', 'confirm-payment') }));
  assert.deepEqual(rows.map((row) => row.tries), [0, 0, 3, 0, 0]);
});
