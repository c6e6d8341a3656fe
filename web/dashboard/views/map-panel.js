/**
 * The map with its buttons, legend, attribution and what follows the pointer.
 */
import { CityMap } from '../map/city-map.js';
import { distance } from '../model/format.js';
import { toWorld } from '../model/geo.js';
import { isBreached, section } from '../model/queue.js';
import { effect, html, untracked, useEffect, useRef, useState } from '../ui.js';
import * as store from '../store.js';
import { Mark } from './marks.js';

export function MapPanel() {
  const host = useRef(/** @type {HTMLElement | null} */ (null));
  const map = useRef(/** @type {CityMap | null} */ (null));
  const bar = useRef(/** @type {HTMLElement | null} */ (null));
  const tip = useRef(/** @type {HTMLElement | null} */ (null));
  const [legend, setLegend] = useState(false);
  useEffect(() => {
    const city = new CityMap(/** @type {HTMLElement} */ (host.current), {
      onPick: (hit) => {
        if (hit.incident) store.select(hit.incident);
        else if (hit.unit) pickUnit(hit.unit);
      },
      onView: (b) => showBar(bar.current, b),
      onHover: (text, x, y) => showTip(tip.current, text, x, y),
    });
    map.current = city;
    const stops = [
      effect(() => { if (store.roads.value.length) city.setRoads(store.roads.value); }),
      effect(() => { if (store.mapInfo.value) city.setBounds(store.mapInfo.value.bounds); }),
      effect(() => city.setScene(scene())),
      effect(() => {
        const id = store.selected.value;
        const place = id ? untracked(() => store.incidents.value.get(id)?.location) : null;
        if (place) city.reveal(toWorld(place));
      }),
      effect(() => { if (store.selectedUnit.value) city.revealUnit(store.selectedUnit.value); }),
    ];
    /** @param {import('../types').Fix[]} fixes */
    const listener = (fixes) => city.addFixes(fixes);
    store.positions.listeners.add(listener);
    return () => {
      stops.forEach((stop) => stop());
      store.positions.listeners.delete(listener);
      city.destroy();
    };
  }, []);
  return html`<section class="panel map" aria-label="Map">
    <div ref=${host} class="map-host" tabindex="0" role="application"
      aria-label="Map of units, incidents and hospitals. Arrow keys pan, plus and minus zoom, 0 shows everything. The queue and the fleet board list the same."></div>
    <div class="map-buttons">
      <button onClick=${() => map.current?.zoom(1.6)} aria-label="Zoom in">+</button>
      <button onClick=${() => map.current?.zoom(1 / 1.6)} aria-label="Zoom out">−</button>
      <button onClick=${() => map.current?.home()} aria-label="Show the whole map" title="Show the whole map">⤢</button>
      <button onClick=${() => setLegend(!legend)} aria-expanded=${legend} aria-label="Legend" title="Legend">≡</button>
    </div>
    ${legend && html`<${Legend} />`}
    <div class="map-tip" ref=${tip} hidden></div>
    <div class="map-foot"><span class="scale" ref=${bar}></span>
      <span class="attribution">${store.mapInfo.value?.attribution ?? '© OpenStreetMap contributors'}</span></div>
  </section>`;
}

/** What the map shows: incidents that still need somebody, the fleet, hospitals. */
function scene() {
  // The clock matters only once a deadline passes, so lateness is recomputed with it.
  const now = store.now.value;
  const incidents = store.queue.value.filter((i) => section(i) === 0 || i.incident_id === store.selected.value);
  return {
    incidents, units: [...store.units.value.values()], hospitals: [...store.hospitals.value.values()],
    selected: store.selected.value, selectedUnit: store.selectedUnit.value,
    late: new Set(incidents.filter((i) => isBreached(i, now)).map((i) => i.incident_id)),
  };
}

/** @param {string} id */
export function pickUnit(id) {
  const incident = store.units.peek().get(id)?.incident_id;
  if (incident && store.incidents.peek().has(incident)) store.select(incident);
  store.selectedUnit.value = id;
}

/** @param {HTMLElement | null} node @param {{metres: number, px: number}} b */
function showBar(node, b) {
  if (!node) return;
  const text = distance(b.metres);
  if (node.textContent !== text) node.textContent = text;
  const width = `${Math.round(b.px)}px`;
  if (node.style.width !== width) node.style.width = width;
}

/** @param {HTMLElement | null} node @param {string | null} text @param {number} x @param {number} y */
function showTip(node, text, x, y) {
  if (!node) return;
  node.hidden = text === null;
  if (text === null) return;
  node.textContent = text;
  node.style.transform = `translate(${Math.round(x + 14)}px, ${Math.round(y + 12)}px)`;
}

const LEGEND = [
  ['octagon', '1', 'p1', 'Priority 1'], ['triangle', '2', 'p2', 'Priority 2'], ['square', '3', 'p3', 'Priority 3'], ['circle', '4', 'p4', 'Priority 4'],
  ['circle', 'F', 'free', 'Unit free (T at post)'], ['diamond', 'A', 'assigned', 'Assigned (R reserved)'], ['tag', 'E', 'enroute', 'En route'],
  ['square', 'S', 'scene', 'On scene (P at patient)'], ['house', 'O', 'transport', 'Onboard (H hospital, V handed over)'], ['circle', 'X', 'off', 'Out of service'],
];

const Legend = () => html`<ul class="legend">${LEGEND.map(([shape, letter, tone, text]) => html`<li><${Mark} shape=${shape} letter=${letter} tone=${tone} size=${17} /> ${text}</li>`)}
  <li><${Mark} shape="cross" letter="" tone="hospital" size=${17} /> Hospital</li></ul>`;
