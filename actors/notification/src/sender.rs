//! Performs attempts: looks up the address, writes the text, calls the provider.
//!
//! What must never happen is that a message whose fate is unknown is sent again as if nothing had been.
//! The claim of an attempt is in the log before this is asked to perform it, but the same question comes
//! again after a restart or a panic, and the state alone can't tell the two apart. Therefore each claim
//! that *this* process commits is noted (the directory tells its observer before the effect runs) and is
//! taken out when its sending begins. An attempt that is not noted may have been sent: the provider is
//! asked by our key, and one that can't tell makes it ambiguous.

use crate::gateway::{Lookup, Messenger, Outgoing, SendOutcome};
use crate::model::{
    Command, Notification, Outcome, Send,
    plan::Relatives,
    template::{Facts, render},
};
use crate::relatives;
use async_trait::async_trait;
use shers_contract::{NotificationId, notification::NotificationEvent};
use shers_runtime::{Deps, Performer};
use std::{cell::RefCell, collections::HashSet, rc::Rc, time::Duration};

/// Wait between two looks into a store that can't be read.
const READ_RETRY: Duration = Duration::from_millis(200);

/// Attempts claimed by this process whose sending has not begun.
#[derive(Default)]
pub(crate) struct Fresh(RefCell<HashSet<(String, u16)>>);

impl Fresh {
    /// Notes the claims among `events`.
    pub(crate) fn note(&self, id: &str, events: &[NotificationEvent]) {
        for event in events {
            if let NotificationEvent::Attempted(attempted) = event {
                self.0.borrow_mut().insert((id.to_owned(), attempted.attempt));
            }
        }
    }
    fn take(&self, id: &str, attempt: u16) -> bool {
        self.0.borrow_mut().remove(&(id.to_owned(), attempt))
    }
}

pub(crate) struct Sender {
    pub(crate) deps: Deps,
    pub(crate) messengers: Vec<Rc<dyn Messenger>>,
    pub(crate) fresh: Rc<Fresh>,
    pub(crate) send_limit: Duration,
}

#[async_trait(?Send)]
impl Performer<Notification> for Sender {
    async fn perform(&self, id: &str, exercise: bool, effect: Send) -> Command {
        let fresh = self.fresh.take(id, effect.attempt);
        let outcome = self.attempt(exercise, &effect, fresh).await;
        Command::End { attempt: effect.attempt, outcome }
    }
}

impl Sender {
    async fn attempt(&self, exercise: bool, send: &Send, fresh: bool) -> Outcome {
        let Some(messenger) = self.messengers.iter().find(|messenger| messenger.name() == send.provider) else {
            return refused(format!("the provider {} is not set up any more", send.provider));
        };
        let id = &send.request.notification_id;
        if let Some(outcome) = self.recover(&**messenger, id, send, fresh).await {
            return outcome;
        }
        let relatives = self.relatives(send).await;
        let Some(message) = compose(send, &relatives, exercise) else {
            return refused("the contact has no such address any more, or wants no messages".to_owned());
        };
        match tokio::time::timeout(self.send_limit, messenger.send(&message)).await {
            Ok(SendOutcome::Sent { id }) => Outcome::Sent { provider_id: id, earlier: None },
            Ok(SendOutcome::Refused { reason, permanent }) => Outcome::Refused { reason, permanent },
            Ok(SendOutcome::Ambiguous { reason }) => Outcome::Ambiguous { reason },
            Err(_) => Outcome::Ambiguous { reason: format!("no answer within {} ms", self.send_limit.as_millis()) },
        }
    }

    /// What is known of attempts in doubt: earlier ones, and this one when it may have been begun before.
    /// `None` when it is right to send.
    async fn recover(
        &self,
        messenger: &dyn Messenger,
        id: &NotificationId,
        send: &Send,
        fresh: bool,
    ) -> Option<Outcome> {
        for earlier in &send.in_doubt {
            if let Lookup::Sent(provider_id) = self.lookup(messenger, &key(id, *earlier)).await {
                return Some(Outcome::Sent { provider_id, earlier: Some(*earlier) });
            }
        }
        if fresh {
            return None;
        }
        match self.lookup(messenger, &key(id, send.attempt)).await {
            Lookup::Sent(provider_id) => Some(Outcome::Sent { provider_id, earlier: None }),
            Lookup::NotSeen => None,
            Lookup::CannotTell => {
                let reason = "sending was interrupted, and the provider cannot tell whether it had taken the message";
                Some(Outcome::Ambiguous { reason: reason.to_owned() })
            }
        }
    }

    async fn lookup(&self, messenger: &dyn Messenger, key: &str) -> Lookup {
        tokio::time::timeout(self.send_limit, messenger.lookup(key)).await.unwrap_or(Lookup::CannotTell)
    }

    /// The next of kin, however long the store takes: nothing has been sent yet, so waiting is safe.
    async fn relatives(&self, send: &Send) -> Relatives {
        loop {
            match relatives::of(&self.deps, &send.request.patient_id).await {
                Ok(relatives) => return relatives,
                Err(error) => {
                    tracing::warn!(notification.id = %send.request.notification_id, %error, "reading contacts");
                }
            }
            tokio::time::sleep(READ_RETRY).await;
        }
    }
}

/// Our key for an attempt's message.
pub(crate) fn key(id: &NotificationId, attempt: u16) -> String {
    format!("{id}:{attempt}")
}

fn refused(reason: String) -> Outcome {
    Outcome::Refused { reason, permanent: true }
}

fn compose(send: &Send, relatives: &Relatives, exercise: bool) -> Option<Outgoing> {
    let (contact, address) = relatives.target(&send.target)?;
    let text = render(
        send.request.template,
        &Facts {
            language: &contact.language,
            contact: &contact.name,
            patient: relatives.patient_name.as_deref(),
            eta_min: send.request.eta_min,
            hospital: send.request.hospital.as_deref(),
            exercise,
            repeat: !send.in_doubt.is_empty(),
        },
    );
    Some(Outgoing {
        key: key(&send.request.notification_id, send.attempt),
        channel: send.target.channel,
        to: address.to_owned(),
        subject: text.subject,
        text: text.body,
    })
}
