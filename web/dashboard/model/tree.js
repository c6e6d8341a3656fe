/**
 * The supervision tree, from the flat list that the server gives: the process, its supervisors by category,
 * and what they supervise. Pure.
 *
 * @typedef {import('../types').Actor} Actor
 * @typedef {{ name: string, failing: boolean, running: number, restarting: number, quarantined: number, waiting: number,
 *   deaths: number[], children: Actor[] }} Branch
 * @typedef {{ process: string, branches: Branch[] }} Tree
 */

const ORDER = ['quarantined', 'restarting', 'running', 'passive'];

/** @param {Actor} a @param {Actor} b */
const byTrouble = (a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || b.restarts - a.restarts
  || b.incarnation - a.incarnation || a.actor.localeCompare(b.actor, 'en', { numeric: true });

/** Whether a branch needs a look. @param {Branch} b */
export const troubled = (b) => b.failing || b.quarantined > 0 || b.restarting > 0;

/** Nobody here supervises a process. Its name may be a path. @param {Actor} a */
export const isProcess = (a) => a.parent === null || !a.actor.includes('/');

/** @param {Iterable<Actor>} actors @returns {Tree} */
export function treeOf(actors) {
  let process = '';
  let processes = 0;
  /** @type {Map<string, Branch>} */
  const branches = new Map();
  /** @param {string} name */
  const branch = (name) => {
    let found = branches.get(name);
    if (!found) {
      found = { name, failing: false, running: 0, restarting: 0, quarantined: 0, waiting: 0, deaths: [], children: [] };
      branches.set(name, found);
    }
    return found;
  };
  /** Categories whose supervisor said how many it has: not all of them may be listed. */
  const counted = new Set();
  for (const a of actors) {
    if (isProcess(a)) { process = process ? `${processes + 1} processes` : a.actor; processes++; continue; }
    const category = a.actor.slice(0, a.actor.indexOf('/'));
    const b = branch(category);
    if (!a.actor.endsWith('/*')) { b.children.push(a); continue; }
    b.failing = b.failing || a.state === 'quarantined' || Boolean(a.supervises?.failing);
    if (!a.supervises) continue;
    counted.add(category);
    b.running += a.supervises.running;
    b.restarting += a.supervises.restarting;
    b.quarantined += a.supervises.quarantined;
    b.waiting += a.supervises.waiting;
    b.deaths = added(b.deaths, a.supervises.deaths_by_minute ?? []);
  }
  for (const b of branches.values()) {
    b.children.sort(byTrouble);
    if (counted.has(b.name)) continue;
    for (const a of b.children) {
      if (a.state === 'running' || a.state === 'restarting' || a.state === 'quarantined') b[a.state]++;
    }
  }
  const all = [...branches.values()].sort((a, b) => Number(troubled(b)) - Number(troubled(a)) || a.name.localeCompare(b.name));
  return { process, branches: all };
}

/** Two rows of deaths by minute, the current minute last. @param {number[]} a @param {number[]} b */
function added(a, b) {
  const length = Math.max(a.length, b.length);
  return Array.from({ length }, (_, n) => (a[a.length - length + n] ?? 0) + (b[b.length - length + n] ?? 0));
}
