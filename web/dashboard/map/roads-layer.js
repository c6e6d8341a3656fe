/**
 * The lower layer: roads, drawn in slices into a bitmap larger than the viewport (overscan), so that panning
 * only copies it. While a new bitmap is being drawn the old one is shown, moved and stretched.
 *
 * @typedef {import('../model/geo.js').View} View
 * @typedef {import('../types').RoadLine} RoadLine
 */

/** The bitmap is this many viewports wide and high. */
const OVERSCAN = 1.6;
/** Time for one slice of drawing, in ms: leaves most of a frame free. */
const SLICE_MS = 6;

/** Half width in CSS pixels and least scale at which a rank is drawn, by rank 0 (greatest road) upwards. */
const STYLE = [
  { width: 3.2, colour: '--road-0' }, { width: 2.6, colour: '--road-1' }, { width: 2.0, colour: '--road-2' },
  { width: 1.5, colour: '--road-3' }, { width: 1.0, colour: '--road-4' }, { width: 0.8, colour: '--road-5' },
];

export class RoadsLayer {
  constructor() {
    /** @type {RoadLine[]} */
    this.lines = [];
    /** @type {{canvas: HTMLCanvasElement, view: View, w: number, h: number} | null} */
    this.shown = null;
    /** @type {null | {canvas: HTMLCanvasElement, view: View, w: number, h: number, ctx: CanvasRenderingContext2D, at: number, dpr: number}} */
    this.drawing = null;
    /** @type {string[]} */
    this.colours = [];
    this.stale = true;
  }

  /** @param {RoadLine[]} lines */
  setLines(lines) {
    this.lines = lines;
    this.invalidate();
  }

  /** @param {CSSStyleDeclaration} style */
  setColours(style) {
    this.colours = STYLE.map((s) => style.getPropertyValue(s.colour).trim());
    this.invalidate();
  }

  invalidate() {
    this.stale = true;
    this.drawing = null;
  }

  /**
   * Whether the bitmap covers the viewport sharply.
   * @param {View} v @param {number} w @param {number} h
   */
  covers(v, w, h) {
    const s = this.shown;
    if (!s || this.stale || s.view.scale !== v.scale) return false;
    const dx = Math.abs((v.cx - s.view.cx) * v.scale);
    const dy = Math.abs((v.cy - s.view.cy) * v.scale);
    return dx <= (s.w - w) / 2 && dy <= (s.h - h) / 2;
  }

  /**
   * Goes on with the bitmap for this view. True when another slice is needed.
   * @param {View} v @param {number} w @param {number} h @param {number} dpr
   */
  work(v, w, h, dpr) {
    if (this.covers(v, w, h)) {
      this.drawing = null;
      return false;
    }
    if (this.drawing && (this.drawing.view.scale !== v.scale || !near(this.drawing, v, w, h))) this.drawing = null;
    this.drawing ??= this.begin(v, w, h, dpr);
    if (!this.slice(this.drawing)) return true;
    const { canvas, view, w: bw, h: bh } = this.drawing;
    this.shown = { canvas, view, w: bw, h: bh };
    this.drawing = null;
    this.stale = false;
    return false;
  }

  /** @param {View} v @param {number} w @param {number} h @param {number} dpr */
  begin(v, w, h, dpr) {
    const canvas = document.createElement('canvas');
    const [bw, bh] = [Math.ceil(w * OVERSCAN), Math.ceil(h * OVERSCAN)];
    canvas.width = Math.ceil(bw * dpr);
    canvas.height = Math.ceil(bh * dpr);
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    ctx.lineCap = 'round';
    ctx.lineJoin = 'round';
    return { canvas, ctx, view: { ...v }, w: bw, h: bh, at: 0, dpr };
  }

  /**
   * Draws for one slice of time. True when all is drawn.
   * @param {NonNullable<RoadsLayer['drawing']>} d
   */
  slice(d) {
    const until = performance.now() + SLICE_MS;
    const { ctx, view, w, h, dpr } = d;
    const k = view.scale * dpr;
    const [ox, oy] = [(w * dpr) / 2 - view.cx * k, (h * dpr) / 2 - view.cy * k];
    const [x0, x1] = [view.cx - w / 2 / view.scale, view.cx + w / 2 / view.scale];
    const [y0, y1] = [view.cy - h / 2 / view.scale, view.cy + h / 2 / view.scale];
    // Roads grow with the zoom, but far less than the ground does.
    const grow = Math.max(0.55, Math.min(2.6, (view.scale / 6e6) ** 0.45));
    const tiny = 0.7 / view.scale;
    while (d.at < this.lines.length) {
      const rank = this.lines[d.at].rank;
      const style = STYLE[Math.min(rank, STYLE.length - 1)];
      ctx.beginPath();
      ctx.strokeStyle = this.colours[Math.min(rank, STYLE.length - 1)];
      ctx.lineWidth = Math.max(0.5, style.width * grow) * dpr;
      const stop = Math.min(this.lines.length, d.at + 400);
      for (; d.at < stop && this.lines[d.at].rank === rank; d.at++) {
        const { points: p, box } = this.lines[d.at];
        if (box[2] < x0 || box[0] > x1 || box[3] < y0 || box[1] > y1) continue;
        if (rank > 3 && box[2] - box[0] < tiny && box[3] - box[1] < tiny) continue;
        ctx.moveTo(p[0] * k + ox, p[1] * k + oy);
        for (let i = 2; i < p.length; i += 2) ctx.lineTo(p[i] * k + ox, p[i + 1] * k + oy);
      }
      ctx.stroke();
      if (performance.now() > until) break;
    }
    return d.at >= this.lines.length;
  }

  /**
   * Copies the bitmap to the screen.
   * @param {CanvasRenderingContext2D} ctx @param {View} v @param {number} w @param {number} h @param {number} dpr
   */
  paint(ctx, v, w, h, dpr) {
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, ctx.canvas.width, ctx.canvas.height);
    const s = this.shown;
    if (!s) return;
    const zoom = v.scale / s.view.scale;
    const left = w / 2 + (s.view.cx - v.cx) * v.scale - (s.w * zoom) / 2;
    const top = h / 2 + (s.view.cy - v.cy) * v.scale - (s.h * zoom) / 2;
    if (zoom === 1) ctx.drawImage(s.canvas, Math.round(left * dpr), Math.round(top * dpr));
    else ctx.drawImage(s.canvas, left * dpr, top * dpr, s.canvas.width * zoom, s.canvas.height * zoom);
  }
}

/** Whether a bitmap being drawn will still cover the viewport. @param {{view: View, w: number, h: number}} d @param {View} v @param {number} w @param {number} h */
function near(d, v, w, h) {
  return Math.abs((v.cx - d.view.cx) * v.scale) <= (d.w - w) / 2 && Math.abs((v.cy - d.view.cy) * v.scale) <= (d.h - h) / 2;
}
