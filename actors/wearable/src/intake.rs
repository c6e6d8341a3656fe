//! `POST /vitals`, on the caller's own thread: read, check, write as JSON. Only the commit is shared.

use crate::Shared;
use crate::formats::{Element, json};
use crate::model::check::{Window, check, is_urgent, problem};
use crate::model::track::fingerprint;
use crate::wearers::Wearer;
use crate::writer::{Item, Submission, Written};
use serde_json::json;
use serde_json::value::to_raw_value;
use shers_contract::{
    PatientId, Problem, Timestamp,
    api::{Answer, Call, Idempotency, Reply, VitalsFormat},
    vitals::Reading,
};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::oneshot;

/// What became of the elements of one body.
#[derive(Default)]
struct Sorted {
    items: Vec<Item>,
    urgent: bool,
    /// Good, but of a patient that this process doesn't know (yet).
    strangers: Vec<(usize, Reading)>,
    refused: Vec<(usize, Problem)>,
}

pub(crate) async fn record_vitals(shared: &Shared, call: Call, body: &str, format: VitalsFormat) -> Reply {
    if let Some(reply) = replay(shared, call.idempotency.as_ref()).await? {
        return Ok(reply);
    }
    let now = shared.clock.now();
    let mut sorted = sort(shared, body, format, now)?;
    let strangers = std::mem::take(&mut sorted.strangers);
    if !strangers.is_empty() {
        meet(shared, strangers, &mut sorted).await?;
    }
    let accepted = sorted.items.len();
    count(accepted, sorted.refused.len());
    let answer = answer(accepted, sorted.refused)?;
    if accepted == 0 {
        return Ok(answer);
    }
    let (done, written) = oneshot::channel();
    let submission = Submission {
        items: sorted.items,
        urgent: sorted.urgent,
        exercise: call.exercise,
        cause: call.id,
        traceparent: call.traceparent,
        idempotency: call.idempotency.clone().map(|idempotency| (idempotency, answer.clone())),
        done,
    };
    if shared.submit.try_send(submission).is_err() {
        return Err(Problem::unavailable(
            "more readings arrive than can be written; nothing was accepted, send them again",
        ));
    }
    match written.await {
        Ok(Written::Stored) => Ok(answer),
        Ok(Written::Answered) => replay(shared, call.idempotency.as_ref()).await?.ok_or_else(Problem::unknown_outcome),
        Ok(Written::Failed(problem)) => Err(problem),
        Err(_) => Err(Problem::unknown_outcome()),
    }
}

/// The answer given before under the same key.
async fn replay(shared: &Shared, idempotency: Option<&Idempotency>) -> Result<Option<Answer>, Problem> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    let saved = shared.store.answer(&idempotency.key).await;
    match saved.map_err(|error| Problem::unavailable(error.to_string()))? {
        Some(saved) if saved.body_digest == idempotency.body_digest => Ok(Some(saved.answer)),
        Some(_) => {
            let detail = "this Idempotency-Key was used with another body; use a new key for a new request";
            Err(Problem::new(422, "idempotency-key-reused", detail))
        }
        None => Ok(None),
    }
}

fn sort(shared: &Shared, body: &str, format: VitalsFormat, now: Timestamp) -> Result<Sorted, Problem> {
    let settings = &shared.settings;
    let elements = json::elements(body, format, settings.max_readings_per_body)?;
    let window = Window {
        future_ms: 1000 * i64::from(settings.future_limit_s),
        past_ms: 1000 * i64::from(settings.past_limit_s),
    };
    let wearers = shared.wearers.read();
    let mut sorted = Sorted { items: Vec::with_capacity(elements.len()), ..Sorted::default() };
    for (index, element) in elements.into_iter().enumerate() {
        let (mut reading, wearer) = match element {
            Element::Quick(quick) => {
                let wearer = wearers.get(quick.patient_id);
                let id = match wearer {
                    Some(wearer) => Ok(wearer.id.clone()),
                    None => PatientId::new(quick.patient_id)
                        .map_err(|error| Problem::invalid("/patient_id", error.to_string())),
                };
                match id.and_then(|id| quick.into_reading(id)) {
                    Ok(reading) => (reading, wearer),
                    Err(problem) => {
                        sorted.refused.push((index, problem));
                        continue;
                    }
                }
            }
            Element::Slow(reading) => {
                let wearer = wearers.get(reading.patient_id.as_str());
                (*reading, wearer)
            }
            Element::Bad(problem) => {
                sorted.refused.push((index, problem));
                continue;
            }
        };
        match (check(&mut reading, now, window), wearer) {
            (Ok(()), Some(wearer)) => sorted.take(reading, wearer),
            (Ok(()), None) => sorted.strangers.push((index, reading)),
            (Err(faults), _) => sorted.refused.push((index, problem(&faults))),
        }
    }
    Ok(sorted)
}

impl Sorted {
    fn take(&mut self, reading: Reading, wearer: &Arc<Wearer>) {
        self.urgent |= is_urgent(&reading);
        // A plain struct: writing it cannot fail.
        let Ok(json) = to_raw_value(&reading) else { return };
        let fingerprint = fingerprint(&reading, json.get());
        self.items.push(Item { wearer: Arc::clone(wearer), at: reading.at, fingerprint, json });
    }
}

/// Looks for patients whom another process may have registered; refuses the rest.
async fn meet(shared: &Shared, strangers: Vec<(usize, Reading)>, sorted: &mut Sorted) -> Result<(), Problem> {
    let mut met: HashMap<PatientId, Option<Arc<Wearer>>> = HashMap::new();
    for (index, reading) in strangers {
        let wearer = match met.get(&reading.patient_id) {
            Some(wearer) => wearer.clone(),
            None => {
                let found = shared.store.document(crate::PATIENTS, reading.patient_id.as_str()).await;
                let found = found.map_err(|error| Problem::unavailable(error.to_string()))?;
                let wearer = found.map(|_| shared.wearers.add(&reading.patient_id));
                met.insert(reading.patient_id.clone(), wearer.clone());
                wearer
            }
        };
        match wearer {
            Some(wearer) => sorted.take(reading, &wearer),
            None => {
                let id = &reading.patient_id;
                let detail =
                    format!("there is no patient {id}; register with PUT /api/v1/patients/{id}, then send again");
                sorted.refused.push((index, Problem::new(422, "unknown-patient", detail).with("field", "/patient_id")));
            }
        }
    }
    sorted.refused.sort_by_key(|(index, _)| *index);
    Ok(())
}

/// 202 with what was taken, 422 when nothing was.
fn answer(accepted: usize, refused: Vec<(usize, Problem)>) -> Reply {
    let all = accepted == 0 && !refused.is_empty();
    let count = refused.len();
    let refused: Vec<serde_json::Value> =
        refused.into_iter().map(|(index, problem)| json!({"index": index, "problem": problem})).collect();
    if all {
        let detail = match count {
            1 => "the reading was refused; see refused".to_owned(),
            _ => format!("all {count} readings were refused; see refused"),
        };
        let problem = Problem::new(422, "all-readings-refused", detail);
        return Err(problem.with("accepted", 0).with("refused", refused));
    }
    Ok(Answer::ok(json!({"accepted": accepted, "refused": refused})).with_status(202))
}

fn count(accepted: usize, refused: usize) {
    let add = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    if accepted > 0 {
        metrics::counter!("shers_readings_accepted_total").increment(add(accepted));
    }
    if refused > 0 {
        metrics::counter!("shers_readings_refused_total").increment(add(refused));
    }
}
