/**
 * The supervision tree: who supervises whom, lives, restarts over time, the last cause, the back-off clock,
 * and quarantine with what a person can do about it.
 */
import { clock, ms, shortId, words } from '../model/format.js';
import { treeOf, troubled } from '../model/tree.js';
import { cx, html, useState } from '../ui.js';
import * as store from '../store.js';
import { supervise } from '../actions.js';

/** @type {Record<string, [string, string]>} */
const ACTOR = { running: ['●', 'good'], restarting: ['↻', 'warm'], quarantined: ['■', 'bad'], passive: ['○', 'dim'] };
/** Rows of one branch, at most. */
const SHOWN = 100;

export function Supervision() {
  const tree = treeOf(store.actors.value.values());
  if (tree.branches.length === 0) return html`<p class="empty">No actors are reported.</p>`;
  return html`<table class="board tree"><caption class="unseen">Supervision tree of ${tree.process || 'this process'}</caption>
    <thead><tr><th scope="col">${tree.process || 'Actor'}</th><th scope="col">State</th><th scope="col" class="num wide-only">Life</th><th scope="col">Restarts</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead>
    ${tree.branches.map((b) => html`<${Branch} key=${b.name} branch=${b} />`)}</table>`;
}

/** @param {{branch: import('../model/tree.js').Branch}} props */
function Branch({ branch: b }) {
  const [chosen, choose] = useState(/** @type {boolean | null} */ (null));
  const open = chosen ?? (troubled(b) || b.name === 'incident' || b.name === 'unit');
  /** @type {[number, [string, string]][]} */
  const counts = [[b.running, ACTOR.running], [b.restarting, ACTOR.restarting], [b.quarantined, ACTOR.quarantined]];
  return html`<tbody><tr class=${cx('branch', b.failing && 'failing')}>
      <th scope="rowgroup"><button class="cell-link" aria-expanded=${open ? 'true' : 'false'} onClick=${() => choose(!open)}>
        <span aria-hidden="true">${open ? '▾' : '▸'}</span> ${b.name}</button></th>
      <td>${counts.filter(([n]) => n > 0).map(([n, [sign, tone]]) => html`<span class=${`count ${tone}`}><span aria-hidden="true">${sign}</span> ${n}</span> `)}
        ${b.failing && html`<strong class="bad">failing</strong>`}</td>
      <td class="num wide-only dim">${b.waiting > 0 && `${b.waiting} waiting`}</td>
      <td class="grow"><${Deaths} deaths=${b.deaths} of=${b.name} /></td><td></td></tr>
    ${open && b.children.slice(0, SHOWN).map((a) => html`<${Row} key=${a.actor} actor=${a} />`)}
    ${open && b.children.length > SHOWN && html`<tr><td colspan="5" class="dim">and ${b.children.length - SHOWN} more</td></tr>`}</tbody>`;
}

/** Deaths in each of the last minutes. @param {{deaths: number[], of: string}} props */
function Deaths({ deaths, of }) {
  const sum = deaths.reduce((total, n) => total + n, 0);
  if (sum === 0) return html`<span class="dim">none</span>`;
  const most = Math.max(...deaths);
  const text = `${sum} ${sum === 1 ? 'death' : 'deaths'} of ${of} in ${deaths.length} minutes`;
  return html`<svg class="deaths" role="img" aria-label=${text} width=${deaths.length * 4} height="14"><title>${text}</title>
    ${deaths.map((n, at) => n > 0 && html`<rect x=${at * 4} y=${14 - Math.max(2, (14 * n) / most)} width="3" height=${Math.max(2, (14 * n) / most)} />`)}</svg> <span class="dim">${sum}</span>`;
}

/** @param {{actor: import('../types').Actor}} props */
function Row({ actor: a }) {
  const [sign, tone] = ACTOR[a.state] ?? ['·', ''];
  const back = a.state === 'restarting' && a.back_at ? ms(a.back_at) - store.now.value : NaN;
  const id = a.actor.slice(a.actor.indexOf('/') + 1);
  const story = [a.restarts || '', a.last_cause && words(a.last_cause).toLowerCase(), a.detail, a.parked ? `${a.parked} parked` : ''];
  return html`<tr data-actor=${a.actor}><td class="mono leaf" title=${a.actor}>${shortId(id)}</td>
    <td class=${tone}><span aria-hidden="true">${sign}</span> ${words(a.state)}${back > 0 && html` <span class="dim">back in ${clock(back)}</span>`}</td>
    <td class="num wide-only" data-life=${a.incarnation}>${a.incarnation}</td>
    <td class="grow dim" title=${a.detail ?? undefined}>${story.filter(Boolean).join(', ')}</td>
    <td class="row-actions">${a.state === 'quarantined' && html`<button onClick=${() => supervise(a.actor, 'release')}>Release</button>
        <button onClick=${() => supervise(a.actor, 'discard')} title="What is parked for it becomes dead letters">Discard parked</button>`}
      ${a.state !== 'quarantined' && html`<button onClick=${() => supervise(a.actor, 'restart')}>Restart</button>`}
      ${store.exercise.value && a.state !== 'quarantined' && html`<button class="danger" title="Makes the actor panic: exercise only" onClick=${() => supervise(a.actor, 'crash')}>Crash</button>`}</td></tr>`;
}
