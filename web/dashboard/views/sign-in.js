/**
 * Shown without a token: a place to paste one.
 */
import { html, useState } from '../ui.js';
import * as store from '../store.js';

export function SignIn() {
  const [text, setText] = useState('');
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    const given = text.trim().replace(/^.*#token=/, '');
    if (given) store.signIn(decodeURIComponent(given));
  };
  return html`<main class="sign-in"><form class="card" onSubmit=${submit}>
    <h1><img src="/dashboard/icon.svg" alt="" width="36" height="36" /> SHERS dispatch</h1>
    <p>Open the link that <code>shers</code> printed when it started, or paste its token here.</p>
    ${store.refusal.value && html`<p class="problem" role="alert">▲ ${store.refusal.value}</p>`}
    <label for="token">Token</label>
    <input id="token" type="password" autocomplete="off" spellcheck=${false} value=${text}
      onInput=${(/** @type {any} */ e) => setText(e.target.value)} />
    <button class="primary" type="submit">Sign in</button>
    <p class="fine">The token stays in this tab and is forgotten when the tab is closed.</p>
  </form></main>`;
}
