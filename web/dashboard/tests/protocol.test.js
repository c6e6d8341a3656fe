import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKLOG, fresh, lost, receive } from '../live/protocol.js';

const HELLO = { t: 'hello', epoch: 'e1', head: 1000, limits: {}, server_time: '2026-03-01T12:00:00Z' };
const d = (...offsets) => ({ t: 'd', id: 'main', from: offsets[0] - 1, to: offsets.at(-1), ev: offsets.map((o) => [o, 'incident.opened', '2026-03-01T12:00:00Z', {}, 'incident/i', 'i']) });

/** Runs frames through a session; gives the last step and all offsets delivered. */
function play(session, ...frames) {
  const offsets = [];
  let last = null;
  for (const frame of frames) {
    last = receive(session, frame);
    session = last.session;
    offsets.push(...last.events.map((e) => e.offset));
  }
  return { session, last, offsets };
}

test('the first hello subscribes a little before the head, and to positions', () => {
  const { last } = play(fresh(), HELLO);
  assert.deepEqual(last.send.map((s) => [s.id, s.lane]), [['main', 'log'], ['pos', 'state']]);
  assert.deepEqual(last.send[0].from, { epoch: 'e1', offset: 1000 - BACKLOG });
  assert.equal(last.gap, null);
});

test('after a reconnect the log goes on where it ended and nothing comes twice', () => {
  const first = play(fresh(), HELLO, d(990, 991), { t: 'live', id: 'main' }, d(1001, 1002));
  const again = play(lost(first.session, 0).session, { ...HELLO, head: 1010 });
  assert.deepEqual(again.last.send[0].from, { epoch: 'e1', offset: 1002 });
  const rest = play(again.session, d(1002, 1003), d(1003, 1004));
  assert.deepEqual(rest.offsets, [1003, 1004]);
});

test('another epoch means another log: everything is read anew', () => {
  const first = play(fresh(), HELLO, d(1001));
  const again = play(first.session, { ...HELLO, epoch: 'e2', head: 5 });
  assert.equal(again.last.gap, 'epoch');
  assert.deepEqual(again.last.send[0].from, { epoch: 'e2', offset: 0 });
  assert.deepEqual(play(again.session, d(1, 2)).offsets, [1, 2]);
});

test('a gap says why and the log goes on behind it', () => {
  const { session } = play(fresh(), HELLO, d(1001));
  const { last } = play(session, { t: 'gap', id: 'main', after: 1001, next: 1500, why: 'slow' });
  assert.equal(last.gap, 'slow');
  assert.deepEqual(play(last.session, d(1500)).offsets, [1500]);
});

test('a heartbeat moves a live client on and leaves one that catches up alone', () => {
  const catching = play(fresh(), HELLO, d(700));
  assert.equal(play(catching.session, { t: 'hb', head: 2000 }).session.offset, 700);
  const live = play(catching.session, d(1000), { t: 'live', id: 'main' });
  assert.equal(play(live.session, { t: 'hb', head: 2000 }).session.offset, 2000);
});

test('positions come out of both forms of the state lane', () => {
  const fix = { unit_id: 'A', at: '2026-03-01T12:00:00Z', location: { lat: 47, lon: 9 } };
  for (const t of ['st', 'snap']) assert.deepEqual(play(fresh(), { t, id: 'pos', ev: [[1, 'unit.location.reported', fix.at, { fixes: [fix] }]] }).last.fixes, [fix]);
});

test('waits grow from half a second to fifteen and vary', () => {
  let session = fresh();
  const waits = [];
  for (let n = 0; n < 12; n++) {
    const next = lost(session, 1);
    session = next.session;
    waits.push(next.wait_ms);
  }
  assert.deepEqual(waits.slice(0, 6), [500, 1000, 2000, 4000, 8000, 15_000]);
  assert.equal(waits.at(-1), 15_000);
  assert.ok(lost(session, 0).wait_ms < 15_000 && lost(fresh(), 0).wait_ms >= 500);
  assert.equal(play(session, d(1)).session.failures, 0);
});

test('frames that nobody knows change nothing', () => {
  for (const frame of [null, 7, {}, { t: 'new' }, { t: 'd' }, { t: 'st', ev: [7] }]) assert.deepEqual(receive(fresh(), frame).events, []);
  assert.equal(receive(fresh(), { t: 'err', code: 'bad', detail: 'no such topic' }).error, 'no such topic');
});
