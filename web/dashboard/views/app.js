/**
 * The page: header, queue, map, selected incident, boards below.
 */
import { html, useEffect } from '../ui.js';
import * as store from '../store.js';
import { Boards } from './boards.js';
import { Dialogs } from './dialogs.js';
import { EventStream } from './events.js';
import { Header } from './header.js';
import { IncidentPanel } from './incident.js';
import { MapPanel } from './map-panel.js';
import { Queue } from './queue.js';
import { SignIn } from './sign-in.js';

export function App() {
  if (store.token.value === null) return html`<${SignIn} />`;
  return html`<${Exercise} /><${Header} />
    <main class="grid">
      <${Queue} /><${MapPanel} /><${IncidentPanel} /><${Boards} /><${EventStream} />
    </main>
    <${Dialogs} /><${Toasts} /><${LiveRegion} />`;
}

/** Nobody may take an exercise for the real thing, nor the other way round. */
function Exercise() {
  useEffect(() => {
    document.title = `${store.exercise.value ? 'EXERCISE · ' : ''}SHERS dispatch`;
  }, [store.exercise.value]);
  if (!store.exercise.value) return null;
  return html`<aside class="exercise" aria-label="Exercise"><strong>EXERCISE</strong>
    <span>Simulated patients and units. Messages and payments go to the sandbox; nothing leaves this house.</span></aside>`;
}

function Toasts() {
  return html`<div class="toasts">${store.toasts.value.map((t) => html`<div key=${t.id} class=${`toast ${t.tone}`} role=${t.tone === 'bad' ? 'alert' : 'status'}>
    <span class="toast-sign" aria-hidden="true">${t.tone === 'bad' ? '!' : '✓'}</span><span>${t.text}</span>
    <button class="quiet" aria-label="Dismiss" onClick=${() => store.dismiss(t.id)}>×</button></div>`)}</div>`;
}

/** The only live region for what happens by itself, and polite: top priorities only. */
function LiveRegion() {
  return html`<div class="unseen" aria-live="polite" aria-atomic="true">${store.spoken.value}</div>`;
}
