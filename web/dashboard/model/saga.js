/**
 * The saga of a bill, as rows: each step with how it stands, how often it was tried, and what a failure there
 * would undo. Pure: a bill's document in, rows out.
 */

/** @typedef {import('../types').Bill} Bill */
/** @typedef {'done' | 'now' | 'stuck' | 'undone' | 'skipped' | 'todo' | 'failed'} Mark */
/** @typedef {{name: string, text: string, mark: Mark, tries: number, undoes: string[]}} Row */

/** Steps in their order: name, heading. */
const STEPS = /** @type {const} */ ([
  ['eligibility', 'Coverage'], ['create-payment', 'Payment'], ['confirm-payment', 'Reserve'], ['capture-payment', 'Charge'],
]);

/** @param {string | null} step */
const place = (step) => STEPS.findIndex(([name]) => name === (step === 'eligibility-queued' ? 'eligibility' : step));

/** Entries of the running attempt: nothing of it is older than the last question to the insurer. @param {Bill} bill */
function ofAttempt(bill) {
  const begun = bill.history.findLastIndex((h) => place(h.step) === 0);
  return begun < 0 ? bill.history : bill.history.slice(begun);
}

/** How far the attempt came: the place of the last step that was begun. @param {Bill} bill */
function reached(bill) {
  const places = ofAttempt(bill).map((h) => (h.kind === 'billing.pending' || h.kind === 'billing.stuck' ? place(h.step) : -1));
  return Math.max(bill.state === 'PENDING' ? place(bill.step) : -1, 0, ...places);
}

/** What was undone in this attempt, in the order in which it was. @param {Bill} bill */
export const undone = (bill) => ofAttempt(bill).filter((h) => h.kind === 'billing.compensated').map((h) => h.text);

/** Whether the bill is being undone, or was. @param {Bill} bill */
const isUndoing = (bill) => bill.step === 'compensate' || bill.state === 'FAILED';

/** What a failure at a step would undo, the last thing done first. @param {Bill} bill @param {number} at */
function undoes(bill, at) {
  const claim = bill.insurer && bill.insurer.amount_minor > 0 ? ['release the claim'] : [];
  if (at === 0) return [];
  return [at === 3 ? 'cancel the payment, or refund it if it was charged' : 'cancel the payment', ...claim];
}

/** @param {Bill} bill @returns {Row[]} */
export function saga(bill) {
  const last = reached(bill);
  const nothing = bill.patient_share?.amount_minor === 0;
  const rows = STEPS.map(([name, text], at) => {
    const here = bill.state === 'PENDING' && at === place(bill.step);
    /** @type {Mark} */
    let mark = 'todo';
    if (at > 0 && nothing) mark = 'skipped';
    else if (here) mark = bill.attention ? 'stuck' : 'now';
    else if (isUndoing(bill)) mark = at > last ? 'skipped' : at === 0 ? 'done' : at === last ? 'failed' : 'undone';
    else if (at < last || bill.state === 'PAID') mark = 'done';
    return { name, text, mark, tries: here ? bill.tries ?? 0 : 0, undoes: !isUndoing(bill) && ['now', 'stuck', 'todo'].includes(mark) ? undoes(bill, at) : [] };
  });
  return [...rows, end(bill)];
}

/** The last row: how it ends, or how far the undoing is. @param {Bill} bill @returns {Row} */
function end(bill) {
  const row = { name: 'settled', tries: 0, undoes: /** @type {string[]} */ ([]) };
  if (bill.state === 'PAID') return { ...row, text: 'Paid', mark: 'done' };
  if (bill.written_off) return { ...row, text: 'Written off', mark: 'failed' };
  if (bill.state === 'FAILED') return { ...row, text: 'Failed, nothing is left to undo', mark: 'failed' };
  if (bill.step !== 'compensate') return { ...row, text: 'Settled', mark: 'todo' };
  return { ...row, text: 'Undoing', mark: bill.attention ? 'stuck' : 'now', tries: bill.tries ?? 0 };
}

/** What an undone thing is called. @param {string} what */
export const undoneText = (what) => ({
  'payment-cancelled': 'payment cancelled', 'payment-refunded': 'payment refunded',
  'payment-absent': 'no payment to undo', 'claim-released': 'claim released',
})[what] ?? what;
