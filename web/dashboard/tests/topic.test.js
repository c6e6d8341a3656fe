import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filterOf, filterProblem, matches } from '../model/topic.js';

test('a star is one word and a hash any number of them', () => {
  const cases = [
    ['#', 'incident.opened', true], ['incident.*', 'incident.opened', true], ['incident.*', 'incident.opened.p00', false],
    ['incident.#', 'incident', true], ['incident.#', 'incident.opened', true], ['*.status.*', 'unit.status.enroute', true],
    ['*.status.*', 'unit.location.reported', false], ['#.paid', 'billing.paid', true], ['#.paid', 'paid', true], ['unit.#.x', 'unit.x', true],
    ['unit.#.x', 'unit.a.b.x', true], ['unit.#.x', 'unit.a.b', false], ['*', 'a.b', false], ['#.#', 'a', true], ['', 'a', false],
    ['a.*.#', 'a', false], ['billing.paid', 'billing.paid', true], ['billing.pai', 'billing.paid', false],
  ];
  for (const [pattern, kind, want] of cases) assert.equal(matches(pattern, kind), want, `${pattern} on ${kind}`);
});

test('several patterns are joined by or, and an empty box lets everything through', () => {
  assert.ok(filterOf('  ')('anything.at-all'));
  const either = filterOf('incident.#, *.paid');
  assert.deepEqual(['incident.opened', 'billing.paid', 'unit.updated'].map(either), [true, true, false]);
});

test('a filter with a mistake says what is wrong', () => {
  for (const good of ['', '#', 'incident.# *.status.*', 'dispatch.eta-changed']) assert.equal(filterProblem(good), null, good);
  for (const bad of ['incident..x', 'inc*', 'Incident.#', 'a.#b']) assert.match(String(filterProblem(bad)), /word|stand alone|lower case/, bad);
});
