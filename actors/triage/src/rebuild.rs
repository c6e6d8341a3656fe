//! What triage knew before a restart.
//!
//! 1. The patients' facts, the rules and the stored monitors, from their documents. Every announcement
//!    stored its monitor in the same commit, so what was announced is known exactly.
//! 2. The journal of readings from the last snapshot to the consumer's cursor: those were dealt with,
//!    announced nothing that isn't stored, and are only absorbed. Merging is the same in any order, so
//!    reading too much does no harm.
//! 3. What lies past the cursor is delivered again and judged as ever.

use crate::desk::{CONSUMER, Entry, MONITORS, SNAPSHOT, SUBJECTS, State};
use crate::model::{monitor::Monitor, rules::Rules, subject::Subject};
use crate::{Settings, StartError, endpoint};
use serde::de::DeserializeOwned;
use shers_contract::{Kind, PatientId, vitals::ReadingBatch};
use shers_runtime::{Deps, Document};

/// Documents read at once.
const PAGE: usize = 1_000;
/// Envelopes read at once.
const JOURNAL_PAGE: usize = 256;

pub(crate) async fn load(deps: &Deps, settings: &Settings) -> Result<State, StartError> {
    let mut state = State::default();
    if let Some(document) = deps.store.document(endpoint::RULES, endpoint::RULES_ID).await? {
        let stored: endpoint::StoredRules = parse(endpoint::RULES, &document)?;
        (state.rules, state.rules_version) = (stored.rules, stored.version);
    }
    each::<Subject>(deps, SUBJECTS, |id, subject| {
        state.subjects.insert(id, subject);
    })
    .await?;
    each::<Monitor>(deps, MONITORS, |id, monitor| {
        state.monitors.insert(id, Entry::stored(monitor));
    })
    .await?;
    let envelopes = absorb_journal(deps, settings, &mut state).await?;
    tracing::info!(
        monitors = state.monitors.len(),
        patients = state.subjects.len(),
        envelopes,
        "triage knows its wearers"
    );
    Ok(state)
}

async fn absorb_journal(deps: &Deps, settings: &Settings, state: &mut State) -> Result<usize, StartError> {
    let known = deps.store.cursor(SNAPSHOT).await?;
    let mut before = deps.store.cursor(CONSUMER).await?.saturating_add(1);
    let oldest_at = deps.clock.now().plus_ms(-longest_life_ms(&state.rules));
    let mut count = 0;
    while before > known.saturating_add(1) && count < settings.rebuild_envelopes {
        let page = deps.store.read_back("readings", before, JOURNAL_PAGE).await?;
        let Some(oldest) = page.last() else { break };
        before = oldest.position;
        let reached_the_end = oldest.envelope.at < oldest_at;
        for recorded in &page {
            if recorded.position <= known || recorded.envelope.kind != Kind::READING_RECORDED {
                continue;
            }
            count += 1;
            // An unreadable envelope went to the dead letters when it was delivered.
            let Ok(batch) = serde_json::from_str::<ReadingBatch>(recorded.envelope.data.get()) else { continue };
            for reading in &batch.readings {
                let entry = state.monitors.entry(reading.patient_id.clone()).or_default();
                entry.monitor.absorb(reading, batch.received_at, &state.rules);
            }
        }
        if reached_the_end {
            break;
        }
    }
    Ok(count)
}

fn longest_life_ms(rules: &Rules) -> i64 {
    let lives = crate::model::news2::Parameter::ALL.map(|p| rules.lives.of_ms(p));
    lives.into_iter().max().unwrap_or(0)
}

async fn each<T: DeserializeOwned>(
    deps: &Deps,
    collection: &'static str,
    mut take: impl FnMut(PatientId, T),
) -> Result<(), StartError> {
    let mut after = None;
    loop {
        let page = deps.store.documents(collection, &[], after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some((last.rank, last.id.clone()));
        for document in &page {
            if let Ok(id) = PatientId::new(&document.id) {
                take(id, parse(collection, document)?);
            }
        }
    }
}

fn parse<T: DeserializeOwned>(collection: &'static str, document: &Document) -> Result<T, StartError> {
    serde_json::from_str(&document.doc).map_err(|source| StartError::Document {
        collection,
        id: document.id.clone(),
        source,
    })
}
