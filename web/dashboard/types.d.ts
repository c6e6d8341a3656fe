/**
 * The shapes the dashboard reads: the documents of the stream service's read models, the bodies of events,
 * and the frames of the websocket. Only what is shown is declared; unknown fields are carried along.
 */

export interface LatLon { lat: number; lon: number }
export interface Money { amount_minor: number; currency: string }

export interface Finding { parameter: string; value: string; points: number; taken_at: string; age_s: number }
export interface Score {
  name: string; known: number; lower: number; upper: number; single_red: boolean; missing: string[];
}
export type TriageClass = 'insufficient' | 'normal' | 'abnormal' | 'emergency';
export interface Triage {
  patient_id: string; class: TriageClass; previous: TriageClass | null; rule: string; reason: string;
  score: Score; findings: Finding[]; clears_when: string | null; reading_at: string; location: LatLon | null;
}

export interface Candidate {
  unit_id: string; eta_s: number; distance_m: number;
  /** In recommendations only. */
  kind?: string | null; crew_level?: string | null; capabilities?: string[] | null;
}
export interface Diversion { unit_id: string; from_incident_id: string; eta_s: number; reason: string }
export interface HospitalChoice {
  hospital_id: string; name: string; location?: LatLon; drive_s?: number; door_s?: number | null; reason?: string;
  next?: { hospital_id: string; name: string; drive_s: number; distance_m: number; door_s: number } | null;
}
export interface Excluded { unit_id: string; reason: string }
export interface Assignment {
  incident_id: string; unit_id: string; eta_s: number; distance_m: number; eta_source: string; reason: string;
  candidates: Candidate[]; by: string; from: LatLon | null; to: LatLon;
}
export interface Recommendations {
  candidates: Candidate[]; excluded: Excluded[]; reason: string; eta_source: string;
  needs?: string[]; assignment?: 'automatic' | 'person'; waits?: boolean; diversion?: Diversion | null;
}

export interface Incident {
  incident_id: string;
  status: string;
  priority: number;
  patient_id: string | null;
  location: LatLon | null;
  summary: string;
  opened_at: string;
  acknowledged_at: string | null;
  acknowledge_by: string | null;
  escalation_level: number;
  triage: Triage | null;
  calls: number;
  needs?: string[];
  assignment: Assignment | null;
  resolved_at: string | null;
  cancel_reason: string | null;
  /** Milestones by the crew's clock: call, assigned, enroute, on_scene … */
  times: Record<string, string | null>;
  unit_id: string | null;
  unit_status: string | null;
  eta_at: string | null;
  waiting_reason: string | null;
  waits_for_person?: boolean;
  hospital: HospitalChoice | null;
  bill: { state: string; step: string | null; attention: string | null } | null;
  disposition: string | null;
  closed_at: string | null;
  updated_at: string;
  exercise: boolean;
  offset?: number;
}

export interface Unit {
  unit_id: string;
  kind: string;
  capabilities: string[];
  crew_level: string;
  station_id: string | null;
  status: string;
  incident_id: string | null;
  location: LatLon | null;
  located_at: string | null;
  status_at: string | null;
  eta_at: string | null;
  hospital: { hospital_id: string; name: string; location: LatLon; drive_s?: number; reason?: string } | null;
  updated_at: string;
  retired?: boolean;
}

export interface Hospital {
  hospital_id: string; name: string; location: LatLon; capabilities: string[]; state: string;
  beds_free?: number | null; expected_offload_min?: number | null;
}

export interface BillStep { at: string; kind: string; step: string | null; text: string }
export interface Bill {
  bill_id: string; incident_id: string; patient_id: string | null; state: string; step: string | null;
  attention: string | null; total: Money | null; insurer: Money | null; patient_share: Money | null;
  attempt: number; tries: number; payment_id: string | null; provider: string | null; charged: Money | null; reason: string | null; code: string | null;
  coverage_reason: string | null; retry_at: string | null; written_off: boolean;
  lines: { item: string; text: string; amount_minor: number }[];
  history: BillStep[]; updated_at: string;
}

export interface Notification {
  notification_id: string; incident_id: string | null; template: string; state: string; channel: string | null;
  provider: string | null; attempts: number; reason: string | null; updated_at: string;
}

export interface Actor {
  actor: string; state: 'running' | 'restarting' | 'quarantined' | 'passive'; incarnation: number; restarts: number;
  last_cause: string | null; detail: string | null; back_at: string | null;
  waiting?: number; parked?: number; parent?: string | null;
  /** Of a supervisor: what it has under it. */
  supervises?: { failing: boolean; running: number; restarting: number; quarantined: number; waiting: number; deaths_by_minute?: number[] } | null;
}

export interface Reading {
  patient_id: string; at: string; heart_rate_bpm?: number; spo2_pct?: number; respiration_rate_bpm?: number;
  systolic_mmhg?: number; diastolic_mmhg?: number; temperature_c?: number; consciousness?: string;
  oxygen?: boolean; fall?: boolean; sos?: boolean; location?: LatLon;
}

export interface Fix {
  unit_id: string; at: string; location: LatLon; speed_mps?: number; heading_deg?: number;
}

/** One event as the page holds it. */
export interface LiveEvent {
  offset: number; kind: string; at: string; data: any; stream: string; correlation_id: string | null;
}

/** All that is shown, as read from REST and carried on by events. Collections are replaced, never changed. */
export interface State {
  incidents: Map<string, Incident>;
  units: Map<string, Unit>;
  hospitals: Map<string, Hospital>;
  bills: Map<string, Bill>;
  notifications: Map<string, Notification>;
  actors: Map<string, Actor>;
  events: LiveEvent[];
}

export interface MapInfo {
  name: string; attribution: string; bounds: [number, number, number, number]; exercise: boolean; server_time: string; speed: number;
}

/** Lines of one road class in Mercator coordinates, 0 to 1. */
export interface RoadLine { rank: number; points: Float64Array; box: [number, number, number, number] }

export type LinkState = 'connecting' | 'live' | 'behind' | 'offline' | 'refused';
export interface LinkStatus {
  state: LinkState; retry_at: number | null; detail: string; epoch: string | null; offset: number | null; head: number | null;
}

export type FromWorker =
  | { type: 'status'; status: LinkStatus }
  | { type: 'hello'; epoch: string; head: number; server_time: string }
  | { type: 'batch'; events: LiveEvent[]; fixes: Fix[] }
  | { type: 'gap'; why: string };
export type ToWorker = { type: 'start'; token: string } | { type: 'stop' };
