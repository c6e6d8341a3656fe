//! `GET /rules` and `PUT /rules`.
//!
//! The thresholds are one document. The NEWS2 table is fixed: it is shown beside them, and a PUT may
//! bring it back unchanged.

use crate::desk::Desk;
use crate::model::{news2, rules::Rules};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shers_contract::{
    Problem,
    api::{Answer, Call, Reply, Request},
};
use shers_runtime::{Commit, DocumentWrite, LocalEndpoint};
use std::rc::Rc;

/// Collection of the rules.
pub(crate) const RULES: &str = "triage.rules";
/// Their only document.
pub(crate) const RULES_ID: &str = "current";

/// The rules as stored.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredRules {
    pub(crate) version: u64,
    pub(crate) rules: Rules,
}

/// Answers requests on the service's arbiter.
pub(crate) struct Door {
    pub(crate) desk: Rc<Desk>,
}

#[async_trait(?Send)]
impl LocalEndpoint for Door {
    async fn call(&self, call: Call) -> Reply {
        match call.request {
            Request::GetRules => {
                let state = self.desk.state.borrow();
                Ok(shown(&state.rules, state.rules_version))
            }
            Request::PutRules(body) => self.put(body, call.if_match).await,
            other => Err(Problem::not_found("such request at triage", other.service().as_str())),
        }
    }
}

impl Door {
    async fn put(&self, body: Value, if_match: Option<u64>) -> Reply {
        let rules = read(body)?;
        let (current, version) = {
            let state = self.desk.state.borrow();
            (state.rules, state.rules_version)
        };
        if let Some(expected) = if_match.filter(|v| *v != version) {
            return Err(Problem::stale(expected, version));
        }
        if rules == current {
            return Ok(shown(&current, version));
        }
        let stored = StoredRules { version: version + 1, rules };
        let document = DocumentWrite {
            collection: RULES,
            id: RULES_ID.to_owned(),
            tag: String::new(),
            rank: 0,
            doc: serde_json::to_string(&stored).ok(),
        };
        let commit = Commit { documents: vec![document], ..Commit::default() };
        self.desk.deps.store.commit(commit).await.map_err(|error| Problem::unavailable(error.to_string()))?;
        let mut state = self.desk.state.borrow_mut();
        (state.rules, state.rules_version) = (rules, version + 1);
        Ok(shown(&rules, version + 1))
    }
}

fn shown(rules: &Rules, version: u64) -> Answer {
    let mut body = serde_json::to_value(rules).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        members.insert("news2".to_owned(), news2::table());
        members.insert("extremes".to_owned(), extremes());
    }
    Answer::ok(body).at_version(version)
}

/// The single-parameter extremes, read-only as the table is.
fn extremes() -> Value {
    json!({
        "source": "calling criteria of medical emergency teams, adults",
        "respiration_rate_bpm": {"below": 5, "above": 36},
        "heart_rate_bpm": {"below": 40, "above": 140},
        "systolic_mmhg": {"below": 90},
        "spo2_pct_on_oxygen": {"below": 90},
    })
}

/// Reads a PUT's body: the thresholds, with the read-only parts absent or as they were shown.
fn read(mut body: Value) -> Result<Rules, Problem> {
    let Some(members) = body.as_object_mut() else {
        return Err(Problem::malformed("the rules are a JSON object; GET /api/v1/rules shows one"));
    };
    for (name, fixed) in [("news2", news2::table()), ("extremes", extremes())] {
        if members.remove(name).is_some_and(|sent| sent != fixed) {
            let detail = format!("{name} is fixed by its published source and can't be changed; leave it out");
            return Err(Problem::invalid(&format!("/{name}"), detail));
        }
    }
    let rules: Rules = serde_json::from_value(body).map_err(|error| Problem::invalid("", error.to_string()))?;
    rules.check()?;
    Ok(rules)
}
