import assert from 'node:assert/strict';
import test from 'node:test';
import { treeOf, troubled } from '../model/tree.js';

/** @param {string} actor @param {object} [more] @returns {any} */
const actor = (actor, more = {}) => ({ actor, state: 'running', incarnation: 1, restarts: 0, last_cause: null, detail: null, back_at: null, ...more });

test('the tree has the process, its supervisors and what they supervise, the troubled first', () => {
  const tree = treeOf([
    actor('embedded'),
    actor('consumer/*', { supervises: { failing: false, running: 1, restarting: 0, quarantined: 0, waiting: 3, deaths_by_minute: [0, 0] } }),
    actor('unit/*', { supervises: { failing: true, running: 900, restarting: 1, quarantined: 1, waiting: 0, deaths_by_minute: [2, 5] } }),
    actor('consumer/dispatch.desk'),
    actor('unit/u-2'), actor('unit/u-10', { state: 'quarantined', incarnation: 6 }), actor('unit/u-3', { state: 'restarting' }),
  ]);
  assert.equal(tree.process, 'embedded');
  assert.deepEqual(tree.branches.map((b) => [b.name, troubled(b)]), [['unit', true], ['consumer', false]]);
  const [units] = tree.branches;
  assert.deepEqual([units.running, units.failing, units.deaths], [900, true, [2, 5]], 'counts are the supervisor\'s, also of those not listed');
  assert.deepEqual(units.children.map((a) => a.actor), ['unit/u-10', 'unit/u-3', 'unit/u-2']);
});

test('without supervisors in the list the counts are those of the listed', () => {
  const tree = treeOf([actor('bill/a'), actor('bill/b', { state: 'restarting' })]);
  assert.deepEqual(tree.branches.map((b) => [b.name, b.running, b.restarting]), [['bill', 1, 1]]);
});

test('supervisors of several processes add up', () => {
  const of = (/** @type {number[]} */ deaths_by_minute) => actor('unit/*', { supervises: { failing: false, running: 2, restarting: 0, quarantined: 0, waiting: 1, deaths_by_minute } });
  const tree = treeOf([of([1]), of([3, 4])]);
  assert.deepEqual([tree.branches[0].running, tree.branches[0].deaths], [4, [3, 5]]);
});
