/**
 * The selected incident: who, how it stands, triage and vitals, assignment, bill, timeline.
 */
import { acknowledge } from '../actions.js';
import { describe } from '../model/describe.js';
import { kindGroup } from '../model/codes.js';
import { age, clock, distance, ms, shortId, span, timeOfDay, words } from '../model/format.js';
import { needsAcknowledge, phase, section } from '../model/queue.js';
import { cx, html } from '../ui.js';
import * as store from '../store.js';
import { Billing } from './billing.js';
import { HospitalBox, Recommended, wantsUnit } from './dispatch.js';
import { PriorityMark, TriageMark, UnitStatus } from './marks.js';
import { Phase } from './queue.js';
import { Vitals } from './vitals.js';

export function IncidentPanel() {
  const id = store.selected.value;
  const incident = id ? store.incidents.value.get(id) : undefined;
  if (!incident) {
    return html`<section class="panel incident" aria-label="Selected incident"><div class="nothing">
      <svg width="64" height="64" viewBox="0 0 32 32" aria-hidden="true"><path d="M3 17h6l2.5-6 4.5 12 4-9 2 3h7" /></svg>
      <p>Choose an incident in the queue or on the map.</p><p class="fine"><kbd>j</kbd> <kbd>k</kbd> move · <kbd>Enter</kbd> opens · <kbd>?</kbd> all keys</p></div></section>`;
  }
  return html`<section class="panel incident" aria-label="Selected incident" key=${id}>
    <${Head} incident=${incident} />
    <div class="scroll" tabindex="0" role="region" aria-label="Details">
      <${Progress} incident=${incident} /><${TriageBox} triage=${incident.triage} /><${Vitals} />
      <${AssignmentBox} incident=${incident} />${wantsUnit(incident) && html`<${Recommended} incident=${incident} />`}
      <${HospitalBox} hospital=${incident.hospital} /><${Billing} incident=${incident} /><${Timeline} />
    </div></section>`;
}

/** @param {{incident: import('../types').Incident}} props */
function Head({ incident: i }) {
  const open = section(i) === 0;
  return html`<div class="incident-head">
    <div class="title"><${PriorityMark} priority=${i.priority} size=${34} />
      <div><h2>${i.summary || 'Incident'}</h2>
        <p class="meta"><${Phase} incident=${i} /><span class="mono" title=${i.incident_id}>${shortId(i.incident_id)}</span>
          <span>opened ${timeOfDay(i.opened_at)}</span>${i.exercise && html`<span class="chip exercise-chip">exercise</span>`}</p></div>
      <button class="quiet close" aria-label="Close the panel" onClick=${() => store.select(null)}>×</button></div>
    <${Who} incident=${i} />
    ${open && html`<div class="actions">
      ${needsAcknowledge(i) && html`<button class="primary" onClick=${() => acknowledge(i.incident_id)}>Acknowledge <kbd>a</kbd></button>`}
      <button class=${cx(!needsAcknowledge(i) && !i.unit_id && 'primary')} onClick=${() => { store.dialog.value = { name: 'assign', incident: i.incident_id }; }}>Assign… <kbd>d</kbd></button>
      <button onClick=${() => { store.dialog.value = { name: 'escalate', incident: i.incident_id }; }}>Escalate…</button>
      ${i.priority < 4 && html`<button onClick=${() => { store.dialog.value = { name: 'downgrade', incident: i.incident_id }; }}>Downgrade…</button>`}
      ${i.unit_id && html`<button onClick=${() => { store.dialog.value = { name: 'unassign', incident: i.incident_id, unit: i.unit_id ?? undefined }; }}>Take off…</button>`}
      <button class="danger" onClick=${() => { store.dialog.value = { name: 'cancel', incident: i.incident_id }; }}>Cancel…</button></div>`}
  </div>`;
}

/** @param {{incident: import('../types').Incident}} props */
function Who({ incident: i }) {
  const p = store.patient.value;
  const years = p ? age(p.birth_date, store.now.value) : null;
  const parts = [p?.name, years !== null && `${years} y`, p?.sex, p?.address].filter(Boolean);
  return html`<p class="who"><span class="mono">${i.patient_id ?? 'Patient not known'}</span>${parts.length > 0 && html`<span>${parts.join(' · ')}</span>`}
    ${(i.calls > 1) && html`<span class="chip">${i.calls} calls joined</span>`}</p>`;
}

const STAGES = [['opened', 'Call'], ['acknowledged', 'Ack'], ['assigned', 'Unit'], ['enroute', 'En route'], ['on-scene', 'Scene'], ['onboard', 'On board'], ['arrived', 'Hosp.'], ['handed-over', 'Hand over'], ['closed', 'End']];
/** @type {Record<string, string>} */
const STAGE_OF = { 'at-patient': 'on-scene', reserved: 'assigned', waiting: 'acknowledged', resolved: 'handed-over' };

/**
 * When each stage was reached.
 * @param {import('../types').Incident} i
 */
function stageTimes(i) {
  /** @type {Record<string, string>} */
  const times = { opened: i.opened_at };
  for (const [name, at] of Object.entries(i.times)) if (at) times[name.replaceAll('_', '-')] = at;
  if (i.acknowledged_at) times.acknowledged = i.acknowledged_at;
  if (i.closed_at) times.closed = i.closed_at;
  return times;
}

/** @param {{incident: import('../types').Incident}} props */
function Progress({ incident: i }) {
  const times = stageTimes(i);
  const p = phase(i);
  const now_at = STAGES.findIndex(([name]) => name === (STAGE_OF[p] ?? p));
  const cancelled = i.status === 'cancelled';
  return html`<ol class=${cx('progress', cancelled && 'cancelled')} aria-label="Progress">${STAGES.map(([name, text], n) => {
    const done = times[name] !== undefined;
    const current = n === now_at && !cancelled;
    return html`<li key=${name} class=${cx(done && 'done', current && 'current')} aria-current=${current ? 'step' : undefined}>
      <span class="dot" aria-hidden="true"></span><span class="stage">${text}</span>
      <span class="at">${done && n > 0 ? `+${clock(ms(times[name]) - ms(i.opened_at))}` : done ? timeOfDay(times[name]).slice(0, 5) : ''}</span></li>`;
  })}</ol>`;
}

/** @param {{triage: import('../types').Triage | null}} props */
function TriageBox({ triage: t }) {
  if (!t) return null;
  return html`<section class="box"><h3>Triage <${TriageMark} name=${t.class} /></h3>
    <p class="reason">${t.reason}</p>
    <div class="news"><${ScoreBar} score=${t.score} />
      <ul class="findings">${t.findings?.map((f) => html`<li key=${f.parameter} class=${`points-${f.points}`} title=${`${words(f.parameter)} measured ${span(f.age_s)} before`}>
        <span class="name">${PARAMETER[f.parameter] ?? words(f.parameter)}</span><span class="value">${f.value}</span><span class="points" aria-label=${`${f.points} points`}>${f.points}</span></li>`)}</ul></div>
    ${t.score?.missing?.length > 0 && html`<p class="fine">Not measured: ${t.score.missing.map((m) => (PARAMETER[m] ?? words(m)).toLowerCase()).join(', ')}.</p>`}
    ${t.clears_when && html`<p class="fine">Clears when: ${t.clears_when}</p>`}</section>`;
}

/** @type {Record<string, string>} */
const PARAMETER = { 'respiration-rate': 'Respiration', spo2: 'SpO₂', oxygen: 'Oxygen', systolic: 'Systolic', 'heart-rate': 'Heart rate', consciousness: 'Conscious', temperature: 'Temperature' };

/** The score with its bounds: what is known, and how far what is missing could raise it. @param {{score: import('../types').Score}} props */
function ScoreBar({ score: s }) {
  if (!s) return null;
  const name = s.name === 'news2' ? 'NEWS2' : words(s.name);
  const text = s.upper > s.known ? `${s.known} (to ${s.upper})` : String(s.known);
  return html`<div class="score" role="img" aria-label=${`${name} ${s.known}, at most ${s.upper} of 20`}>
    <svg viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="200" height="14" rx="3" />
      <rect class="upper" width=${Math.min(200, s.upper * 10)} height="14" rx="3" /><rect class=${cx('known', s.known >= 7 ? 'high' : s.known >= 5 || s.single_red ? 'mid' : 'low')} width=${Math.min(200, s.known * 10)} height="14" rx="3" />
      <path class="limit" d="M50 0v14M70 0v14" /></svg>
    <span>${name} <strong>${text}</strong>${s.single_red && html` <span class="flag">▲ one value scores 3</span>`}</span></div>`;
}

/** @param {{incident: import('../types').Incident}} props */
function AssignmentBox({ incident: i }) {
  const a = i.assignment;
  const unit = i.unit_id ? store.units.value.get(i.unit_id) : undefined;
  const eta = i.eta_at ? ms(i.eta_at) - store.now.value : NaN;
  return html`<section class="box"><h3>Assignment ${i.unit_id && html`<span class="h-right mono">${i.unit_id}</span>`}</h3>
    ${!i.unit_id && !i.waiting_reason && html`<p class="dim">${section(i) === 0 ? 'No unit is assigned yet.' : 'No unit was on it at the end.'}</p>`}
    ${i.waiting_reason && html`<p class="waiting">▲ Waiting: ${i.waiting_reason}</p>`}
    ${i.cancel_reason && html`<p class="reason">Cancelled: ${i.cancel_reason}</p>`}
    ${i.unit_id && html`<p class="assigned"><${UnitStatus} status=${section(i) === 0 ? unit?.status ?? i.unit_status : i.unit_status} />
      ${section(i) === 0 && Number.isFinite(eta) && html`<span class="eta">${eta >= 0 ? `arrives in ${clock(eta)}` : `due ${clock(-eta)} ago`}</span>`}
      ${i.hospital && html`<span>→ ${i.hospital.name}</span>`}</p>`}
    ${a?.reason && html`<p class="reason">${a.reason}</p>`}
    ${a && a.candidates?.length > 0 && html`<table class="mini"><caption class="unseen">Units considered</caption>
      <thead><tr><th scope="col">Considered</th><th scope="col" class="num">Drive</th><th scope="col" class="num">Distance</th></tr></thead>
      <tbody>${a.candidates.slice(0, 4).map((c) => html`<tr key=${c.unit_id} class=${cx(c.unit_id === a.unit_id && 'best')}><td>${c.unit_id}${c.unit_id === a.unit_id && html` <span class="chip">chosen</span>`}</td><td class="num">${span(c.eta_s)}</td><td class="num">${distance(c.distance_m)}</td></tr>`)}</tbody></table>
      <p class="fine">Drive times: ${a.eta_source}. Decided by ${a.by}.</p>`}
  </section>`;
}

function Timeline() {
  const list = store.timeline.value.filter((e) => !e.kind.startsWith('command.'));
  return html`<section class="box"><h3>Timeline <span class="h-right dim">${list.length}</span></h3>
    ${list.length === 0 && html`<p class="dim">Nothing recorded yet.</p>`}
    <ol class="timeline">${[...list].reverse().map((e) => {
      const { group, letter } = kindGroup(e.kind);
      return html`<li key=${e.offset}><time>${timeOfDay(e.at)}</time><span class=${`kind-mark kind-${group}`} aria-hidden="true">${letter}</span>
        <span>${describe(e.kind, e.data)}</span></li>`;
    })}</ol></section>`;
}
