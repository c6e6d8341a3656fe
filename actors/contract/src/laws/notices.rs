//! Notifications: ordered once, queued once, attempted one after the other, ended once.

use super::{Breach, Laws, Seen, breach, read};
use crate::{
    Envelope,
    notification::{NotificationEvent, SendNotification},
};

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Notice {
    /// How often it was ordered.
    pub ordered: u32,
    /// How often it was queued.
    pub queued: u32,
    /// The last attempt claimed.
    pub attempt: u16,
    /// That attempt has ended.
    pub ended: bool,
    /// Attempts whose outcome nobody knew.
    pub ambiguous: u32,
    /// No further attempt follows.
    pub last: bool,
}

pub(super) fn ordered(laws: &mut Laws, send: &SendNotification) -> Vec<Breach> {
    let notice = laws.notices.entry(send.notification_id.to_string()).or_default();
    notice.ordered += 1;
    if notice.ordered == 1 {
        return Vec::new();
    }
    vec![breach("one-effect", format!("notification/{}", send.notification_id), "it was ordered twice")]
}

pub(super) fn see(laws: &mut Laws, envelope: &Envelope) -> Seen {
    let Some(event) = read::<NotificationEvent>(envelope)? else { return Ok(Vec::new()) };
    let notice = laws.notices.entry(envelope.stream.id().to_owned()).or_default();
    let mut broken = Vec::new();
    let mut wrong = |law: &'static str, why: &str| broken.push(breach(law, &envelope.stream, why));
    if notice.last {
        wrong("notice-legal", "something follows its end");
    }
    match event {
        NotificationEvent::Queued(_) => {
            notice.queued += 1;
            if notice.ordered == 0 || notice.queued > 1 {
                wrong("one-effect", "queued without an order of its own");
            }
            notice.ended = true;
        }
        NotificationEvent::Attempted(attempted) => {
            if attempted.attempt != notice.attempt + 1 || !notice.ended {
                wrong("notice-legal", "an attempt out of order");
            }
            notice.attempt = attempted.attempt;
            notice.ended = false;
        }
        NotificationEvent::Sent(end) | NotificationEvent::Failed(end) | NotificationEvent::Ambiguous(end) => {
            if end.attempt != notice.attempt || (notice.ended && notice.attempt > 0) {
                wrong("notice-legal", "an attempt that ends twice");
            }
            notice.ended = true;
            notice.last = end.last;
            notice.ambiguous += u32::from(envelope.kind == crate::Kind::NOTIFICATION_AMBIGUOUS);
        }
    }
    Ok(broken)
}

pub(super) fn unsettled(laws: &Laws) -> Vec<Breach> {
    let open = laws.notices.iter().filter(|(_, notice)| !notice.last);
    open.map(|(id, notice)| breach("notice-ends", format!("notification/{id}"), format!("{notice:?}"))).collect()
}
