/**
 * The client's state and how one event changes it: the same fold as the server's read models, so that what
 * the page shows after a snapshot and a thousand events is what a fresh snapshot would show.
 *
 * Invariants: `evolve` never fails, whatever an event holds; documents and collections are replaced, never
 * changed in place; an event that a document already contains changes nothing that counts; lists are bounded.
 *
 * @typedef {import('../types').State} State
 * @typedef {import('../types').LiveEvent} LiveEvent
 * @typedef {import('../types').Incident} Incident
 * @typedef {import('../types').Unit} Unit
 * @typedef {import('../types').Bill} Bill
 */
import { money } from './format.js';

/** Most events kept for the event stream. */
export const MAX_EVENTS = 2000;
/** Most closed or cancelled incidents kept. */
export const MAX_CLOSED = 500;
/** Most notifications kept. */
export const MAX_NOTIFICATIONS = 500;

/** Incident statuses after which nothing more happens. */
export const ENDED = new Set(['closed', 'cancelled']);
/** Statuses in which care is over and only the bill is open. */
const CARE_OVER = new Set(['resolved', 'closed', 'cancelled']);

/** @returns {State} */
export function empty() {
  return {
    incidents: new Map(), units: new Map(), hospitals: new Map(), bills: new Map(), notifications: new Map(),
    actors: new Map(), events: [],
  };
}

/** Fields of an incident document, so that a partial one is safe to show. @type {Omit<Incident, 'incident_id'>} */
const BLANK_INCIDENT = {
  status: 'opened', priority: 4, patient_id: null, location: null, summary: '', opened_at: '', acknowledged_at: null,
  acknowledge_by: null, escalation_level: 0, triage: null, calls: 1, needs: [], unit_id: null, unit_status: null,
  eta_at: null, assignment: null, waiting_reason: null, hospital: null, disposition: null, resolved_at: null, bill: null,
  closed_at: null, cancel_reason: null, times: {}, exercise: false, updated_at: '',
};

/** @type {Omit<Unit, 'unit_id'>} */
const BLANK_UNIT = {
  kind: 'ambulance', capabilities: [], crew_level: 'als', station_id: null, status: 'out-of-service', status_at: null,
  incident_id: null, location: null, located_at: null, hospital: null, eta_at: null, updated_at: '',
};

/** @type {Omit<Bill, 'bill_id' | 'incident_id'>} */
const BLANK_BILL = {
  patient_id: null, state: 'PENDING', step: null, attention: null, attempt: 1, tries: 0, lines: [], total: null, insurer: null,
  patient_share: null, coverage_reason: null, payment_id: null, provider: null, charged: null, reason: null, code: null,
  retry_at: null, written_off: false, history: [], updated_at: '',
};

/**
 * A copy of `doc` in which what is missing or undefined has its blank value.
 * @template T
 * @param {T} blank
 * @param {any} doc
 * @returns {any}
 */
function filled(blank, doc) {
  /** @type {any} */
  const out = { ...blank };
  for (const [k, v] of Object.entries(doc)) if (v !== undefined) out[k] = v;
  return out;
}

/**
 * The state as REST gives it, with the event list of `previous` kept.
 * @param {Partial<Record<'incidents' | 'units' | 'hospitals' | 'bills' | 'notifications' | 'actors', any[]>>} lists
 * @param {State} previous
 * @returns {State}
 */
export function fromSnapshot(lists, previous) {
  /** @param {any[] | undefined} items @param {string} key @param {(doc: any) => any} fill */
  const index = (items, key, fill) => new Map((items ?? []).filter((d) => d && d[key]).map((d) => [d[key], fill(d)]));
  return {
    incidents: lists.incidents ? index(lists.incidents, 'incident_id', (d) => filled(BLANK_INCIDENT, d)) : previous.incidents,
    units: lists.units ? index(lists.units.filter((u) => !u.retired), 'unit_id', (d) => filled(BLANK_UNIT, d)) : previous.units,
    hospitals: lists.hospitals
      ? index(lists.hospitals.filter((h) => h.location), 'hospital_id', (d) => ({ capabilities: [], state: 'open', ...d })) : previous.hospitals,
    bills: lists.bills ? index(lists.bills, 'bill_id', (d) => filled(BLANK_BILL, d)) : previous.bills,
    notifications: lists.notifications ? index(lists.notifications, 'notification_id', notificationOf) : previous.notifications,
    actors: lists.actors ? index(lists.actors, 'actor', (d) => d) : previous.actors,
    events: previous.events,
  };
}

/** @param {any} doc @returns {import('../types').Notification} */
function notificationOf(doc) {
  return {
    notification_id: doc.notification_id, incident_id: doc.incident_id ?? null, template: doc.template ?? '',
    state: doc.state ?? doc.status ?? 'queued', channel: doc.channel ?? doc.target?.channel ?? null,
    provider: doc.provider ?? null, attempts: Array.isArray(doc.attempts) ? doc.attempts.length : 0, reason: doc.reason ?? null,
    updated_at: doc.updated_at ?? doc.at ?? '',
  };
}

/**
 * A draft of a state: collections are copied at the first change, so a batch of any size copies each of
 * them once at most.
 */
class Draft {
  /** @param {State} base */
  constructor(base) {
    this.base = base;
    /** @type {State} */
    this.next = { ...base };
  }
  /**
   * @template {Exclude<keyof State, 'events'>} K
   * @param {K} name
   * @returns {State[K]}
   */
  own(name) {
    if (this.next[name] === this.base[name]) {
      this.next[name] = /** @type {any} */ (new Map(/** @type {any} */ (this.base[name])));
    }
    return this.next[name];
  }
  /**
   * Replaces document `id`, if it exists.
   * @param {Exclude<keyof State, 'events'>} name
   * @param {string | null | undefined} id
   * @param {(doc: any) => any} change
   */
  patch(name, id, change) {
    if (!id) return;
    const doc = this.next[name].get(id);
    if (doc === undefined) return;
    const next = { ...doc, ...change(doc) };
    /** @type {Map<string, any>} */ (this.own(name)).set(id, next);
  }
}

/**
 * The state after `events`.
 * @param {State} state
 * @param {LiveEvent[]} events
 * @returns {State}
 */
export function applyEvents(state, events) {
  if (events.length === 0) return state;
  const draft = new Draft(state);
  for (const event of events) {
    const fold = FOLDS[event.kind] ?? familyFold(event.kind);
    try {
      fold?.(draft, event, event.data ?? {});
    } catch {
      // A body of a shape nobody here knows shows in the event stream and changes nothing else.
    }
  }
  prune(draft);
  return draft.next;
}

/**
 * The state with `events` appended to the event list only, newest last.
 * @param {State} state
 * @param {LiveEvent[]} events
 * @returns {State}
 */
export function remember(state, events) {
  if (events.length === 0) return state;
  const last = state.events.length ? state.events[state.events.length - 1].offset : -1;
  const fresh = events.filter((e) => e.offset > last);
  if (fresh.length === 0) return state;
  return { ...state, events: [...state.events, ...fresh].slice(-MAX_EVENTS) };
}

/** @param {Draft} draft */
function prune(draft) {
  if (draft.next.incidents !== draft.base.incidents) {
    const ended = [...draft.next.incidents.values()].filter((i) => ENDED.has(i.status));
    if (ended.length > MAX_CLOSED) {
      ended.sort((a, b) => (a.closed_at ?? a.updated_at).localeCompare(b.closed_at ?? b.updated_at));
      for (const incident of ended.slice(0, ended.length - MAX_CLOSED)) {
        draft.own('incidents').delete(incident.incident_id);
        draft.own('bills').delete(incident.incident_id);
      }
    }
  }
  const notes = draft.next.notifications;
  if (notes.size > MAX_NOTIFICATIONS) {
    const own = draft.own('notifications');
    for (const id of [...own.keys()].slice(0, own.size - MAX_NOTIFICATIONS)) own.delete(id);
  }
}

/** The part of a stream's name after the slash. @param {LiveEvent} event */
const streamId = (event) => event.stream.slice(event.stream.indexOf('/') + 1);
/** The incident an event belongs to. @param {LiveEvent} event @param {any} d */
const incidentOf = (event, d) => d.incident_id ?? event.correlation_id ?? (event.stream.startsWith('incident/') ? streamId(event) : null);
/** @param {string} at @param {number} seconds */
const later = (at, seconds) => new Date(Date.parse(at) + seconds * 1000).toISOString();

/** @typedef {(draft: Draft, event: LiveEvent, data: any) => void} Fold */

/**
 * Folds of whole families of kinds.
 * @param {string} kind
 * @returns {Fold | undefined}
 */
function familyFold(kind) {
  if (kind.startsWith('unit.status.')) return unitStatus;
  if (kind.startsWith('supervision.')) return supervision;
  if (kind.startsWith('notification.')) return notification;
  return undefined;
}

/** What an incident that ended waits for no more. */
const NOTHING_AWAITED = { acknowledge_by: null, waiting_reason: null, eta_at: null };
/** No unit goes any more. */
const RELEASED = { unit_id: null, unit_status: null, assignment: null, eta_at: null, hospital: null };

/**
 * Changes an incident and notes when.
 * @param {Draft} draft
 * @param {LiveEvent} e
 * @param {string | null | undefined} id
 * @param {(i: Incident) => Partial<Incident> | null} change null when the event does not concern it
 */
function incident(draft, e, id, change) {
  draft.patch('incidents', id, (/** @type {Incident} */ i) => {
    const next = change(i);
    return next ? { ...next, updated_at: i.updated_at > e.at ? i.updated_at : e.at, offset: e.offset } : {};
  });
}

/** @type {Record<string, Fold>} */
const FOLDS = {
  'incident.opened': (draft, e, d) => {
    const id = incidentOf(e, d);
    if (!id || draft.next.incidents.has(id)) return;
    draft.own('incidents').set(id, filled(BLANK_INCIDENT, {
      incident_id: id, priority: d.priority, patient_id: d.patient_id, location: d.location, summary: d.call?.summary,
      opened_at: e.at, acknowledge_by: d.acknowledge_by, triage: d.call?.triage ?? null, needs: d.needs,
      times: { call: d.call?.at ?? e.at }, updated_at: e.at, offset: e.offset,
    }));
  },
  'incident.call-joined': (draft, e, d) => incident(draft, e, incidentOf(e, d), (i) => ({
    // A snapshot taken after this event has counted the call already.
    calls: i.offset === undefined && e.at <= i.updated_at ? i.calls : i.calls + 1,
    priority: d.priority ?? i.priority, location: d.location ?? i.location, triage: d.call?.triage ?? i.triage,
  })),
  'incident.acknowledged': (draft, e, d) => incident(draft, e, incidentOf(e, d), (i) => ({
    acknowledged_at: e.at, acknowledge_by: null, status: CARE_OVER.has(i.status) ? i.status : 'acknowledged',
  })),
  'incident.escalated': (draft, e, d) => incident(draft, e, incidentOf(e, d), (i) => ({
    escalation_level: d.level ?? i.escalation_level + 1, priority: d.priority ?? i.priority, acknowledge_by: d.next_at ?? null,
  })),
  'incident.downgraded': (draft, e, d) => incident(draft, e, incidentOf(e, d), (i) => ({ priority: d.priority ?? i.priority })),
  'incident.resolved': (draft, e, d) => incident(draft, e, incidentOf(e, d), () => ({
    status: 'resolved', disposition: d.disposition ?? null, resolved_at: e.at, ...NOTHING_AWAITED,
  })),
  'incident.closed': (draft, e, d) => incident(draft, e, incidentOf(e, d), () => ({ status: 'closed', closed_at: e.at, ...NOTHING_AWAITED })),
  'incident.cancelled': (draft, e, d) => incident(draft, e, incidentOf(e, d), () => ({
    status: 'cancelled', closed_at: e.at, cancel_reason: d.reason ?? null, ...NOTHING_AWAITED,
  })),

  'dispatch.assigned': (draft, e, d) => {
    incident(draft, e, d.incident_id, () => ({ unit_id: d.unit_id, eta_at: later(e.at, d.eta_s ?? 0), assignment: d, waiting_reason: null, waits_for_person: false }));
    draft.patch('units', d.unit_id, () => ({ incident_id: d.incident_id, eta_at: later(e.at, d.eta_s ?? 0) }));
  },
  'dispatch.unassigned': (draft, e, d) => {
    incident(draft, e, d.incident_id, (i) => (isMine(i, d.unit_id) ? RELEASED : null));
    draft.patch('units', d.unit_id, (u) => (u.incident_id === d.incident_id ? { incident_id: null, eta_at: null } : {}));
  },
  'dispatch.diverted': (draft, e, d) => incident(draft, e, d.from_incident_id, (i) => (
    isMine(i, d.unit_id) ? { ...RELEASED, waiting_reason: d.reason ?? null } : null
  )),
  'dispatch.waiting': (draft, e, d) => incident(draft, e, d.request?.incident_id ?? incidentOf(e, d), (i) => (
    i.unit_id || ENDED.has(i.status) ? null : { waiting_reason: d.reason ?? 'No unit can go.', waits_for_person: d.by_person === true }
  )),
  'dispatch.eta-changed': (draft, e, d) => {
    incident(draft, e, d.incident_id, (i) => (isMine(i, d.unit_id) ? { eta_at: d.arrives_at ?? null } : null));
    draft.patch('units', d.unit_id, () => ({ eta_at: d.arrives_at ?? null }));
  },

  'unit.registered': (draft, e, d) => {
    if (!d.unit_id) return;
    const old = draft.next.units.get(d.unit_id);
    draft.own('units').set(d.unit_id, filled(old ?? BLANK_UNIT, {
      ...d, location: old?.location ?? d.location, status: old?.status ?? 'out-of-service', updated_at: e.at,
    }));
  },
  'unit.updated': (draft, e, d) => draft.patch('units', d.unit_id, (u) => ({ ...d, location: u.location ?? d.location ?? null, updated_at: e.at })),
  'unit.retired': (draft, _e, d) => { draft.own('units').delete(d.unit_id); },
  'unit.location.reported': (draft, _e, d) => {
    for (const fix of d.fixes ?? []) {
      draft.patch('units', fix.unit_id, (u) => (u.located_at && u.located_at > fix.at ? {} : { location: fix.location, located_at: fix.at }));
    }
  },
  'hospital.updated': (draft, _e, d) => { if (d.hospital_id) draft.own('hospitals').set(d.hospital_id, { capabilities: [], state: 'open', ...d }); },

  'billing.pending': (draft, e, d) => bill(draft, e, d, {
    state: 'PENDING', step: d.step ?? null, attention: null, attempt: d.attempt ?? 1, reason: d.reason ?? null, code: null,
    retry_at: d.retry_at ?? null, tries: triesAfter(draft.next.bills.get(d.bill_id), d),
    ...(d.order ? { patient_id: d.order.patient_id ?? null, lines: d.order.lines ?? [], total: d.order.total, payment_id: null, written_off: false } : {}),
    ...(d.payment_id ? { payment_id: d.payment_id } : {}),
  }, d.reason ?? ''),
  'billing.coverage-verified': (draft, e, d) => bill(draft, e, d, {
    insurer: d.insurer, patient_share: d.patient, coverage_reason: d.reason ?? null,
  }, `insurer ${money(d.insurer)}, patient ${money(d.patient)}: ${d.reason}`),
  'billing.paid': (draft, e, d) => bill(draft, e, d, {
    ...SETTLED, state: 'PAID', provider: d.provider ?? null, charged: d.charged ?? null, reason: null, code: null,
    ...(d.payment_id ? { payment_id: d.payment_id } : {}),
  }, `${money(d.charged)} charged by ${d.provider}`),
  'billing.failed': (draft, e, d) => bill(draft, e, d, { ...SETTLED, state: 'FAILED', reason: d.reason ?? null, code: d.code ?? null }, d.reason),
  'billing.compensated': (draft, e, d) => bill(draft, e, d, {}, d.what),
  'billing.stuck': (draft, e, d) => bill(draft, e, d, {
    state: 'PENDING', step: d.step ?? null, attention: 'stuck', reason: d.reason ?? null, retry_at: null,
  }, d.reason),
  'billing.written-off': (draft, e, d) => bill(draft, e, d, {
    ...SETTLED, state: 'FAILED', written_off: true, reason: d.reason ?? null,
  }, `written off by ${d.by}: ${d.reason}`),
};

/** A bill that needs nothing more. */
const SETTLED = { step: 'settled', attention: null, retry_at: null, tries: 0 };

/** Tries of the step that did not end: a stuck bill that goes on, and another step, count anew. @param {Bill | undefined} before @param {any} d */
const triesAfter = (before, d) => (before && before.step === d.step && !d.order && !before.attention ? before.tries ?? 0 : 0) + (d.retry_at ? 1 : 0);

/** Whether what `unit` says concerns this incident now. @param {Incident} i @param {string} unit */
const isMine = (i, unit) => i.unit_id === null || i.unit_id === unit;
/** Statuses in which a unit is on an incident. @param {string} status */
const onIncident = (status) => !['available', 'at-post', 'cancelled', 'out-of-service'].includes(status);

/** @type {Fold} */
function unitStatus(draft, e, d) {
  const status = e.kind.slice('unit.status.'.length);
  const id = d.unit_id;
  if (!id) return;
  const unit = draft.next.units.get(id);
  draft.own('units').set(id, filled(unit ?? BLANK_UNIT, {
    unit_id: id, status, status_at: d.at ?? e.at, incident_id: onIncident(status) ? d.incident_id ?? null : null,
    ...leg(status, d, e, unit), ...(onIncident(status) ? {} : { hospital: null, eta_at: null }),
    location: d.location ?? undefined, updated_at: e.at,
  }));
  incident(draft, e, d.incident_id, (i) => unitReports(i, status, e, d));
}

/**
 * What a unit's status says of the incident it is on.
 * @param {Incident} i
 * @param {string} status
 * @param {LiveEvent} e
 * @param {any} d
 * @returns {Partial<Incident> | null}
 */
function unitReports(i, status, e, d) {
  const begins = (status === 'reserved' || status === 'assigned') && i.unit_id !== d.unit_id;
  if (!begins && !isMine(i, d.unit_id)) return null;
  const times = { ...(begins ? { call: i.times.call ?? null } : i.times), [status.replaceAll('-', '_')]: d.at ?? e.at };
  if (status === 'cancelled') return { ...RELEASED, times };
  return {
    ...(begins ? RELEASED : {}), times, unit_id: d.unit_id, unit_status: status, waiting_reason: null,
    ...(['handed-over', 'available', 'at-post', 'out-of-service'].includes(status) ? { eta_at: null } : leg(status, d, e, i)),
  };
}

/**
 * Where a unit goes next and when it is expected there.
 * @param {string} status
 * @param {any} d
 * @param {LiveEvent} e
 * @param {{hospital: any} | undefined} before
 */
function leg(status, d, e, before) {
  if (status === 'onboard') return { hospital: d.hospital ?? null, eta_at: d.hospital ? later(d.at ?? e.at, d.hospital.drive_s ?? 0) : null };
  if (status === 'arrived') return { hospital: d.hospital ?? before?.hospital ?? null, eta_at: null };
  return ['on-scene', 'at-patient', 'handed-over'].includes(status) ? { eta_at: null } : {};
}

/** @type {Fold} */
function supervision(draft, e, d) {
  if (!d.actor) return;
  const what = e.kind.slice('supervision.'.length);
  const state = what === 'quarantined' ? 'quarantined' : 'running';
  const old = draft.next.actors.get(d.actor);
  draft.own('actors').set(d.actor, {
    ...old,
    actor: d.actor, state: state, incarnation: d.incarnation ?? old?.incarnation ?? 0,
    restarts: d.restarts ?? old?.restarts ?? 0, last_cause: d.cause ?? old?.last_cause ?? null,
    detail: d.detail ?? old?.detail ?? null, back_at: d.back_at ?? null,
  });
}

/** @type {Fold} */
function notification(draft, e, d) {
  const id = d.notification_id ?? d.request?.notification_id;
  if (!id) return;
  const old = draft.next.notifications.get(id);
  const own = draft.own('notifications');
  own.delete(id);
  own.set(id, {
    notification_id: id, incident_id: d.incident_id ?? d.request?.incident_id ?? e.correlation_id ?? old?.incident_id ?? null,
    template: d.template ?? d.request?.template ?? old?.template ?? '', state: e.kind.slice('notification.'.length),
    channel: d.target?.channel ?? d.plan?.[0]?.channel ?? old?.channel ?? null, provider: d.provider ?? old?.provider ?? null,
    attempts: d.attempt ?? old?.attempts ?? 0, reason: d.reason ?? null, updated_at: e.at,
  });
}

/** Most entries kept in the history of a bill. */
const MAX_HISTORY = 64;

/**
 * @param {Draft} draft
 * @param {LiveEvent} e
 * @param {any} d
 * @param {Partial<Bill>} change
 * @param {string | undefined} text of the entry in the history
 */
function bill(draft, e, d, change, text) {
  if (!d.bill_id) return;
  const old = draft.next.bills.get(d.bill_id);
  const history = old?.history ?? [];
  const known = history.some((h) => h.at === e.at && h.kind === e.kind);
  const entry = { at: e.at, kind: e.kind, step: d.step ?? null, text: text ?? '' };
  const next = filled(old ?? BLANK_BILL, {
    bill_id: d.bill_id, incident_id: d.incident_id, ...change, updated_at: e.at,
    history: known ? history : [...history, entry].slice(-MAX_HISTORY),
  });
  draft.own('bills').set(d.bill_id, next);
  draft.patch('incidents', d.incident_id, () => ({ bill: { state: next.state, step: next.step, attention: next.attention } }));
}
