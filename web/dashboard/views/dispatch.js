/**
 * What dispatch decides, shown so that a person can judge it: who could go and who not, with times, source and what each
 * offers; a unit that could be moved, with the gain for both; the hospital with the second best; response times.
 */
import { assign, kpis, recommendations } from '../actions.js';
import { distance, span } from '../model/format.js';
import { areas, categories } from '../model/kpis.js';
import { cx, html, useEffect, useState } from '../ui.js';
import * as store from '../store.js';

/** How often a recommendation on the screen is asked for again. */
const REFRESH_MS = 10_000;

/**
 * The recommendation for an incident, asked for again while it is on the screen.
 * @param {string} id @param {unknown} [changed] ask at once when this changes
 * @returns {[import('../types').Recommendations | null, string]}
 */
export function useRecommendation(id, changed) {
  const [answer, setAnswer] = useState(/** @type {import('../types').Recommendations | null} */ (null));
  const [problem, setProblem] = useState('');
  useEffect(() => {
    let gone = false;
    const ask = () => recommendations(id).then(
      (a) => { if (!gone) { setAnswer(a); setProblem(''); } },
      (e) => { if (!gone) setProblem(e.message); },
    );
    ask();
    const timer = setInterval(ask, REFRESH_MS);
    return () => { gone = true; clearInterval(timer); };
  }, [id, changed]);
  return [answer, problem];
}

/** What a unit offers, needed capabilities first and marked. @param {{candidate: import('../types').Candidate, needs: string[]}} props */
function Offers({ candidate: c, needs }) {
  const all = [...new Set([c.crew_level, ...(c.capabilities ?? [])])].filter((x) => typeof x === 'string');
  const met = all.filter((x) => needs.includes(x));
  const rest = all.filter((x) => !needs.includes(x));
  return html`${met.map((x) => html`<span key=${x} class="chip" title="Needed here">✓ ${x.toUpperCase()}</span> `)}<span class="dim">${rest.map((x) => x.toUpperCase()).join(', ')}</span>`;
}

/**
 * Candidates with their times and a button each, and those that can't go, with the reason.
 * @param {{answer: import('../types').Recommendations, busy: boolean, give: (unit: string) => void}} props
 */
export function Candidates({ answer, busy, give }) {
  const needs = answer.needs ?? [];
  return html`<p class="reason">${answer.reason}</p>
    ${needs.length > 0 && html`<p class="fine">Needed: ${needs.map((n) => n.toUpperCase()).join(', ')}</p>`}
    ${answer.candidates?.length > 0 ? html`<table class="board"><caption class="unseen">Units that could go</caption>
      <thead><tr><th scope="col">Unit</th><th scope="col" class="num">Drive</th><th scope="col" class="num">Distance</th><th scope="col">Offers</th><th scope="col"><span class="unseen">Assign</span></th></tr></thead>
      <tbody>${answer.candidates.map((c, n) => html`<tr key=${c.unit_id} class=${cx(n === 0 && 'best')}><td>${c.unit_id}${n === 0 && html` <span class="chip">best</span>`}</td><td class="num">${span(c.eta_s)}</td><td class="num">${distance(c.distance_m)}</td>
        <td><${Offers} candidate=${c} needs=${needs} /></td><td class="row-actions"><button class=${cx(n === 0 && 'primary')} disabled=${busy} onClick=${() => give(c.unit_id)} aria-label=${`Assign ${c.unit_id}`}>Assign</button></td></tr>`)}</tbody></table>`
      : html`<p class="waiting">▲ No unit can go now.</p>`}
    ${answer.diversion && html`<div class="diversion"><p><strong>◆ Diversion advised.</strong> ${answer.diversion.reason}</p>
      <button disabled=${busy} onClick=${() => give(/** @type {any} */ (answer.diversion).unit_id)}>Move ${answer.diversion.unit_id} here</button></div>`}
    ${answer.excluded?.length > 0 && html`<details><summary>Not considered (${answer.excluded.length})</summary><ul class="excluded">${answer.excluded.map((x) => html`<li key=${x.unit_id}><strong>${x.unit_id}</strong> ${x.reason}</li>`)}</ul></details>`}
    <p class="fine">Drive times: ${answer.eta_source}${answer.assignment === 'person' ? '. A person sends units to incidents of this kind.' : ''}</p>`;
}

/** The recommendation in the panel of an incident that no unit goes to. @param {{incident: import('../types').Incident}} props */
export function Recommended({ incident: i }) {
  const [answer, problem] = useRecommendation(i.incident_id, i.waiting_reason);
  const [reason, setReason] = useState('');
  const [busy, setBusy] = useState(false);
  /** @param {string} unit */
  const give = async (unit) => {
    setBusy(true);
    await assign(i.incident_id, unit, reason.trim());
    setBusy(false);
  };
  return html`<section class="box recommended"><h3>Recommendation ${i.waits_for_person && html`<span class="h-right flag">▲ a person decides</span>`}</h3>
    ${problem && html`<p class="problem" role="alert">▲ ${problem}</p>`}${!answer && !problem && html`<p class="dim">Computing drive times…</p>`}
    ${answer && html`<${Candidates} answer=${answer} busy=${busy} give=${give} />
      <label for="panel-why">Reason, if you choose another than the best</label><input id="panel-why" maxlength="200" autocomplete="off" value=${reason} onInput=${(/** @type {any} */ e) => setReason(e.target.value)} />`}
  </section>`;
}

/** Where the patient goes, and the second best. @param {{hospital: import('../types').HospitalChoice | null}} props */
export function HospitalBox({ hospital: h }) {
  if (!h) return null;
  const next = h.next;
  return html`<section class="box"><h3>Hospital</h3><p class="reason">${h.reason ?? h.name}</p>
    ${next && html`<table class="mini"><caption class="unseen">The choice and the second best</caption>
      <thead><tr><th scope="col">Hospital</th><th scope="col" class="num">Drive</th><th scope="col" class="num">At the door</th></tr></thead>
      <tbody><tr class="best"><td>${h.name} <span class="chip">chosen</span></td><td class="num">${span(h.drive_s)}</td><td class="num">${span(h.door_s)}</td></tr>
        <tr><td>${next.name}</td><td class="num">${span(next.drive_s)}</td><td class="num">${span(next.door_s)}</td></tr></tbody></table>`}</section>`;
}

/** The figures of the whole house, of each category and of each area. */
export function ResponseTimes() {
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState('');
  useEffect(() => {
    let gone = false;
    kpis().then((a) => { if (!gone) setAnswer(a); }, (e) => { if (!gone) setProblem(e.message); });
    return () => { gone = true; };
  }, []);
  if (problem) return html`<p class="problem" role="alert">▲ ${problem}</p>`;
  if (!answer) return html`<p class="empty">Reading the figures…</p>`;
  return html`<p class="dim">${answer.incidents} incidents. Middle and 90th centile, and the share within target.</p>
    <div class="scroll kpis" tabindex="0" role="region" aria-label="Figures by category and area">
      ${[...categories(answer.intervals), ...areas(answer.intervals)].map((group) => html`<table key=${group.name} class="mini"><caption>${group.name}</caption>
        <thead><tr><th scope="col">Interval</th><th scope="col" class="num">Count</th><th scope="col" class="num">50th</th><th scope="col" class="num">90th</th><th scope="col" class="num">Target</th><th scope="col" class="num">Within</th></tr></thead>
        <tbody>${group.rows.map((r) => html`<tr key=${r.name}><th scope="row">${r.name}</th><td class="num">${r.count}</td><td class="num">${span(r.p50_s)}</td><td class="num">${span(r.p90_s)}</td><td class="num">${span(r.target_s)}</td><td class="num">${r.within}</td></tr>`)}</tbody></table>`)}</div>`;
}

/** Whether the incident's panel shows a recommendation: somebody waits for a unit. @param {import('../types').Incident} i */
export const wantsUnit = (i) => !i.unit_id && ['opened', 'acknowledged'].includes(i.status) && i.location !== null && store.loaded.value;
