//! One notification: a template for an incident, and the attempts to get it to somebody.
//!
//! States: `Unqueued` → `Claimed` ⇄ `Waiting` → `Ended`.
//!
//! Invariants:
//! - An attempt is claimed (`notification.attempted`) in the log before the provider is called, and each
//!   claim ends in exactly one of sent, failed or ambiguous.
//! - A claim whose end is not known is never simply sent again: the effect says which earlier attempts
//!   are in doubt, and the performer asks the provider about them first.
//! - An attempt with an unknown outcome is repeated to the same target at most `ambiguous_repeats` times,
//!   marked as a repeat in the log and in the text, a failed one at most `attempts_per_target` times; then the next target is tried.
//! - The first target that the provider takes the message for ends it. `Ended` is final.

use shers_contract::{
    IncidentId, Problem, Timestamp,
    api::Answer,
    notification::{
        AttemptEnded, Attempted, DeliveryPolicy, NotificationEvent, PlannedAttempt, Queued, SendNotification,
    },
};
use shers_runtime::Aggregate;

/// What is asked of a notification.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Send it.
    Queue(Box<Queued>),
    /// The wait before the next attempt is over.
    Due,
    /// An attempt has ended.
    End {
        /// Which.
        attempt: u16,
        /// How.
        outcome: Outcome,
    },
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The provider took it.
    Sent {
        /// The provider's id of the message.
        provider_id: String,
        /// Set when an earlier attempt in doubt turned out to have been sent: nothing was sent now.
        earlier: Option<u16>,
    },
    /// The provider refused it.
    Refused {
        /// Why; never an address.
        reason: String,
        /// It will always refuse it for this target.
        permanent: bool,
    },
    /// Nobody knows.
    Ambiguous {
        /// Why.
        reason: String,
    },
}

/// Why a notification says no: it never does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {}
    }
}

/// What is to be done outside: send one attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct Send {
    /// What to say and about whom.
    pub request: SendNotification,
    /// Which attempt.
    pub attempt: u16,
    /// To whom and how.
    pub target: PlannedAttempt,
    /// By which provider.
    pub provider: String,
    /// Earlier attempts to the same target whose outcome is unknown.
    pub in_doubt: Vec<u16>,
}

/// What is remembered of a notification.
#[derive(Clone, PartialEq, Debug)]
pub struct Letter {
    /// The command.
    pub request: SendNotification,
    /// Who is tried, in order.
    pub plan: Vec<PlannedAttempt>,
    /// How it is tried again.
    pub policy: DeliveryPolicy,
    /// Attempts so far.
    pub attempts: u16,
    /// Place in the plan of the latest attempt.
    pub place: usize,
    /// Attempts to that place.
    pub tries: u16,
    /// Those of them whose outcome is unknown.
    pub in_doubt: Vec<u16>,
    /// An attempt to any place has an unknown outcome.
    pub any_doubt: bool,
}

/// How a notification ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Somebody was reached.
    Sent,
    /// Nobody was.
    Failed,
    /// Perhaps somebody was.
    Ambiguous,
}

/// A notification.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Notification {
    /// Nothing has happened yet.
    #[default]
    Unqueued,
    /// An attempt is claimed; its outcome is not known yet.
    Claimed(Box<Letter>),
    /// The next attempt waits.
    Waiting {
        /// What is remembered.
        letter: Box<Letter>,
        /// Until when.
        until: Timestamp,
    },
    /// Over.
    Ended {
        /// What is remembered.
        letter: Box<Letter>,
        /// How.
        end: End,
    },
}

type Events = Vec<NotificationEvent>;

impl Letter {
    fn begin(queued: &Queued) -> Self {
        Self {
            request: queued.request.clone(),
            plan: queued.plan.clone(),
            policy: queued.policy.clone(),
            attempts: 0,
            place: 0,
            tries: 0,
            in_doubt: Vec::new(),
            any_doubt: false,
        }
    }

    fn target(&self) -> Option<&PlannedAttempt> {
        self.plan.get(self.place)
    }

    fn note_attempt(&mut self, attempted: &Attempted) {
        self.attempts = attempted.attempt;
        if self.target() == Some(&attempted.target) {
            self.tries = self.tries.saturating_add(1);
            return;
        }
        self.place = self.plan.iter().position(|planned| *planned == attempted.target).unwrap_or(self.place);
        self.tries = 1;
        self.in_doubt.clear();
    }

    /// The claim of the next attempt, to the target at `place`.
    fn claim(&self, place: usize) -> Option<NotificationEvent> {
        let target = self.plan.get(place)?.clone();
        let repeats = self.in_doubt.last().copied().filter(|_| self.tries > 0 && place == self.place);
        Some(NotificationEvent::Attempted(Attempted {
            notification_id: self.request.notification_id.clone(),
            attempt: self.attempts.saturating_add(1),
            target,
            provider: self.policy.provider.clone(),
            repeats,
        }))
    }

    fn ended(&self, reason: Option<String>) -> AttemptEnded {
        AttemptEnded {
            notification_id: self.request.notification_id.clone(),
            incident_id: self.request.incident_id.clone(),
            template: self.request.template,
            attempt: self.attempts,
            target: if self.attempts == 0 { None } else { self.target().cloned() },
            provider: self.policy.provider.clone(),
            provider_id: None,
            reason,
            last: true,
            next_at: None,
        }
    }

    /// When the target is tried again after an attempt that ended now.
    fn again_at(&self, now: Timestamp) -> Timestamp {
        let doubled = 1i64.checked_shl(u32::from(self.tries.saturating_sub(1)).min(30)).unwrap_or(i64::MAX);
        let wait_ms =
            i64::from(self.policy.backoff_ms).saturating_mul(doubled).min(i64::from(self.policy.max_backoff_ms));
        now.plus_ms(wait_ms)
    }

    /// What follows an attempt that reached nobody for sure: the same target `again`, else the next one
    /// at once, else the end.
    fn go_on(
        &self,
        ended: AttemptEnded,
        again: bool,
        now: Timestamp,
        say: fn(AttemptEnded) -> NotificationEvent,
    ) -> Events {
        if again {
            return vec![say(AttemptEnded { last: false, next_at: Some(self.again_at(now)), ..ended })];
        }
        match self.claim(self.place + 1) {
            Some(claim) => vec![say(AttemptEnded { last: false, next_at: Some(now), ..ended }), claim],
            None => vec![say(ended)],
        }
    }

    fn end(&self, outcome: &Outcome, now: Timestamp) -> Events {
        match outcome {
            Outcome::Sent { provider_id, earlier } => {
                let reason = earlier.map(|attempt| format!("attempt {attempt} turned out to have been sent"));
                let ended = AttemptEnded { provider_id: Some(provider_id.clone()), ..self.ended(reason) };
                vec![NotificationEvent::Sent(ended)]
            }
            Outcome::Refused { reason, permanent } => {
                let again = !permanent && self.tries < self.policy.attempts_per_target;
                self.go_on(self.ended(Some(reason.clone())), again, now, NotificationEvent::Failed)
            }
            Outcome::Ambiguous { reason } => {
                let again = self.in_doubt.len() < usize::from(self.policy.ambiguous_repeats);
                self.go_on(self.ended(Some(reason.clone())), again, now, NotificationEvent::Ambiguous)
            }
        }
    }
}

fn queue(queued: &Queued) -> Events {
    let letter = Letter::begin(queued);
    let next = letter.claim(0).filter(|_| queued.quiet.is_none()).unwrap_or_else(|| {
        let nobody = || "nobody to try: no contact with an address who wants messages".to_owned();
        NotificationEvent::Failed(letter.ended(Some(queued.quiet.clone().unwrap_or_else(nobody))))
    });
    vec![NotificationEvent::Queued(queued.clone()), next]
}

/// The letter after an attempt ended without reaching anybody for sure.
fn after(letter: Box<Letter>, ended: &AttemptEnded, end: End) -> Notification {
    match ended.next_at.filter(|_| !ended.last) {
        Some(until) => Notification::Waiting { letter, until },
        None => {
            let end = if letter.any_doubt { End::Ambiguous } else { end };
            Notification::Ended { letter, end }
        }
    }
}

impl Aggregate for Notification {
    const CATEGORY: &'static str = "notification";
    type Command = Command;
    type Event = NotificationEvent;
    type Refusal = Refusal;
    type Effect = Send;

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Events, Refusal> {
        Ok(match (self, command) {
            (Self::Unqueued, Command::Queue(queued)) => queue(queued),
            (Self::Waiting { letter, until }, Command::Due) if *until <= now => {
                letter.claim(letter.place).into_iter().collect()
            }
            (Self::Claimed(letter), Command::End { attempt, outcome }) if *attempt == letter.attempts => {
                letter.end(outcome, now)
            }
            // Repeats, deadlines that are not due any more, ends of attempts that have ended.
            (Self::Unqueued, Command::Due | Command::End { .. })
            | (Self::Claimed(_) | Self::Waiting { .. } | Self::Ended { .. }, _) => Vec::new(),
        })
    }

    fn evolve(self, event: &NotificationEvent, _at: Timestamp) -> Self {
        match (self, event) {
            (Self::Unqueued, NotificationEvent::Queued(queued)) => {
                // Only for the moment between two events of one append.
                Self::Waiting { letter: Box::new(Letter::begin(queued)), until: Timestamp::default() }
            }
            (Self::Waiting { mut letter, .. } | Self::Claimed(mut letter), NotificationEvent::Attempted(attempted)) => {
                letter.note_attempt(attempted);
                Self::Claimed(letter)
            }
            (Self::Claimed(letter) | Self::Waiting { letter, .. }, NotificationEvent::Sent(_)) => {
                Self::Ended { letter, end: End::Sent }
            }
            (Self::Claimed(letter) | Self::Waiting { letter, .. }, NotificationEvent::Failed(ended)) => {
                after(letter, ended, End::Failed)
            }
            (Self::Claimed(mut letter) | Self::Waiting { mut letter, .. }, NotificationEvent::Ambiguous(ended)) => {
                letter.in_doubt.push(ended.attempt);
                letter.any_doubt = true;
                after(letter, ended, End::Ambiguous)
            }
            (state, _) => state,
        }
    }

    fn correlation(&self, _event: &NotificationEvent) -> Option<IncidentId> {
        self.letter().map(|letter| letter.request.incident_id.clone())
    }

    fn deadline(&self) -> Option<(Timestamp, Command)> {
        match self {
            Self::Waiting { until, .. } => Some((*until, Command::Due)),
            Self::Unqueued | Self::Claimed(_) | Self::Ended { .. } => None,
        }
    }

    fn effect(&self) -> Option<Send> {
        match self {
            Self::Claimed(letter) => letter.target().map(|target| Send {
                request: letter.request.clone(),
                attempt: letter.attempts,
                target: target.clone(),
                provider: letter.policy.provider.clone(),
                in_doubt: letter.in_doubt.clone(),
            }),
            Self::Unqueued | Self::Waiting { .. } | Self::Ended { .. } => None,
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    fn answer(&self, version: u64) -> Answer {
        let body = self.letter().map_or(serde_json::Value::Null, |letter| {
            serde_json::json!({
                "notification_id": letter.request.notification_id,
                "incident_id": letter.request.incident_id,
                "template": letter.request.template,
                "status": self.status(),
                "attempts": letter.attempts,
            })
        });
        Answer::ok(body).at_version(version)
    }
}

impl Notification {
    /// What is remembered of it, once it was queued.
    #[must_use]
    pub fn letter(&self) -> Option<&Letter> {
        match self {
            Self::Unqueued => None,
            Self::Claimed(letter) | Self::Waiting { letter, .. } | Self::Ended { letter, .. } => Some(letter),
        }
    }

    /// The status as in the kinds.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Unqueued => "unqueued",
            Self::Claimed(_) => "attempted",
            Self::Waiting { .. } => "queued",
            Self::Ended { end: End::Sent, .. } => "sent",
            Self::Ended { end: End::Failed, .. } => "failed",
            Self::Ended { end: End::Ambiguous, .. } => "ambiguous",
        }
    }
}
