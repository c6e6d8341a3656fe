/**
 * A bill's saga as it runs: its steps, what each failure would undo, tries, and what a person has to do.
 */
import { clock, ms, words } from '../model/format.js';
import { saga, undone, undoneText } from '../model/saga.js';
import { cx, html } from '../ui.js';
import * as store from '../store.js';

/** @type {Record<import('../model/saga.js').Mark, [string, string]>} sign and word: never colour alone */
const MARK = {
  done: ['✓', 'done'], now: ['›', 'under way'], stuck: ['▲', 'needs a person'], undone: ['↶', 'undone'],
  skipped: ['–', 'not needed'], todo: ['·', 'to come'], failed: ['×', 'failed'],
};

/** @param {{bill: import('../types').Bill}} props */
export function Saga({ bill }) {
  const done = undone(bill).map(undoneText);
  return html`<ol class="saga" aria-label="Steps of the bill">${saga(bill).map((row) => {
    const [sign, word] = MARK[row.mark];
    return html`<li key=${row.name} class=${cx('saga-step', row.mark)} data-step=${row.name} aria-current=${row.mark === 'now' || row.mark === 'stuck' ? 'step' : undefined}>
      <span class="sign" aria-hidden="true">${sign}</span><span class="name">${row.text}<span class="unseen">, ${word}</span></span>
      <span class="note">${row.name === 'settled' && done.length > 0 ? done.join(', ') : row.undoes.length > 0 ? html`<span class="dim">a failure would ${row.undoes.join(', then ')}</span>` : ''}
        ${(row.mark === 'now' || row.mark === 'stuck') && html`<${Tries} bill=${bill} tries=${row.tries} />`}</span></li>`;
  })}</ol>
  ${bill.attention && html`<p class="waiting saga-attention" role="status">▲ ${words(bill.attention)} at ${words(bill.step).toLowerCase()}: a person retries it, or writes it off with a reason.</p>`}`;
}

/** @param {{bill: import('../types').Bill, tries: number}} props */
function Tries({ bill, tries }) {
  const left = bill.retry_at ? ms(bill.retry_at) - store.now.value : NaN;
  const parts = [tries > 0 && `${tries} ${tries === 1 ? 'try' : 'tries'} without an end`, left > 0 && `again in ${clock(left)}`];
  const text = parts.filter(Boolean).join(', ');
  return text ? html`<span class="tries">${text}</span>` : null;
}
