//! The desk: takes messages in the order they come, folds them into the monitors, and commits what there
//! is to announce, many messages in one commit.
//!
//! Every message, sweep and snapshot goes through one queue. Whoever finds nobody at work works it off
//! for all, group by group, so groups form by themselves while a commit is under way and nothing waits
//! on purpose. Between two groups the monitors are exactly what is committed.
//!
//! `Expected::Any` is right for `triage/<patient>`: nobody decides from that stream, the inbox mark makes
//! each message effective once, and should two owners overlap at a hand-over, incidents joins the second
//! announcement to the incident of the first.

use crate::Settings;
use crate::model::{monitor::Monitor, rules::Rules, subject::Subject};
use async_trait::async_trait;
use shers_contract::{
    DomainEvent, Envelope, Kind, PatientId, Timestamp,
    envelope::StreamName,
    patient::PatientEvent,
    routing::Pattern,
    triage::{Class, TriageEvent, TriageStatus},
    vitals::ReadingBatch,
};
use shers_runtime::{
    Append, Commit, CommitError, Consumer, Deps, DocumentWrite, Expected, Failure, InboxMark, NewEvent, Recorded,
    Subscription,
};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
};
use tokio::sync::oneshot;

/// Name of the subscription, of its cursor and of its inbox marks.
pub(crate) const CONSUMER: &str = "triage.readings";
/// Cursor up to which the stored monitors know every reading.
pub(crate) const SNAPSHOT: &str = "triage.snapshot";
/// Documents of the monitors.
pub(crate) const MONITORS: &str = "triage.monitor";
/// Documents of the patients' facts.
pub(crate) const SUBJECTS: &str = "triage.patient";

/// What triage knows.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) monitors: HashMap<PatientId, Entry>,
    pub(crate) subjects: HashMap<PatientId, Subject>,
    pub(crate) rules: Rules,
    pub(crate) rules_version: u64,
}

/// A monitor and what the desk notes of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) monitor: Monitor,
    /// The group that changed it last: within one group it is kept aside once.
    group: u64,
    /// Changed since it was stored.
    unsaved: bool,
}

impl Entry {
    pub(crate) fn stored(monitor: Monitor) -> Self {
        Self { monitor, group: 0, unsaved: false }
    }
}

/// A piece of work.
pub(crate) enum Job {
    /// A message from the exchange.
    Message(Recorded),
    /// Look for values past their life.
    Sweep,
    /// Store the monitors that changed.
    Snapshot,
}

type Waiting = (Job, oneshot::Sender<Result<(), Failure>>);

/// See the module.
pub(crate) struct Desk {
    pub(crate) deps: Deps,
    settings: Settings,
    pub(crate) state: RefCell<State>,
    queue: RefCell<VecDeque<Waiting>>,
    busy: Cell<bool>,
    groups: Cell<u64>,
}

/// What a group wants to store, and how to undo what it did in memory.
#[derive(Default)]
struct Group {
    commit: Commit,
    streams: HashMap<StreamName, usize>,
    monitors_before: Vec<(PatientId, Option<Entry>)>,
    subjects_before: Vec<(PatientId, Option<Subject>)>,
    announced: Vec<(PatientId, Class)>,
    number: u64,
}

impl Desk {
    pub(crate) fn new(deps: Deps, settings: Settings, state: State) -> Self {
        Self {
            deps,
            settings,
            state: RefCell::new(state),
            queue: RefCell::default(),
            busy: Cell::new(false),
            groups: Cell::new(0),
        }
    }

    /// Does a job, after those before it.
    pub(crate) async fn take(&self, job: Job) -> Result<(), Failure> {
        let (done, outcome) = oneshot::channel();
        self.queue.borrow_mut().push_back((job, done));
        if !self.busy.replace(true) {
            // Also when a group panics, somebody else may go on with the rest.
            let _free = OnDrop(|| self.busy.set(false));
            while self.work_off_one_group().await {}
        }
        outcome.await.unwrap_or_else(|_| Err(Failure::Retry("the group of this message was given up".to_owned())))
    }

    async fn work_off_one_group(&self) -> bool {
        let Some((first, done)) = self.queue.borrow_mut().pop_front() else { return false };
        match first {
            Job::Snapshot => {
                let _ = done.send(self.snapshot().await);
            }
            Job::Sweep => {
                let mut group = self.new_group();
                self.sweep(&mut group);
                let _ = done.send(self.finish(group).await);
            }
            Job::Message(message) => self.messages(message, done).await,
        }
        true
    }

    /// Folds the first message and what waits behind it, in one commit.
    async fn messages(&self, first: Recorded, done: oneshot::Sender<Result<(), Failure>>) {
        let mut messages = vec![(first, done)];
        let mut group = self.new_group();
        let mut outcomes = Vec::new();
        let mut readings = 0;
        while let Some((message, _)) = messages.last() {
            let folded = self.fold(&mut group, message);
            readings += *folded.as_ref().unwrap_or(&0);
            outcomes.push(folded.map(|_| ()));
            if readings >= self.settings.group_readings {
                break;
            }
            match self.next_message() {
                Some(next) => messages.push(next),
                None => break,
            }
        }
        let alone = messages.len() == 1;
        match self.finish(group).await {
            Err(Failure::Dead(_)) if !alone => {
                // One of them was dealt with before: find out which, one by one.
                for (message, done) in messages {
                    let _ = done.send(self.one(&message).await);
                }
            }
            outcome => {
                let repeated = matches!(outcome, Err(Failure::Dead(_)));
                for ((_, done), folded) in messages.into_iter().zip(outcomes) {
                    let whole = if repeated { Ok(()) } else { outcome.clone() };
                    let _ = done.send(folded.and(whole));
                }
            }
        }
    }

    async fn one(&self, message: &Recorded) -> Result<(), Failure> {
        let mut group = self.new_group();
        self.fold(&mut group, message)?;
        match self.finish(group).await {
            Err(Failure::Dead(_)) => Ok(()),
            outcome => outcome,
        }
    }

    fn next_message(&self) -> Option<(Recorded, oneshot::Sender<Result<(), Failure>>)> {
        let mut queue = self.queue.borrow_mut();
        if !matches!(queue.front(), Some((Job::Message(_), _))) {
            return None;
        }
        match queue.pop_front() {
            Some((Job::Message(message), done)) => Some((message, done)),
            Some((Job::Sweep | Job::Snapshot, _)) | None => None,
        }
    }

    fn new_group(&self) -> Group {
        let number = self.groups.get() + 1;
        self.groups.set(number);
        Group { number, ..Group::default() }
    }

    /// Folds one message; says how many readings it held.
    fn fold(&self, group: &mut Group, message: &Recorded) -> Result<usize, Failure> {
        let envelope = &message.envelope;
        let unreadable = |error: &dyn std::fmt::Display| Failure::Dead(format!("unreadable {}: {error}", envelope.kind));
        if envelope.kind == Kind::READING_RECORDED {
            let batch: ReadingBatch = serde_json::from_str(envelope.data.get()).map_err(|e| unreadable(&e))?;
            self.fold_readings(group, envelope, &batch);
            return Ok(batch.readings.len());
        }
        if let Some(event) = PatientEvent::from_envelope(envelope) {
            let event = event.map_err(|e| unreadable(&e.source))?;
            let patient = event.patient();
            let subject = Subject::of(patient);
            let before = self.state.borrow_mut().subjects.insert(patient.patient_id.clone(), subject);
            group.subjects_before.push((patient.patient_id.clone(), before));
            if before != Some(subject) {
                group.commit.documents.push(document(SUBJECTS, &patient.patient_id, "", &subject));
                group.commit.inbox.push(InboxMark { consumer: CONSUMER, message_id: envelope.id });
            }
        }
        Ok(0)
    }

    fn fold_readings(&self, group: &mut Group, envelope: &Envelope, batch: &ReadingBatch) {
        let now = self.deps.clock.now();
        let mut announced = false;
        let state = &mut *self.state.borrow_mut();
        for reading in &batch.readings {
            let subject = state.subjects.get(&reading.patient_id).copied().unwrap_or_default();
            let entry = match state.monitors.get_mut(&reading.patient_id) {
                Some(entry) => {
                    if entry.group != group.number {
                        group.monitors_before.push((reading.patient_id.clone(), Some(*entry)));
                    }
                    entry
                }
                None => {
                    group.monitors_before.push((reading.patient_id.clone(), None));
                    state.monitors.entry(reading.patient_id.clone()).or_default()
                }
            };
            entry.group = group.number;
            entry.unsaved = true;
            if let Some(status) = entry.monitor.observe(reading, batch.received_at, &subject, &state.rules) {
                announced = true;
                self.announce(group, status, now, Some(envelope));
            }
        }
        if announced {
            group.commit.inbox.push(InboxMark { consumer: CONSUMER, message_id: envelope.id });
        }
    }

    fn sweep(&self, group: &mut Group) {
        let now = self.deps.clock.now();
        let state = &mut *self.state.borrow_mut();
        for (patient_id, entry) in &mut state.monitors {
            let subject = state.subjects.get(patient_id).copied().unwrap_or_default();
            let before = *entry;
            if let Some(status) = entry.monitor.expire(patient_id, now, &subject, &state.rules) {
                group.monitors_before.push((patient_id.clone(), Some(before)));
                entry.group = group.number;
                entry.unsaved = true;
                self.announce(group, status, now, None);
            }
        }
    }

    fn announce(&self, group: &mut Group, status: TriageStatus, now: Timestamp, cause: Option<&Envelope>) {
        group.announced.push((status.patient_id.clone(), status.class));
        let stream = StreamName::new("triage", &status.patient_id);
        let event = TriageEvent::of(status);
        let event = NewEvent {
            id: self.deps.ids.uuid(now),
            kind: event.kind(),
            v: event.schema_version(),
            at: now,
            correlation_id: None,
            causation_id: cause.map(|envelope| envelope.id),
            traceparent: cause.and_then(|envelope| envelope.traceparent),
            exercise: cause.is_some_and(|envelope| envelope.exercise),
            data: event.to_data(),
        };
        let appends = &mut group.commit.appends;
        let index = *group.streams.entry(stream.clone()).or_insert(appends.len());
        match appends.get_mut(index) {
            Some(append) => append.events.push(event),
            None => appends.push(Append { stream, expected: Expected::Any, events: vec![event], open: false }),
        }
    }

    /// Commits a group. A repeat comes back as `Dead`, anything passing as `Retry`; in both cases the
    /// monitors are what they were, save for a repeat, whose effect is in the log: it stays.
    async fn finish(&self, mut group: Group) -> Result<(), Failure> {
        let commit = std::mem::take(&mut group.commit);
        let messages = commit.inbox.len();
        if commit.appends.is_empty() && commit.documents.is_empty() {
            return Ok(());
        }
        let commit = self.with_monitors(commit, &group);
        match self.deps.store.commit(commit).await {
            Ok(_) => {
                for (_, class) in &group.announced {
                    metrics::counter!("shers_triage_status_total", "class" => class_name(*class)).increment(1);
                }
                Ok(())
            }
            Err(CommitError::Repeated { .. }) if messages == 1 && group.is_one_message() => {
                Err(Failure::Dead("dealt with before".to_owned()))
            }
            Err(CommitError::Repeated { .. }) => {
                self.undo(group);
                Err(Failure::Dead("one of the group was dealt with before".to_owned()))
            }
            Err(error) => {
                self.undo(group);
                Err(Failure::Retry(error.to_string()))
            }
        }
    }
}
