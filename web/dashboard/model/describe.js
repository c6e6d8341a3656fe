/**
 * One line about an event, for the event stream and the timeline. Never fails: an unknown body gives the
 * kind's own words.
 */
import { distance, money, shortId, span, words } from './format.js';

/** @typedef {(d: any) => string | null | undefined} Line */

/** @param {any} split */
const coverage = (split) => `insurer ${money(split.insurer)}, patient ${money(split.patient)}`;

/** @type {Record<string, Line>} */
const LINES = {
  'patient.registered': (d) => `Patient ${d.patient_id} registered`,
  'patient.updated': (d) => `Patient ${d.patient_id} updated`,
  'wearable.reading.recorded': (d) => `${d.readings?.length ?? 0} ${d.readings?.length === 1 ? 'reading' : 'readings'} from ${new Set(d.readings?.map((/** @type {any} */ r) => r.patient_id)).size} wearers`,
  'incident.opened': (d) => `P${d.priority} opened: ${d.call?.summary ?? ''}`,
  'incident.call-joined': (d) => `Further call joined: ${d.call?.summary ?? ''}`,
  'incident.acknowledged': (d) => `Acknowledged by ${d.by}`,
  'incident.escalated': (d) => `Escalated to level ${d.level}: ${d.reason}`,
  'incident.downgraded': (d) => `Downgraded to priority ${d.priority} by ${d.by}: ${d.reason}`,
  'incident.resolved': (d) => `Resolved: ${words(d.disposition).toLowerCase()}`,
  'incident.closed': (d) => (d.bill ? `Closed, bill ${d.bill}` : `Closed${d.by ? ` by ${d.by}` : ''}`),
  'incident.cancelled': (d) => `Cancelled by ${d.by}: ${d.reason}`,
  'command.notification.send': (d) => `Tell next of kin: ${words(d.template).toLowerCase()}`,
  'command.dispatch.request': (d) => `Unit requested, priority ${d.priority}`,
  'command.dispatch.cancel': (d) => `Dispatch called off: ${d.reason}`,
  'command.billing.start': (d) => `Billing started: ${words(d.disposition).toLowerCase()}, ${distance(d.distance_m)}`,
  'unit.registered': (d) => `${d.unit_id} registered (${d.kind}, ${String(d.crew_level).toUpperCase()})`,
  'unit.updated': (d) => `${d.unit_id} updated`,
  'unit.retired': (d) => `${d.unit_id} retired by ${d.by}`,
  'unit.location.reported': (d) => `${d.fixes?.length ?? 0} positions`,
  'dispatch.assigned': (d) => `${d.unit_id} assigned, ${span(d.eta_s)} (${distance(d.distance_m)}, ${d.eta_source}). ${d.reason ?? ''}`,
  'dispatch.unassigned': (d) => `${d.unit_id} taken off: ${d.reason}`,
  'dispatch.diverted': (d) => `${d.unit_id} diverted: ${d.reason}`,
  'dispatch.waiting': (d) => `Waiting for ${d.by_person ? 'a person' : 'a unit'}: ${d.reason}`,
  'dispatch.eta-changed': (d) => `${d.unit_id} new arrival time at ${d.leg}${d.reason ? `: ${d.reason}` : d.off_route_m ? `: ${distance(d.off_route_m)} off its expected way` : ''}`,
  'hospital.updated': (d) => `${d.name}: ${d.state ?? 'open'}`,
  'notification.queued': (d) => `Message queued: ${words(d.request?.template).toLowerCase()}`,
  'notification.attempted': (d) => `Trying ${d.target?.channel ?? 'a message'} by ${d.provider}`,
  'notification.sent': (d) => `${words(d.template)} sent by ${d.target?.channel ?? '–'} (${d.provider})`,
  'notification.failed': (d) => `${words(d.template)} failed: ${d.reason ?? d.provider}`,
  'notification.ambiguous': (d) => `${words(d.template)}: nobody knows whether it was sent (${d.provider})`,
  'billing.pending': (d) => `Bill PENDING: ${words(d.step).toLowerCase()}${d.reason ? `, ${d.reason}` : ''}`,
  'billing.coverage-verified': (d) => `Coverage verified: ${coverage(d)}`,
  'billing.paid': (d) => `Bill PAID: ${money(d.charged)} (${d.provider})`,
  'billing.failed': (d) => `Bill FAILED: ${d.reason ?? d.code}`,
  'billing.compensated': (d) => `Compensated: ${words(d.what).toLowerCase()}`,
  'billing.stuck': (d) => `Bill stuck at ${words(d.step).toLowerCase()}: ${d.reason}`,
  'billing.written-off': (d) => `Written off by ${d.by}: ${d.reason}`,
  'supervision.restarted': (d) => `${short(d.actor)} restarted${d.cause ? ` after ${d.cause}` : ''} (life ${d.incarnation})`,
  'supervision.quarantined': (d) => `${short(d.actor)} quarantined: ${d.detail}`,
  'supervision.released': (d) => `${short(d.actor)} released`,
};

/** @param {string | undefined} actor */
function short(actor) {
  const [category, id] = String(actor).split('/');
  return id ? `${category}/${shortId(id)}` : category;
}

/**
 * @param {string} kind
 * @param {any} data
 * @returns {string}
 */
export function describe(kind, data) {
  const d = data ?? {};
  try {
    if (kind.startsWith('unit.status.')) return unitLine(kind, d);
    if (kind.startsWith('triage.status.')) return `${words(kind.slice(14))}: ${d.reason ?? d.rule ?? ''}`;
    const line = LINES[kind]?.(d);
    if (line) return line;
  } catch {
    // Falls through to the kind's own words.
  }
  return words(kind.split('.').slice(1).join(' '));
}

/** @param {string} kind @param {any} d */
function unitLine(kind, d) {
  const status = words(kind.slice('unit.status.'.length)).toLowerCase();
  const to = d.hospital && kind.endsWith('onboard') ? ` for ${d.hospital.name}` : '';
  return `${d.unit_id} ${status}${to}${d.reason ? `: ${d.reason}` : ''}`;
}
