/**
 * A stand-in for the server, for developing the dashboard and for its browser tests: static files under the
 * strict content security policy, canned REST, and the websocket of `shers.v1` in plain node.
 *
 *   node tests/mock-server.mjs [--port 8090] [--roads FILE] [--quiet]
 *
 * The token is `mock-token-mock-token-mock-token-`; open http://127.0.0.1:8090/#token=mock-token-mock-token-mock-token-
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BOUNDS, encodeRoads, iso, random, timelineOf, town, vitals, world } from './mock-data.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
export const TOKEN = 'mock-token-mock-token-mock-token-';
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** One frame of text, unmasked. */
function frameOf(text) {
  const body = Buffer.from(text);
  const head = body.length < 126 ? Buffer.from([0x81, body.length])
    : body.length < 65_536 ? Buffer.from([0x81, 126, body.length >> 8, body.length & 255])
      : Buffer.concat([Buffer.from([0x81, 127, 0, 0, 0, 0]), Buffer.from([body.length >>> 24, (body.length >>> 16) & 255, (body.length >>> 8) & 255, body.length & 255])]);
  return Buffer.concat([head, body]);
}

/** Whole text frames of a client out of a buffer; gives what is left. */
function readFrames(buffer, onText) {
  for (;;) {
    if (buffer.length < 6) return buffer;
    const op = buffer[0] & 15;
    let len = buffer[1] & 127;
    let at = 2;
    if (len === 126) {
      len = buffer.readUInt16BE(2);
      at = 4;
    }
    if (buffer.length < at + 4 + len) return buffer;
    const mask = buffer.subarray(at, at + 4);
    const body = Buffer.from(buffer.subarray(at + 4, at + 4 + len));
    for (let i = 0; i < len; i++) body[i] ^= mask[i & 3];
    if (op === 1) onText(body.toString());
    if (op === 8) onText(null);
    buffer = buffer.subarray(at + 4 + len);
  }
}

/** Starts the stand-in. `live: false` keeps the world still, for pictures and tests that must not flake. */
export async function start({ port = 0, live = true, exercise = true, roads } = {}) {
  const epoch = randomBytes(4).toString('hex');
  const now = Date.now();
  const db = world(now);
  const rnd = random(3);
  const log = [];
  const sockets = new Set();
  const requests = [];
  const emit = (kind, stream, correlation_id, data, at = Date.now()) => {
    const event = [log.length + 1, kind, iso(at), data, stream, correlation_id];
    log.push(event);
    for (const s of sockets) s.push(event);
  };
  for (const i of db.incidents) {
    for (const e of timelineOf(i, db.units)) log.push([0, e.kind, e.at, e.data, e.stream, i.incident_id]);
  }
  log.sort((a, b) => (a[2] < b[2] ? -1 : 1)).forEach((e, n) => { e[0] = n + 1; });

  const DIVERSION = { unit_id: 'RTW-3', from_incident_id: 'mild', eta_s: 180, reason: 'RTW-3 is here in 3 min, 6 min sooner than by the best free unit; mild (priority 3) gets another unit 2 min later.' };
  const KPIS = {
    incidents: 12, intervals: {
      response_time: { count: 12, p50_s: 421, p90_s: 803, target_s: null, within_target: 0.92 },
      by_category: { 1: { response_time: { count: 4, p50_s: 390, p90_s: 610, target_s: 900, within_target: 1 } } },
      by_area: { Vaduz: { incidents: 9, turnout_time: { count: 9, p50_s: 48, p90_s: 75, target_s: 60, within_target: 0.78 } } },
    },
  };
  const lists = { '/incidents': 'incidents', '/units': 'units', '/hospitals': 'hospitals', '/bills': 'bills', '/notifications': 'notifications', '/actors': 'actors' };
  const problem = (status, detail) => [status, { type: 'about:blank', title: 'Problem', status, detail }];

  function get(path) {
    if (lists[path]) return [200, { items: db[lists[path]], next: null }];
    if (path === '/map/info') return [200, { name: 'Liechtenstein', attribution: '© OpenStreetMap contributors, ODbL 1.0', bounds: BOUNDS, exercise, server_time: iso(Date.now()), speed: 1 }];
    if (path === '/kpis') return [200, KPIS];
    const [, kind, id, rest] = path.split('/').map(decodeURIComponent);
    const incident = db.incidents.find((i) => i.incident_id === id);
    if (kind === 'incidents' && incident && rest === 'timeline') return [200, { items: timelineOf(incident, db.units), next: null }];
    if (kind === 'incidents' && incident && rest === 'recommendations') {
      const free = db.units.filter((u) => ['available', 'at-post'].includes(u.status));
      return [200, {
        candidates: free.map((u, n) => ({ unit_id: u.unit_id, eta_s: 240 + n * 77, distance_m: 3100 + n * 900, kind: u.kind, crew_level: u.crew_level, capabilities: u.capabilities })),
        excluded: db.units.filter((u) => !free.includes(u)).map((u) => ({ unit_id: u.unit_id, reason: u.status === 'out-of-service' ? 'out of service' : `busy (${u.status})` })),
        reason: `${free[0].unit_id} is the nearest unit that can go: 4 min by road with lights and sirens.`, eta_source: 'built-in', needs: incident.needs ?? [],
        assignment: incident.waits_for_person ? 'person' : 'automatic', waits: Boolean(incident.waiting_reason),
        diversion: incident.waiting_reason ? DIVERSION : null,
      }];
    }
    if (kind === 'patients' && rest === 'vitals') return [200, { items: vitals(id, Date.now()), next: null }];
    if (kind === 'patients') return [200, { patient_id: id, name: 'Wilhelmina Sample', birth_date: '1947-03-12', sex: 'female', address: 'Städtle 12, Vaduz', next_of_kin: [] }];
    return problem(404, `Nothing is at ${path}.`);
  }

  function post(path, body) {
    const [, kind, id, what] = path.split('/').map(decodeURIComponent);
    const i = db.incidents.find((x) => x.incident_id === id);
    if (kind === 'incidents' && i) {
      const say = (name, data) => emit(`incident.${name}`, `incident/${id}`, id, data);
      if (what === 'acknowledge') {
        i.acknowledged_at = iso(Date.now());
        i.acknowledge_by = null;
        say('acknowledged', { by: 'admin' });
      } else if (what === 'escalate') say('escalated', { level: (i.escalation_level += 1), reason: body.reason, by: 'admin', priority: i.priority, next_at: null });
      else if (what === 'cancel') {
        i.status = 'cancelled';
        say('cancelled', { by: 'admin', reason: body.reason });
      } else if (what === 'assignments') {
        const unit = db.units.find((u) => u.unit_id === body.unit_id);
        if (!unit || !['available', 'at-post'].includes(unit.status)) return problem(409, `${body.unit_id} is busy.`);
        Object.assign(i, { unit_id: unit.unit_id, unit_status: 'assigned', waiting_reason: null });
        Object.assign(unit, { status: 'assigned', incident_id: id });
        emit('dispatch.assigned', `unit/${unit.unit_id}`, id, { incident_id: id, unit_id: unit.unit_id, eta_s: 240, distance_m: 3100, eta_source: 'built-in', reason: body.reason ?? 'Chosen by a person.', candidates: [], by: 'admin', from: null, to: i.location });
        emit('unit.status.assigned', `unit/${unit.unit_id}`, id, { unit_id: unit.unit_id, previous: 'available', incident_id: id, by: 'dispatch', at: iso(Date.now()) });
      } else return problem(404, 'No such action.');
      return [200, { ok: true }];
    }
    if (kind === 'bills') {
      const bill = db.bills.find((b) => b.bill_id === id);
      if (what === 'retry') emit('billing.pending', `bill/${id}`, id, { bill_id: id, incident_id: id, step: 'eligibility', attempt: bill.attempt + 1 });
      else emit('billing.written-off', `bill/${id}`, id, { bill_id: id, incident_id: id, by: 'admin', reason: body.reason });
      return [200, {}];
    }
    if (kind === 'actors') {
      const a = db.actors.find((x) => x.actor === id);
      if (!a) return problem(404, `No actor ${id}.`);
      Object.assign(a, { state: 'running', restarts: a.restarts + 1, incarnation: a.incarnation + 1 });
      emit(`supervision.${what === 'release' ? 'released' : 'restarted'}`, 'supervision/node', null, { actor: id, cause: what === 'crash' ? 'panic' : what === 'restart' ? 'requested' : null, detail: `asked to ${what}`, incarnation: a.incarnation, restarts: a.restarts, back_at: null });
      return [200, {}];
    }
    return problem(404, `Nothing is at ${path}.`);
  }

  const map = roads ? readFileSync(roads) : encodeRoads(town());
  const tickets = new Set();
  const server = createServer(async (req, res) => {
    const url = new URL(req.url, 'http://x');
    const json = ([status, body]) => {
      res.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' });
      res.end(JSON.stringify(body));
    };
    if (!url.pathname.startsWith('/api/')) {
      const file = url.pathname === '/' ? 'index.html' : normalize(decodeURIComponent(url.pathname.replace('/dashboard/', '')));
      try {
        const body = await readFile(join(ROOT, file));
        res.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-security-policy': CSP, 'x-content-type-options': 'nosniff' });
        res.end(body);
      } catch {
        res.writeHead(404).end();
      }
      return;
    }
    if (req.headers.authorization !== `Bearer ${TOKEN}`) return json(problem(401, 'The token is missing or wrong.'));
    const path = url.pathname.replace('/api/v1', '');
    requests.push({ method: req.method, path, key: req.headers['idempotency-key'] ?? null });
    if (path === '/map') {
      res.writeHead(200, { 'content-type': 'application/octet-stream' });
      return res.end(map);
    }
    if (req.method === 'GET') return json(get(path));
    if (path === '/stream-tickets') {
      const ticket = randomBytes(24).toString('base64url');
      tickets.add(ticket);
      return json([201, { ticket, expires_at: iso(Date.now() + 30_000) }]);
    }
    let text = '';
    for await (const chunk of req) text += chunk;
    json(post(path, text ? JSON.parse(text) : {}));
  });

  server.on('upgrade', (req, socket) => {
    const offered = String(req.headers['sec-websocket-protocol'] ?? '').split(/, */);
    if (offered[0] !== 'shers.v1' || !tickets.delete(offered[1])) return socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n');
    const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: shers.v1\r\n\r\n`);
    const send = (o) => socket.writable && socket.write(frameOf(JSON.stringify(o)));
    const client = { send, subscribed: false, positions: false, push: (e) => client.subscribed && send({ t: 'd', id: 'main', from: e[0] - 1, to: e[0], ev: [e] }) };
    sockets.add(client);
    client.socket = socket;
    send({ t: 'hello', epoch, head: log.length, limits: {}, server_time: iso(Date.now()) });
    let rest = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      rest = readFrames(Buffer.concat([rest, chunk]), (text) => {
        if (text === null) return socket.end();
        const frame = JSON.parse(text);
        if (frame.t !== 'sub') return;
        if (frame.lane === 'state') client.positions = true;
        else {
          const from = frame.from?.offset ?? 0;
          if (log.length > from) send({ t: 'd', id: 'main', from, to: log.length, ev: log.slice(from) });
          send({ t: 'live', id: 'main' });
          client.subscribed = true;
        }
      });
    });
    const gone = () => sockets.delete(client);
    socket.on('close', gone);
    socket.on('error', gone);
  });

  const goals = new Map();
  const drive = () => {
    const at = Date.now();
    const fixes = [];
    for (const u of db.units) {
      if (!['enroute', 'onboard', 'assigned', 'available'].includes(u.status)) continue;
      const incident = db.incidents.find((i) => i.incident_id === u.incident_id);
      let goal = u.status === 'onboard' ? u.hospital?.location : incident?.location;
      if (!goal) {
        goal = goals.get(u.unit_id);
        if (!goal || Math.hypot(goal.lat - u.location.lat, goal.lon - u.location.lon) < 1e-3) goals.set(u.unit_id, goal = { lat: 47.14 + (rnd() - 0.5) * 0.07, lon: 9.52 + (rnd() - 0.5) * 0.08 });
      }
      const d = Math.hypot(goal.lat - u.location.lat, goal.lon - u.location.lon);
      if (d < 2e-4) continue;
      const k = 1.2e-4 / d;
      u.location = { lat: u.location.lat + (goal.lat - u.location.lat) * k, lon: u.location.lon + (goal.lon - u.location.lon) * k };
      fixes.push([log.length, 'unit.location.reported', iso(at), { fixes: [{ unit_id: u.unit_id, at: iso(at), location: u.location, speed_mps: 20 }] }]);
    }
    for (const s of sockets) if (s.positions && fixes.length) s.send({ t: 'st', id: 'pos', ev: fixes });
  };
  const timers = [setInterval(() => { for (const s of sockets) s.send({ t: 'hb', head: log.length }); }, 15_000)];
  if (live) {
    timers.push(setInterval(drive, 500));
    timers.push(setInterval(() => {
      const i = db.incidents[0];
      emit('wearable.reading.recorded', 'readings/0', null, { readings: [{ patient_id: i.patient_id, at: iso(Date.now()), heart_rate_bpm: Math.round(112 + rnd() * 10), spo2_pct: Math.round(89 + rnd() * 3), respiration_rate_bpm: Math.round(25 + rnd() * 4) }] });
    }, 2000));
  }
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  const address = `http://127.0.0.1:${server.address().port}`;
  return {
    address, link: `${address}/#token=${TOKEN}`, db, emit, requests,
    drop: () => { for (const s of sockets) s.socket.destroy(); },
    stop: () => { timers.forEach(clearInterval); for (const s of sockets) s.socket.destroy(); server.closeAllConnections(); return new Promise((done) => server.close(done)); },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arg = (name, fallback) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : fallback);
  const mock = await start({ port: Number(arg('--port', 8090)), roads: arg('--roads') });
  process.stdout.write(`${mock.link}\n`);
}
