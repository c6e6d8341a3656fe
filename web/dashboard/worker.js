/**
 * Owns the websocket, away from the page's thread: asks for a ticket, connects, parses frames, and posts what
 * came as one batch a tick. When the connection is lost it waits and goes on where it was.
 */
import { SILENCE_MS, SUBPROTOCOL, closeReason, fresh, lost, receive } from './live/protocol.js';

/** How often batches go to the page, in ms. */
const TICK_MS = 100;
/** Most events in one batch: the page stays responsive while it catches up. */
const MAX_BATCH = 500;

/** @typedef {import('./types').LiveEvent} LiveEvent */

let session = fresh();
let token = '';
/** @type {WebSocket | null} */
let socket = null;
let stopped = true;
/** Number of the current connection attempt: callbacks of older ones are ignored. */
let attempt = 0;
let heard_at = 0;
/** @type {LiveEvent[]} */
const events = [];
/** @type {Map<string, import('./types').Fix>} newest fix per unit */
const fixes = new Map();
let dirty = false;
/** @type {import('./types').LinkState} */
let link = 'connecting';
let detail = '';
/** @type {number | null} */
let retry_at = null;

/** @param {import('./types').FromWorker} message */
const post = (message) => self.postMessage(message);

/** @param {import('./types').LinkState} state @param {string} [why] @param {number | null} [retry] */
function say(state, why = '', retry = null) {
  link = state;
  detail = why;
  retry_at = retry;
  dirty = true;
}

async function ticket() {
  const answer = await fetch('/api/v1/stream-tickets', { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
  if (answer.status === 401 || answer.status === 403) throw new Refused('the token is not accepted');
  if (!answer.ok) throw new Error(`no ticket for the stream (${answer.status})`);
  return /** @type {{ticket: string}} */ (await answer.json()).ticket;
}

class Refused extends Error {}

async function connect() {
  const mine = ++attempt;
  say('connecting');
  try {
    const pass = await ticket();
    if (mine !== attempt || stopped) return;
    const url = new URL('/api/v1/stream', self.location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    socket = new WebSocket(url, [SUBPROTOCOL, pass]);
    heard_at = Date.now();
    socket.onmessage = (message) => mine === attempt && heard(message.data);
    socket.onclose = (event) => mine === attempt && ended(closeReason(event.code));
  } catch (error) {
    if (mine !== attempt || stopped) return;
    if (error instanceof Refused) {
      say('refused', error.message);
      stopped = true;
    } else {
      ended(error instanceof TypeError ? 'the server cannot be reached' : String(/** @type {Error} */ (error).message));
    }
  }
}

/** @param {string} text */
function heard(text) {
  heard_at = Date.now();
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    return;
  }
  const answer = receive(session, frame);
  session = answer.session;
  for (const out of answer.send) socket?.send(JSON.stringify(out));
  if (answer.hello) post({ type: 'hello', ...answer.hello });
  if (answer.gap) {
    flush(true);
    post({ type: 'gap', why: answer.gap });
  }
  if (answer.events.length) events.push(...answer.events);
  for (const fix of answer.fixes) fixes.set(fix.unit_id, fix);
  const state = session.phase === 'live' ? 'live' : session.phase;
  if (state !== link || answer.error) say(state, answer.error ?? '');
  dirty = true;
}

/** @param {string} why */
function ended(why) {
  attempt++;
  socket = null;
  if (stopped) return;
  const next = lost(session, Math.random());
  session = next.session;
  say('offline', why, Date.now() + next.wait_ms);
  setTimeout(() => { if (!stopped && link === 'offline') connect(); }, next.wait_ms);
}

/** @param {boolean} [all] */
function flush(all = false) {
  do {
    if (events.length === 0 && fixes.size === 0) break;
    post({ type: 'batch', events: events.splice(0, MAX_BATCH), fixes: [...fixes.values()] });
    fixes.clear();
  } while (all);
}

setInterval(() => {
  flush();
  if (dirty) {
    dirty = false;
    post({ type: 'status', status: { state: link, retry_at, detail, epoch: session.epoch, offset: session.offset, head: session.head } });
  }
  if (socket && Date.now() - heard_at > SILENCE_MS) {
    const dead = socket;
    ended('the server fell silent');
    dead.close();
  }
}, TICK_MS);

self.onmessage = (/** @type {MessageEvent<import('./types').ToWorker>} */ message) => {
  if (message.data.type === 'start') {
    token = message.data.token;
    stopped = false;
    connect();
  } else {
    stopped = true;
    attempt++;
    socket?.close();
    socket = null;
  }
};
