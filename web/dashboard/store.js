/**
 * What the page knows and shows, as signals, and how it is filled: a snapshot over REST, then live events
 * from the worker. Reconnecting goes on where it was; a gap takes a new snapshot.
 */
import { Api, ApiError } from './api.js';
import { isNoise } from './model/codes.js';
import { applyEvents, empty, fromSnapshot, remember } from './model/state.js';
import { alarms as alarmsOf, announcement, figures as figuresOf, inOrder } from './model/queue.js';
import { decode } from './model/roads.js';
import { batch, computed, signal } from './ui.js';

/** @typedef {import('./types').LiveEvent} LiveEvent */
/** @typedef {import('./types').Reading} Reading */

const TOKEN_KEY = 'shers.token';
/** Most readings kept of the selected patient. */
const MAX_READINGS = 2000;

/** The token, or null when nobody is signed in. */
export const token = signal(/** @type {string | null} */ (null));
/** Why the sign-in form shows again. */
export const refusal = signal('');

const state = signal(empty());
export const incidents = computed(() => state.value.incidents);
export const units = computed(() => state.value.units);
export const hospitals = computed(() => state.value.hospitals);
export const bills = computed(() => state.value.bills);
export const notifications = computed(() => state.value.notifications);
export const actors = computed(() => state.value.actors);
export const events = computed(() => state.value.events);

/** Server time, moved on once a second. */
export const now = signal(Date.now());
/** What the server's clock showed when, and how many of its seconds pass in a real one (the demo's runs faster). */
const serverClock = { showed_ms: Date.now(), at_ms: Date.now(), speed: 1 };
/** The server's clock, as well as this page knows it. */
export const serverNow = () => serverClock.showed_ms + (Date.now() - serverClock.at_ms) * serverClock.speed;
/** @param {string | undefined} server_time @param {number} [speed] */
function setClock(server_time, speed = serverClock.speed) {
  if (server_time) Object.assign(serverClock, { showed_ms: Date.parse(server_time), at_ms: Date.now(), speed });
}

export const queue = computed(() => inOrder(incidents.value.values()));
export const figures = computed(() => figuresOf(state.value));
export const alarms = computed(() => alarmsOf(state.value, now.value));

/** @type {import('./types').LinkStatus} */
const NO_LINK = { state: 'connecting', retry_at: null, detail: '', epoch: null, offset: null, head: null };
export const link = signal(NO_LINK);
export const loaded = signal(false);
export const mapInfo = signal(/** @type {import('./types').MapInfo | null} */ (null));
export const roads = signal(/** @type {import('./types').RoadLine[]} */ ([]));
export const kpis = signal(/** @type {any} */ (null));
/** One polite sentence for the live region. */
export const spoken = signal('');

/** The incident shown on the right. */
export const selected = signal(/** @type {string | null} */ (null));
export const selectedUnit = signal(/** @type {string | null} */ (null));
/** The incident under the keyboard's cursor. */
export const cursor = signal(/** @type {string | null} */ (null));
export const tab = signal('fleet');
export const topic = signal('');
export const showNoise = signal(false);
/** The dialog that is open. */
export const dialog = signal(/** @type {null | {name: string, incident?: string, unit?: string, bill?: string, actor?: string}} */ (null));
export const toasts = signal(/** @type {{id: number, tone: 'good' | 'bad', text: string}[]} */ ([]));

/** Readings of the patient of the selected incident, oldest first. */
export const readings = signal(/** @type {Reading[]} */ ([]));
/** The patient of the selected incident. */
export const patient = signal(/** @type {any} */ (null));
/** Timeline of the selected incident, oldest first. */
export const timeline = signal(/** @type {LiveEvent[]} */ ([]));

/** Where new positions go: the map. Positions are no signals, for they come many times a second. */
export const positions = {
  /** @type {Set<(fixes: import('./types').Fix[]) => void>} */
  listeners: new Set(),
};

export const exercise = computed(() => mapInfo.value?.exercise ?? false);

/** @type {Api} */
export let api = new Api('', () => {});
/** @type {Worker | null} */
let worker = null;
/** Offset up to which the snapshot holds everything. */
let barrier = -1;
/** Events that came while a snapshot was being read; null when none is. */
let held = /** @type {LiveEvent[] | null} */ (null);

let toastsShown = 0;

/** @param {'good' | 'bad'} tone @param {string} text */
export function toast(tone, text) {
  const id = ++toastsShown;
  toasts.value = [...toasts.value.slice(-3), { id, tone, text }];
  setTimeout(() => dismiss(id), tone === 'bad' ? 12_000 : 5_000);
}

/** @param {number} id */
export const dismiss = (id) => { toasts.value = toasts.value.filter((t) => t.id !== id); };

/** Takes the token out of the link (once) or out of this tab's storage. */
export function restoreToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get('token');
  if (given) {
    sessionStorage.setItem(TOKEN_KEY, given);
    history.replaceState(null, '', location.pathname + location.search);
  }
  const kept = given ?? sessionStorage.getItem(TOKEN_KEY);
  if (kept) signIn(kept);
}

/** @param {string} given */
export function signIn(given) {
  sessionStorage.setItem(TOKEN_KEY, given);
  refusal.value = '';
  token.value = given;
  api = new Api(given, () => signOut('The token is not accepted. It may have expired; use a new link.'));
  start(given);
}

/** @param {string} [why] */
export function signOut(why = '') {
  sessionStorage.removeItem(TOKEN_KEY);
  worker?.postMessage({ type: 'stop' });
  worker?.terminate();
  worker = null;
  batch(() => {
    token.value = null;
    refusal.value = why;
    loaded.value = false;
    state.value = empty();
    link.value = NO_LINK;
    selected.value = null;
  });
}

/** @param {string} given */
function start(given) {
  worker?.terminate();
  held = [];
  barrier = -1;
  worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = (message) => heard(message.data);
  worker.postMessage({ type: 'start', token: given });
  loadMap();
  // Without a stream the page still shows what REST gives.
  setTimeout(() => { if (!loaded.value && token.value === given) snapshot(); }, 1500);
}

/** @param {import('./types').FromWorker} message */
function heard(message) {
  switch (message.type) {
    case 'status':
      link.value = message.status;
      if (message.status.state === 'refused') signOut('The token is not accepted. Use a new link.');
      return;
    case 'hello':
      setClock(message.server_time);
      if (!loaded.value) {
        barrier = message.head;
        snapshot();
      }
      return;
    case 'gap':
      if (loaded.value) snapshot();
      return;
    case 'batch':
      if (message.fixes.length) for (const listener of positions.listeners) listener(message.fixes);
      if (held) held.push(...message.events);
      else take(message.events);
  }
}

/** @param {LiveEvent[]} list */
function take(list) {
  if (list.length === 0) return;
  const before = state.peek();
  // Positions move the map only: as documents they would redraw the fleet board many times a second.
  let next = applyEvents(before, list.filter((e) => e.offset > barrier && e.kind !== 'unit.location.reported'));
  next = remember(next, list.filter((e) => !isNoise(e.kind) || showNoise.peek()));
  const fixes = list.filter((e) => e.kind === 'unit.location.reported').flatMap((e) => e.data?.fixes ?? []);
  if (fixes.length) for (const listener of positions.listeners) listener(fixes);
  batch(() => {
    state.value = next;
    follow(list);
    spoken.value = announcement(before.incidents, next.incidents) ?? spoken.peek();
  });
}

/** What belongs to the selected incident. @param {LiveEvent[]} list */
function follow(list) {
  const id = selected.peek();
  if (!id) return;
  const incident = state.peek().incidents.get(id);
  const last = timeline.peek().at(-1)?.offset ?? -1;
  const mine = list.filter((e) => e.offset > last && !isNoise(e.kind) && (e.correlation_id === id || e.stream === `incident/${id}`));
  if (mine.length) timeline.value = [...timeline.peek(), ...mine].slice(-500);
  const fresh = list
    .filter((e) => e.kind === 'wearable.reading.recorded')
    .flatMap((e) => e.data?.readings ?? [])
    .filter((r) => r.patient_id === incident?.patient_id);
  if (fresh.length) readings.value = mergeReadings(readings.peek(), fresh);
}

/**
 * Both lists by time, without repeats.
 * @param {Reading[]} a
 * @param {Reading[]} b
 */
function mergeReadings(a, b) {
  const by = new Map(a.map((r) => [r.at, r]));
  for (const r of b) by.set(r.at, { ...by.get(r.at), ...r });
  return [...by.values()].sort((x, y) => Date.parse(x.at) - Date.parse(y.at)).slice(-MAX_READINGS);
}

const LISTS = /** @type {const} */ ({
  incidents: '/incidents?limit=200', units: '/units?limit=200', hospitals: '/hospitals?limit=200', bills: '/bills?limit=200',
  notifications: '/notifications?limit=100', actors: '/actors',
});

/** Number of the newest snapshot asked for: an older one that comes late is dropped. */
let asked = 0;

/** Reads everything anew. */
export async function snapshot() {
  const mine = ++asked;
  held ??= [];
  /** @type {Record<string, any[] | undefined>} */
  const lists = {};
  const failures = /** @type {string[]} */ ([]);
  await Promise.all(Object.entries(LISTS).map(async ([name, path]) => {
    try {
      lists[name] = await api.list(path, name === 'units' || name === 'hospitals' ? 20 : 4);
    } catch (error) {
      if (!(error instanceof ApiError && [403, 404].includes(error.status))) failures.push(`${name}: ${/** @type {Error} */ (error).message}`);
    }
  }));
  if (mine !== asked || !token.peek()) return;
  if (failures.length) toast('bad', `Could not read ${failures[0]}`);
  const waiting = held ?? [];
  held = null;
  batch(() => {
    state.value = fromSnapshot(lists, state.peek());
    loaded.value = true;
    if (!cursor.peek()) cursor.value = queue.peek()[0]?.incident_id ?? null;
    take(waiting);
  });
  loadKpis();
}

async function loadMap() {
  try {
    const info = await api.get('/map/info');
    setClock(info.server_time, info.speed);
    mapInfo.value = info;
  } catch {
    mapInfo.value = null;
  }
  try {
    roads.value = decode(await api.request('GET', '/map', { as: 'bytes' }));
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 401)) toast('bad', `No road map: ${/** @type {Error} */ (error).message}`);
  }
}

export async function loadKpis() {
  try {
    kpis.value = await api.get('/kpis');
  } catch {
    // The figures of this page's own state stay.
  }
}

export async function loadActors() {
  try {
    state.value = fromSnapshot({ actors: (await api.get('/actors')).items }, state.peek());
  } catch {
    // The next round tries again.
  }
}

/** @type {AbortController | null} */
let reading = null;

/**
 * Shows an incident and reads what only its panel needs.
 * @param {string | null} id
 */
export async function select(id) {
  if (id === selected.peek()) return;
  reading?.abort();
  const mine = new AbortController();
  reading = mine;
  batch(() => {
    selected.value = id;
    if (id) cursor.value = id;
    selectedUnit.value = null;
    timeline.value = [];
    readings.value = [];
    patient.value = null;
  });
  if (!id) return;
  const patient_id = incidents.peek().get(id)?.patient_id;
  const path = `/incidents/${encodeURIComponent(id)}`;
  await Promise.allSettled([
    api.list(`${path}/timeline?limit=200`, 3).then((all) => {
      if (mine.signal.aborted) return;
      const items = all.map((/** @type {any} */ e) => ({ correlation_id: id, stream: '', ...e })).filter((/** @type {any} */ e) => !isNoise(e.kind));
      const last = items.at(-1)?.offset ?? -1;
      timeline.value = [...items, ...timeline.peek().filter((e) => e.offset > last)];
    }),
    patient_id && api.get(`/patients/${encodeURIComponent(patient_id)}/vitals?limit=500`, mine.signal).then((answer) => {
      if (!mine.signal.aborted) readings.value = mergeReadings(answer.items, readings.peek());
    }),
    patient_id && api.get(`/patients/${encodeURIComponent(patient_id)}`, mine.signal).then((answer) => {
      if (!mine.signal.aborted) patient.value = answer;
    }),
  ]);
}

setInterval(() => { now.value = serverNow(); }, 1000);
setInterval(() => { if (loaded.peek()) loadKpis(); }, 10_000);
let round = 0;
// Alarms of the tree must not wait for somebody to look at it.
setInterval(() => { if (loaded.peek() && (tab.peek() === 'supervision' || round++ % 4 === 0)) loadActors(); }, 4_000);
