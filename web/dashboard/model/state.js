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
    actors: new Map(), assignments: new Map(), events: [],
  };
}

/** Fields of an incident document, so that a partial one is safe to show. @type {Omit<Incident, 'incident_id'>} */
const BLANK_INCIDENT = {
  status: 'opened', priority: 4, patient_id: null, location: null, summary: '', opened_at: '', acknowledged_at: null,
  acknowledge_by: null, escalation_level: 0, triage: null, calls: 1, needs: [], unit_id: null, unit_status: null,
  eta_at: null, waiting_reason: null, hospital: null, bill: null, disposition: null, closed_at: null, updated_at: '',
  exercise: false,
};

/** @type {Omit<Unit, 'unit_id'>} */
const BLANK_UNIT = {
  kind: 'ambulance', capabilities: [], crew_level: 'als', station_id: null, status: 'out-of-service', incident_id: null,
  location: null, located_at: null, hospital: null, updated_at: '',
};

/** @type {Omit<Bill, 'bill_id' | 'incident_id'>} */
const BLANK_BILL = {
  patient_id: null, state: 'PENDING', step: null, attention: null, total: null, insurer: null, patient_share: null,
  attempts: 1, payment_id: null, provider: null, reason: null, history: [], updated_at: '',
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
  const state = {
    incidents: lists.incidents ? index(lists.incidents, 'incident_id', (d) => filled(BLANK_INCIDENT, d)) : previous.incidents,
    units: lists.units ? index(lists.units, 'unit_id', (d) => filled(BLANK_UNIT, d)) : previous.units,
    hospitals: lists.hospitals ? index(lists.hospitals, 'hospital_id', (d) => ({ capabilities: [], state: 'open', ...d })) : previous.hospitals,
    bills: lists.bills ? index(lists.bills, 'bill_id', (d) => filled(BLANK_BILL, d)) : previous.bills,
    notifications: lists.notifications ? index(lists.notifications, 'notification_id', notificationOf) : previous.notifications,
    actors: lists.actors ? index(lists.actors, 'actor', (d) => d) : previous.actors,
    assignments: new Map(previous.assignments),
    events: previous.events,
  };
  for (const incident of state.incidents.values()) {
    if (incident.assignment) state.assignments.set(incident.incident_id, incident.assignment);
  }
  return state;
}

/** @param {any} doc @returns {import('../types').Notification} */
function notificationOf(doc) {
  return {
    notification_id: doc.notification_id, incident_id: doc.incident_id ?? null, template: doc.template ?? '',
    state: doc.state ?? doc.status ?? 'queued', channel: doc.channel ?? doc.target?.channel ?? null,
    provider: doc.provider ?? null, attempts: doc.attempts ?? doc.attempt ?? 0, reason: doc.reason ?? null,
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
        draft.own('assignments').delete(incident.incident_id);
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
  if (kind.startsWith('triage.status.')) return triageStatus;
  if (kind.startsWith('supervision.')) return supervision;
  if (kind.startsWith('notification.')) return notification;
  return undefined;
}

/** @type {Record<string, Fold>} */
const FOLDS = {
  'incident.opened': (draft, e, d) => {
    const id = incidentOf(e, d);
    if (!id || draft.next.incidents.has(id)) return;
    draft.own('incidents').set(id, filled(BLANK_INCIDENT, {
      incident_id: id, status: 'opened', priority: d.priority, patient_id: d.patient_id, location: d.location,
      summary: d.call?.summary, opened_at: e.at, acknowledge_by: d.acknowledge_by, triage: d.call?.triage ?? null,
      needs: d.needs, updated_at: e.at, offset: e.offset,
    }));
  },
  'incident.call-joined': (draft, e, d) => draft.patch('incidents', incidentOf(e, d), (i) => ({
    // A snapshot taken after this event has counted the call already.
    calls: e.at <= i.updated_at && i.offset === undefined ? i.calls : i.calls + 1,
    priority: d.priority ?? i.priority, location: d.location ?? i.location, triage: d.call?.triage ?? i.triage,
    updated_at: later_of(i.updated_at, e.at), offset: e.offset,
  })),
  'incident.acknowledged': (draft, e, d) => draft.patch('incidents', incidentOf(e, d), (i) => ({
    acknowledged_at: i.acknowledged_at ?? e.at, status: i.status === 'opened' ? 'acknowledged' : i.status,
    acknowledge_by: null, acknowledged_by: d.by, updated_at: e.at, offset: e.offset,
  })),
  'incident.escalated': (draft, e, d) => draft.patch('incidents', incidentOf(e, d), (i) => ({
    escalation_level: d.level ?? i.escalation_level + 1, priority: d.priority ?? i.priority,
    acknowledge_by: i.acknowledged_at ? null : d.next_at ?? i.acknowledge_by, updated_at: e.at, offset: e.offset,
  })),
  'incident.resolved': (draft, e, d) => draft.patch('incidents', incidentOf(e, d), () => ({
    status: 'resolved', disposition: d.disposition ?? null, eta_at: null, waiting_reason: null, acknowledge_by: null,
    updated_at: e.at, offset: e.offset,
  })),
  'incident.closed': (draft, e, d) => draft.patch('incidents', incidentOf(e, d), (i) => ({
    status: 'closed', closed_at: e.at, eta_at: null, waiting_reason: null, acknowledge_by: null, updated_at: e.at, offset: e.offset,
    bill: d.bill && !i.bill ? { state: d.bill, step: null, attention: null } : i.bill,
  })),
  'incident.cancelled': (draft, e, d) => draft.patch('incidents', incidentOf(e, d), () => ({
    status: 'cancelled', closed_at: e.at, eta_at: null, waiting_reason: null, acknowledge_by: null, cancel_reason: d.reason,
    updated_at: e.at, offset: e.offset,
  })),

  'dispatch.assigned': (draft, e, d) => {
    draft.own('assignments').set(d.incident_id, d);
    draft.patch('incidents', d.incident_id, (i) => ({
      status: CARE_OVER.has(i.status) ? i.status : 'assigned', unit_id: d.unit_id, unit_status: i.unit_id === d.unit_id ? i.unit_status ?? 'assigned' : 'assigned',
      eta_at: later(e.at, d.eta_s ?? 0), waiting_reason: null, updated_at: e.at, offset: e.offset,
    }));
  },
  'dispatch.unassigned': (draft, e, d) => {
    if (draft.next.assignments.get(d.incident_id)?.unit_id === d.unit_id) draft.own('assignments').delete(d.incident_id);
    draft.patch('incidents', d.incident_id, (i) => (i.unit_id !== d.unit_id ? {} : {
      status: CARE_OVER.has(i.status) ? i.status : i.acknowledged_at ? 'acknowledged' : 'opened',
      unit_id: null, unit_status: null, eta_at: null, hospital: null, updated_at: e.at, offset: e.offset,
    }));
  },
  'dispatch.diverted': (draft, e, d) => draft.patch('incidents', d.from_incident_id, (i) => (i.unit_id !== d.unit_id ? {} : {
    unit_id: null, unit_status: null, eta_at: null, waiting_reason: d.reason ?? null, updated_at: e.at, offset: e.offset,
  })),
  'dispatch.waiting': (draft, e, d) => draft.patch('incidents', d.request?.incident_id ?? incidentOf(e, d), (i) => (i.unit_id ? {} : {
    waiting_reason: d.reason ?? 'No unit can go', updated_at: e.at, offset: e.offset,
  })),
  'dispatch.eta-changed': (draft, e, d) => draft.patch('incidents', d.incident_id, () => ({
    eta_at: d.arrives_at ?? null, updated_at: e.at, offset: e.offset,
  })),

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

  'billing.pending': (draft, e, d) => {
    const old = draft.next.bills.get(d.bill_id);
    bill(draft, e, d, {
      state: 'PENDING', step: d.step ?? null, attention: null, attempts: d.attempt ?? old?.attempts ?? 1,
      payment_id: d.payment_id ?? old?.payment_id ?? null, reason: d.reason ?? null, retry_at: d.retry_at ?? null,
      total: d.order?.total ?? old?.total ?? null, patient_id: d.order?.patient_id ?? old?.patient_id ?? null,
      lines: d.order?.lines ?? /** @type {any} */ (old)?.lines,
    });
  },
  'billing.coverage-verified': (draft, e, d) => bill(draft, e, d, { insurer: d.insurer, patient_share: d.patient, coverage_reason: d.reason }),
  'billing.paid': (draft, e, d) => bill(draft, e, d, {
    state: 'PAID', step: 'settled', attention: null, payment_id: d.payment_id, provider: d.provider, charged: d.charged, reason: null,
  }),
  'billing.failed': (draft, e, d) => bill(draft, e, d, { state: 'FAILED', step: 'settled', attention: null, reason: d.reason, code: d.code }),
  'billing.compensated': (draft, e, d) => bill(draft, e, d, {}),
  'billing.stuck': (draft, e, d) => bill(draft, e, d, { attention: 'stuck', step: d.step, reason: d.reason }),
  'billing.written-off': (draft, e, d) => bill(draft, e, d, { attention: null, written_off: true, reason: d.reason }),
};

/** The later of two RFC 3339 UTC times. @param {string} a @param {string} b */
function later_of(a, b) {
  return a > b ? a : b;
}

/** @type {Fold} */
function unitStatus(draft, e, d) {
  const status = e.kind.slice('unit.status.'.length);
  const id = d.unit_id;
  if (!id) return;
  const unit = draft.next.units.get(id);
  const busy = !['available', 'at-post', 'out-of-service', 'cancelled'].includes(status);
  draft.own('units').set(id, filled(unit ?? BLANK_UNIT, {
    unit_id: id, status, incident_id: busy ? d.incident_id ?? null : null,
    hospital: busy ? d.hospital ?? unit?.hospital ?? null : null,
    location: d.location ?? undefined, updated_at: e.at,
  }));
  draft.patch('incidents', d.incident_id, (i) => {
    if (i.unit_id && i.unit_id !== id) return {};
    if (!busy) return CARE_OVER.has(i.status) ? {} : { unit_status: status, updated_at: e.at };
    return {
      unit_id: id, unit_status: status, hospital: d.hospital ?? i.hospital, updated_at: e.at, offset: e.offset,
      waiting_reason: null, eta_at: ['on-scene', 'at-patient', 'arrived', 'handed-over'].includes(status) ? null
        : d.hospital ? later(e.at, d.hospital.drive_s ?? 0) : i.eta_at,
    };
  });
}

/** @type {Fold} */
function triageStatus(draft, e, d) {
  for (const incident of draft.next.incidents.values()) {
    if (incident.patient_id === d.patient_id && !CARE_OVER.has(incident.status)) {
      draft.patch('incidents', incident.incident_id, () => ({ triage: d, updated_at: later_of(incident.updated_at, e.at) }));
    }
  }
}

/** @type {Fold} */
function supervision(draft, e, d) {
  if (!d.actor) return;
  const what = e.kind.slice('supervision.'.length);
  const state = what === 'quarantined' ? 'quarantined' : 'running';
  const old = draft.next.actors.get(d.actor);
  draft.own('actors').set(d.actor, {
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

/**
 * @param {Draft} draft
 * @param {LiveEvent} e
 * @param {any} d
 * @param {Record<string, any>} change
 */
function bill(draft, e, d, change) {
  if (!d.bill_id) return;
  const old = draft.next.bills.get(d.bill_id);
  const known = old?.history.some((h) => h.at === e.at && h.kind === e.kind);
  const entry = {
    at: e.at, kind: e.kind, step: d.step ?? null, reason: d.reason ?? null, what: d.what ?? null, by: d.by ?? null,
    code: d.code ?? null, retry_at: d.retry_at ?? null,
  };
  const next = filled(old ?? BLANK_BILL, {
    bill_id: d.bill_id, incident_id: d.incident_id, ...change, updated_at: e.at,
    history: known ? old?.history : [...(old?.history ?? []), entry].slice(-60),
  });
  draft.own('bills').set(d.bill_id, next);
  draft.patch('incidents', d.incident_id, () => ({ bill: { state: next.state, step: next.step, attention: next.attention } }));
}
