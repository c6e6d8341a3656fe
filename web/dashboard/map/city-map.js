/**
 * The map: two canvases, one for roads and one for what moves, drawn only when something changed. Knows
 * nothing of the store: it is given documents and says what was clicked.
 *
 * @typedef {import('../types').Incident} Incident
 * @typedef {import('../types').Unit} Unit
 * @typedef {import('../types').Hospital} Hospital
 * @typedef {import('../model/geo.js').View} View
 * @typedef {{incidents: Incident[], units: Unit[], hospitals: Hospital[], selected: string | null, selectedUnit: string | null, late: Set<string>}} Scene
 */
import { fit, fromScreen, scaleBar, toScreen, toWorld, zoomed } from '../model/geo.js';
import { at, isMoving, moved } from '../model/track.js';
import { unitMark } from '../model/codes.js';
import { PATH, letterAt, priorityShape, unitShape } from '../model/shapes.js';
import { RoadsLayer } from './roads-layer.js';

/** Greatest scale: about 0.1 m per pixel. */
const MOST = 3e8;
const HIT_PX = 16;

/** @type {Record<string, Path2D>} */
const PATHS = Object.fromEntries(Object.entries(PATH).map(([name, d]) => [name, new Path2D(d)]));

export class CityMap {
  /**
   * @param {HTMLElement} host
   * @param {{onPick: (what: {incident?: string, unit?: string}) => void, onView: (bar: {metres: number, px: number}) => void, onHover: (text: string | null, x: number, y: number) => void}} on
   */
  constructor(host, on) {
    this.host = host;
    this.on = on;
    this.lower = layer(host);
    this.upper = layer(host);
    this.roads = new RoadsLayer();
    /** @type {View} */
    this.view = { cx: 0.5, cy: 0.35, scale: 1000 };
    /** @type {[number, number, number, number] | null} */
    this.bounds = null;
    this.fitted = false;
    /** @type {Scene} */
    this.scene = { incidents: [], units: [], hospitals: [], selected: null, selectedUnit: null, late: new Set() };
    /** @type {Map<string, import('../model/track.js').Track>} */
    this.tracks = new Map();
    /** @type {{text: string, x: number, y: number, rank: number}[]} */
    this.labels = [];
    this.w = 0;
    this.h = 0;
    this.dpr = 1;
    this.frame = 0;
    this.zoomed_at = 0;
    /** @type {{incident?: string, unit?: string} | null} */
    this.hover = null;
    this.moveRoads = true;
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.colours = readColours();
    this.restyle();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(host);
    this.scheme = matchMedia('(prefers-color-scheme: light)');
    this.onScheme = () => this.restyle();
    this.scheme.addEventListener('change', this.onScheme);
    this.listen();
  }

  destroy() {
    this.observer.disconnect();
    this.scheme.removeEventListener('change', this.onScheme);
    cancelAnimationFrame(this.frame);
  }

  restyle() {
    this.colours = readColours();
    this.roads.setColours(getComputedStyle(document.documentElement));
    this.touch();
  }

  resize() {
    const box = this.host.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) return;
    this.w = box.width;
    this.h = box.height;
    this.dpr = Math.min(2, devicePixelRatio || 1);
    for (const canvas of [this.lower, this.upper]) {
      canvas.width = Math.round(this.w * this.dpr);
      canvas.height = Math.round(this.h * this.dpr);
    }
    if (!this.fitted && this.bounds) this.home();
    this.roads.invalidate();
    this.touch();
  }

  /** @param {[number, number, number, number]} bounds */
  setBounds(bounds) {
    this.bounds = bounds;
    if (!this.fitted) this.home();
  }

  /** Shows the whole map. */
  home() {
    if (!this.bounds || this.w === 0) return;
    this.view = fit(this.bounds, this.w, this.h);
    this.fitted = true;
    this.moveRoads = true;
    this.touch();
  }

  /** @param {import('../types').RoadLine[]} lines */
  setRoads(lines) {
    this.roads.setLines(lines);
    this.touch();
  }

  /** @param {Scene} scene */
  setScene(scene) {
    this.scene = scene;
    const now = performance.now();
    const known = new Set(scene.units.map((u) => u.unit_id));
    for (const id of this.tracks.keys()) if (!known.has(id)) this.tracks.delete(id);
    for (const unit of scene.units) {
      if (unit.location && !this.tracks.has(unit.unit_id)) {
        const p = toWorld(unit.location);
        this.tracks.set(unit.unit_id, moved(undefined, p.x, p.y, null, now));
      }
    }
    this.touch();
  }

  /** @param {import('../types').Fix[]} fixes */
  addFixes(fixes) {
    const now = performance.now();
    for (const fix of fixes) {
      const p = toWorld(fix.location);
      this.tracks.set(fix.unit_id, moved(this.tracks.get(fix.unit_id), p.x, p.y, fix.heading_deg, now));
    }
    this.touch();
  }

  /** Brings a unit into view. @param {string} id */
  revealUnit(id) {
    const track = this.tracks.get(id);
    if (track) this.reveal({ x: track.tx, y: track.ty });
  }

  /** Brings a place into view, if it is not well inside. @param {import('../model/geo.js').Point} p in world coordinates */
  reveal(p) {
    const s = toScreen(this.view, p, this.w, this.h);
    const pad = Math.min(this.w, this.h) * 0.15;
    if (s.x >= pad && s.y >= pad && s.x <= this.w - pad && s.y <= this.h - pad) return;
    this.view = { ...this.view, cx: p.x, cy: p.y };
    this.moveRoads = true;
    this.touch();
  }

  /** @param {number} dx @param {number} dy CSS pixels */
  pan(dx, dy) {
    this.view = { ...this.view, cx: this.view.cx - dx / this.view.scale, cy: this.view.cy - dy / this.view.scale };
    this.moveRoads = true;
    this.touch();
  }

  /** @param {number} factor @param {{x: number, y: number}} [where] */
  zoom(factor, where = { x: this.w / 2, y: this.h / 2 }) {
    const least = this.bounds ? fit(this.bounds, this.w, this.h).scale / 3 : 256;
    this.view = zoomed(this.view, factor, where, this.w, this.h, [least, MOST]);
    this.zoomed_at = performance.now();
    this.moveRoads = true;
    this.touch();
  }

  touch() {
    if (!this.frame) this.frame = requestAnimationFrame((t) => this.draw(t));
  }

  /** @param {number} t */
  draw(t) {
    this.frame = 0;
    if (this.w === 0) return;
    // Sharp roads wait until the wheel rests: stretching the old bitmap is smooth enough until then.
    const resting = t - this.zoomed_at > 120;
    const more = resting ? this.roads.work(this.view, this.w, this.h, this.dpr) : true;
    if (this.moveRoads || !more) {
      this.roads.paint(context(this.lower), this.view, this.w, this.h, this.dpr);
      this.moveRoads = more;
    }
    const moving = this.overlay(performance.now());
    this.on.onView(scaleBar(this.view, 110));
    if (more || moving) this.touch();
  }

  /** @param {number} now @returns {boolean} whether anything still moves */
  overlay(now) {
    const ctx = context(this.upper);
    ctx.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    ctx.clearRect(0, 0, this.w, this.h);
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    const { hospitals, incidents, units, selected, selectedUnit } = this.scene;
    for (const h of hospitals) this.drawHospital(ctx, h);
    this.drawRoute(ctx, now);
    let moving = false;
    const busyLast = [...units].sort((a, b) => Number(unitMark(a.status).busy) - Number(unitMark(b.status).busy));
    for (const i of [...incidents].reverse()) if (i.incident_id !== selected) this.drawIncident(ctx, i, false);
    for (const unit of busyLast) {
      const track = this.tracks.get(unit.unit_id);
      if (!track) continue;
      moving ||= isMoving(track, now);
      this.drawUnit(ctx, unit, track, now, unit.unit_id === selectedUnit);
    }
    const chosen = incidents.find((i) => i.incident_id === selected);
    if (chosen) this.drawIncident(ctx, chosen, true);
    this.drawLabels(ctx);
    return moving;
  }

  /** Asks for a label; those of higher rank win the place. @param {string} text @param {number} x @param {number} y @param {number} rank */
  label(text, x, y, rank) {
    this.labels.push({ text, x, y, rank });
  }

  /** Draws the labels that do not cover one another. @param {CanvasRenderingContext2D} ctx */
  drawLabels(ctx) {
    ctx.font = '600 11px system-ui, sans-serif';
    ctx.lineJoin = 'round';
    ctx.lineWidth = 3.5;
    ctx.strokeStyle = this.colours.halo;
    ctx.fillStyle = this.colours.ink;
    /** @type {{x: number, y: number, half: number}[]} */
    const taken = [];
    for (const { text, x, y } of this.labels.sort((a, b) => b.rank - a.rank)) {
      const half = text.length * 3.4;
      if (taken.some((t) => Math.abs(t.y - y) < 13 && Math.abs(t.x - x) < t.half + half)) continue;
      taken.push({ x, y, half });
      ctx.strokeText(text, x, y);
      ctx.fillText(text, x, y);
    }
    this.labels = [];
  }

  /** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {string} shape @param {number} size @param {string} fill @param {string} letter */
  mark(ctx, x, y, shape, size, fill, letter) {
    const k = size / 24;
    ctx.save();
    ctx.translate(x - size / 2, y - size / 2);
    ctx.scale(k, k);
    ctx.fillStyle = fill;
    ctx.strokeStyle = this.colours.halo;
    ctx.lineWidth = 3;
    ctx.stroke(PATHS[shape]);
    ctx.fill(PATHS[shape]);
    const [lx, ly] = letterAt(shape);
    ctx.fillStyle = this.colours.glyph;
    ctx.font = '700 13.5px system-ui, sans-serif';
    ctx.fillText(letter, lx, ly + 0.8);
    ctx.restore();
  }

  /** @param {CanvasRenderingContext2D} ctx @param {Hospital} h */
  drawHospital(ctx, h) {
    const s = toScreen(this.view, toWorld(h.location), this.w, this.h);
    if (!inside(s, this.w, this.h)) return;
    ctx.save();
    ctx.translate(s.x - 9, s.y - 9);
    ctx.scale(18 / 24, 18 / 24);
    ctx.fillStyle = this.colours.halo;
    ctx.fill(PATHS.square);
    ctx.strokeStyle = this.colours.hospital;
    ctx.lineWidth = 2;
    ctx.stroke(PATHS.square);
    ctx.scale(0.78, 0.78);
    ctx.translate(3.4, 3.4);
    ctx.fillStyle = this.colours.hospital;
    ctx.fill(PATHS.cross);
    ctx.restore();
    if (this.view.scale > 1.2e6) this.label(h.name, s.x, s.y + 18, 0);
  }

  /** @param {CanvasRenderingContext2D} ctx @param {Incident} i @param {boolean} chosen */
  drawIncident(ctx, i, chosen) {
    if (!i.location) return;
    const s = toScreen(this.view, toWorld(i.location), this.w, this.h);
    if (!inside(s, this.w, this.h)) return;
    const colour = this.colours.p[i.priority] ?? this.colours.p[4];
    if (this.scene.late.has(i.incident_id)) ring(ctx, s, 19, colour, [3, 4]);
    if (chosen) ring(ctx, s, 21, this.colours.focus, []);
    this.mark(ctx, s.x, s.y, priorityShape(i.priority), chosen ? 28 : 23, colour, String(i.priority));
  }

  /** @param {CanvasRenderingContext2D} ctx @param {Unit} unit @param {import('../model/track.js').Track} track @param {number} now @param {boolean} chosen */
  drawUnit(ctx, unit, track, now, chosen) {
    const p = this.still.matches ? { x: track.tx, y: track.ty } : at(track, now);
    const s = toScreen(this.view, p, this.w, this.h);
    if (!inside(s, this.w, this.h)) return;
    const mark = unitMark(unit.status);
    const fill = this.colours.tone[mark.tone];
    const driving = ['enroute', 'onboard', 'assigned', 'available'].includes(unit.status);
    if (driving && track.heading !== null) nose(ctx, s, track.heading, fill, this.colours.halo);
    if (chosen) ring(ctx, s, 16, this.colours.focus, []);
    this.mark(ctx, s.x, s.y, unitShape(mark.tone), mark.busy ? 19 : 16, fill, mark.letter);
    if (mark.busy || chosen) this.label(unit.unit_id, s.x, s.y + 17, chosen ? 2 : 1);
  }

  /** The straight way of the selected incident's unit. @param {CanvasRenderingContext2D} ctx @param {number} now */
  drawRoute(ctx, now) {
    const incident = this.scene.incidents.find((i) => i.incident_id === this.scene.selected);
    const track = incident?.unit_id ? this.tracks.get(incident.unit_id) : undefined;
    if (!incident?.location || !track) return;
    const unit = this.scene.units.find((u) => u.unit_id === incident.unit_id);
    const leaving = ['onboard', 'arrived', 'handed-over'].includes(incident.unit_status ?? '');
    const target = leaving ? unit?.hospital?.location ?? this.hospitalOf(incident) : incident.location;
    if (!target) return;
    const a = toScreen(this.view, at(track, now), this.w, this.h);
    const b = toScreen(this.view, toWorld(target), this.w, this.h);
    ctx.save();
    ctx.strokeStyle = this.colours.halo;
    ctx.lineWidth = 5;
    line(ctx, a, b);
    ctx.strokeStyle = this.colours.route;
    ctx.lineWidth = 2.2;
    ctx.setLineDash([8, 6]);
    line(ctx, a, b);
    ctx.restore();
  }

  /** @param {Incident} incident */
  hospitalOf(incident) {
    return this.scene.hospitals.find((h) => h.hospital_id === incident.hospital?.hospital_id)?.location;
  }

  /** What lies under a point. @param {number} x @param {number} y */
  pick(x, y) {
    const now = performance.now();
    /** @type {{incident?: string, unit?: string, d: number, text: string} | null} */
    let best = null;
    /** @param {import('../model/geo.js').Point} world @param {{incident?: string, unit?: string}} what @param {string} text */
    const consider = (world, what, text) => {
      const s = toScreen(this.view, world, this.w, this.h);
      const d = Math.hypot(s.x - x, s.y - y);
      if (d <= HIT_PX && (best === null || d < best.d)) best = { ...what, d, text };
    };
    for (const h of this.scene.hospitals) {
      consider(toWorld(h.location), {}, `${h.name} · ${h.state}${h.beds_free == null ? '' : ` · ${h.beds_free} beds free`}`);
    }
    for (const u of this.scene.units) {
      const t = this.tracks.get(u.unit_id);
      if (t) consider(at(t, now), { unit: u.unit_id }, `${u.unit_id} · ${unitMark(u.status).label}`);
    }
    for (const i of this.scene.incidents) if (i.location) consider(toWorld(i.location), { incident: i.incident_id }, `P${i.priority} · ${i.summary}`);
    return /** @type {{incident?: string, unit?: string, d: number, text: string} | null} */ (best);
  }

  listen() {
    const { host } = this;
    /** @type {Map<number, {x: number, y: number}>} */
    const fingers = new Map();
    let dragged = 0;
    /** @param {PointerEvent | WheelEvent | MouseEvent} e */
    const local = (e) => {
      const box = host.getBoundingClientRect();
      return { x: e.clientX - box.left, y: e.clientY - box.top };
    };
    host.addEventListener('pointerdown', (e) => {
      if (e.button !== 0 || /** @type {HTMLElement} */ (e.target).closest('button, a')) return;
      fingers.set(e.pointerId, local(e));
      dragged = 0;
      host.setPointerCapture(e.pointerId);
    });
    host.addEventListener('pointermove', (e) => {
      const here = local(e);
      const was = fingers.get(e.pointerId);
      if (!was) {
        const hit = this.pick(here.x, here.y);
        host.classList.toggle('pointing', Boolean(hit?.incident || hit?.unit));
        this.on.onHover(hit?.text ?? null, here.x, here.y);
        return;
      }
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== e.pointerId)?.[1];
        if (other) this.zoom(Math.hypot(here.x - other.x, here.y - other.y) / Math.max(1, Math.hypot(was.x - other.x, was.y - other.y)), other);
      } else {
        dragged += Math.hypot(here.x - was.x, here.y - was.y);
        if (dragged > 3) this.pan(here.x - was.x, here.y - was.y);
      }
      fingers.set(e.pointerId, here);
    });
    /** @param {PointerEvent} e */
    const up = (e) => {
      const here = fingers.get(e.pointerId);
      fingers.delete(e.pointerId);
      if (!here || dragged > 3 || e.type === 'pointercancel') return;
      const hit = this.pick(here.x, here.y);
      this.on.onPick(hit ? { incident: hit.incident, unit: hit.unit } : {});
    };
    host.addEventListener('pointerup', up);
    host.addEventListener('pointercancel', up);
    host.addEventListener('pointerleave', () => this.on.onHover(null, 0, 0));
    host.addEventListener('wheel', (e) => {
      e.preventDefault();
      const lines = e.deltaMode === 1 ? 16 : 1;
      this.zoom(Math.exp(-Math.max(-240, Math.min(240, e.deltaY * lines)) * 0.0022), local(e));
    }, { passive: false });
    host.addEventListener('dblclick', (e) => {
      if (!(/** @type {HTMLElement} */ (e.target).closest('button'))) this.zoom(2, local(e));
    });
    host.addEventListener('keydown', (e) => {
      if (e.target !== host) return;
      /** @type {Record<string, () => void>} */
      const keys = {
        ArrowLeft: () => this.pan(80, 0), ArrowRight: () => this.pan(-80, 0), ArrowUp: () => this.pan(0, 80), ArrowDown: () => this.pan(0, -80),
        '+': () => this.zoom(1.5), '=': () => this.zoom(1.5), '-': () => this.zoom(1 / 1.5), 0: () => this.home(),
      };
      const run = keys[e.key];
      if (!run || e.ctrlKey || e.metaKey) return;
      e.preventDefault();
      run();
    });
  }

  /** World position of a screen point, for tests. @param {number} x @param {number} y */
  worldAt(x, y) {
    return fromScreen(this.view, { x, y }, this.w, this.h);
  }
}

/** The colours of the style sheet, which follow the system's scheme. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  /** @param {string} name */
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    ink: colour('--map-ink'), halo: colour('--map-halo'), route: colour('--map-route'),
    hospital: colour('--hospital'), focus: colour('--focus'), glyph: colour('--mark-ink'),
    p: ['', colour('--p1'), colour('--p2'), colour('--p3'), colour('--p4')],
    tone: /** @type {Record<string, string>} */ (Object.fromEntries(['free', 'assigned', 'enroute', 'scene', 'transport', 'off'].map((t) => [t, colour(`--unit-${t}`)]))),
  };
}

/** @param {HTMLElement} host */
function layer(host) {
  const canvas = document.createElement('canvas');
  canvas.className = 'map-layer';
  canvas.setAttribute('aria-hidden', 'true');
  host.append(canvas);
  return canvas;
}

/** @param {HTMLCanvasElement} canvas */
const context = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));

/** @param {{x: number, y: number}} s @param {number} w @param {number} h */
const inside = (s, w, h) => s.x > -40 && s.y > -40 && s.x < w + 40 && s.y < h + 40;

/** @param {CanvasRenderingContext2D} ctx @param {{x: number, y: number}} s @param {number} r @param {string} colour @param {number[]} dash */
function ring(ctx, s, r, colour, dash) {
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 2.5;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.arc(s.x, s.y, r, 0, 2 * Math.PI);
  ctx.stroke();
  ctx.restore();
}

/** @param {CanvasRenderingContext2D} ctx @param {{x: number, y: number}} a @param {{x: number, y: number}} b */
function line(ctx, a, b) {
  ctx.beginPath();
  ctx.moveTo(a.x, a.y);
  ctx.lineTo(b.x, b.y);
  ctx.stroke();
}

/** A small pointer that says which way a unit drives. @param {CanvasRenderingContext2D} ctx @param {{x: number, y: number}} s @param {number} heading @param {string} fill @param {string} halo */
function nose(ctx, s, heading, fill, halo) {
  ctx.save();
  ctx.translate(s.x, s.y);
  ctx.rotate((heading * Math.PI) / 180);
  ctx.beginPath();
  ctx.moveTo(0, -17);
  ctx.lineTo(5.5, -9);
  ctx.lineTo(-5.5, -9);
  ctx.closePath();
  ctx.lineWidth = 2;
  ctx.strokeStyle = halo;
  ctx.fillStyle = fill;
  ctx.stroke();
  ctx.fill();
  ctx.restore();
}
