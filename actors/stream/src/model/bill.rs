//! The bill document: state, step, the split, and how it came there.

use super::{Event, Fact, Versions, doc::UNKNOWN};
use serde::{Deserialize, Serialize};
use shers_contract::{
    IncidentId, Money, PatientId, Timestamp,
    billing::{BillLine, BillState, BillingEvent, Pending, Step},
};

/// Entries of the history that are kept: the newest.
pub const MAX_HISTORY: usize = 64;

/// One thing that happened to a bill.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Kind of the event.
    pub kind: String,
    /// Step, if it names one.
    pub step: Option<Step>,
    /// For a person.
    pub text: String,
}

/// The document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BillDoc {
    /// Id.
    pub bill_id: String,
    /// For which incident.
    pub incident_id: Option<IncidentId>,
    /// Who is billed.
    pub patient_id: Option<PatientId>,
    /// PENDING, PAID or FAILED.
    pub state: BillState,
    /// Step of the saga.
    pub step: Option<Step>,
    /// `stuck`, or null.
    pub attention: Option<String>,
    /// 1, 2 …
    pub attempt: u16,
    /// Tries of this step that did not end.
    #[serde(default)]
    pub tries: u16,
    /// Lines by the tariff.
    pub lines: Vec<BillLine>,
    /// Their sum.
    pub total: Option<Money>,
    /// What the insurer pays.
    pub insurer: Option<Money>,
    /// What the patient pays.
    pub patient_share: Option<Money>,
    /// How the split came about.
    pub coverage_reason: Option<String>,
    /// The provider's payment.
    pub payment_id: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// What was charged.
    pub charged: Option<Money>,
    /// Why it failed, is stuck, or is tried again.
    pub reason: Option<String>,
    /// The same as a word.
    pub code: Option<String>,
    /// When the step is tried again.
    pub retry_at: Option<Timestamp>,
    /// Given up by a person.
    pub written_off: bool,
    /// What happened, oldest first.
    pub history: Vec<Entry>,
    /// When it was begun.
    pub created_at: Option<Timestamp>,
    /// Last change.
    pub updated_at: Timestamp,
    /// Demo and drills.
    pub exercise: bool,
    /// Version of the bill's stream.
    pub version: u64,
    /// Versions folded.
    #[serde(rename = "_versions")]
    pub versions: Versions,
}

/// The incident that a billing event is about.
#[must_use]
pub fn incident_of(event: &BillingEvent) -> &IncidentId {
    match event {
        BillingEvent::Pending(e) => &e.incident_id,
        BillingEvent::CoverageVerified(e) => &e.incident_id,
        BillingEvent::Paid(e) => &e.incident_id,
        BillingEvent::Failed(e) => &e.incident_id,
        BillingEvent::Compensated(e) => &e.incident_id,
        BillingEvent::Stuck(e) => &e.incident_id,
        BillingEvent::WrittenOff(e) => &e.incident_id,
    }
}

impl BillDoc {
    /// Nothing is known of it yet.
    #[must_use]
    pub fn empty(id: &str) -> Self {
        Self {
            bill_id: id.to_owned(),
            incident_id: None,
            patient_id: None,
            state: BillState::Pending,
            step: None,
            attention: None,
            attempt: 0,
            tries: 0,
            lines: Vec::new(),
            total: None,
            insurer: None,
            patient_share: None,
            coverage_reason: None,
            payment_id: None,
            provider: None,
            charged: None,
            reason: None,
            code: None,
            retry_at: None,
            written_off: false,
            history: Vec::new(),
            created_at: None,
            updated_at: Timestamp::default(),
            exercise: false,
            version: 0,
            versions: Versions::default(),
        }
    }

    /// Filter word: the state, or `stuck` for a pending one that waits for a person.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self.state {
            _ if self.created_at.is_none() => UNKNOWN,
            BillState::Pending if self.attention.is_some() => "stuck",
            BillState::Pending => "PENDING",
            BillState::Paid => "PAID",
            BillState::Failed => "FAILED",
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
        let Event::Billing(event) = &fact.event else { return true };
        self.created_at.get_or_insert(fact.at);
        self.exercise = fact.exercise;
        self.incident_id = Some(incident_of(event).clone());
        let (step, text) = self.step_of(event);
        if self.history.len() >= MAX_HISTORY {
            self.history.remove(0);
        }
        self.history.push(Entry { at: fact.at, kind: fact.kind.as_str().to_owned(), step, text });
        true
    }

    /// Takes over what `event` says, and tells it in a sentence.
    fn step_of(&mut self, event: &BillingEvent) -> (Option<Step>, String) {
        match event {
            BillingEvent::Pending(pending) => (Some(pending.step), self.pending(pending)),
            BillingEvent::CoverageVerified(verified) => {
                self.insurer = Some(verified.insurer);
                self.patient_share = Some(verified.patient);
                self.coverage_reason = Some(verified.reason.clone());
                (None, format!("insurer {}, patient {}: {}", verified.insurer, verified.patient, verified.reason))
            }
            BillingEvent::Paid(paid) => {
                self.settle(BillState::Paid);
                self.payment_id = paid.payment_id.clone().or_else(|| self.payment_id.take());
                self.provider = Some(paid.provider.clone());
                self.charged = Some(paid.charged);
                self.reason = None;
                self.code = None;
                (Some(Step::Settled), format!("{} charged by {}", paid.charged, paid.provider))
            }
            BillingEvent::Failed(failed) => {
                self.settle(BillState::Failed);
                self.reason = Some(failed.reason.clone());
                self.code = Some(failed.code.clone());
                (Some(Step::Settled), failed.reason.clone())
            }
            BillingEvent::Compensated(compensated) => (None, compensated.what.clone()),
            BillingEvent::Stuck(stuck) => {
                self.state = BillState::Pending;
                self.step = Some(stuck.step);
                self.attention = Some("stuck".to_owned());
                self.reason = Some(stuck.reason.clone());
                self.retry_at = None;
                (Some(stuck.step), stuck.reason.clone())
            }
            BillingEvent::WrittenOff(written_off) => {
                self.settle(BillState::Failed);
                self.written_off = true;
                self.reason = Some(written_off.reason.clone());
                (Some(Step::Settled), format!("written off by {}: {}", written_off.by, written_off.reason))
            }
        }
    }

    fn pending(&mut self, pending: &Pending) -> String {
        let same = self.step == Some(pending.step) && pending.order.is_none();
        // A stuck bill that goes on counts anew.
        let before = if same && self.attention.is_none() { self.tries } else { 0 };
        self.tries = before.saturating_add(u16::from(pending.retry_at.is_some()));
        self.state = BillState::Pending;
        self.step = Some(pending.step);
        self.attention = None;
        self.attempt = pending.attempt;
        self.retry_at = pending.retry_at;
        self.reason.clone_from(&pending.reason);
        self.code.clone_from(&pending.code);
        if let Some(order) = &pending.order {
            self.patient_id.clone_from(&order.patient_id);
            self.lines.clone_from(&order.lines);
            self.total = Some(order.total);
            self.payment_id = None;
            self.written_off = false;
        }
        if pending.payment_id.is_some() {
            self.payment_id.clone_from(&pending.payment_id);
        }
        if pending.provider.is_some() {
            self.provider.clone_from(&pending.provider);
        }
        match (&pending.reason, pending.retry_at) {
            (Some(reason), Some(at)) => format!("{reason}; tried again at {at}"),
            (Some(reason), None) => reason.clone(),
            (None, _) => String::new(),
        }
    }

    fn settle(&mut self, state: BillState) {
        self.state = state;
        self.step = Some(Step::Settled);
        self.attention = None;
        self.retry_at = None;
        self.tries = 0;
    }
}
