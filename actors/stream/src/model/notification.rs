//! The notification document: what the next of kin were told, and each attempt. No address, no name.

use super::{Event, Fact, Versions, doc::UNKNOWN};
use serde::{Deserialize, Serialize};
use shers_contract::{
    IncidentId, Timestamp,
    notification::{AttemptEnded, Channel, NotificationEvent, PlannedAttempt, Template},
};

/// Attempts that are kept: the newest.
pub const MAX_ATTEMPTS: usize = 64;

/// State of a notification, or of one attempt (which is never `queued`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Accepted; no attempt runs.
    Queued,
    /// The provider was asked and has not answered.
    Attempted,
    /// The provider took it.
    Sent,
    /// Refused, or nobody could be tried.
    Failed,
    /// Nobody knows.
    Ambiguous,
}

/// One attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// 1, 2 …; 0 when there was nobody to try.
    pub attempt: u16,
    /// Place in the patient's list of contacts.
    pub contact: Option<u16>,
    /// How.
    pub channel: Option<Channel>,
    /// Provider.
    pub provider: String,
    /// How it ended.
    pub state: State,
    /// When it was begun.
    pub at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The provider's message id.
    pub provider_id: Option<String>,
    /// Why it failed or is unknown.
    pub reason: Option<String>,
    /// The attempt that this one repeats although it may have arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u16>,
}

/// The document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NotificationDoc {
    /// Id.
    pub notification_id: String,
    /// About which incident.
    pub incident_id: Option<IncidentId>,
    /// What it says.
    pub template: Option<Template>,
    /// State of the whole: sent once any attempt was, and so on down.
    pub state: State,
    /// The attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Provider of the last attempt.
    pub provider: Option<String>,
    /// Channel of the last attempt.
    pub channel: Option<Channel>,
    /// Why the last attempt failed or is unknown.
    pub reason: Option<String>,
    /// When the next attempt is due.
    pub next_at: Option<Timestamp>,
    /// No further attempt follows.
    pub ended: bool,
    /// When it was queued.
    pub created_at: Option<Timestamp>,
    /// Last change.
    pub updated_at: Timestamp,
    /// Demo and drills.
    pub exercise: bool,
    /// Version of its stream.
    pub version: u64,
    /// Versions folded.
    #[serde(rename = "_versions")]
    pub versions: Versions,
}

impl NotificationDoc {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn empty(id: &str) -> Self {
        Self {
            notification_id: id.to_owned(),
            incident_id: None,
            template: None,
            state: State::Queued,
            attempts: Vec::new(),
            provider: None,
            channel: None,
            reason: None,
            next_at: None,
            ended: false,
            created_at: None,
            updated_at: Timestamp::default(),
            exercise: false,
            version: 0,
            versions: Versions::default(),
        }
    }

    /// Filter word: the state.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self.state {
            _ if self.created_at.is_none() => UNKNOWN,
            State::Queued => "queued",
            State::Attempted => "attempted",
            State::Sent => "sent",
            State::Failed => "failed",
            State::Ambiguous => "ambiguous",
        }
    }

    /// Sort key: newest first.
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.created_at.unwrap_or(self.updated_at).as_ms().saturating_neg()
    }

    /// Folds `fact`. True when the document changed.
    pub fn fold(&mut self, fact: &Fact) -> bool {
        if !self.versions.admit(fact) {
            return false;
        }
        self.updated_at = fact.at;
        self.version = fact.version;
        let Event::Notification(event) = &fact.event else { return true };
        self.created_at.get_or_insert(fact.at);
        self.exercise = fact.exercise;
        match event {
            NotificationEvent::Queued(queued) => {
                self.incident_id = Some(queued.request.incident_id.clone());
                self.template = Some(queued.request.template);
            }
            NotificationEvent::Attempted(attempted) => {
                self.next_at = None;
                self.began(attempted.attempt, Some(&attempted.target), &attempted.provider, fact.at);
                if let Some(begun) = self.attempts.last_mut() {
                    begun.repeats = attempted.repeats;
                }
            }
            NotificationEvent::Sent(ended) => self.attempt_ended(ended, State::Sent, fact.at),
            NotificationEvent::Failed(ended) => self.attempt_ended(ended, State::Failed, fact.at),
            NotificationEvent::Ambiguous(ended) => self.attempt_ended(ended, State::Ambiguous, fact.at),
        }
        self.state = self.overall();
        true
    }

    fn began(&mut self, attempt: u16, target: Option<&PlannedAttempt>, provider: &str, at: Timestamp) {
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        let (contact, channel) = (target.map(|t| t.contact), target.map(|t| t.channel));
        self.provider = Some(provider.to_owned());
        self.channel = channel.or(self.channel);
        self.attempts.push(Attempt {
            attempt,
            contact,
            channel,
            provider: provider.to_owned(),
            state: State::Attempted,
            at,
            ended_at: None,
            provider_id: None,
            reason: None,
            repeats: None,
        });
    }

    fn attempt_ended(&mut self, ended: &AttemptEnded, state: State, at: Timestamp) {
        self.incident_id = Some(ended.incident_id.clone());
        self.template = Some(ended.template);
        self.next_at = ended.next_at;
        self.ended = ended.last;
        self.reason.clone_from(&ended.reason);
        let nobody_to_try = ended.target.is_none();
        let begun = |a: &Attempt| a.attempt == ended.attempt && a.ended_at.is_none();
        if !nobody_to_try && !self.attempts.iter().any(begun) {
            self.began(ended.attempt, ended.target.as_ref(), &ended.provider, at);
        }
        if let Some(attempt) = self.attempts.iter_mut().rev().find(|a| begun(a)) {
            attempt.state = state;
            attempt.ended_at = Some(at);
            attempt.provider_id.clone_from(&ended.provider_id);
            attempt.reason.clone_from(&ended.reason);
        }
    }

    /// Sent once any attempt was; else one runs; else one is unknown; else all is over; else it waits.
    fn overall(&self) -> State {
        let any = |state: State| self.attempts.iter().any(|a| a.state == state);
        if any(State::Sent) {
            State::Sent
        } else if any(State::Attempted) {
            State::Attempted
        } else if any(State::Ambiguous) {
            State::Ambiguous
        } else if self.ended {
            State::Failed
        } else {
            State::Queued
        }
    }
}
