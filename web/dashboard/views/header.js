/**
 * Figures, alarms and the state of the stream.
 */
import { clock } from '../model/format.js';
import { cx, html } from '../ui.js';
import * as store from '../store.js';

export function Header() {
  return html`<header class="top">
    <h1 class="brand"><img src="/dashboard/icon.svg" alt="" width="26" height="26" /><span>SHERS</span><small>${store.mapInfo.value?.name ?? 'dispatch'}</small></h1>
    <${Figures} /><${Alarms} />
    <div class="right"><${Clock} /><${Link} />
      <button class="quiet" onClick=${() => { store.dialog.value = { name: 'kpis' }; }} title="Response times by category and area">Times</button>
      <button class="quiet" onClick=${() => { store.dialog.value = { name: 'help' }; }} aria-label="Help and keys" title="Help and keys (?)">?</button>
      <button class="quiet" onClick=${() => store.signOut()} title="Sign out">Sign out</button></div>
  </header>`;
}

/** @param {{label: string, value: any, of?: any, tone?: string, title?: string}} props */
const Figure = ({ label, value, of, tone, title }) => html`<div class=${cx('figure', tone)} title=${title}>
  <dd>${value}${of !== undefined && html`<small>/${of}</small>`}</dd><dt>${label}</dt></div>`;

function Figures() {
  const f = store.figures.value;
  const response = responseOf(store.kpis.value);
  return html`<dl class="figures" aria-label="Figures">
    <${Figure} label="open" value=${f.open} title="Incidents in care" />
    <${Figure} label="priority 1" value=${f.p1} tone=${f.p1 > 0 && 'hot'} />
    <${Figure} label="to acknowledge" value=${f.unacknowledged} tone=${f.unacknowledged > 0 && 'warm'} />
    <${Figure} label="waiting" value=${f.waiting} tone=${f.waiting > 0 && 'warm'} title="Incidents without a unit that can go" />
    <${Figure} label="units free" value=${f.units_free} of=${f.units} tone=${f.units > 0 && f.units_free === 0 && 'hot'} />
    <${Figure} label="bills open" tone="extra" value=${f.bills_pending} />
    ${response && html`<${Figure} label="response p50 · p90" tone="extra" value=${`${clock(response.p50 * 1000)} · ${clock(response.p90 * 1000)}`} title="From call to arrival at the scene, middle and 90th centile" />`}
  </dl>`;
}

/** The response times among the figures of the server, if it has any. @param {any} kpis @returns {{p50: number, p90: number} | null} */
function responseOf(kpis) {
  const r = kpis?.intervals?.response_time;
  const p50 = r?.p50_s ?? r?.p50;
  const p90 = r?.p90_s ?? r?.p90;
  return typeof p50 === 'number' && typeof p90 === 'number' ? { p50, p90 } : null;
}

function Alarms() {
  const list = store.alarms.value;
  /** @param {import('../model/queue.js').Alarm} alarm */
  const go = (alarm) => {
    if (alarm.go.incident) store.select(alarm.go.incident);
    if (alarm.go.tab) store.tab.value = alarm.go.tab;
  };
  return html`<div class="alarms" role="group" aria-label="Alarms">
    ${list.length === 0 && html`<span class="all-well">✓ No alarms</span>`}
    ${list.map((a) => html`<button key=${a.key} class=${`alarm ${a.tone}`} onClick=${() => go(a)}><span aria-hidden="true">${a.tone === 'red' ? '◆' : '▲'}</span> ${a.text}</button>`)}
  </div>`;
}

function Clock() {
  const d = new Date(store.now.value);
  return html`<time class="wall-clock" title="Server time, shown in your time zone">${d.toLocaleTimeString('en-GB')}</time>`;
}

/** @type {Record<string, [string, string]>} */
const LINK = { live: ['●', 'Live'], behind: ['◐', 'Catching up'], connecting: ['○', 'Connecting'], offline: ['▲', 'Offline'], refused: ['■', 'Refused'] };

function Link() {
  const l = store.link.value;
  const [sign, word] = LINK[l.state];
  const wait = l.retry_at ? Math.max(0, Math.ceil((l.retry_at - Date.now()) / 1000)) : null;
  const lag = l.state === 'behind' && l.head !== null && l.offset !== null ? ` ${l.head - l.offset}` : '';
  void store.now.value;
  return html`<div class=${`link ${l.state}`} role="status" title=${l.detail || `Event ${l.offset ?? '–'} of ${l.head ?? '–'}`}>
    <span class="sign" aria-hidden="true">${sign}</span><span>${word}${lag}</span>
    ${l.state === 'offline' && wait !== null && html`<small>again in ${wait} s</small>`}</div>`;
}
