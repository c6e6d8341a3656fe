import assert from 'node:assert/strict';
import { test } from 'node:test';
import { areas, categories, rows } from '../model/kpis.js';

const figure = (count, within) => ({ count, p50_s: 60, p90_s: 90, target_s: 60, within_target: within });

test('figures become rows of what was measured, with the share in percent', () => {
  assert.deepEqual(rows({ turnout_time: figure(3, 0.6667), travel_time: figure(0, null), scene_time: figure(1, null) }), [
    { name: 'Turnout', count: 3, p50_s: 60, p90_s: 90, target_s: 60, within: '67 %' },
    { name: 'At the scene', count: 1, p50_s: 60, p90_s: 90, target_s: 60, within: '–' },
  ]);
  assert.deepEqual(rows(undefined), []);
});

test('categories follow all incidents, areas come by how many they have, and empty ones are left out', () => {
  const intervals = {
    response_time: figure(5, 1),
    by_category: { 1: { response_time: figure(2, 1) }, 3: { response_time: figure(0, null) } },
    by_area: { hills: { incidents: 1, response_time: figure(1, 1) }, town: { incidents: 4, response_time: figure(4, 1) } },
  };
  assert.deepEqual(categories(intervals).map((g) => g.name), ['All incidents', 'Category 1']);
  assert.deepEqual(areas(intervals).map((g) => g.name), ['Area town (4)', 'Area hills (1)']);
  assert.deepEqual([categories(null), areas(null)], [[], []]);
});
