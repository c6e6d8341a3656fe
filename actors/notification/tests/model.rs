//! What a notification decides: tables of given / when / then, and properties over any sequence.

use proptest::prelude::*;
use shers_contract::{
    DomainEvent, IncidentId, NotificationId, PatientId, Timestamp,
    notification::{Channel, DeliveryPolicy, NotificationEvent, PlannedAttempt, Queued, SendNotification, Template},
};
use shers_notification::model::{Command, Notification, Outcome};
use shers_runtime::Aggregate;

const START: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn queued(contacts: u16) -> Queued {
    let plan = (0..contacts)
        .flat_map(|contact| [Channel::Sms, Channel::Email].map(|channel| PlannedAttempt { contact, channel }));
    Queued {
        request: SendNotification {
            notification_id: NotificationId::new("n-1").expect("valid"),
            incident_id: IncidentId::new("i-1").expect("valid"),
            patient_id: PatientId::new("p-1").expect("valid"),
            template: Template::EmergencyDetected,
            eta_min: None,
            hospital: None,
        },
        plan: plan.collect(),
        policy: DeliveryPolicy {
            attempts_per_target: 2,
            backoff_ms: 1_000,
            max_backoff_ms: 3_000,
            ..DeliveryPolicy::default()
        },
        quiet: None,
    }
}

fn queue(contacts: u16) -> Command {
    Command::Queue(Box::new(queued(contacts)))
}

fn sent(attempt: u16) -> Command {
    Command::End { attempt, outcome: Outcome::Sent { provider_id: "m".into(), earlier: None } }
}

fn refused(attempt: u16, permanent: bool) -> Command {
    Command::End { attempt, outcome: Outcome::Refused { reason: "no".into(), permanent } }
}

fn unknown(attempt: u16) -> Command {
    Command::End { attempt, outcome: Outcome::Ambiguous { reason: "no answer".into() } }
}

fn step(state: Notification, command: &Command, now: Timestamp) -> (Notification, Vec<NotificationEvent>) {
    let events = state.decide(command, now).unwrap_or_else(|refusal| match refusal {});
    (events.iter().fold(state, |state, event| state.evolve(event, now)), events)
}

/// Executes the commands ten seconds apart; then the kinds of the last one's events, and the status.
fn check(name: &str, commands: &[Command], want: &[&str], status: &str) -> Notification {
    let (mut state, mut last, mut now) = (Notification::default(), Vec::new(), START);
    for command in commands {
        (state, last) = step(state, command, now);
        now = now.plus_ms(10_000);
    }
    let kinds: Vec<_> = last.iter().map(|event| event.kind().as_str()).collect();
    assert_eq!((kinds.as_slice(), state.status()), (want, status), "{name}");
    state
}

#[test]
fn an_attempt_is_claimed_before_it_is_made_and_the_first_one_reached_ends_it() {
    let state = check("queued", &[queue(1)], &["notification.queued", "notification.attempted"], "attempted");
    assert_eq!(state.effect().map(|send| (send.attempt, send.target.channel)), Some((1, Channel::Sms)));
    let state = check("sent", &[queue(1), sent(1)], &["notification.sent"], "sent");
    assert!(state.is_closed() && state.effect().is_none() && state.deadline().is_none());
    check("queued again", &[queue(1), queue(1)], &[], "attempted");
    check("queued after the end", &[queue(1), sent(1), queue(2)], &[], "sent");
    check("ended again", &[queue(1), sent(1), unknown(1)], &[], "sent");
    check("nobody to try", &[queue(0)], &["notification.queued", "notification.failed"], "failed");
}

#[test]
fn a_refusal_is_tried_again_after_a_wait_and_then_the_next_target_at_once() {
    let passing = [queue(1), refused(1, false)];
    let state = check("passing", &passing, &["notification.failed"], "queued");
    assert_eq!(state.deadline().map(|(at, _)| at.ms_since(START)), Some(10_000 + 1_000));
    assert!(state.effect().is_none());
    let again = [queue(1), refused(1, false), Command::Due];
    check("again", &again, &["notification.attempted"], "attempted");
    let next = ["notification.failed", "notification.attempted"];
    let state = check("too often", &[queue(1), refused(1, false), Command::Due, refused(2, false)], &next, "attempted");
    assert_eq!(state.effect().map(|send| (send.attempt, send.target.channel)), Some((3, Channel::Email)));
    check("for good", &[queue(1), refused(1, true)], &next, "attempted");
    check("everybody", &[queue(1), refused(1, true), refused(2, true)], &["notification.failed"], "failed");
    check("an end that is not awaited", &[queue(1), sent(7)], &[], "attempted");
}

#[test]
fn what_is_kept_quiet_reaches_nobody_and_says_why() {
    let why = "kept quiet: the same was said 5 s ago";
    let quiet = Queued { plan: Vec::new(), quiet: Some(why.into()), ..queued(1) };
    let events = Notification::default().decide(&Command::Queue(Box::new(quiet)), START).expect("never refuses");
    assert!(
        matches!(events.as_slice(), [NotificationEvent::Queued(_), NotificationEvent::Failed(ended)]
            if ended.last && ended.reason.as_deref() == Some(why)),
        "{events:?}"
    );
}

#[test]
fn an_unknown_outcome_is_repeated_once_and_the_repeat_knows_what_is_in_doubt() {
    let state = check("first", &[queue(1), unknown(1)], &["notification.ambiguous"], "queued");
    assert!(state.effect().is_none(), "not sent again at once");
    let state = check("repeat", &[queue(1), unknown(1), Command::Due], &["notification.attempted"], "attempted");
    assert_eq!(state.effect().map(|send| (send.attempt, send.in_doubt)), Some((2, vec![1])));
    let waiting = check("marked", &[queue(1), unknown(1)], &["notification.ambiguous"], "queued");
    let marked = waiting.decide(&Command::Due, START.plus_ms(60_000)).expect("never refuses");
    assert!(
        matches!(marked.as_slice(), [NotificationEvent::Attempted(attempted)] if attempted.repeats == Some(1)),
        "{marked:?}"
    );
    let next = ["notification.ambiguous", "notification.attempted"];
    let state = check("twice", &[queue(1), unknown(1), Command::Due, unknown(2)], &next, "attempted");
    assert_eq!(state.effect().map(|send| (send.target.channel, send.in_doubt)), Some((Channel::Email, vec![])));
    let ended = [queue(1), unknown(1), Command::Due, unknown(2), refused(3, true)];
    check("the doubt stays", &ended, &["notification.failed"], "ambiguous");
    let found = Outcome::Sent { provider_id: "m".into(), earlier: Some(1) };
    let found = [queue(1), unknown(1), Command::Due, Command::End { attempt: 2, outcome: found }];
    check("it had been sent", &found, &["notification.sent"], "sent");
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => (0u16..3).prop_map(queue),
        3 => Just(Command::Due),
        1 => (1u16..9).prop_map(sent),
        6 => (1u16..9, any::<bool>()).prop_map(|(attempt, permanent)| refused(attempt, permanent)),
        6 => (1u16..9).prop_map(unknown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(commands in proptest::collection::vec((any_command(), 0i64..5_000), 1..60)) {
        let (mut state, mut log, mut now) = (Notification::default(), Vec::new(), START);
        for (command, wait_ms) in &commands {
            now = now.plus_ms(*wait_ms);
            let closed = state.is_closed();
            let (after, events) = step(state, command, now);
            prop_assert!(!closed || events.is_empty(), "the end stays the end");
            prop_assert!(step(after.clone(), command, now).1.is_empty(), "a repeat gives nothing: {:?}", command);
            log.extend(events.into_iter().map(|event| (event, now)));
            state = after;
        }
        let folded = log.iter().fold(Notification::default(), |state, (event, at)| state.evolve(event, *at));
        prop_assert_eq!(&folded, &state);
        // Claims and ends alternate and carry the same numbers; nothing ends that was not claimed.
        let mut claimed: Option<u16> = None;
        let mut attempts = 0;
        let mut doubts: std::collections::HashMap<(u16, bool), u16> = std::collections::HashMap::new();
        for (event, _) in &log {
            match event {
                NotificationEvent::Queued(_) => {}
                NotificationEvent::Attempted(attempted) => {
                    prop_assert_eq!((claimed, attempted.attempt), (None, attempts + 1));
                    attempts += 1;
                    claimed = Some(attempts);
                }
                NotificationEvent::Sent(ended) | NotificationEvent::Failed(ended) | NotificationEvent::Ambiguous(ended) => {
                    prop_assert_eq!(ended.attempt, claimed.take().unwrap_or(0));
                    if let (NotificationEvent::Ambiguous(_), Some(target)) = (event, &ended.target) {
                        let seen = doubts.entry((target.contact, target.channel == Channel::Sms)).or_default();
                        *seen += 1;
                        prop_assert!(*seen <= 2, "an unknown outcome was repeated more than once");
                    }
                }
            }
        }
        prop_assert_eq!(claimed.is_some(), state.effect().is_some());
    }
}
