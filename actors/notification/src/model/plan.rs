//! Who is tried, in which order: the contacts in the patient's order, each by text message and then by
//! e-mail. The first one reached ends it.

use serde::{Deserialize, Serialize};
use shers_contract::{
    notification::{Channel, PlannedAttempt},
    patient::{Contact, Patient},
};

/// What is kept of a patient to be able to tell the next of kin.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Relatives {
    /// The patient's name, for the text.
    pub patient_name: Option<String>,
    /// Who is told, in order.
    pub contacts: Vec<Contact>,
}

impl Relatives {
    /// The relatives of `patient`.
    #[must_use]
    pub fn of(patient: &Patient) -> Self {
        Self { patient_name: patient.name.clone(), contacts: patient.next_of_kin.clone() }
    }

    /// The ways to reach somebody, at most `max`. A contact who has opted out is not tried.
    #[must_use]
    pub fn plan(&self, max: usize) -> Vec<PlannedAttempt> {
        let ways =
            self.contacts.iter().zip(0u16..).filter(|(contact, _)| !contact.opted_out).flat_map(|(contact, place)| {
                let sms = contact.phone.is_some().then_some(PlannedAttempt { contact: place, channel: Channel::Sms });
                let email =
                    contact.email.is_some().then_some(PlannedAttempt { contact: place, channel: Channel::Email });
                sms.into_iter().chain(email)
            });
        ways.take(max).collect()
    }

    /// The contact and the address of a planned attempt, if both are still there and the contact has not
    /// opted out since.
    #[must_use]
    pub fn target(&self, planned: &PlannedAttempt) -> Option<(&Contact, &str)> {
        let contact = self.contacts.get(usize::from(planned.contact)).filter(|contact| !contact.opted_out)?;
        let address = match planned.channel {
            Channel::Sms => contact.phone.as_deref(),
            Channel::Email => contact.email.as_deref(),
        };
        address.map(|address| (contact, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(phone: Option<&str>, email: Option<&str>, opted_out: bool) -> Contact {
        Contact {
            name: "Kim".into(),
            relation: None,
            phone: phone.map(Into::into),
            email: email.map(Into::into),
            language: "en".into(),
            opted_out,
        }
    }

    fn check(contacts: Vec<Contact>, max: usize, want: &[(u16, Channel)]) {
        let relatives = Relatives { patient_name: None, contacts };
        let plan: Vec<_> = relatives.plan(max).into_iter().map(|p| (p.contact, p.channel)).collect();
        assert_eq!(plan, want);
    }

    #[test]
    fn contacts_are_tried_in_order_by_text_message_and_then_by_mail() {
        let (phone, mail) = (Some("+15005550006"), Some("kim@example.org"));
        check(vec![], 9, &[]);
        check(vec![contact(None, None, false)], 9, &[]);
        check(
            vec![contact(phone, mail, false), contact(None, mail, false)],
            9,
            &[(0, Channel::Sms), (0, Channel::Email), (1, Channel::Email)],
        );
        check(vec![contact(phone, mail, true), contact(phone, None, false)], 9, &[(1, Channel::Sms)]);
        check(vec![contact(phone, mail, false); 3], 2, &[(0, Channel::Sms), (0, Channel::Email)]);
    }

    #[test]
    fn a_contact_who_is_gone_or_opted_out_since_has_no_address() {
        let planned = PlannedAttempt { contact: 0, channel: Channel::Sms };
        for contacts in [vec![], vec![contact(None, Some("a@b.c"), false)], vec![contact(Some("+1"), None, true)]] {
            assert_eq!(Relatives { patient_name: None, contacts }.target(&planned), None);
        }
    }
}
