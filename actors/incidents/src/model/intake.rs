//! Calls as they come in: how urgent they are and whether they can be taken at all.

use super::command::{Command, NewCall, OpeningRule};
use shers_contract::{
    IncidentId, LatLon, Problem, Timestamp,
    api::{IncidentAction, ManualCall},
    incident::{CallReceived, CallSource, Priority},
    triage::{Class, TriageStatus},
};

/// Limits on what a person writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextLimits {
    /// Longest summary or reason, in characters.
    pub max_chars: usize,
    /// Most capabilities a call may ask for.
    pub max_needs: usize,
}

/// Longest name of a capability, in characters.
const MAX_NEED_CHARS: usize = 32;
/// From this NEWS2 total on an emergency is life-threatening by itself.
const LIFE_THREATENING_NEWS2: u8 = 9;

/// How urgent a class of triage is: 1 for single-parameter extremes, an unresponsive wearer or a total
/// of 9 and more, 2 for other emergencies, 3 below that.
#[must_use]
pub fn priority_of(status: &TriageStatus) -> Priority {
    let unresponsive =
        status.findings.iter().any(|f| f.parameter == "consciousness" && f.value.eq_ignore_ascii_case("unresponsive"));
    let extreme = status.rule.starts_with("extreme-") || status.score.known >= LIFE_THREATENING_NEWS2;
    match status.class {
        Class::Emergency if extreme || unresponsive => Priority::P1,
        Class::Emergency => Priority::P2,
        Class::Abnormal | Class::Normal | Class::Insufficient => Priority::P3,
    }
}

/// The call that a class of triage makes. Where the wearer is not known, `home` stands in.
#[must_use]
pub fn triage_call(
    incident_id: IncidentId,
    status: &TriageStatus,
    home: Option<LatLon>,
    now: Timestamp,
    rule: OpeningRule,
) -> Command {
    Command::ReceiveCall(Box::new(NewCall {
        incident_id,
        patient_id: Some(status.patient_id.clone()),
        priority: priority_of(status),
        location: status.location.or(home),
        call: CallReceived {
            source: CallSource::Triage,
            at: now,
            summary: status.reason.clone(),
            triage: Some(status.clone()),
        },
        needs: Vec::new(),
        rule,
    }))
}

/// The call that a person makes.
#[must_use]
pub fn manual_call(
    incident_id: IncidentId,
    call: &ManualCall,
    home: Option<LatLon>,
    now: Timestamp,
    rule: OpeningRule,
) -> Command {
    Command::ReceiveCall(Box::new(NewCall {
        incident_id,
        patient_id: call.patient_id.clone(),
        priority: call.priority,
        location: call.location.or(home),
        call: CallReceived {
            source: CallSource::Manual,
            at: now,
            summary: call.summary.trim().to_owned(),
            triage: None,
        },
        needs: call.needs.clone(),
        rule,
    }))
}

/// Checks a person's call.
///
/// # Errors
/// The first thing that cannot be right, with what would be.
pub fn check_manual(call: &ManualCall, limits: TextLimits) -> Result<(), Problem> {
    check_text("/summary", &call.summary, limits)?;
    if call.patient_id.is_none() && call.location.is_none() {
        return Err(Problem::invalid(
            "/location",
            "a call needs to say where or for whom: give a location, a patient_id, or both",
        ));
    }
    if call.needs.len() > limits.max_needs {
        let detail = format!("at most {} capabilities can be asked for, got {}", limits.max_needs, call.needs.len());
        return Err(Problem::invalid("/needs", detail));
    }
    for (place, need) in call.needs.iter().enumerate() {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if need.is_empty() || need.len() > MAX_NEED_CHARS || !need.bytes().all(word) {
            let detail = format!(
                "a capability is 1 to {MAX_NEED_CHARS} characters of a-z 0-9 -, such as als or bariatric, got {:?}",
                need.chars().take(40).collect::<String>()
            );
            return Err(Problem::invalid(&format!("/needs/{place}"), detail));
        }
    }
    Ok(())
}

/// The command of what a person does to an incident.
///
/// # Errors
/// A reason that is missing or too long.
pub fn act(action: IncidentAction, by: &str, limits: TextLimits) -> Result<Command, Problem> {
    let by = by.to_owned();
    Ok(match action {
        IncidentAction::Acknowledge => Command::Acknowledge { by },
        IncidentAction::Close => Command::Close { by },
        IncidentAction::Resolve { disposition } => Command::Resolve { by, disposition },
        IncidentAction::Cancel { reason } => {
            check_text("/reason", &reason, limits)?;
            Command::Cancel { by, reason: reason.trim().to_owned() }
        }
        IncidentAction::Downgrade { reason } => {
            check_text("/reason", &reason, limits)?;
            Command::Downgrade { by, reason: reason.trim().to_owned() }
        }
        IncidentAction::Escalate { reason } => {
            check_text("/reason", &reason, limits)?;
            Command::Escalate { by, reason: reason.trim().to_owned() }
        }
    })
}

fn check_text(field: &str, text: &str, limits: TextLimits) -> Result<(), Problem> {
    let chars = text.trim().chars().count();
    if chars == 0 || chars > limits.max_chars {
        let detail = format!("give a sentence of 1 to {} characters, got {chars}", limits.max_chars);
        return Err(Problem::invalid(field, detail));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid(field, "give one line of text without control characters"));
    }
    Ok(())
}
