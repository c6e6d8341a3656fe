//! How often relatives are told: what has just been said is not said again, and a day has a limit.

use serde::{Deserialize, Serialize};
use shers_contract::{
    NotificationId, Timestamp,
    notification::{SendNotification, Template},
};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// The limits in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// What was said last is not said again within so many milliseconds.
    pub quiet_ms: i64,
    /// Notifications about one patient within a day, at most.
    pub max_per_day: usize,
}

/// One notification about a patient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Said {
    notification_id: NotificationId,
    template: Template,
    at: Timestamp,
}

/// What relatives of one patient were told within the last day, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Told(Vec<Said>);

impl Told {
    /// Whether this very notification is among them: a repeat of the command, not of the message.
    #[must_use]
    pub fn has(&self, id: &NotificationId) -> bool {
        self.0.iter().any(|said| said.notification_id == *id)
    }

    /// Why nobody is told now, if so. Another incident's news in between makes the same words news again.
    #[must_use]
    pub fn quiet(&self, request: &SendNotification, now: Timestamp, limits: Limits) -> Option<String> {
        if self.has(&request.notification_id) {
            return None;
        }
        let today = self.0.iter().filter(|said| now.ms_since(said.at) < DAY_MS).count();
        if today >= limits.max_per_day {
            return Some(format!("kept quiet: {today} messages about this patient within a day are the limit"));
        }
        let last = self.0.last().filter(|said| said.template == request.template)?;
        let ago_ms = now.ms_since(last.at);
        (ago_ms < limits.quiet_ms).then(|| format!("kept quiet: the same was said {} s ago", ago_ms / 1000))
    }

    /// With `request` as said now. Forgets what is older than a day.
    #[must_use]
    pub fn and(mut self, request: &SendNotification, now: Timestamp) -> Self {
        self.0.retain(|said| now.ms_since(said.at) < DAY_MS);
        if !self.has(&request.notification_id) {
            let notification_id = request.notification_id.clone();
            self.0.push(Said { notification_id, template: request.template, at: now });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shers_contract::{IncidentId, PatientId};

    const LIMITS: Limits = Limits { quiet_ms: 600_000, max_per_day: 4 };

    fn request(id: &str, template: Template) -> SendNotification {
        SendNotification {
            notification_id: NotificationId::new(id).expect("an id"),
            incident_id: IncidentId::new("i").expect("an id"),
            patient_id: PatientId::new("p").expect("an id"),
            template,
            eta_min: None,
            hospital: None,
        }
    }

    /// `said` (id, template, at s) came before; is `n` with `template` at `now` s kept quiet?
    fn check(said: &[(&str, Template, i64)], template: Template, now_s: i64, quiet: bool) {
        let start = Timestamp::default();
        let told = said.iter().fold(Told::default(), |told, (id, template, at_s)| {
            told.and(&request(id, *template), start.plus_ms(at_s * 1000))
        });
        let why = told.quiet(&request("n", template), start.plus_ms(now_s * 1000), LIMITS);
        assert_eq!(why.is_some(), quiet, "{said:?} then {template:?} at {now_s}: {why:?}");
    }

    #[test]
    fn what_was_said_last_is_not_said_again_at_once_and_a_day_has_a_limit() {
        use Template::{ArrivedAtHospital, Cancelled, EmergencyDetected, UnitEnroute};
        check(&[], EmergencyDetected, 0, false);
        check(&[("a", EmergencyDetected, 0)], EmergencyDetected, 599, true);
        check(&[("a", EmergencyDetected, 0)], EmergencyDetected, 600, false);
        check(&[("a", EmergencyDetected, 0)], UnitEnroute, 1, false);
        check(&[("a", EmergencyDetected, 0), ("b", Cancelled, 10)], EmergencyDetected, 20, false);
        check(&[("n", EmergencyDetected, 0)], EmergencyDetected, 1, false);
        let four =
            [("a", EmergencyDetected, 0), ("b", UnitEnroute, 1), ("c", ArrivedAtHospital, 2), ("d", Cancelled, 3)];
        check(&four, UnitEnroute, 10, true);
        check(&four, UnitEnroute, 24 * 3600 + 2, false);
    }
}
