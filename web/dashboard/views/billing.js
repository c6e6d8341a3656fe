/**
 * The bill of an incident: PENDING → PAID or FAILED, with the steps of the saga.
 */
import { clock, money, ms, timeOfDay, words } from '../model/format.js';
import { cx, html } from '../ui.js';
import * as store from '../store.js';
import { BillActions } from './boards.js';
import { BillMark } from './marks.js';
import { Saga } from './saga.js';

/** @param {{incident: import('../types').Incident}} props */
export function Billing({ incident: i }) {
  const bill = [...store.bills.value.values()].find((b) => b.incident_id === i.incident_id);
  if (!bill) {
    return html`<section class="box"><h3>Billing</h3><p class="dim">${i.bill ? `Bill ${i.bill.state}.` : 'Starts when the patient is handed over.'}</p></section>`;
  }
  return html`<section class="box"><h3>Billing <span class="h-right"><${BillMark} state=${bill.state} attention=${bill.attention} /></span></h3>
    <${Saga} bill=${bill} />
    <dl class="amounts"><div><dt>Total</dt><dd>${money(bill.total)}</dd></div><div><dt>Insurer</dt><dd>${money(bill.insurer)}</dd></div><div><dt>Patient</dt><dd>${money(bill.patient_share)}</dd></div></dl>
    ${bill.coverage_reason && html`<p class="reason">${bill.coverage_reason}</p>`}
    ${bill.reason && html`<p class=${cx('reason', bill.state === 'FAILED' && 'bad')}>${bill.reason}</p>`}
    <${Due} bill=${bill} />
    ${bill.lines.length > 0 && html`<table class="mini"><caption class="unseen">Lines of the bill</caption><tbody>${bill.lines.map((l) => html`<tr key=${l.item}><td class="dim">${l.text || words(l.item)}</td>
      <td class="num">${money({ amount_minor: l.amount_minor, currency: bill.total?.currency ?? '' })}</td></tr>`)}</tbody></table>`}
    ${bill.history?.length > 0 && html`<details><summary>History (${bill.history.length})</summary><ol class="bill-history">${bill.history.map((h, n) => html`<li key=${n}><time>${timeOfDay(h.at)}</time><span>${historyLine(h)}</span></li>`)}</ol></details>`}
    <div class="actions"><${BillActions} bill=${bill} /></div></section>`;
}

/** @param {{bill: import('../types').Bill}} props */
function Due({ bill }) {
  const left = bill.state === 'PENDING' && bill.retry_at ? ms(bill.retry_at) - store.now.value : NaN;
  if (left > 0) return html`<p class="fine">Tried again in ${clock(left)}.</p>`;
  return html`<p class="fine">${[bill.provider, bill.payment_id, bill.attempt > 1 && `attempt ${bill.attempt}`].filter(Boolean).join(' · ')}</p>`;
}

/** @param {import('../types').BillStep} h */
function historyLine(h) {
  return [words(h.kind.replace('billing.', '')), h.step && h.kind.endsWith('pending') && words(h.step).toLowerCase(), h.text].filter(Boolean).join(' · ');
}
