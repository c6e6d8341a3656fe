/**
 * The one door to the vendored libraries: `html` templates, hooks and signals.
 */
import htm from './vendor/htm.js';
import { h } from './vendor/preact.js';

export const html = htm.bind(h);
export { Component, Fragment, h, render } from './vendor/preact.js';
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from './vendor/hooks.js';
export { batch, computed, effect, signal, untracked } from './vendor/signals.js';

/** Class names that hold, joined. @param {...(string | false | null | undefined)} names */
export const cx = (...names) => names.filter(Boolean).join(' ');
