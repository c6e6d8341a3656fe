/**
 * The client's side of `shers.v1`: a state machine without a socket, a clock or randomness. Give it what the
 * server said; it answers what to send, what to keep and when to come back.
 *
 * States: connecting (no hello yet) → behind (catching up) → live; offline between two connections.
 * Invariants: an offset is delivered to the page once; after a reconnect the log lane goes on where it ended;
 * the wait between two attempts grows from 0.5 to 15 s, with jitter.
 *
 * @typedef {import('../types').LiveEvent} LiveEvent
 * @typedef {import('../types').Fix} Fix
 */

export const SUBPROTOCOL = 'shers.v1';
export const LOG_LANE = 'main';
export const STATE_LANE = 'pos';
/** How far before the head a first subscription starts, so that the event stream is not empty. */
export const BACKLOG = 400;
/** Server heartbeats come every 15 s: silence for longer than this means a dead connection. */
export const SILENCE_MS = 40_000;

/**
 * @typedef {object} Session
 * @property {string | null} epoch
 * @property {number | null} offset last offset of the log that was delivered or skipped
 * @property {number | null} head
 * @property {'connecting' | 'behind' | 'live'} phase
 * @property {number} failures attempts since the last frame that was good
 */

/** @returns {Session} */
export const fresh = () => ({ epoch: null, offset: null, head: null, phase: 'connecting', failures: 0 });

/**
 * @typedef {object} Step
 * @property {Session} session
 * @property {object[]} send
 * @property {LiveEvent[]} events
 * @property {Fix[]} fixes
 * @property {{epoch: string, head: number, server_time: string} | null} hello
 * @property {string | null} gap why events are missing, when some are
 * @property {string | null} error
 */

/** @param {Session} session @param {Partial<Step>} [more] @returns {Step} */
const step = (session, more = {}) => ({ session, send: [], events: [], fixes: [], hello: null, gap: null, error: null, ...more });

/**
 * What one frame of the server means.
 * @param {Session} s
 * @param {any} frame
 * @returns {Step}
 */
export function receive(s, frame) {
  switch (frame?.t) {
    case 'hello':
      return hello(s, frame);
    case 'd':
      return delivery(s, frame);
    case 'st':
      return step(s, { fixes: fixesOf(frame.ev) });
    case 'snap':
      return frame.id === STATE_LANE ? step(s, { fixes: fixesOf(frame.ev) }) : step(s);
    case 'live':
      return frame.id === STATE_LANE ? step(s) : step({ ...s, offset: Math.max(s.offset ?? 0, Number(frame.offset ?? 0)), phase: 'live', failures: 0 });
    case 'behind':
      return frame.id === STATE_LANE ? step(s) : step({ ...s, phase: 'behind' });
    case 'gap':
      return gap(s, frame);
    case 'hb':
      return heartbeat(s, frame);
    case 'err':
      return step(s, { error: String(frame.detail ?? frame.message ?? frame.code ?? 'the server reported an error') });
    default:
      return step(s);
  }
}

/** @param {Session} s @param {any} f @returns {Step} */
function hello(s, f) {
  const head = Number(f.head ?? 0);
  const same = s.epoch === f.epoch && s.offset !== null;
  const offset = same ? /** @type {number} */ (s.offset) : Math.max(0, head - BACKLOG);
  const gapped = s.epoch !== null && s.epoch !== f.epoch ? 'epoch' : null;
  const session = { ...s, epoch: String(f.epoch), offset, head, phase: /** @type {'behind'} */ ('behind') };
  return step(session, {
    hello: { epoch: String(f.epoch), head, server_time: f.server_time },
    gap: gapped,
    send: [
      { t: 'sub', id: LOG_LANE, topics: ['#'], lane: 'log', from: { epoch: f.epoch, offset } },
      { t: 'sub', id: STATE_LANE, topics: ['unit.location.#'], lane: 'state', max_hz: 2 },
    ],
  });
}

/** @param {Session} s @param {any} f @returns {Step} */
function delivery(s, f) {
  const last = s.offset ?? -1;
  /** @type {LiveEvent[]} */
  const events = [];
  for (const [offset, kind, at, data, stream, correlation_id] of f.ev ?? []) {
    if (offset > last) events.push({ offset, kind, at, data, stream: stream ?? '', correlation_id: correlation_id ?? null });
  }
  const end = events.length ? events[events.length - 1].offset : last;
  const offset = Math.max(last, end, Number(f.to ?? end));
  return step({ ...s, offset, head: Math.max(s.head ?? 0, offset), failures: 0 }, { events });
}

/** @param {any[] | undefined} ev @returns {Fix[]} */
function fixesOf(ev) {
  return (ev ?? []).flatMap((e) => (Array.isArray(e) ? e[3] : e)?.fixes ?? []);
}

/** @param {Session} s @param {any} f @returns {Step} */
function gap(s, f) {
  if (f.id === STATE_LANE) return step(s);
  const offset = f.next === undefined || f.next === null ? s.offset : Math.max(0, Number(f.next) - 1);
  return step({ ...s, offset }, { gap: String(f.why ?? 'slow') });
}

/** @param {Session} s @param {any} f @returns {Step} */
function heartbeat(s, f) {
  const head = Number(f.head ?? s.head ?? 0);
  // Once live, nothing that passes our filter lies before the head, so the offset may follow it.
  const offset = s.phase === 'live' && s.offset !== null ? Math.max(s.offset, head) : s.offset;
  return step({ ...s, head, offset, failures: 0 });
}

/**
 * After a connection ended: the session to go on with and how long to wait.
 * @param {Session} s
 * @param {number} random 0 to 1
 * @returns {{session: Session, wait_ms: number}}
 */
export function lost(s, random) {
  const ceiling = Math.min(15_000, 500 * 2 ** Math.min(s.failures, 10));
  const wait_ms = Math.round(Math.max(500, ceiling * (0.5 + random / 2)));
  return { session: { ...s, phase: 'connecting', failures: s.failures + 1 }, wait_ms };
}

/**
 * What a close code means to a person.
 * @param {number} code
 */
export function closeReason(code) {
  return {
    1000: 'the server closed the connection', 1001: 'the server went away', 1006: 'the connection was lost',
    4400: 'the server did not understand a frame', 4401: 'the session expired', 4403: 'not allowed',
    4408: 'this page read too slowly', 4429: 'too many connections', 4503: 'the server is being restarted',
  }[code] ?? `the connection closed (${code})`;
}
