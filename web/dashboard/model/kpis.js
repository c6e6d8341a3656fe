/**
 * The figures of `GET /kpis` as tables: one for all, one a category, one an area. Pure.
 */

/** @type {[string, string][]} */
const INTERVALS = [
  ['call_processing_time', 'Call processing'], ['turnout_time', 'Turnout'], ['travel_time', 'Travel'], ['response_time', 'Response'],
  ['scene_time', 'At the scene'], ['transport_time', 'Transport'], ['offload_time', 'Offload'],
];

/**
 * @typedef {{name: string, count: number, p50_s: number | null, p90_s: number | null, target_s: number | null, within: string}} Row
 * @typedef {{name: string, rows: Row[]}} Group
 */

/** @param {any} figures @returns {Row[]} those that were measured */
export function rows(figures) {
  return INTERVALS.map(([key, name]) => [figures?.[key], name]).filter(([f]) => f?.count > 0).map(([f, name]) => ({
    name, count: f.count, p50_s: f.p50_s, p90_s: f.p90_s, target_s: f.target_s,
    within: f.within_target === null || f.within_target === undefined ? '–' : `${Math.round(f.within_target * 100)} %`,
  }));
}

/** All incidents, then each category. @param {any} intervals @returns {Group[]} */
export function categories(intervals) {
  const groups = [{ name: 'All incidents', rows: rows(intervals) }];
  for (const [priority, figures] of Object.entries(intervals?.by_category ?? {})) {
    groups.push({ name: `Category ${priority}`, rows: rows(figures) });
  }
  return groups.filter((g) => g.rows.length > 0);
}

/** Each area, the one with most incidents first. @param {any} intervals @returns {Group[]} */
export function areas(intervals) {
  return Object.entries(intervals?.by_area ?? {})
    .sort(([, a], [, b]) => b.incidents - a.incidents)
    .map(([name, figures]) => ({ name: `Area ${name} (${figures.incidents})`, rows: rows(figures) }))
    .filter((g) => g.rows.length > 0);
}
