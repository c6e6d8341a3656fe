/**
 * The order of the incident queue, what a breach is, and the figures and alarms above it.
 *
 * @typedef {import('../types').Incident} Incident
 * @typedef {import('../types').State} State
 */
import { ENDED } from './state.js';
import { isFree } from './codes.js';

/**
 * Where an incident stands, in one word that a person reads: the unit's status while one is on it.
 * @param {Incident} i
 */
export function phase(i) {
  if (['resolved', 'closed', 'cancelled'].includes(i.status)) return i.status;
  if (i.unit_id && i.unit_status) return i.unit_status;
  if (i.unit_id) return 'assigned';
  if (i.waiting_reason) return 'waiting';
  return i.acknowledged_at ? 'acknowledged' : 'opened';
}

/** Whether a person has still to look at it. @param {Incident} i */
export const needsAcknowledge = (i) => !i.acknowledged_at && !['resolved', 'closed', 'cancelled'].includes(i.status);

/**
 * Whether its deadline for acknowledgement has passed, now or before (then it has been escalated).
 * @param {Incident} i
 * @param {number} now_ms
 */
export function isBreached(i, now_ms) {
  if (!needsAcknowledge(i)) return false;
  return i.escalation_level > 0 || (i.acknowledge_by !== null && Date.parse(i.acknowledge_by) <= now_ms);
}

/**
 * 0 while care goes on, 1 when only the bill is open, 2 when all is done.
 * @param {Incident} i
 */
export const section = (i) => (ENDED.has(i.status) ? 2 : i.status === 'resolved' ? 1 : 0);

/**
 * Priority, then age: the oldest of the most urgent first. Ended ones stand last, newest first.
 * @param {Iterable<Incident>} incidents
 * @returns {Incident[]}
 */
export function inOrder(incidents) {
  return [...incidents].sort((a, b) => {
    const s = section(a) - section(b);
    if (s !== 0) return s;
    if (section(a) === 2) return compare(b.closed_at ?? b.updated_at, a.closed_at ?? a.updated_at);
    return a.priority - b.priority || compare(a.opened_at, b.opened_at) || compare(a.incident_id, b.incident_id);
  });
}

/** @param {string} a @param {string} b */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * The figures on top, from what the page holds.
 * @param {State} state
 */
export function figures(state) {
  const f = { open: 0, p1: 0, unacknowledged: 0, waiting: 0, units_free: 0, units: 0, bills_pending: 0 };
  for (const i of state.incidents.values()) {
    if (section(i) !== 0) continue;
    f.open++;
    if (i.priority === 1) f.p1++;
    if (needsAcknowledge(i)) f.unacknowledged++;
    if (phase(i) === 'waiting') f.waiting++;
  }
  for (const u of state.units.values()) {
    if (u.status !== 'out-of-service') f.units++;
    if (isFree(u.status)) f.units_free++;
  }
  for (const b of state.bills.values()) if (b.state === 'PENDING') f.bills_pending++;
  return f;
}

/** @typedef {{key: string, tone: 'red' | 'amber', text: string, go: {tab?: string, incident?: string}}} Alarm */

/**
 * What a person must look at, most urgent first.
 * @param {State} state
 * @param {number} now_ms
 * @returns {Alarm[]}
 */
export function alarms(state, now_ms) {
  /** @type {Alarm[]} */
  const out = [];
  const late = inOrder(state.incidents.values()).filter((i) => isBreached(i, now_ms));
  if (late.length) {
    out.push({ key: 'late', tone: 'red', text: `${late.length} not acknowledged`, go: { incident: late[0].incident_id } });
  }
  const parked = [...state.actors.values()].filter((a) => a.state === 'quarantined' && !a.actor.endsWith('/*')).length;
  const failing = [...state.actors.values()].filter((a) => a.actor.endsWith('/*') && (a.state === 'quarantined' || a.supervises?.failing)).map((a) => a.actor.slice(0, -2));
  if (failing.length > 0) out.push({ key: 'failing', tone: 'red', text: `${failing.join(', ')} failing`, go: { tab: 'supervision' } });
  const law = [...state.actors.values()].find((a) => a.actor.startsWith('auditor/') && a.detail);
  if (law) out.push({ key: 'law', tone: 'red', text: law.detail ?? 'a law is broken', go: { tab: 'supervision' } });
  if (parked) out.push({ key: 'parked', tone: 'red', text: `${parked} quarantined`, go: { tab: 'supervision' } });
  const stuck = [...state.bills.values()].filter((b) => b.attention).length;
  if (stuck) out.push({ key: 'stuck', tone: 'amber', text: `${stuck} ${stuck === 1 ? 'bill' : 'bills'} stuck`, go: { tab: 'bills' } });
  const waiting = inOrder(state.incidents.values()).filter((i) => phase(i) === 'waiting');
  if (waiting.length) {
    out.push({ key: 'waiting', tone: 'amber', text: `${waiting.length} without unit`, go: { incident: waiting[0].incident_id } });
  }
  return out;
}

/**
 * What the live region says about the step from one state to the next: top priorities only, one sentence.
 * @param {ReadonlyMap<string, Incident>} before
 * @param {ReadonlyMap<string, Incident>} after
 * @returns {string | null}
 */
export function announcement(before, after) {
  if (before === after) return null;
  const opened = [];
  const escalated = [];
  for (const [id, i] of after) {
    if (i.priority > 1 || section(i) !== 0) continue;
    const old = before.get(id);
    if (!old) opened.push(i);
    else if (i.escalation_level > old.escalation_level) escalated.push(i);
  }
  if (opened.length === 1) return `Priority 1: ${opened[0].summary}`;
  if (opened.length > 1) return `${opened.length} new priority 1 incidents`;
  if (escalated.length) return `Priority 1 escalated, not acknowledged: ${escalated[0].summary}`;
  return null;
}
