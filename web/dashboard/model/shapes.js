/**
 * The shapes of marks as path data in a box of 24 by 24, shared by the map's canvas and the page's SVG.
 */

/** @type {Record<string, string>} */
export const PATH = {
  octagon: 'M8 1.5h8L22.5 8v8L16 22.5H8L1.5 16V8z',
  triangle: 'M12 1.5 23 21.5H1z',
  square: 'M4.5 2.5h15a2 2 0 0 1 2 2v15a2 2 0 0 1-2 2h-15a2 2 0 0 1-2-2v-15a2 2 0 0 1 2-2z',
  circle: 'M12 1.5a10.5 10.5 0 1 1 0 21a10.5 10.5 0 1 1 0-21z',
  diamond: 'M12 .5 23.5 12 12 23.5.5 12z',
  tag: 'M3 3h11.5L23 12l-8.5 9H3a1.5 1.5 0 0 1-1.5-1.5v-15A1.5 1.5 0 0 1 3 3z',
  house: 'M12 1 22.5 9.5V21a1.5 1.5 0 0 1-1.5 1.5H3A1.5 1.5 0 0 1 1.5 21V9.5z',
  cross: 'M9 3.5h6V9h5.5v6H15v5.5H9V15H3.5V9H9z',
};

/** Shape of a priority. @param {number} priority */
export const priorityShape = (priority) => ['circle', 'octagon', 'triangle', 'square', 'circle'][priority] ?? 'circle';

/** @type {Record<string, string>} */
const UNIT_SHAPE = { free: 'circle', assigned: 'diamond', enroute: 'tag', scene: 'square', transport: 'house', off: 'circle' };

/** Shape of a unit by the tone of its status. @param {string} tone */
export const unitShape = (tone) => UNIT_SHAPE[tone] ?? 'circle';

/** Where the letter sits in a shape, 24 by 24. @param {string} shape @returns {[number, number]} */
export function letterAt(shape) {
  if (shape === 'triangle') return [12, 15.5];
  if (shape === 'tag') return [10.5, 12];
  if (shape === 'house') return [12, 14];
  return [12, 12];
}
