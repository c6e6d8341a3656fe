/**
 * Reads the roads of the map as the server packs them: the magic `SHRD1`, then LEB128 varints. A starting
 * point (latitude, longitude; zigzag, in units of 1e-5 degrees), the number of lines, and for each line its
 * class (one byte), its number of points, and the points as zigzag differences that run on from the last
 * point of the line before.
 *
 * @typedef {import('../types').RoadLine} RoadLine
 */
import { worldX, worldY } from './geo.js';

export const MAGIC = 'SHRD1';
const UNIT = 1e-5;
/**
 * How a class is drawn, 0 broadest: motorway, trunk | primary | secondary | tertiary | unclassified,
 * residential, living street | service, track.
 */
const RANK = [0, 0, 1, 2, 3, 4, 4, 4, 5, 5];

/** Why the bytes are not a map. */
export class MapError extends Error {}

class Reader {
  /** @param {Uint8Array} bytes @param {number} at */
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
  }
  get left() {
    return this.bytes.length - this.at;
  }
  byte() {
    if (this.at >= this.bytes.length) throw new MapError('the map ends in the middle of a line');
    return this.bytes[this.at++];
  }
  /** An unsigned varint below 2^53. */
  varint() {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < 8; i++) {
      if (this.at >= this.bytes.length) throw new MapError('the map ends in the middle of a number');
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 128;
    }
    throw new MapError('a number in the map is too long');
  }
  zigzag() {
    const n = this.varint();
    return n % 2 === 0 ? n / 2 : -(n + 1) / 2;
  }
}

/**
 * @param {Uint8Array} bytes
 * @returns {RoadLine[]} broadest roads last, so that they are drawn on top
 */
export function decode(bytes) {
  if (new TextDecoder().decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) throw new MapError('not a map of roads');
  const reader = new Reader(bytes, MAGIC.length);
  let lat = reader.zigzag();
  let lon = reader.zigzag();
  const count = reader.varint();
  /** @type {RoadLine[]} */
  const lines = [];
  for (let i = 0; i < count; i++) {
    const rank = RANK[reader.byte()] ?? 5;
    const n = reader.varint();
    if (n > reader.left) throw new MapError('a line in the map claims more points than there are bytes');
    const points = new Float64Array(2 * n);
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let p = 0; p < n; p++) {
      lat += reader.zigzag();
      lon += reader.zigzag();
      const x = worldX(lon * UNIT);
      const y = worldY(lat * UNIT);
      points[2 * p] = x;
      points[2 * p + 1] = y;
      x0 = Math.min(x0, x);
      x1 = Math.max(x1, x);
      y0 = Math.min(y0, y);
      y1 = Math.max(y1, y);
    }
    lines.push({ rank, points, box: [x0, y0, x1, y1] });
  }
  return lines.sort((a, b) => b.rank - a.rank);
}

/**
 * The least box in degrees around all lines, or null when there are none.
 * @param {RoadLine[]} lines
 */
export function extent(lines) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { box } of lines) {
    x0 = Math.min(x0, box[0]);
    y0 = Math.min(y0, box[1]);
    x1 = Math.max(x1, box[2]);
    y1 = Math.max(y1, box[3]);
  }
  return x0 <= x1 ? { x0, y0, x1, y1 } : null;
}
