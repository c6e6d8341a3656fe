/**
 * The small marks: letter, shape and colour together, and a text for those who see neither.
 */
import { priorityLabel, triageMark, unitMark } from '../model/codes.js';
import { PATH, letterAt, priorityShape, unitShape } from '../model/shapes.js';
import { cx, html } from '../ui.js';

/** @param {{shape: string, letter: string, tone: string, size?: number, label?: string}} props */
export function Mark({ shape, letter, tone, size = 22, label }) {
  const [x, y] = letterAt(shape);
  return html`<svg class=${cx('mark', `tone-${tone}`)} width=${size} height=${size} viewBox="0 0 24 24"
    role=${label ? 'img' : 'presentation'} aria-label=${label} aria-hidden=${label ? undefined : 'true'}>
    <path d=${PATH[shape]} /><text x=${x} y=${y + 4.6} text-anchor="middle">${letter}</text>
  </svg>`;
}

/** @param {{priority: number, size?: number}} props */
export const PriorityMark = ({ priority, size }) => html`<${Mark} shape=${priorityShape(priority)} letter=${String(priority)}
  tone=${`p${priority}`} size=${size} label=${`Priority ${priority}, ${priorityLabel(priority).toLowerCase()}`} />`;

/** @param {{status: string | null | undefined, size?: number, text?: boolean}} props */
export function UnitStatus({ status, size = 18, text = true }) {
  const mark = unitMark(status);
  return html`<span class="with-mark"><${Mark} shape=${unitShape(mark.tone)} letter=${mark.letter} tone=${mark.tone} size=${size}
    label=${text ? undefined : mark.label} />${text && html`<span>${mark.label}</span>`}</span>`;
}

/** @type {Record<string, string>} */
const TRIAGE_SHAPE = { emergency: 'octagon', abnormal: 'triangle', normal: 'circle', insufficient: 'square' };

/** @param {{name: string | null | undefined, size?: number, text?: boolean}} props */
export function TriageMark({ name, size = 18, text = true }) {
  const mark = triageMark(name);
  return html`<span class="with-mark"><${Mark} shape=${TRIAGE_SHAPE[name ?? ''] ?? 'square'} letter=${mark.letter} tone=${`triage-${name}`}
    size=${size} label=${text ? undefined : mark.label} />${text && html`<span>${mark.label}</span>`}</span>`;
}

/** @type {Record<string, {shape: string, letter: string, tone: string}>} */
const BILL = {
  PENDING: { shape: 'diamond', letter: 'P', tone: 'pending' },
  PAID: { shape: 'circle', letter: '✓', tone: 'paid' },
  FAILED: { shape: 'octagon', letter: '×', tone: 'failed' },
};

/** @param {{state: string, attention?: string | null}} props */
export function BillMark({ state, attention }) {
  const mark = BILL[state] ?? { shape: 'square', letter: '–', tone: 'off' };
  return html`<span class="with-mark"><${Mark} ...${mark} size=${18} /><span>${state}</span>
    ${attention && html`<span class="flag tone-stuck">▲ ${attention}</span>`}</span>`;
}
