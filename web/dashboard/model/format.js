/**
 * How numbers, times and words are written for a person. Pure; the clock is always an argument.
 */

/**
 * Milliseconds of an RFC 3339 time, or NaN.
 * @param {string | null | undefined} at
 */
export const ms = (at) => (at ? Date.parse(at) : NaN);

/** @param {number} n */
const two = (n) => String(n).padStart(2, '0');

/**
 * A running clock: `0:07`, `12:41`, `1:02:09`. Negative spans count as zero.
 * @param {number} span_ms
 */
export function clock(span_ms) {
  if (!Number.isFinite(span_ms)) return '–';
  const s = Math.max(0, Math.floor(span_ms / 1000));
  const h = Math.floor(s / 3600);
  const m = Math.floor((s % 3600) / 60);
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

/**
 * A span in words, rounded to what matters: `40 s`, `7 min`, `1 h 05`.
 * @param {number | null | undefined} seconds
 */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '–';
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  const m = Math.round(s / 60);
  return m < 60 ? `${m} min` : `${Math.floor(m / 60)} h ${two(m % 60)}`;
}

/**
 * Local time of day with seconds.
 * @param {string | null | undefined} at
 */
export function timeOfDay(at) {
  const t = ms(at);
  if (Number.isNaN(t)) return '–';
  const d = new Date(t);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** @param {number | null | undefined} m */
export function distance(m) {
  if (m === null || m === undefined || !Number.isFinite(m)) return '–';
  return m < 1000 ? `${Math.round(m / 10) * 10} m` : `${(m / 1000).toFixed(m < 10_000 ? 1 : 0)} km`;
}

/** Digits after the point, ISO 4217, where they are not two. */
const EXPONENT = new Map(
  [...['BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'].map(
    (c) => /** @type {[string, number]} */ ([c, 0]),
  ), ...['BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'].map((c) => /** @type {[string, number]} */ ([c, 3]))],
);

/**
 * An amount in whole minor units, written without floating point.
 * @param {import('../types').Money | null | undefined} m
 */
export function money(m) {
  if (!m) return '–';
  const digits = EXPONENT.get(m.currency) ?? 2;
  const sign = m.amount_minor < 0 ? '−' : '';
  const text = String(Math.abs(m.amount_minor)).padStart(digits + 1, '0');
  const whole = text.slice(0, text.length - digits).replace(/\B(?=(\d{3})+$)/g, '’');
  return `${sign}${whole}${digits ? '.' + text.slice(-digits) : ''} ${m.currency}`;
}

/**
 * An id cut short enough for a table. UUIDs made from a patient differ anywhere, so the first block stands
 * for the whole; ids chosen by people are left alone.
 * @param {string | null | undefined} id
 */
export function shortId(id) {
  if (!id) return '–';
  return /^[0-9a-f]{8}-[0-9a-f]{4}-/.test(id) ? id.slice(0, 8) : id;
}

/**
 * `handed-over` → `Handed over`.
 * @param {string | null | undefined} word
 */
export function words(word) {
  if (!word) return '–';
  const text = word.replaceAll('-', ' ').replaceAll('_', ' ');
  return text[0].toUpperCase() + text.slice(1);
}

/**
 * Whole years between a birth date and now.
 * @param {string | null | undefined} birth_date
 * @param {number} now_ms
 */
export function age(birth_date, now_ms) {
  const match = /^(\d{4})-(\d{2})-(\d{2})$/.exec(birth_date ?? '');
  if (!match) return null;
  const now = new Date(now_ms);
  const years = now.getUTCFullYear() - Number(match[1]);
  const before = now.getUTCMonth() + 1 < Number(match[2])
    || (now.getUTCMonth() + 1 === Number(match[2]) && now.getUTCDate() < Number(match[3]));
  return before ? years - 1 : years;
}
