/**
 * The letters, shapes and words of statuses. Every mark on the screen carries a letter and a shape besides
 * its colour, and they are the same on the map, in the queue and on the fleet board.
 */

/**
 * @typedef {{letter: string, label: string, tone: string, busy: boolean}} UnitMark
 * `tone` names a colour of the style sheet.
 */

/** @type {Record<string, UnitMark>} */
const UNIT = {
  reserved: { letter: 'R', label: 'Reserved', tone: 'assigned', busy: true },
  assigned: { letter: 'A', label: 'Assigned', tone: 'assigned', busy: true },
  enroute: { letter: 'E', label: 'En route', tone: 'enroute', busy: true },
  'on-scene': { letter: 'S', label: 'On scene', tone: 'scene', busy: true },
  'at-patient': { letter: 'P', label: 'At patient', tone: 'scene', busy: true },
  onboard: { letter: 'O', label: 'Onboard', tone: 'transport', busy: true },
  arrived: { letter: 'H', label: 'At hospital', tone: 'transport', busy: true },
  'handed-over': { letter: 'V', label: 'Handed over', tone: 'transport', busy: true },
  available: { letter: 'F', label: 'Free', tone: 'free', busy: false },
  'at-post': { letter: 'T', label: 'At post', tone: 'free', busy: false },
  cancelled: { letter: 'C', label: 'Called off', tone: 'free', busy: false },
  'out-of-service': { letter: 'X', label: 'Out of service', tone: 'off', busy: false },
};

/**
 * @param {string | null | undefined} status
 * @returns {UnitMark}
 */
export function unitMark(status) {
  return UNIT[status ?? ''] ?? { letter: '?', label: status ?? 'Unknown', tone: 'off', busy: false };
}

/** Order of the fleet board: what moves for somebody first. */
const FLEET_ORDER = ['reserved', 'assigned', 'enroute', 'on-scene', 'at-patient', 'onboard', 'arrived', 'handed-over',
  'available', 'at-post', 'cancelled', 'out-of-service'];

/** @param {string} status */
export function fleetRank(status) {
  const at = FLEET_ORDER.indexOf(status);
  return at < 0 ? FLEET_ORDER.length : at;
}

/** Whether a unit in this status may be given an incident. @param {string} status */
export const isFree = (status) => ['available', 'at-post', 'cancelled'].includes(status);

/** @type {Record<string, {letter: string, label: string}>} */
const TRIAGE = {
  emergency: { letter: 'E', label: 'Emergency' },
  abnormal: { letter: 'A', label: 'Abnormal' },
  normal: { letter: 'N', label: 'Normal' },
  insufficient: { letter: '?', label: 'Insufficient data' },
};

/** @param {string | null | undefined} name */
export function triageMark(name) {
  return TRIAGE[name ?? ''] ?? { letter: '?', label: name ?? 'Unknown' };
}

/** @param {number} priority */
export function priorityLabel(priority) {
  return ['', 'Life-threatening', 'Emergency', 'Urgent', 'Less urgent'][priority] ?? '';
}

/** Groups of kinds for colour and letter in the event stream: the word before the first dot. */
const GROUP = {
  patient: 'P', wearable: 'W', triage: 'T', incident: 'I', command: 'C', unit: 'U', dispatch: 'D', hospital: 'H',
  notification: 'N', billing: 'B', supervision: 'S',
};

/**
 * @param {string} kind
 * @returns {{group: string, letter: string}}
 */
export function kindGroup(kind) {
  const group = kind.split('.', 1)[0];
  return { group, letter: GROUP[/** @type {keyof typeof GROUP} */ (group)] ?? '·' };
}

/** Kinds too frequent to read: left out of the event stream unless asked for. @param {string} kind */
export const isNoise = (kind) => kind === 'wearable.reading.recorded' || kind === 'unit.location.reported';
