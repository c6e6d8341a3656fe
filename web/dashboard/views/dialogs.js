/**
 * Dialogs: recommendations, reasons, help. Native `<dialog>`, so focus stays inside and Escape closes.
 */
import { assign, cancel, downgrade, escalate, keysOn, setKeys, unassign, writeOff } from '../actions.js';
import { shortId } from '../model/format.js';
import { cx, html, useEffect, useLayoutEffect, useRef, useState } from '../ui.js';
import * as store from '../store.js';
import { Candidates, ResponseTimes, useRecommendation } from './dispatch.js';
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
    case 'downgrade':
      return html`<${Reason} title="Downgrade the incident" submit="Downgrade" hint="One step less urgent. It falls back in the queue, and its unit may be moved to a sicker patient."
        run=${(/** @type {string} */ r) => downgrade(String(d.incident), r)} />`;
    case 'unassign':
      return html`<${Reason} title=${`Take ${d.unit} off`} danger submit="Take off" hint="The unit is called back, and the next one is sought."
        run=${(/** @type {string} */ r) => unassign(String(d.incident), String(d.unit), r)} />`;
    case 'kpis':
      return html`<${Dialog} wide title="Response times"><${ResponseTimes} /></${Dialog}>`;
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
  // Before the next key can come: an Escape that met a dialog not shown yet would be lost, and the dialog stay.
  useLayoutEffect(() => {
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
  const [answer, problem] = useRecommendation(incident.incident_id);
  const [reason, setReason] = useState('');
  const [busy, setBusy] = useState(false);
  // The best unit is one Enter away once the drive times are there.
  useEffect(() => { /** @type {HTMLElement | null} */ (document.querySelector('dialog .row-actions .primary'))?.focus(); }, [answer !== null]);
  /** @param {string} unit */
  const give = async (unit) => {
    setBusy(true);
    if (await assign(incident.incident_id, unit, reason.trim())) close();
    else setBusy(false);
  };
  return html`<${Dialog} wide title=${html`<${PriorityMark} priority=${incident.priority} /> Assign a unit`}>
    <p class="dim">${incident.summary}${incident.unit_id && html` · <strong>${incident.unit_id}</strong> is assigned now`}</p>
    ${problem && html`<p class="problem" role="alert">▲ ${problem}</p>`}${!answer && !problem && html`<p class="empty">Computing drive times…</p>`}
    ${answer && html`<${Candidates} answer=${answer} busy=${busy} give=${give} />
      <label for="why">Reason, if you choose another than the best</label><input id="why" maxlength="200" autocomplete="off" value=${reason} onInput=${(/** @type {any} */ e) => setReason(e.target.value)} />`}
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
