//! The texts, in English and German. They never say a value, a class or a diagnosis.

use shers_contract::notification::Template;

/// What a text may speak of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// BCP 47 language; English stands in for one that is not built in.
    pub language: &'a str,
    /// Who is addressed.
    pub contact: &'a str,
    /// The patient's name, when known.
    pub patient: Option<&'a str>,
    /// Minutes until the unit arrives.
    pub eta_min: Option<u32>,
    /// The hospital's name.
    pub hospital: Option<&'a str>,
    /// A drill: the text must not frighten anybody.
    pub exercise: bool,
    /// The same may have arrived already.
    pub repeat: bool,
}

/// A text to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// Subject of an e-mail.
    pub subject: String,
    /// The message.
    pub body: String,
}

/// Writes the text of `template`.
#[must_use]
pub fn render(template: Template, facts: &Facts<'_>) -> Text {
    let primary = facts.language.split('-').next().unwrap_or_default();
    let german_wanted = primary.eq_ignore_ascii_case("de");
    let (subject, body) = if german_wanted { german(template, facts) } else { english(template, facts) };
    let exercise = if facts.exercise { "EXERCISE " } else { "" };
    let repeat = match (facts.repeat, german_wanted) {
        (false, _) => "",
        (true, true) => "(Wiederholung) ",
        (true, false) => "(repeated) ",
    };
    Text { subject: format!("{exercise}{repeat}{subject}"), body: format!("{exercise}{repeat}{body}") }
}

fn english(template: Template, facts: &Facts<'_>) -> (&'static str, String) {
    let name = facts.contact;
    let patient = facts.patient.unwrap_or("your relative");
    match template {
        Template::EmergencyDetected => (
            "Emergency detected",
            format!(
                "{name}: an emergency was detected for {patient}. Help is being organised. You will hear from us again."
            ),
        ),
        Template::UnitEnroute => {
            let eta =
                facts.eta_min.map(|m| format!(", about {} away", minutes(m, "minute", "minutes"))).unwrap_or_default();
            ("Ambulance on its way", format!("{name}: an ambulance is on its way to {patient}{eta}."))
        }
        Template::ArrivedAtHospital => {
            let place = facts.hospital.unwrap_or("the hospital");
            (
                "Arrived at hospital",
                format!("{name}: {patient} has arrived at {place}. Please ask there for further news."),
            )
        }
        Template::Cancelled => (
            "Emergency called off",
            format!("{name}: the emergency for {patient} was called off. No ambulance is coming any more."),
        ),
    }
}

fn german(template: Template, facts: &Facts<'_>) -> (&'static str, String) {
    let name = facts.contact;
    match template {
        Template::EmergencyDetected => {
            let patient = facts.patient.map_or("Ihrem Angehörigen".to_owned(), str::to_owned);
            let body = format!(
                "{name}: Bei {patient} wurde ein Notfall erkannt. Hilfe wird organisiert. Sie hören wieder von uns."
            );
            ("Notfall erkannt", body)
        }
        Template::UnitEnroute => {
            let eta =
                facts.eta_min.map(|m| format!(", noch etwa {}", minutes(m, "Minute", "Minuten"))).unwrap_or_default();
            let patient = facts.patient.unwrap_or("Ihrem Angehörigen");
            ("Rettungswagen unterwegs", format!("{name}: Ein Rettungswagen ist unterwegs zu {patient}{eta}."))
        }
        Template::ArrivedAtHospital => {
            let place = facts.hospital.map_or("am Spital".to_owned(), |hospital| format!("hier: {hospital}"));
            let patient = facts.patient.unwrap_or("Ihr Angehöriger");
            let body = format!("{name}: {patient} ist angekommen, {place}. Bitte erkundigen Sie sich dort.");
            ("Im Spital angekommen", body)
        }
        Template::Cancelled => {
            let patient = facts.patient.unwrap_or("Ihren Angehörigen");
            let body = format!("{name}: Der Notfall für {patient} wurde aufgehoben. Es kommt kein Rettungswagen mehr.");
            ("Notfall aufgehoben", body)
        }
    }
}

fn minutes(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'static> = Facts {
        language: "en",
        contact: "Kim",
        patient: Some("Max"),
        eta_min: Some(7),
        hospital: Some("Landesspital"),
        exercise: false,
        repeat: false,
    };

    fn check(template: Template, facts: &Facts<'_>, want: &str) {
        assert_eq!(render(template, facts).body, want);
    }

    #[test]
    fn texts_name_the_patient_the_time_and_the_hospital_in_the_contacts_language() {
        check(Template::UnitEnroute, &FACTS, "Kim: an ambulance is on its way to Max, about 7 minutes away.");
        let german = Facts { language: "de-LI", eta_min: Some(1), ..FACTS };
        check(Template::UnitEnroute, &german, "Kim: Ein Rettungswagen ist unterwegs zu Max, noch etwa 1 Minute.");
        let bare = Facts { language: "fr", patient: None, eta_min: None, hospital: None, ..FACTS };
        check(Template::UnitEnroute, &bare, "Kim: an ambulance is on its way to your relative.");
        check(
            Template::ArrivedAtHospital,
            &bare,
            "Kim: your relative has arrived at the hospital. Please ask there for further news.",
        );
    }

    #[test]
    fn a_repeat_says_so_in_the_contacts_language() {
        let repeat = Facts { repeat: true, ..FACTS };
        check(
            Template::UnitEnroute,
            &repeat,
            "(repeated) Kim: an ambulance is on its way to Max, about 7 minutes away.",
        );
        let german = render(Template::Cancelled, &Facts { language: "de", ..repeat });
        assert!(german.body.starts_with("(Wiederholung) ") && german.subject.starts_with("(Wiederholung) "));
    }

    #[test]
    fn every_text_of_a_drill_says_so_first() {
        for template in
            [Template::EmergencyDetected, Template::UnitEnroute, Template::ArrivedAtHospital, Template::Cancelled]
        {
            for language in ["en", "de"] {
                let text = render(template, &Facts { language, exercise: true, repeat: true, ..FACTS });
                assert!(text.body.starts_with("EXERCISE ") && text.subject.starts_with("EXERCISE "), "{text:?}");
                assert!(text.body.chars().count() <= 160, "longer than a text message: {text:?}");
            }
        }
    }
}
