/**
 * The boards below the map: fleet, bills, messages, supervision.
 */
import { fleetRank, isFree } from '../model/codes.js';
import { clock, money, ms, shortId, timeOfDay, words } from '../model/format.js';
import { cx, html, useRef } from '../ui.js';
import * as store from '../store.js';
import { retryBill } from '../actions.js';
import { pickUnit } from './map-panel.js';
import { BillMark, UnitStatus } from './marks.js';
import { Supervision } from './supervision.js';
import { isProcess } from '../model/tree.js';

const TABS = /** @type {const} */ ([['fleet', 'Fleet'], ['bills', 'Bills'], ['messages', 'Messages'], ['supervision', 'Supervision']]);

/** @param {string} name */
function badge(name) {
  if (name === 'fleet') return store.units.value.size || '';
  if (name === 'bills') return [...store.bills.value.values()].filter((b) => b.attention).length || '';
  if (name === 'messages') return [...store.notifications.value.values()].filter((n) => n.state === 'failed' || n.state === 'ambiguous').length || '';
  return [...store.actors.value.values()].filter((a) => !a.actor.endsWith('/*') && !isProcess(a) && a.state !== 'running' && a.state !== 'passive').length || '';
}

export function Boards() {
  const tabs = useRef(/** @type {HTMLElement | null} */ (null));
  const at = store.tab.value;
  /** @param {KeyboardEvent} e */
  const onKey = (e) => {
    const n = TABS.findIndex(([name]) => name === at);
    const next = e.key === 'ArrowRight' ? n + 1 : e.key === 'ArrowLeft' ? n - 1 : e.key === 'Home' ? 0 : e.key === 'End' ? TABS.length - 1 : -9;
    if (next === -9) return;
    e.preventDefault();
    show(TABS[(next + TABS.length) % TABS.length][0]);
    queueMicrotask(() => /** @type {HTMLElement | null} */ (tabs.current?.querySelector('[aria-selected=true]'))?.focus());
  };
  return html`<section class="panel boards" aria-label="Boards">
    <div class="panel-head tabs" role="tablist" ref=${tabs} onKeyDown=${onKey}>
      ${TABS.map(([name, text]) => html`<button key=${name} role="tab" id=${`tab-${name}`} aria-selected=${at === name ? 'true' : 'false'} aria-controls="board"
        tabindex=${at === name ? 0 : -1} onClick=${() => show(name)}>${text}${badge(name) !== '' && html` <span class=${cx('badge', name !== 'fleet' && 'hot')}>${badge(name)}</span>`}</button>`)}
    </div>
    <div class="scroll" id="board" role="tabpanel" aria-labelledby=${`tab-${at}`} tabindex="0">
      ${at === 'fleet' && html`<${Fleet} />`}${at === 'bills' && html`<${Bills} />`}
      ${at === 'messages' && html`<${Messages} />`}${at === 'supervision' && html`<${Supervision} />`}
    </div></section>`;
}

/** @param {string} name */
function show(name) {
  store.tab.value = name;
  if (name === 'supervision') store.loadActors();
}

function Fleet() {
  const units = [...store.units.value.values()].sort((a, b) => fleetRank(a.status) - fleetRank(b.status) || a.unit_id.localeCompare(b.unit_id, 'en', { numeric: true }));
  if (units.length === 0) return html`<p class="empty">No units are registered.</p>`;
  return html`<table class="board"><thead><tr><th scope="col">Unit</th><th scope="col">Status</th><th scope="col" class="wide-only">Crew</th><th scope="col">For</th><th scope="col" class="num">Since</th></tr></thead>
    <tbody>${units.map((u) => html`<${UnitRow} key=${u.unit_id} unit=${u} />`)}</tbody></table>`;
}

/** @param {{unit: import('../types').Unit}} props */
function UnitRow({ unit: u }) {
  const incident = u.incident_id ? store.incidents.value.get(u.incident_id) : undefined;
  return html`<tr class=${cx(store.selectedUnit.value === u.unit_id && 'chosen', isFree(u.status) && 'free')}>
    <td><button class="cell-link" onClick=${() => pickUnit(u.unit_id)} title="Show on the map">${u.unit_id}</button></td>
    <td><${UnitStatus} status=${u.status} /></td>
    <td class="dim wide-only">${u.kind === 'ambulance' ? u.crew_level?.toUpperCase() : words(u.kind)}</td>
    <td class="grow">${u.hospital ? html`<span class="dim">→ ${u.hospital.name}</span>` : incident ? html`<span class="dim">P${incident.priority} ${incident.summary}</span>` : html`<span class="dim">${u.station_id ?? ''}</span>`}</td>
    <td class="num"><${Since} at=${u.status_at ?? u.updated_at} /></td></tr>`;
}

/** @param {{at: string}} props */
const Since = ({ at }) => html`<span title=${timeOfDay(at)}>${clock(store.now.value - ms(at))}</span>`;

function Bills() {
  const bills = [...store.bills.value.values()].sort((a, b) => rank(a) - rank(b) || (a.updated_at < b.updated_at ? 1 : -1)).slice(0, 200);
  if (bills.length === 0) return html`<p class="empty">No bills yet. One is made when a patient is handed over.</p>`;
  return html`<table class="board"><thead><tr><th scope="col">Bill</th><th scope="col">State</th><th scope="col" class="num">Total</th><th scope="col">Step</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead>
    <tbody>${bills.map((b) => html`<tr key=${b.bill_id} class=${cx(store.selected.value === b.incident_id && 'chosen')}>
      <td><button class="cell-link mono" onClick=${() => store.select(b.incident_id)}>${shortId(b.bill_id)}</button></td>
      <td><${BillMark} state=${b.state} attention=${b.attention} /></td>
      <td class="num">${money(b.total)}</td>
      <td class="grow dim" title=${b.reason ?? undefined}>${words(b.step)}${b.reason && `: ${b.reason}`}</td><td class="row-actions"><${BillActions} bill=${b} /></td></tr>`)}</tbody></table>`;
}

/** What needs a person first, then what runs. @param {import('../types').Bill} b */
const rank = (b) => (b.attention ? 0 : b.state === 'PENDING' ? 1 : b.state === 'FAILED' ? 2 : 3);

/** @param {{bill: import('../types').Bill}} props */
export function BillActions({ bill: b }) {
  if (b.state === 'PAID' || b.written_off || (b.state === 'PENDING' && !b.attention)) return null;
  return html`<button onClick=${() => retryBill(b.bill_id)}>Retry</button>
    <button onClick=${() => { store.dialog.value = { name: 'write-off', bill: b.bill_id }; }}>Write off…</button>`;
}

/** @type {Record<string, [string, string]>} */
const SENT = { sent: ['✓', 'good'], failed: ['×', 'bad'], ambiguous: ['?', 'warm'], queued: ['…', ''], attempted: ['→', ''] };

function Messages() {
  const list = [...store.notifications.value.values()].sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1)).slice(0, 200);
  if (list.length === 0) return html`<p class="empty">No messages to next of kin yet.</p>`;
  return html`<table class="board"><thead><tr><th scope="col">Time</th><th scope="col">Message</th><th scope="col">State</th><th scope="col">By</th><th scope="col">Provider</th><th scope="col">Incident</th></tr></thead>
    <tbody>${list.map((n) => {
      const [sign, tone] = SENT[n.state] ?? ['·', ''];
      return html`<tr key=${n.notification_id}><td class="mono dim">${timeOfDay(n.updated_at)}</td><td>${words(n.template)}</td>
        <td class=${tone}><span aria-hidden="true">${sign}</span> ${words(n.state)}</td><td class="dim">${n.channel ?? '–'}</td>
        <td class="grow dim">${n.provider ?? ''}${n.reason && ` · ${n.reason}`}</td>
        <td>${n.incident_id && html`<button class="cell-link mono" onClick=${() => store.select(n.incident_id)}>${shortId(n.incident_id)}</button>`}</td></tr>`;
    })}</tbody></table>`;
}
