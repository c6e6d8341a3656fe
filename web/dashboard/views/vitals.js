/**
 * The wearer's readings as small charts that share one time axis and one cursor.
 */
import UPlot from '../vendor/uplot.js';
import { html, useEffect, useMemo, useRef } from '../ui.js';
import * as store from '../store.js';

/** @typedef {{key: string, label: string, short: string, unit: string, colour: string, range: [number, number], low?: number, high?: number, dash?: number[]}} Sign */

/** Bounds are where NEWS2 gives 3 points. @type {Sign[]} */
const SIGNS = [
  { key: 'heart_rate_bpm', label: 'Heart rate', short: 'HR', unit: '/min', colour: '--vital-hr', range: [40, 140], low: 40, high: 131 },
  { key: 'spo2_pct', label: 'SpO₂', short: 'SpO₂', unit: '%', colour: '--vital-spo2', range: [85, 100], low: 91 },
  { key: 'respiration_rate_bpm', label: 'Respiration', short: 'RR', unit: '/min', colour: '--vital-rr', range: [8, 30], low: 8, high: 25 },
  { key: 'systolic_mmhg', label: 'Systolic', short: 'SYS', unit: 'mmHg', colour: '--vital-bp', range: [80, 180], low: 90, high: 220 },
  { key: 'temperature_c', label: 'Temperature', short: 'T', unit: '°C', colour: '--vital-temp', range: [35, 40], low: 35 },
];

export function Vitals() {
  const readings = store.readings.value;
  const have = SIGNS.filter((s) => readings.some((r) => value(r, s) !== null));
  const key = have.map((s) => s.key).join();
  const times = useMemo(() => readings.map((r) => Date.parse(r.at) / 1000), [readings]);
  const last = readings.at(-1);
  return html`<section class="box"><h3>Vitals <span class="h-right dim">${last ? '' : ''}</span></h3>
    ${have.length === 0 && html`<p class="dim">No readings are kept of this patient.</p>`}
    <div class="vitals" key=${key}>${have.map((s, n) => html`<${Chart} key=${s.key} sign=${s} readings=${readings} times=${times} axis=${n === have.length - 1} />`)}</div></section>`;
}

/** @param {any} reading @param {Sign} sign @returns {number | null} */
const value = (reading, sign) => (typeof reading[sign.key] === 'number' ? reading[sign.key] : null);

/** @param {{sign: Sign, readings: import('../types').Reading[], times: number[], axis: boolean}} props */
function Chart({ sign, readings, times, axis }) {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {UPlot | null} */ (null));
  const number = useRef(/** @type {HTMLElement | null} */ (null));
  const values = useMemo(() => readings.map((r) => value(r, sign)), [readings]);
  const lastValue = values.findLast?.((v) => v !== null) ?? null;
  useEffect(() => {
    const node = /** @type {HTMLElement} */ (host.current);
    const height = axis ? 76 : 54;
    const make = () => {
      plot.current?.destroy();
      plot.current = new UPlot(options(sign, node.clientWidth, height, axis, (u) => hover(u, number.current, sign)), [times, values], node);
    };
    make();
    const watch = new ResizeObserver(() => plot.current?.setSize({ width: node.clientWidth, height }));
    watch.observe(node);
    const scheme = matchMedia('(prefers-color-scheme: light)');
    scheme.addEventListener('change', make);
    return () => {
      watch.disconnect();
      scheme.removeEventListener('change', make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [axis]);
  useEffect(() => { plot.current?.setData([times, values]); }, [times, values]);
  const red = lastValue !== null && ((sign.low !== undefined && lastValue <= sign.low) || (sign.high !== undefined && lastValue >= sign.high));
  return html`<div class="vital"><div class="vital-head"><span class=${`vital-key key-${sign.key}`}>${sign.label}</span>
      <span class=${red ? 'vital-now red' : 'vital-now'}>${red && html`<span aria-label="scores 3 points">▲</span>`}<span ref=${number}>${lastValue ?? '–'}</span> <small>${sign.unit}</small></span></div>
    <div class="vital-plot" ref=${host} role="img" aria-label=${`${sign.label} over time, last ${lastValue ?? 'unknown'} ${sign.unit}`}></div></div>`;
}

/** Shows the value under the cursor in place of the last one. @param {UPlot} u @param {HTMLElement | null} node @param {Sign} sign */
function hover(u, node, sign) {
  if (!node) return;
  const column = u.data[1];
  let at = u.cursor.idx ?? -1;
  if (at < 0) for (at = column.length - 1; at > 0 && column[at] === null; at--);
  const v = column[at];
  node.textContent = v === null || v === undefined ? '–' : sign.key === 'temperature_c' ? v.toFixed(1) : String(v);
}

/** @param {Sign} sign @param {number} width @param {number} height @param {boolean} axis @param {(u: UPlot) => void} onCursor */
function options(sign, width, height, axis, onCursor) {
  const style = getComputedStyle(document.documentElement);
  /** @param {string} name */
  const colour = (name) => style.getPropertyValue(name).trim();
  const grid = { stroke: colour('--line'), width: 1 };
  return {
    width, height, padding: [6, 6, axis ? 0 : 6, 0], legend: { show: false },
    cursor: { sync: { key: 'vitals' }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
    scales: {
      x: { time: true },
      y: { range: (/** @type {unknown} */ _u, /** @type {number} */ min, /** @type {number} */ max) => [Math.min(sign.range[0], (min ?? sign.range[0]) - 1), Math.max(sign.range[1], (max ?? sign.range[1]) + 1)] },
    },
    axes: [
      { show: axis, stroke: colour('--ink-3'), grid, ticks: { show: false }, size: 22, font: '11px system-ui, sans-serif', values: hours },
      { stroke: colour('--ink-3'), grid, ticks: { show: false }, size: 34, gap: 2, font: '10px system-ui, sans-serif', splits: () => [...new Set([sign.low, sign.high].filter((b) => b !== undefined && b >= sign.range[0] && b <= sign.range[1]))] },
    ],
    series: [{}, { stroke: colour(sign.colour), width: 1.6, spanGaps: true, points: { show: (/** @type {UPlot} */ u) => u.data[0].length < 60, size: 3.5 } }],
    hooks: { setCursor: [onCursor], drawClear: [(/** @type {UPlot} */ u) => zones(u, sign, colour('--vital-zone'))] },
  };
}

/** Clock times for the ticks. @param {unknown} _u @param {number[]} ticks */
function hours(_u, ticks) {
  return ticks.map((t) => new Date(t * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' }));
}

/** Shades where a value scores 3 points. @param {UPlot} u @param {Sign} sign @param {string} colour */
function zones(u, sign, colour) {
  const { left, top, width, height } = u.bbox;
  const { ctx } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.fillStyle = colour;
  if (sign.low !== undefined) {
    const y = u.valToPos(sign.low, 'y', true);
    ctx.fillRect(left, y, width, Math.max(0, top + height - y));
  }
  if (sign.high !== undefined) ctx.fillRect(left, top, width, Math.max(0, u.valToPos(sign.high, 'y', true) - top));
  ctx.restore();
}
