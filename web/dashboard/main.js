/**
 * Starts the page: takes the token out of the link, listens to keys, renders.
 */
import { onKey } from './actions.js';
import { restoreToken } from './store.js';
import { html, render } from './ui.js';
import { App } from './views/app.js';

restoreToken();
document.addEventListener('keydown', onKey);
window.addEventListener('hashchange', restoreToken);
const root = /** @type {HTMLElement} */ (document.getElementById('app'));
root.replaceChildren();
render(html`<${App} />`, root);
