import assert from 'node:assert/strict';
import { test } from 'node:test';
import { age, clock, distance, money, shortId, span, words } from '../model/format.js';
import { describe } from '../model/describe.js';

test('clocks run through minutes and hours and never below zero', () => {
  for (const [ms, want] of [[0, '0:00'], [7_999, '0:07'], [761_000, '12:41'], [3_729_000, '1:02:09'], [-5, '0:00'], [NaN, '–']]) assert.equal(clock(ms), want);
});

test('spans and distances are rounded to what matters', () => {
  for (const [s, want] of [[40, '40 s'], [89.4, '89 s'], [90, '2 min'], [420, '7 min'], [3900, '1 h 05'], [null, '–']]) assert.equal(span(s), want);
  for (const [m, want] of [[4, '0 m'], [847, '850 m'], [4210, '4.2 km'], [12_400, '12 km'], [undefined, '–']]) assert.equal(distance(m), want);
});

test('money is written with the digits of its currency and without floating point', () => {
  const cases = [[123_456, 'CHF', '1’234.56 CHF'], [500, 'JPY', '500 JPY'], [-1005, 'KWD', '−1.005 KWD'], [7, 'EUR', '0.07 EUR'], [9_007_199_254_740_991, 'CHF', '90’071’992’547’409.91 CHF']];
  for (const [amount_minor, currency, want] of cases) assert.equal(money({ amount_minor, currency }), want);
  assert.equal(money(null), '–');
});

test('ages count whole years only', () => {
  const now = Date.parse('2026-03-12T08:00:00Z');
  for (const [born, want] of [['1947-03-12', 79], ['1947-03-13', 78], ['2026-01-01', 0], ['soon', null], [null, null]]) assert.equal(age(born, now), want);
});

test('UUIDs are shortened and names of people left alone', () => {
  assert.equal(shortId('10a3c000-4a5b-8c6d-9e7f-000000000001'), '10a3c000');
  assert.equal(shortId('RTW-1'), 'RTW-1');
  assert.equal(words('handed-over'), 'Handed over');
});

test('every kind has a line and no body, however odd, breaks one', () => {
  const kinds = ['incident.opened', 'incident.closed', 'dispatch.assigned', 'billing.paid', 'billing.pending', 'unit.status.onboard', 'triage.status.emergency', 'supervision.quarantined', 'notification.sent', 'wearable.reading.recorded', 'nobody.knows.this'];
  for (const kind of kinds) {
    for (const data of [undefined, null, {}, { hospital: {} }, 7, 'x', []]) assert.ok(describe(kind, data).length > 0, `${kind} ${JSON.stringify(data)}`);
  }
  assert.equal(describe('unit.status.onboard', { unit_id: 'RTW-1', hospital: { name: 'Grabs' } }), 'RTW-1 onboard for Grabs');
  assert.equal(describe('billing.paid', { charged: { amount_minor: 1685, currency: 'CHF' }, provider: 'sandbox-payment' }), 'Bill PAID: 16.85 CHF (sandbox-payment)');
});
