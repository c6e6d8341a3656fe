/**
 * The event stream with a topic filter.
 */
import { describe } from '../model/describe.js';
import { isNoise, kindGroup } from '../model/codes.js';
import { shortId, timeOfDay } from '../model/format.js';
import { filterOf, filterProblem } from '../model/topic.js';
import { html, useMemo, useRef, useState } from '../ui.js';
import * as store from '../store.js';

/** Rows in the page at once. */
const SHOWN = 150;

export function EventStream() {
  const [frozen, setFrozen] = useState(/** @type {import('../types').LiveEvent[] | null} */ (null));
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const text = store.topic.value;
  const problem = filterProblem(text);
  const source = frozen ?? store.events.value;
  const noise = store.showNoise.value;
  const shown = useMemo(() => {
    const passes = problem ? () => true : filterOf(text);
    const out = [];
    for (let n = source.length - 1; n >= 0 && out.length < SHOWN; n--) {
      if ((noise || !isNoise(source[n].kind)) && passes(source[n].kind)) out.push(source[n]);
    }
    return out;
  }, [source, text, noise]);
  const newer = frozen ? store.events.value.filter((e) => e.offset > (frozen.at(-1)?.offset ?? 0)).length : 0;
  return html`<section class="panel events" aria-labelledby="events-title">
    <div class="panel-head"><h2 id="events-title">Event stream</h2>
      <input id="topic" class="topic" type="text" placeholder="topic, such as incident.# or *.status.*" aria-label="Topic filter, an AMQP pattern"
        aria-invalid=${problem ? 'true' : undefined} aria-describedby=${problem ? 'topic-problem' : undefined} spellcheck=${false} autocomplete="off"
        value=${text} onInput=${(/** @type {any} */ e) => { store.topic.value = e.target.value.trim(); }} />
      <label class="check" title="Also readings and positions, which are many"><input type="checkbox" checked=${noise}
        onChange=${(/** @type {any} */ e) => { store.showNoise.value = e.target.checked; }} /> all</label>
      <button class="quiet" aria-pressed=${frozen !== null} onClick=${() => setFrozen(frozen ? null : store.events.value)}>${frozen ? `Go on${newer ? ` (${newer})` : ''}` : 'Hold'}</button>
    </div>
    ${problem && html`<p id="topic-problem" class="problem small">▲ ${problem}</p>`}
    <div class="scroll" ref=${list} tabindex="0" role="region" aria-label="Events, newest first">
      ${shown.length === 0 && html`<p class="empty">${text ? 'No event matches this topic.' : 'No events yet.'}</p>`}
      <ol class="event-list">${shown.map((e) => html`<${Row} key=${e.offset} event=${e} />`)}</ol>
    </div></section>`;
}

/** @param {{event: import('../types').LiveEvent}} props */
function Row({ event: e }) {
  const { group, letter } = kindGroup(e.kind);
  const known = e.correlation_id && store.incidents.peek().has(e.correlation_id);
  return html`<li class="event-row"><time>${timeOfDay(e.at)}</time>
    <span class=${`kind-mark kind-${group}`} aria-hidden="true">${letter}</span>
    <span class="kind">${e.kind}</span>
    <span class="line" title=${describe(e.kind, e.data)}>${describe(e.kind, e.data)}</span>
    ${known ? html`<button class="ref" title="Show the incident" onClick=${() => store.select(e.correlation_id)}>${shortId(e.correlation_id)}</button>`
      : html`<span class="ref-none">${e.correlation_id ? shortId(e.correlation_id) : ''}</span>`}</li>`;
}
