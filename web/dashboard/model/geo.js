/**
 * Web Mercator and the map's view. World coordinates run from 0 to 1, x east, y south.
 *
 * @typedef {{cx: number, cy: number, scale: number}} View `scale` is CSS pixels per world.
 * @typedef {{x: number, y: number}} Point
 */

/** @param {number} lon */
export const worldX = (lon) => lon / 360 + 0.5;

/** @param {number} lat */
export function worldY(lat) {
  const clamped = Math.max(-85.051129, Math.min(85.051129, lat));
  const sin = Math.sin((clamped * Math.PI) / 180);
  return 0.5 - Math.log((1 + sin) / (1 - sin)) / (4 * Math.PI);
}

/** @param {number} y @returns {number} latitude in degrees */
export const latOf = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

/** @param {import('../types').LatLon} p @returns {Point} */
export const toWorld = (p) => ({ x: worldX(p.lon), y: worldY(p.lat) });

/** @param {View} v @param {Point} p @param {number} w @param {number} h @returns {Point} */
export const toScreen = (v, p, w, h) => ({ x: (p.x - v.cx) * v.scale + w / 2, y: (p.y - v.cy) * v.scale + h / 2 });

/** @param {View} v @param {Point} s @param {number} w @param {number} h @returns {Point} */
export const fromScreen = (v, s, w, h) => ({ x: (s.x - w / 2) / v.scale + v.cx, y: (s.y - h / 2) / v.scale + v.cy });

/**
 * The view that shows all of `bounds` with a margin.
 * @param {[number, number, number, number]} bounds minLat, minLon, maxLat, maxLon
 * @param {number} w
 * @param {number} h
 * @param {number} [margin] part of the side left free
 * @returns {View}
 */
export function fit([minLat, minLon, maxLat, maxLon], w, h, margin = 0.06) {
  const [x0, x1, y0, y1] = [worldX(minLon), worldX(maxLon), worldY(maxLat), worldY(minLat)];
  const keep = 1 - 2 * margin;
  const scale = Math.min((w * keep) / Math.max(x1 - x0, 1e-9), (h * keep) / Math.max(y1 - y0, 1e-9));
  return { cx: (x0 + x1) / 2, cy: (y0 + y1) / 2, scale };
}

/**
 * Zoomed by `factor` with the world under screen point `at` held in place.
 * @param {View} v @param {number} factor @param {Point} at @param {number} w @param {number} h
 * @param {[number, number]} limits least and greatest scale
 * @returns {View}
 */
export function zoomed(v, factor, at, w, h, [least, greatest]) {
  const scale = Math.max(least, Math.min(greatest, v.scale * factor));
  const world = fromScreen(v, at, w, h);
  return { scale, cx: world.x - (at.x - w / 2) / scale, cy: world.y - (at.y - h / 2) / scale };
}

/** Metres in one CSS pixel at the middle of the view. @param {View} v */
export const metresPerPixel = (v) => (40_075_016.7 * Math.cos((latOf(v.cy) * Math.PI) / 180)) / v.scale;

/**
 * A round length for a scale bar of at most `max_px`.
 * @param {View} v @param {number} max_px
 * @returns {{metres: number, px: number}}
 */
export function scaleBar(v, max_px) {
  const per = metresPerPixel(v);
  const most = per * max_px;
  const power = 10 ** Math.floor(Math.log10(most));
  const metres = [5, 2, 1].map((n) => n * power).find((n) => n <= most) ?? power;
  return { metres, px: metres / per };
}
