/**
 * Where a unit is drawn between two fixes. Fixes come about twice a second; a unit glides from where it is
 * drawn to the newest fix over the time that usually lies between two, so it neither jumps nor runs ahead.
 *
 * @typedef {{fx: number, fy: number, tx: number, ty: number, start: number, span: number, last: number, heading: number | null}} Track
 */

/** A fix further away than this, in world units (about 2 km), is a jump and not a drive. */
const JUMP = 5e-5;

/**
 * @param {Track | undefined} track
 * @param {number} x
 * @param {number} y
 * @param {number | null | undefined} heading
 * @param {number} now_ms
 * @returns {Track}
 */
export function moved(track, x, y, heading, now_ms) {
  if (!track) return { fx: x, fy: y, tx: x, ty: y, start: now_ms, span: 0, last: now_ms, heading: heading ?? null };
  const here = at(track, now_ms);
  const gap = now_ms - track.last;
  const far = Math.hypot(x - here.x, y - here.y) > JUMP;
  const still = x === track.tx && y === track.ty;
  const span = far ? 0 : Math.max(200, Math.min(2500, gap * 1.1));
  return {
    fx: far ? x : here.x, fy: far ? y : here.y, tx: x, ty: y, start: now_ms, span, last: now_ms,
    heading: heading ?? (still ? track.heading : bearing(x - here.x, y - here.y) ?? track.heading),
  };
}

/** @param {Track} t @param {number} now_ms */
export function at(t, now_ms) {
  const k = t.span <= 0 ? 1 : Math.min(1, Math.max(0, (now_ms - t.start) / t.span));
  return { x: t.fx + (t.tx - t.fx) * k, y: t.fy + (t.ty - t.fy) * k };
}

/** Whether it is still gliding. @param {Track} t @param {number} now_ms */
export const isMoving = (t, now_ms) => now_ms < t.start + t.span && (t.fx !== t.tx || t.fy !== t.ty);

/** Degrees clockwise from north. @param {number} dx @param {number} dy @returns {number | null} */
function bearing(dx, dy) {
  if (Math.hypot(dx, dy) < 1e-9) return null;
  return ((Math.atan2(dx, -dy) * 180) / Math.PI + 360) % 360;
}
