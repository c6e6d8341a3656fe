import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_CLOSED, MAX_EVENTS, applyEvents, empty, fromSnapshot, remember } from '../model/state.js';
import { alarms, announcement, figures, inOrder, isBreached, phase } from '../model/queue.js';

const T0 = Date.parse('2026-03-01T12:00:00.000Z');
const at = (s) => new Date(T0 + s * 1000).toISOString();
const chf = (amount_minor) => ({ amount_minor, currency: 'CHF' });
let offset = 0;
const event = (s, kind, data, stream = 'x/y', correlation_id = null) => ({ offset: ++offset, kind, at: at(s), data, stream, correlation_id });

const opened = (id, s = 0, priority = 1, patient_id = `p-${id}`) => event(s, 'incident.opened', {
  incident_id: id, patient_id, priority, location: { lat: 47, lon: 9 }, call: { source: 'triage', at: at(s - 1), summary: `call ${id}`, triage: null }, needs: ['als'], acknowledge_by: at(s + 60),
}, `incident/${id}`, id);
const ofIncident = (id, s, what, data = {}) => event(s, `incident.${what}`, data, `incident/${id}`, id);
const assigned = (id, unit, s) => event(s, 'dispatch.assigned', { incident_id: id, unit_id: unit, eta_s: 300, distance_m: 4000, eta_source: 'built-in', reason: 'nearest', candidates: [], by: 'dispatch', from: null, to: { lat: 47, lon: 9 } }, `unit/${unit}`, id);
const status = (id, unit, s, what, more = {}) => event(s, `unit.status.${what}`, { unit_id: unit, previous: null, incident_id: id, by: 'crew', at: at(s), ...more }, `unit/${unit}`, id);
const hospital = { hospital_id: 'h', name: 'Grabs', location: { lat: 47.1, lon: 9.4 }, drive_s: 600, distance_m: 8000, reason: 'nearest' };
const billing = (id, s, what, data = {}) => event(s, `billing.${what}`, { bill_id: id, incident_id: id, ...data }, `bill/${id}`, id);
const registered = (unit) => event(-100, 'unit.registered', { unit_id: unit, kind: 'ambulance', capabilities: ['als'], crew_level: 'als', location: { lat: 47.2, lon: 9.5 } }, `unit/${unit}`);

/** Folds `events` and compares the fields of one document that `want` names. */
function check(collection, id, events, want) {
  const doc = applyEvents(empty(), events)[collection].get(id);
  assert.deepEqual(Object.fromEntries(Object.keys(want).map((k) => [k, doc?.[k]])), want);
}

const STORY = [
  registered('RTW-1'), status(null, 'RTW-1', -90, 'available'), opened('i'), ofIncident('i', 20, 'acknowledged', { by: 'ann' }), assigned('i', 'RTW-1', 25), status('i', 'RTW-1', 25, 'assigned'),
  status('i', 'RTW-1', 60, 'enroute'), status('i', 'RTW-1', 330, 'on-scene'), status('i', 'RTW-1', 340, 'at-patient'), status('i', 'RTW-1', 900, 'onboard', { hospital }),
  status('i', 'RTW-1', 1500, 'arrived', { loaded_distance_m: 8000 }), status('i', 'RTW-1', 1700, 'handed-over'), ofIncident('i', 1700, 'resolved', { disposition: 'transported', by: null, unit_id: 'RTW-1', hospital_id: 'h' }),
  billing('i', 1701, 'pending', { step: 'eligibility', attempt: 1, order: { patient_id: 'p-i', lines: [{ item: 'base', text: 'Base', amount_minor: 84_250 }], total: chf(84_250) } }),
  billing('i', 1702, 'coverage-verified', { insurer: chf(67_400), patient: chf(16_850), reason: 'the plan pays 80 %' }), billing('i', 1703, 'pending', { step: 'create-payment', attempt: 1 }),
  billing('i', 1704, 'pending', { step: 'confirm-payment', attempt: 1, payment_id: 'pay_1' }), billing('i', 1705, 'paid', { payment_id: 'pay_1', provider: 'sandbox-payment', charged: chf(16_850) }),
  ofIncident('i', 1706, 'closed', { bill: 'PAID', by: null }), status(null, 'RTW-1', 1760, 'available'),
];

test('a story from the call to the paid bill leaves the documents that the server would', () => {
  check('incidents', 'i', STORY, {
    status: 'closed', priority: 1, acknowledged_at: at(20), acknowledge_by: null, unit_id: 'RTW-1', unit_status: 'handed-over', eta_at: null, disposition: 'transported', closed_at: at(1706),
    bill: { state: 'PAID', step: 'settled', attention: null }, hospital, waiting_reason: null, calls: 1,
    times: { call: at(-1), assigned: at(25), enroute: at(60), on_scene: at(330), at_patient: at(340), onboard: at(900), arrived: at(1500), handed_over: at(1700) },
  });
  check('units', 'RTW-1', STORY, { status: 'available', incident_id: null, hospital: null, eta_at: null, status_at: at(1760) });
  check('bills', 'i', STORY, { state: 'PAID', step: 'settled', total: chf(84_250), insurer: chf(67_400), patient_share: chf(16_850), payment_id: 'pay_1', provider: 'sandbox-payment', charged: chf(16_850), attempt: 1 });
});

test('where an incident stands follows it through every stage', () => {
  const want = ['opened', 'acknowledged', 'assigned', 'assigned', 'enroute', 'on-scene', 'at-patient', 'onboard', 'arrived', 'handed-over', 'resolved'];
  let state = applyEvents(empty(), STORY.slice(0, 2));
  STORY.slice(2, 13).forEach((e, n) => {
    state = applyEvents(state, [e]);
    assert.equal(phase(state.incidents.get('i')), want[n], e.kind);
  });
});

test('one batch and many give the same state, and what came before stays as it was', () => {
  const before = empty();
  const whole = applyEvents(before, STORY);
  const single = STORY.reduce((s, e) => applyEvents(s, [e]), empty());
  assert.deepEqual(whole, single);
  assert.deepEqual(before, empty());
  const half = applyEvents(empty(), STORY.slice(0, 6));
  const frozen = structuredClone(half);
  applyEvents(half, STORY.slice(6));
  assert.deepEqual(half, frozen);
});

test('untouched collections keep their identity, so nothing that shows them is drawn again', () => {
  const state = applyEvents(empty(), STORY);
  const next = applyEvents(state, [opened('k', 2000)]);
  assert.notEqual(next.incidents, state.incidents);
  for (const name of ['units', 'bills', 'hospitals', 'actors', 'notifications', 'events']) assert.equal(next[name], state[name], name);
  assert.equal(applyEvents(state, []), state);
});

test('a snapshot and the events after it end where the events alone do', () => {
  const whole = applyEvents(empty(), STORY);
  for (let cut = 0; cut <= STORY.length; cut++) {
    const half = applyEvents(empty(), STORY.slice(0, cut));
    const read = JSON.parse(JSON.stringify({ incidents: [...half.incidents.values()].map(({ offset: _, ...i }) => i), units: [...half.units.values()], bills: [...half.bills.values()] }));
    const state = applyEvents(fromSnapshot(read, empty()), STORY.slice(cut));
    const plain = (s) => JSON.parse(JSON.stringify([...s.incidents.values(), ...s.units.values(), ...s.bills.values()].map(({ offset: _, ...d }) => d)));
    assert.deepEqual(plain(state), plain(whole), `cut at ${cut}`);
  }
});

test('a call that a snapshot has counted is not counted again, and later ones are', () => {
  const joined = (s) => ofIncident('i', s, 'call-joined', { call: { summary: 'again', triage: null }, priority: 1, location: null });
  const [first, second] = [joined(30), joined(40)];
  const read = { incidents: [{ incident_id: 'i', status: 'opened', priority: 1, calls: 2, opened_at: at(0), updated_at: at(30) }] };
  const state = applyEvents(fromSnapshot(read, empty()), [first, second]);
  assert.equal(state.incidents.get('i').calls, 3);
});

test('a unit that is called off leaves its incident open, and another begins the times anew', () => {
  const events = [opened('i'), assigned('i', 'A', 10), status('i', 'A', 10, 'assigned'), status('i', 'A', 40, 'enroute'), status('i', 'A', 90, 'cancelled')];
  check('incidents', 'i', events, { unit_id: null, unit_status: null, assignment: null, eta_at: null });
  check('incidents', 'i', [...events, status('i', 'B', 100, 'reserved'), status('i', 'B', 101, 'assigned')], { unit_id: 'B', unit_status: 'assigned', times: { call: at(-1), reserved: at(100), assigned: at(101) } });
});

test('what another unit says changes nothing', () => {
  check('incidents', 'i', [opened('i'), assigned('i', 'A', 10), status('i', 'A', 10, 'assigned'), status('i', 'B', 12, 'enroute'), event(13, 'dispatch.unassigned', { incident_id: 'i', unit_id: 'B', reason: '', by: 'x', reopen: true })], { unit_id: 'A', unit_status: 'assigned' });
});

test('waiting says why and ends when a unit is found', () => {
  const waiting = event(5, 'dispatch.waiting', { request: { incident_id: 'i' }, reason: 'all busy', excluded: [] });
  check('incidents', 'i', [opened('i'), waiting], { waiting_reason: 'all busy', unit_id: null });
  check('incidents', 'i', [opened('i'), waiting, assigned('i', 'A', 10)], { waiting_reason: null, unit_id: 'A' });
});

test('a declined card ends FAILED, a stuck bill asks for a person, and a write-off ends it', () => {
  const pending = billing('i', 1, 'pending', { step: 'eligibility', attempt: 1, order: { patient_id: 'p', lines: [], total: chf(100) } });
  check('bills', 'i', [pending, billing('i', 2, 'failed', { code: 'card-declined', reason: 'The card was declined.' }), billing('i', 3, 'compensated', { what: 'claim-released' })], { state: 'FAILED', step: 'settled', code: 'card-declined', attention: null });
  check('bills', 'i', [pending, billing('i', 2, 'stuck', { step: 'eligibility', reason: 'no answer' })], { state: 'PENDING', attention: 'stuck', reason: 'no answer' });
  check('bills', 'i', [pending, billing('i', 2, 'stuck', { step: 'eligibility', reason: 'no answer' }), billing('i', 3, 'written-off', { by: 'ann', reason: 'too old' })], { state: 'FAILED', attention: null, written_off: true });
});

test('supervision and notifications are followed', () => {
  const supervised = (what, cause) => event(1, `supervision.${what}`, { actor: 'incident/i', cause, detail: 'd', incarnation: 3, restarts: 2, back_at: null });
  check('actors', 'incident/i', [supervised('restarted', 'panic')], { state: 'running', incarnation: 3, last_cause: 'panic' });
  check('actors', 'incident/i', [supervised('quarantined', 'panic')], { state: 'quarantined', restarts: 2 });
  const sent = event(2, 'notification.sent', { notification_id: 'n', incident_id: 'i', template: 'unit-enroute', attempt: 1, target: { contact: 0, channel: 'sms' }, provider: 'sandbox-messaging', last: true });
  check('notifications', 'n', [sent], { state: 'sent', channel: 'sms', provider: 'sandbox-messaging', incident_id: 'i' });
});

test('an event of a shape nobody knows changes nothing and breaks nothing', () => {
  const kinds = [...new Set(STORY.map((e) => e.kind)), 'notification.sent', 'supervision.restarted', 'hospital.updated', 'unit.location.reported', 'never.heard.of'];
  for (const kind of kinds) for (const data of [null, undefined, {}, 7, 'x', [], { fixes: 3 }, { call: null, order: 1 }]) applyEvents(applyEvents(empty(), STORY), [{ ...event(9, kind, data), stream: '' }]);
});

test('the lists are bounded', () => {
  const many = Array.from({ length: MAX_EVENTS + 50 }, (_, n) => event(n, 'patient.updated', {}));
  const state = remember(empty(), many);
  assert.equal(state.events.length, MAX_EVENTS);
  assert.equal(state.events.at(-1), many.at(-1));
  assert.equal(remember(state, many), state, 'a repeat adds nothing');
  const closing = Array.from({ length: MAX_CLOSED + 20 }, (_, n) => [opened(`c${n}`, n), ofIncident(`c${n}`, n + 1, 'closed', {})]).flat();
  const after = applyEvents(applyEvents(empty(), [opened('open')]), closing);
  assert.equal(after.incidents.size, MAX_CLOSED + 1);
  assert.ok(after.incidents.has('open') && !after.incidents.has('c0') && after.incidents.has(`c${MAX_CLOSED + 19}`));
});

test('the queue stands by priority, then age, with what ended last and newest first', () => {
  const state = applyEvents(empty(), [opened('young-1', 50, 1), opened('old-2', 0, 2), opened('old-1', 10, 1), opened('gone', 0, 1), ofIncident('gone', 60, 'closed'), opened('gone-later', 0, 1), ofIncident('gone-later', 70, 'cancelled', { by: 'a', reason: 'b' }), opened('billing', 0, 1), ofIncident('billing', 65, 'resolved', { disposition: 'transported' })]);
  assert.deepEqual(inOrder(state.incidents.values()).map((i) => i.incident_id), ['old-1', 'young-1', 'old-2', 'billing', 'gone-later', 'gone']);
});

test('a breach begins at the deadline or with an escalation, and ends with the acknowledgement', () => {
  const breached = (events, s) => isBreached(applyEvents(empty(), events).incidents.get('i'), T0 + s * 1000);
  const escalated = ofIncident('i', 60, 'escalated', { level: 1, reason: 'nobody', by: null, priority: 1, next_at: at(120) });
  assert.equal(breached([opened('i')], 59), false);
  assert.equal(breached([opened('i')], 60), true);
  assert.equal(breached([opened('i'), escalated], 61), true);
  assert.equal(breached([opened('i'), escalated, ofIncident('i', 70, 'acknowledged', { by: 'ann' })], 200), false);
});

test('figures and alarms count what a person must see', () => {
  const state = applyEvents(empty(), [registered('A'), status(null, 'A', -50, 'at-post'), registered('B'), opened('i'), opened('k', 0, 3), event(5, 'dispatch.waiting', { request: { incident_id: 'k' }, reason: 'busy' }), billing('z', 1, 'stuck', { step: 'eligibility', reason: 'r' }), event(1, 'supervision.quarantined', { actor: 'unit/A' })]);
  assert.deepEqual(figures(state), { open: 2, p1: 1, unacknowledged: 2, waiting: 1, units_free: 1, units: 1, bills_pending: 1 });
  assert.deepEqual(alarms(state, T0).map((a) => a.key), ['parked', 'stuck', 'waiting']);
  assert.deepEqual(alarms(state, T0 + 61_000).map((a) => a.key), ['late', 'parked', 'stuck', 'waiting']);
});

test('only the top priority is spoken, once', () => {
  const before = empty().incidents;
  const one = applyEvents(empty(), [opened('i'), opened('k', 0, 2)]).incidents;
  assert.equal(announcement(before, one), 'Priority 1: call i');
  assert.equal(announcement(one, one), null);
  assert.equal(announcement(before, applyEvents(empty(), [opened('k', 0, 2)]).incidents), null);
  assert.match(String(announcement(before, applyEvents(empty(), [opened('a'), opened('b')]).incidents)), /^2 new/);
});
