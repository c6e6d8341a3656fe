/**
 * Dialogs: recommendations, reasons, help. Native `<dialog>`, so focus stays inside and Escape closes.
 */
import { assign, cancel, escalate, keysOn, recommendations, setKeys, writeOff } from '../actions.js';
import { distance, shortId, span } from '../model/format.js';
import { cx, html, useEffect, useRef, useState } from '../ui.js';
import * as store from '../store.js';
import { PriorityMark } from './marks.js';

const close = () => { store.dialog.value = null; };

export function Dialogs() {
  const d = store.dialog.value;
  if (!d) return null;
  const incident = d.incident ? store.incidents.value.get(d.incident) : undefined;
  switch (d.name) {
    case 'help':
      return html`<${Help} />`;
    case 'assign':
      return incident ? html`<${Assign} incident=${incident} />` : null;
    case 'cancel':
      return html`<${Reason} title="Cancel the incident" danger submit="Cancel the incident" hint="The unit is called off and nothing is billed for transport."
        run=${(/** @type {string} */ r) => cancel(String(d.incident), r)} />`;
    case 'escalate':
      return html`<${Reason} title="Escalate the incident" submit="Escalate" hint="Raises its level and asks for attention again."
        run=${(/** @type {string} */ r) => escalate(String(d.incident), r)} />`;
    case 'write-off':
      return html`<${Reason} title=${`Write off bill ${shortId(d.bill)}`} danger submit="Write off" hint="The amount is given up; the incident closes."
        run=${(/** @type {string} */ r) => writeOff(String(d.bill), r)} />`;
    default:
      return null;
  }
}

/** @param {{title: any, wide?: boolean, children?: any}} props */
function Dialog({ title, wide, children }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    ref.current?.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  /** @param {MouseEvent} e */
  const outside = (e) => { if (e.target === ref.current) close(); };
  return html`<dialog ref=${ref} class=${cx(wide && 'wide')} aria-labelledby="dialog-title" onClose=${close} onClick=${outside}>
    <div class="dialog-body"><div class="dialog-head"><h2 id="dialog-title">${title}</h2><button class="quiet" aria-label="Close" onClick=${close}>×</button></div>${children}</div></dialog>`;
}

/** @param {{title: string, submit: string, hint: string, danger?: boolean, run: (reason: string) => Promise<boolean>}} props */
function Reason({ title, submit, hint, danger, run }) {
  const [text, setText] = useState('');
  const [busy, setBusy] = useState(false);
  /** @param {Event} e */
  const send = async (e) => {
    e.preventDefault();
    if (!text.trim() || busy) return;
    setBusy(true);
    if (await run(text.trim())) close();
    else setBusy(false);
  };
  return html`<${Dialog} title=${title}><form onSubmit=${send}><p class="dim">${hint}</p>
    <label for="reason">Reason</label><input id="reason" autofocus required maxlength="200" autocomplete="off" value=${text} onInput=${(/** @type {any} */ e) => setText(e.target.value)} />
    <div class="dialog-actions"><button type="button" onClick=${close}>Back</button><button type="submit" class=${danger ? 'danger solid' : 'primary'} disabled=${!text.trim() || busy}>${submit}</button></div></form></${Dialog}>`;
}

/** @param {{incident: import('../types').Incident}} props */
function Assign({ incident }) {
  const [answer, setAnswer] = useState(/** @type {import('../types').Recommendations | null} */ (null));
  const [problem, setProblem] = useState('');
  const [reason, setReason] = useState('');
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    let gone = false;
    recommendations(incident.incident_id).then((a) => { if (!gone) setAnswer(a); }, (e) => { if (!gone) setProblem(e.message); });
    return () => { gone = true; };
  }, []);
  // The best unit is one Enter away once the drive times are there.
  useEffect(() => { /** @type {HTMLElement | null} */ (document.querySelector('dialog .row-actions .primary'))?.focus(); }, [answer]);
  /** @param {string} unit */
  const give = async (unit) => {
    setBusy(true);
    if (await assign(incident.incident_id, unit, reason.trim())) close();
    else setBusy(false);
  };
  return html`<${Dialog} wide title=${html`<${PriorityMark} priority=${incident.priority} /> Assign a unit`}>
    <p class="dim">${incident.summary}${incident.unit_id && html` · <strong>${incident.unit_id}</strong> is assigned now`}</p>
    ${problem && html`<p class="problem" role="alert">▲ ${problem}</p>`}${!answer && !problem && html`<p class="empty">Computing drive times…</p>`}
    ${answer && html`<p class="reason">${answer.reason}</p>
      ${answer.candidates?.length > 0 ? html`<table class="board"><thead><tr><th scope="col">Unit</th><th scope="col" class="num">Drive</th><th scope="col" class="num">Distance</th><th scope="col">Crew</th><th scope="col"><span class="unseen">Assign</span></th></tr></thead>
        <tbody>${answer.candidates.map((c, n) => html`<tr key=${c.unit_id} class=${cx(n === 0 && 'best')}><td>${c.unit_id}${n === 0 && html` <span class="chip">best</span>`}</td><td class="num">${span(c.eta_s)}</td><td class="num">${distance(c.distance_m)}</td>
          <td class="dim">${store.units.value.get(c.unit_id)?.crew_level?.toUpperCase() ?? ''}</td><td class="row-actions"><button class=${cx(n === 0 && 'primary')} disabled=${busy} onClick=${() => give(c.unit_id)} aria-label=${`Assign ${c.unit_id}`}>Assign</button></td></tr>`)}</tbody></table>`
        : html`<p class="waiting">▲ No unit can go now.</p>`}
      <label for="why">Reason, if you choose another than the best</label><input id="why" maxlength="200" autocomplete="off" value=${reason} onInput=${(/** @type {any} */ e) => setReason(e.target.value)} />
      ${answer.excluded?.length > 0 && html`<details><summary>Not considered (${answer.excluded.length})</summary><ul class="excluded">${answer.excluded.map((x) => html`<li key=${x.unit_id}><strong>${x.unit_id}</strong> ${x.reason}</li>`)}</ul></details>`}
      <p class="fine">Drive times: ${answer.eta_source}</p>`}
  </${Dialog}>`;
}

const KEYS = [['j  k', 'Next and previous incident'], ['Enter', 'Open the incident under the cursor'], ['a', 'Acknowledge'], ['d', 'Recommendations: assign a unit'], ['/', 'Filter the event stream'], ['Esc', 'Close the panel or dialog'], ['← ↑ → ↓  + −  0', 'On the map: pan, zoom, show everything'], ['?', 'This help']];

function Help() {
  const [on, setOn] = useState(keysOn());
  return html`<${Dialog} title="Help and keys"><table class="keys"><tbody>${KEYS.map(([key, text]) => html`<tr key=${key}><td>${key.split('  ').map((k) => html`<kbd>${k}</kbd> `)}</td><td>${text}</td></tr>`)}</tbody></table>
    <label class="check"><input type="checkbox" checked=${on} onChange=${(/** @type {any} */ e) => { setKeys(e.target.checked); setOn(e.target.checked); }} /> Single keys act (turn off when you dictate)</label>
    <h3>Topics</h3><p>The filter takes AMQP patterns: <code>*</code> is one word, <code>#</code> any number. <code>incident.#</code> all of incidents, <code>unit.status.*</code> every status, <code>*.paid</code> paid bills. Several patterns are separated by spaces.</p>
    <h3>Order</h3><p>Incidents stand by priority, then age. A dashed red border marks one that nobody acknowledged in time.</p></${Dialog}>`;
}
