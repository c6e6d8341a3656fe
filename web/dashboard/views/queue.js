/**
 * The incident queue: by priority, then age, each with its clock and the marker of a breach.
 */
import { clock, ms, words } from '../model/format.js';
import { isBreached, needsAcknowledge, phase, section } from '../model/queue.js';
import { unitMark } from '../model/codes.js';
import { cx, html, useEffect, useRef, useState } from '../ui.js';
import * as store from '../store.js';
import { BillMark, PriorityMark } from './marks.js';

/** Most ended incidents shown until asked for more. */
const ENDED_SHOWN = 30;

export function Queue() {
  const [more, setMore] = useState(false);
  const all = store.queue.value;
  const groups = [0, 1, 2].map((n) => all.filter((i) => section(i) === n));
  const [active, billing, ended] = groups;
  return html`<section class="panel queue" aria-labelledby="queue-title">
    <div class="panel-head"><h2 id="queue-title">Incidents</h2><span class="count">${active.length} in care</span></div>
    <div class="scroll" tabindex="-1">
      ${!store.loaded.value && html`<p class="empty">Reading the incidents…</p>`}
      ${store.loaded.value && active.length === 0 && html`<p class="empty">No open incidents. New ones appear here by themselves.</p>`}
      <ul class="cards">${active.map((i) => html`<${Card} key=${i.incident_id} incident=${i} />`)}</ul>
      ${billing.length > 0 && html`<h3 class="divider">Billing <span>${billing.length}</span></h3>
        <ul class="cards">${billing.map((i) => html`<${Card} key=${i.incident_id} incident=${i} />`)}</ul>`}
      ${ended.length > 0 && html`<h3 class="divider">Ended <span>${ended.length}</span></h3>
        <ul class="cards">${ended.slice(0, more ? 500 : ENDED_SHOWN).map((i) => html`<${Card} key=${i.incident_id} incident=${i} />`)}</ul>
        ${!more && ended.length > ENDED_SHOWN && html`<button class="wide quiet" onClick=${() => setMore(true)}>Show all ${ended.length}</button>`}`}
    </div></section>`;
}

/** @param {{incident: import('../types').Incident}} props */
function Card({ incident: i }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const isCursor = store.cursor.value === i.incident_id;
  const isSelected = store.selected.value === i.incident_id;
  const ended = section(i) === 2;
  // Ended incidents have no clock, so they need not follow it.
  const now = ended ? 0 : store.now.value;
  const late = !ended && isBreached(i, now);
  const fresh = !ended && needsAcknowledge(i);
  useEffect(() => { if (isCursor) ref.current?.scrollIntoView({ block: 'nearest' }); }, [isCursor]);
  return html`<li><button ref=${ref} class=${cx('queue-card', `p${i.priority}`, isSelected && 'selected', isCursor && 'cursor', late && 'late', fresh && 'fresh', ended && 'ended')}
    aria-current=${isSelected ? 'true' : undefined} onClick=${() => store.select(i.incident_id)}>
    <${PriorityMark} priority=${i.priority} size=${26} />
    <span class="what">
      <span class="summary">${i.summary || 'Incident'}</span>
      <span class="sub"><${Phase} incident=${i} />
        ${i.unit_id && !ended && html`<span class="unit">${i.unit_id}</span>`}
        ${i.calls > 1 && html`<span class="chip" title=${`${i.calls} calls joined`}>${i.calls} calls</span>`}
        ${i.bill && section(i) > 0 && html`<${BillMark} state=${i.bill.state} attention=${i.bill.attention} />`}
      </span>
      ${late && html`<span class="breach">◆ Not acknowledged${i.escalation_level > 0 ? `, escalated ×${i.escalation_level}` : ' in time'}</span>`}
    </span>
    <${Clock} incident=${i} now=${now} />
  </button></li>`;
}

/** @type {Record<string, string>} */
const PHASE = { opened: 'New', acknowledged: 'Acknowledged', waiting: 'Waiting for a unit', resolved: 'Resolved', closed: 'Closed', cancelled: 'Cancelled' };

/** Words for where an incident stands. @param {import('../types').Incident} i */
export function phaseWords(i) {
  const p = phase(i);
  if (p === 'waiting' && i.waits_for_person) return 'Waiting for a person';
  return PHASE[p] ?? unitMark(p).label ?? words(p);
}

/** @param {{incident: import('../types').Incident}} props */
export const Phase = ({ incident }) => html`<span class=${`phase phase-${phase(incident)}`}>${phaseWords(incident)}</span>`;

/** @param {{incident: import('../types').Incident, now: number}} props */
function Clock({ incident: i, now }) {
  if (section(i) === 2) return html`<span class="clock quiet-clock" title="Time from opening to the end">${clock(ms(i.closed_at ?? i.updated_at) - ms(i.opened_at))}</span>`;
  const due = needsAcknowledge(i) && i.acknowledge_by ? ms(i.acknowledge_by) - now : NaN;
  const eta = i.eta_at ? ms(i.eta_at) - now : NaN;
  return html`<span class="clock"><span title="Since it was opened">${clock(now - ms(i.opened_at))}</span>
    ${due > 0 && html`<small title="Left to acknowledge">ack ${clock(due)}</small>`}
    ${!(due > 0) && eta > 0 && html`<small title="Expected arrival">eta ${clock(eta)}</small>`}</span>`;
}
