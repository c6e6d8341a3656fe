/**
 * What a person can do, and the keys that do it. Every action answers with a toast; the change itself comes
 * back through the stream.
 */
import { ApiError } from './api.js';
import { section } from './model/queue.js';
import * as store from './store.js';

/** @param {string} text @param {() => Promise<any>} run @returns {Promise<boolean>} */
async function act(text, run) {
  try {
    await run();
    store.toast('good', text);
    return true;
  } catch (error) {
    if (error instanceof ApiError) store.toast('bad', error.message);
    else throw error;
    return false;
  }
}

/** @param {string} id */
const incidentPath = (id) => `/incidents/${encodeURIComponent(id)}`;

/** @param {string} id */
export const acknowledge = (id) => act('Acknowledged', () => store.api.post(`${incidentPath(id)}/acknowledge`));
/** @param {string} id @param {string} reason */
export const escalate = (id, reason) => act('Escalated', () => store.api.post(`${incidentPath(id)}/escalate`, { reason }));
/** @param {string} id @param {string} reason */
export const cancel = (id, reason) => act('Cancelled', () => store.api.post(`${incidentPath(id)}/cancel`, { reason }));
/** @param {string} id @param {string} unit_id @param {string} reason */
export const assign = (id, unit_id, reason) => act(`${unit_id} assigned`, () => store.api.post(`${incidentPath(id)}/assignments`, reason ? { unit_id, reason } : { unit_id }));
/** @param {string} id */
export const recommendations = (id) => store.api.get(`${incidentPath(id)}/recommendations`);
/** @param {string} id @param {string} reason */
export const downgrade = (id, reason) => act('Downgraded', () => store.api.post(`${incidentPath(id)}/downgrade`, { reason }));
/** @param {string} id @param {string} unit @param {string} reason */
export const unassign = (id, unit, reason) => act(`${unit} taken off`, () => store.api.request('DELETE', `${incidentPath(id)}/assignments/${encodeURIComponent(unit)}?reason=${encodeURIComponent(reason)}`));
export const kpis = () => store.api.get('/kpis');
/** @param {string} id */
export const retryBill = (id) => act('The bill is tried again', () => store.api.post(`/bills/${encodeURIComponent(id)}/retry`));
/** @param {string} id @param {string} reason */
export const writeOff = (id, reason) => act('Written off', () => store.api.post(`/bills/${encodeURIComponent(id)}/write-off`, { reason }));
/** @param {string} actor @param {'release' | 'discard' | 'restart' | 'crash'} what */
export async function supervise(actor, what) {
  const done = { release: 'Released', discard: 'Parked messages given up', restart: 'Restart asked for', crash: 'Crashed on purpose' }[what];
  await act(`${done}: ${actor}`, () => store.api.post(`/actors/${encodeURIComponent(actor)}/${what}`));
  store.loadActors();
}

/** The incident that keys act upon: the selected one, else the one under the cursor. */
export const subject = () => store.selected.peek() ?? store.cursor.peek();

/** @param {number} by */
export function moveCursor(by) {
  const ids = store.queue.peek().map((i) => i.incident_id);
  if (ids.length === 0) return;
  const at = ids.indexOf(store.cursor.peek() ?? '');
  const next = ids[Math.max(0, Math.min(ids.length - 1, at < 0 ? 0 : at + by))];
  store.cursor.value = next;
  if (store.selected.peek()) store.select(next);
}

const KEYS_KEY = 'shers.keys';
/** Whether single keys act: they can be turned off, for they trouble those who speak to their computer. */
export const keysOn = () => localStorage.getItem(KEYS_KEY) !== 'off';
/** @param {boolean} on */
export const setKeys = (on) => localStorage.setItem(KEYS_KEY, on ? 'on' : 'off');

/** @type {Record<string, (event: KeyboardEvent) => void>} */
const KEYS = {
  j: () => moveCursor(1),
  k: () => moveCursor(-1),
  Enter: () => store.select(store.cursor.peek()),
  a: () => {
    const id = subject();
    const incident = id ? store.incidents.peek().get(id) : undefined;
    if (incident && !incident.acknowledged_at && section(incident) === 0) acknowledge(incident.incident_id);
  },
  d: () => {
    const id = subject();
    if (id) store.dialog.value = { name: 'assign', incident: id };
  },
  '/': () => document.getElementById('topic')?.focus(),
  '?': () => { store.dialog.value = { name: 'help' }; },
};

/** @param {KeyboardEvent} event */
export function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || store.dialog.peek() || !store.token.peek()) return;
  if (event.key === 'Escape' && target.id === 'topic') target.blur();
  if (target.closest('input, textarea, select')) return;
  if (event.key === 'Enter' && target.closest('button, a, [tabindex]:not(.queue-card)')) return;
  if (event.key === 'Escape') store.select(null);
  const run = KEYS[event.key];
  if (!run || (event.key !== 'Enter' && !keysOn() && event.key !== '?')) return;
  event.preventDefault();
  run(event);
}
