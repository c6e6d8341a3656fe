/**
 * A small made-up town for the mock server: roads, units, incidents and the events that move them.
 */

/** A seeded random source (mulberry32). */
export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const CENTRE = { lat: 47.14, lon: 9.52 };
export const BOUNDS = [47.09, 9.46, 47.19, 9.58];

class Writer {
  bytes = [];
  varint(n) {
    while (n > 0x7f) {
      this.bytes.push((n % 128) | 0x80);
      n = Math.floor(n / 128);
    }
    this.bytes.push(n);
  }
  zigzag(n) {
    this.varint(n >= 0 ? n * 2 : -n * 2 - 1);
  }
}

/** Lines in the server's encoding. */
export function encodeRoads(lines) {
  const w = new Writer();
  w.bytes.push(...Buffer.from('SHRD1'));
  const cell = (p) => [Math.round(p[0] * 1e5), Math.round(p[1] * 1e5)];
  let pen = lines.length ? cell(lines[0].points[0]) : [0, 0];
  w.zigzag(pen[0]);
  w.zigzag(pen[1]);
  w.varint(lines.length);
  for (const { cls, points } of lines) {
    w.bytes.push(cls);
    w.varint(points.length);
    for (const p of points.map(cell)) {
      w.zigzag(p[0] - pen[0]);
      w.zigzag(p[1] - pen[1]);
      pen = p;
    }
  }
  return Buffer.from(w.bytes);
}

/** A town of crooked streets. */
export function town(seed = 7) {
  const rnd = random(seed);
  const lines = [];
  const n = 26;
  const at = (i, j) => [
    CENTRE.lat + (i / n - 0.5) * 0.09 + Math.sin(j * 0.7 + i * 0.3) * 0.0012,
    CENTRE.lon + (j / n - 0.5) * 0.11 + Math.cos(i * 0.6 - j * 0.2) * 0.0016,
  ];
  for (let i = 0; i <= n; i++) {
    const cls = i % 13 === 6 ? 2 : i % 5 === 0 ? 4 : 6;
    for (const flip of [false, true]) {
      let run = [];
      for (let j = 0; j <= n; j++) {
        const keep = cls < 6 || rnd() > 0.24;
        run.push(flip ? at(j, i) : at(i, j));
        if (!keep || j === n) {
          if (run.length > 1) lines.push({ cls, points: run });
          run = [run[run.length - 1]];
        }
      }
    }
  }
  const motorway = [];
  for (let k = 0; k <= 40; k++) motorway.push([47.09 + (k / 40) * 0.1, 9.478 + Math.sin(k / 6) * 0.006]);
  lines.push({ cls: 0, points: motorway });
  return lines;
}

export const iso = (ms) => new Date(ms).toISOString();
const spot = (rnd) => ({ lat: CENTRE.lat + (rnd() - 0.5) * 0.075, lon: CENTRE.lon + (rnd() - 0.5) * 0.09 });
const uuid = (n) => `${(0x10a3c000 + n * 7919).toString(16).padStart(8, '0')}-4a5b-8c6d-9e7f-${String(n).padStart(12, '0')}`;
const chf = (amount_minor) => ({ amount_minor, currency: 'CHF' });

function triage(patient_id, cls, at, known) {
  const f = (parameter, value, points) => ({ parameter, value, points, taken_at: iso(at), age_s: 4 });
  return {
    patient_id, class: cls, previous: 'normal', rule: cls === 'emergency' ? 'news2-total' : 'single-red',
    reason: cls === 'emergency' ? `NEWS2 of ${known} is 7 or more: respiration 27 /min scores 3, SpO₂ 90 % scores 3, heart rate 118 /min scores 2.` : 'Heart rate 134 /min alone scores 3.',
    score: { name: 'news2', known, lower: known, upper: Math.min(20, known + 6), single_red: true, missing: ['systolic', 'consciousness'] },
    findings: cls === 'emergency'
      ? [f('respiration-rate', '27 /min', 3), f('spo2', '90 %', 3), f('heart-rate', '118 /min', 2), f('temperature', '38.4 °C', 1), f('oxygen', 'air', 0)]
      : [f('heart-rate', '134 /min', 3), f('spo2', '96 %', 0), f('respiration-rate', '18 /min', 0)],
    clears_when: 'NEWS2 stays below 5 for 60 seconds', reading_at: iso(at), location: null,
  };
}

const SUMMARIES = [
  'Emergency: NEWS2 8, breathing fast, low oxygen', 'Fall confirmed, no answer from wearer', 'SOS pressed by wearer',
  'Abnormal: heart rate 134 /min', 'Chest pain, caller at the scene', 'Emergency: heart rate 38 /min', 'Abnormal: temperature 39.4 °C',
  'Breathing difficulty at home', 'Transfer request', 'Emergency: SpO₂ 86 %',
];

/** The documents at the start. */
export function world(now, seed = 11) {
  const rnd = random(seed);
  const hospitals = [
    { hospital_id: 'lh-vaduz', name: 'Landesspital Vaduz', location: { lat: 47.143, lon: 9.523 }, capabilities: ['emergency'], state: 'open', beds_free: 6 },
    { hospital_id: 'sp-grabs', name: 'Spital Grabs', location: { lat: 47.178, lon: 9.475 }, capabilities: ['emergency', 'trauma'], state: 'open', beds_free: 11 },
    { hospital_id: 'lkh-feldkirch', name: 'LKH Feldkirch', location: { lat: 47.115, lon: 9.565 }, capabilities: ['emergency', 'stroke', 'cardiac'], state: 'diverting', beds_free: 0 },
  ];
  const statuses = ['enroute', 'on-scene', 'onboard', 'arrived', 'assigned', 'available', 'at-post', 'at-post', 'out-of-service', 'handed-over', 'available', 'at-post'];
  const units = statuses.map((status, n) => ({
    unit_id: `RTW-${n + 1}`, kind: n % 5 === 4 ? 'doctor-car' : 'ambulance', capabilities: ['als'], crew_level: n % 3 === 2 ? 'bls' : 'als', station_id: ['wache-nord', 'wache-sued'][n % 2],
    status, incident_id: null, location: spot(rnd), located_at: iso(now - 2000), hospital: null, updated_at: iso(now - 20_000 - n * 37_000),
  }));
  const incidents = [];
  const bills = [];
  const make = (n, over) => {
    const opened = now - over.age * 1000;
    const patient_id = `p-${String(100 + n)}`;
    const doc = {
      incident_id: uuid(n), status: 'opened', priority: 2, patient_id, location: spot(rnd), summary: SUMMARIES[n % SUMMARIES.length], opened_at: iso(opened),
      acknowledged_at: null, acknowledge_by: iso(opened + 60_000), escalation_level: 0, triage: null, calls: 1, needs: [], unit_id: null, unit_status: null, eta_at: null,
      waiting_reason: null, assignment: null, times: {}, hospital: null, bill: null, disposition: null, closed_at: null, updated_at: iso(opened), exercise: true, ...over.doc,
    };
    doc.triage = over.cls ? triage(patient_id, over.cls, opened, over.cls === 'emergency' ? 9 : 3) : null;
    incidents.push(doc);
    if (doc.unit_id) Object.assign(units.find((u) => u.unit_id === doc.unit_id), { incident_id: doc.status === 'closed' ? null : doc.incident_id, hospital: doc.hospital ? { ...doc.hospital, location: hospitals.find((h) => h.hospital_id === doc.hospital.hospital_id).location } : null });
    return doc;
  };
  const ack = { acknowledged_at: iso(now - 100_000), acknowledge_by: null, status: 'acknowledged' };
  make(0, { age: 240, cls: 'emergency', doc: { ...ack, priority: 1, unit_id: 'RTW-1', unit_status: 'enroute', eta_at: iso(now + 154_000), calls: 2 } });
  make(1, { age: 95, doc: { priority: 1, acknowledge_by: iso(now - 5000), escalation_level: 1 } });
  make(9, { age: 22, cls: 'emergency', doc: { priority: 1 } });
  make(2, { age: 610, doc: { ...ack, priority: 2, unit_id: 'RTW-2', unit_status: 'on-scene' } });
  make(5, { age: 1500, cls: 'emergency', doc: { ...ack, priority: 2, unit_id: 'RTW-3', unit_status: 'onboard', eta_at: iso(now + 260_000), hospital: { hospital_id: 'sp-grabs', name: 'Spital Grabs' } } });
  make(7, { age: 130, doc: { priority: 2, acknowledged_at: iso(now - 60_000), acknowledge_by: null, status: 'acknowledged', waiting_reason: 'All 3 ALS units within 30 minutes are busy; RTW-3 is free next, in about 9 minutes.', waits_for_person: true, needs: ['als'] } });
  make(3, { age: 320, cls: 'abnormal', doc: { ...ack, priority: 3, unit_id: 'RTW-5', unit_status: 'assigned', eta_at: iso(now + 400_000) } });
  make(6, { age: 48, cls: 'abnormal', doc: { priority: 3 } });
  make(8, { age: 2400, doc: { ...ack, priority: 4, unit_id: 'RTW-4', unit_status: 'arrived', hospital: { hospital_id: 'lh-vaduz', name: 'Landesspital Vaduz' } } });
  for (let n = 10; n < 20; n++) {
    const state = n === 10 ? 'PENDING' : n === 11 ? 'PENDING' : n % 4 === 0 ? 'FAILED' : 'PAID';
    const attention = n === 11 ? 'stuck' : null;
    const done = n >= 12;
    const bill = { state, step: done ? 'settled' : n === 10 ? 'confirm-payment' : 'eligibility', attention };
    const doc = make(n, { age: 3000 + n * 600, doc: { ...ack, priority: 1 + (n % 4), status: done ? 'closed' : 'resolved', closed_at: done ? iso(now - n * 90_000) : null, disposition: 'transported', bill, unit_status: 'handed-over', hospital: null } });
    bills.push({
      bill_id: doc.incident_id, incident_id: doc.incident_id, patient_id: doc.patient_id, state, step: bill.step, attention, total: chf(84_250 + n * 310), insurer: attention ? null : chf(67_400 + n * 248), patient_share: attention ? null : chf(16_850 + n * 62),
      attempt: n === 11 ? 3 : 1, lines: [{ item: 'base', text: 'Emergency transport, base fee', amount_minor: 72_000 }, { item: 'distance', text: 'Distance', amount_minor: 12_250 + n * 310 }], coverage_reason: attention ? null : 'The plan pays 80 % of the tariff.', payment_id: done ? `sbx_pay_${n}` : null, provider: 'sandbox-payment',
      reason: state === 'FAILED' ? 'The card was declined (card-declined); the claim was released.' : attention ? 'The insurer answered with an error three times.' : null,
      history: [{ at: iso(now - 400_000), kind: 'billing.pending', step: 'eligibility', text: '' }, { at: iso(now - 390_000), kind: 'billing.coverage-verified', step: null, text: 'the plan pays 80 %' }, { at: iso(now - 380_000), kind: 'billing.pending', step: 'create-payment', text: '' }], updated_at: iso(now - n * 60_000),
    });
  }
  const notifications = incidents.slice(0, 8).map((i, n) => ({
    notification_id: `n-${n}`, incident_id: i.incident_id, template: ['emergency-detected', 'unit-enroute', 'arrived-at-hospital'][n % 3], state: ['sent', 'sent', 'failed', 'ambiguous', 'sent'][n % 5], channel: n % 2 ? 'email' : 'sms', provider: 'sandbox-messaging', attempts: 1, reason: n % 5 === 2 ? 'number not reachable' : null, updated_at: iso(now - n * 41_000),
  }));
  const actors = [
    { actor: `incident/${uuid(1)}`, state: 'quarantined', incarnation: 6, restarts: 5, last_cause: 'panic', detail: 'five restarts within 60 s', back_at: null },
    { actor: 'unit/RTW-7', state: 'restarting', incarnation: 3, restarts: 2, last_cause: 'panic', detail: 'asked to crash', back_at: iso(now + 8000) },
    ...units.map((u) => ({ actor: `unit/${u.unit_id}`, state: 'running', incarnation: 1, restarts: 0, last_cause: null, detail: null, back_at: null })).filter((a) => a.actor !== 'unit/RTW-7'),
    ...incidents.map((i) => ({ actor: `incident/${i.incident_id}`, state: i.status === 'closed' ? 'passive' : 'running', incarnation: 1, restarts: 0, last_cause: null, detail: null, back_at: null })).slice(2),
  ];
  for (const i of incidents) {
    for (const e of timelineOf(i, units)) {
      if (e.kind === 'dispatch.assigned') i.assignment = e.data;
      if (e.kind.startsWith('unit.status.')) i.times[e.kind.slice(12).replaceAll('-', '_')] = e.at;
    }
  }
  return { hospitals, units, incidents, bills, notifications, actors, seed };
}

/** Two hours of a patient who gets worse. */
export function vitals(patient_id, now) {
  const rnd = random(patient_id.length + Number(patient_id.slice(2)));
  return Array.from({ length: 120 }, (_, n) => {
    const worse = Math.max(0, (n - 80) / 40);
    const r = {
      patient_id, at: iso(now - (120 - n) * 60_000), heart_rate_bpm: Math.round(76 + rnd() * 8 + worse * 42), spo2_pct: Math.round(97 + rnd() - worse * 8),
      respiration_rate_bpm: Math.round(15 + rnd() * 3 + worse * 11),
    };
    if (n % 15 === 3) Object.assign(r, { systolic_mmhg: Math.round(128 - worse * 26), diastolic_mmhg: 78, temperature_c: Math.round(10 * (36.8 + worse * 1.5)) / 10 });
    return r;
  });
}

/** The timeline of an incident, as events. */
export function timelineOf(i, units) {
  const t0 = Date.parse(i.opened_at);
  const out = [];
  const add = (s, kind, data, stream = `incident/${i.incident_id}`) => out.push({ offset: 0, kind, at: iso(t0 + s * 1000), stream, data });
  if (i.triage) add(-3, `triage.status.${i.triage.class}`, i.triage, `triage/${i.patient_id}`);
  add(0, 'incident.opened', { incident_id: i.incident_id, patient_id: i.patient_id, priority: i.priority, call: { summary: i.summary, triage: i.triage }, acknowledge_by: i.acknowledge_by, needs: [] });
  add(0, 'command.notification.send', { template: 'emergency-detected' });
  add(2, 'notification.sent', { template: 'emergency-detected', target: { channel: 'sms' }, provider: 'sandbox-messaging' }, 'notification/n');
  if (i.calls > 1) add(15, 'incident.call-joined', { call: { summary: 'Neighbour reports the same emergency' } });
  if (i.acknowledged_at) add(21, 'incident.acknowledged', { by: 'dispatcher' });
  if (i.escalation_level) add(60, 'incident.escalated', { level: 1, reason: 'nobody acknowledged it within 60 s', priority: 1 });
  if (i.waiting_reason) add(26, 'dispatch.waiting', { request: { incident_id: i.incident_id }, reason: i.waiting_reason, excluded: [] });
  if (i.unit_id) {
    const others = units.filter((u) => u.unit_id !== i.unit_id).slice(0, 3);
    add(24, 'dispatch.assigned', {
      incident_id: i.incident_id, unit_id: i.unit_id, eta_s: 312, distance_m: 4210, eta_source: 'built-in', by: 'dispatch', from: null, to: i.location,
      reason: `${i.unit_id} is the nearest ALS unit by road: 5 min 12 s. ${others[0].unit_id} would need 1 min 40 s more; it would be chosen if ${i.unit_id} were delayed.`,
      candidates: [{ unit_id: i.unit_id, eta_s: 312, distance_m: 4210 }, ...others.map((u, n) => ({ unit_id: u.unit_id, eta_s: 412 + n * 95, distance_m: 5600 + n * 1300 }))],
    }, `unit/${i.unit_id}`);
    const order = ['assigned', 'enroute', 'on-scene', 'at-patient', 'onboard', 'arrived', 'handed-over'];
    for (const [n, s] of order.slice(0, order.indexOf(i.unit_status) + 1).entries()) add(25 + n * 150, `unit.status.${s}`, { unit_id: i.unit_id, incident_id: i.incident_id, hospital: s === 'onboard' ? i.hospital : undefined }, `unit/${i.unit_id}`);
  }
  if (i.status === 'closed') add(2400, 'incident.closed', { bill: i.bill.state });
  return out.map((e, n) => ({ ...e, offset: n + 1 }));
}
