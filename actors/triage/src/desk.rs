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
use futures::FutureExt;
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
    panic::AssertUnwindSafe,
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
                let _ = done.send(self.finish(&mut group).await.alone());
            }
            Job::Message(message) => self.messages(message, done).await,
        }
        true
    }

    /// Deals with the first message and what waits behind it, in one commit. When that panics, or one of
    /// them was dealt with before, each is done alone, so that no message pays for another.
    async fn messages(&self, first: Recorded, done: oneshot::Sender<Result<(), Failure>>) {
        let mut messages = vec![(first, done)];
        let mut group = self.new_group();
        let together = AssertUnwindSafe(self.together(&mut group, &mut messages)).catch_unwind().await;
        match together {
            Ok((Finished::Repeated, _)) | Err(_) if messages.len() > 1 => {
                self.undo(&mut group);
                for (message, done) in messages {
                    let _ = done.send(self.alone(&message).await);
                }
            }
            Ok((finished, folded)) => {
                let whole = finished.alone();
                for ((_, done), folded) in messages.into_iter().zip(folded) {
                    let _ = done.send(folded.and_then(|()| whole.clone()));
                }
            }
            Err(_) => {
                self.undo(&mut group);
                for (_, done) in messages {
                    let _ = done.send(Err(panicked()));
                }
            }
        }
    }

    async fn together(
        &self,
        group: &mut Group,
        messages: &mut Vec<(Recorded, oneshot::Sender<Result<(), Failure>>)>,
    ) -> (Finished, Vec<Result<(), Failure>>) {
        let mut outcomes = Vec::new();
        let mut readings = 0;
        while let Some((message, _)) = messages.last() {
            let folded = self.fold(group, message);
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
        (self.finish(group).await, outcomes)
    }

    async fn alone(&self, message: &Recorded) -> Result<(), Failure> {
        let mut group = self.new_group();
        let one = async {
            self.fold(&mut group, message)?;
            self.finish(&mut group).await.alone()
        };
        let outcome = AssertUnwindSafe(one).catch_unwind().await;
        outcome.unwrap_or_else(|_| {
            self.undo(&mut group);
            Err(panicked())
        })
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
        let unreadable =
            |error: &dyn std::fmt::Display| Failure::Dead(format!("unreadable {}: {error}", envelope.kind));
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

    /// Commits what a group wants to store. When that fails everything it changed in memory is put back;
    /// after a repeat that is for the caller to say.
    async fn finish(&self, group: &mut Group) -> Finished {
        let mut commit = std::mem::take(&mut group.commit);
        if commit.appends.is_empty() && commit.documents.is_empty() {
            return Finished::Stored;
        }
        self.add_monitors(&mut commit, &group.announced);
        match self.deps.store.commit(commit).await {
            Ok(_) => {
                for (_, class) in &group.announced {
                    metrics::counter!("shers_triage_status_total", "class" => class_name(*class)).increment(1);
                }
                Finished::Stored
            }
            Err(CommitError::Repeated { .. }) => Finished::Repeated,
            Err(error) => {
                self.undo(group);
                Finished::Failed(error.to_string())
            }
        }
    }

    /// Adds the monitors of those announced, as they are now.
    fn add_monitors(&self, commit: &mut Commit, announced: &[(PatientId, Class)]) {
        let state = self.state.borrow();
        let mut ids: Vec<&PatientId> = announced.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if let Some(entry) = state.monitors.get(id) {
                commit.documents.push(monitor_document(id, &entry.monitor));
            }
        }
    }

    /// Puts back what a group changed in memory.
    fn undo(&self, group: &mut Group) {
        let state = &mut *self.state.borrow_mut();
        for (id, before) in group.monitors_before.drain(..).rev() {
            match before {
                Some(entry) => state.monitors.insert(id, entry),
                None => state.monitors.remove(&id),
            };
        }
        for (id, before) in group.subjects_before.drain(..).rev() {
            match before {
                Some(subject) => state.subjects.insert(id, subject),
                None => state.subjects.remove(&id),
            };
        }
    }

    /// Stores every monitor that changed, and then the position up to which they know everything: the
    /// consumer's saved cursor, which never runs ahead of what is folded.
    async fn snapshot(&self) -> Result<(), Failure> {
        let retry = |error: &dyn std::fmt::Display| Failure::Retry(error.to_string());
        let store = &self.deps.store;
        let position = store.cursor(CONSUMER).await.map_err(|e| retry(&e))?;
        let unsaved: Vec<(PatientId, Monitor)> = {
            let mut state = self.state.borrow_mut();
            let monitors = state.monitors.iter_mut();
            monitors.filter_map(|(id, e)| std::mem::take(&mut e.unsaved).then(|| (id.clone(), e.monitor))).collect()
        };
        if unsaved.is_empty() {
            return Ok(());
        }
        for chunk in unsaved.chunks(self.settings.snapshot_chunk.max(1)) {
            let documents = chunk.iter().map(|(id, monitor)| monitor_document(id, monitor)).collect();
            let stored = store.commit(Commit { documents, ..Commit::default() }).await;
            if let Err(error) = stored {
                let mut state = self.state.borrow_mut();
                for (id, _) in &unsaved {
                    if let Some(entry) = state.monitors.get_mut(id) {
                        entry.unsaved = true;
                    }
                }
                tracing::warn!(%error, "storing the monitors; trying again at the next snapshot");
                return Err(retry(&error));
            }
        }
        let cursors = vec![(SNAPSHOT.to_owned(), position)];
        store.commit(Commit { cursors, ..Commit::default() }).await.map(|_| ()).map_err(|e| retry(&e))
    }
}

/// How a group's commit ended.
enum Finished {
    Stored,
    Repeated,
    Failed(String),
}

impl Finished {
    /// For a message that was alone in its group: a repeat is in the log already, and so is its effect.
    fn alone(self) -> Result<(), Failure> {
        match self {
            Self::Stored | Self::Repeated => Ok(()),
            Self::Failed(why) => Err(Failure::Retry(why)),
        }
    }
}

fn panicked() -> Failure {
    Failure::Retry("folding it panicked".to_owned())
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn monitor_document(id: &PatientId, monitor: &Monitor) -> DocumentWrite {
    document(MONITORS, id, monitor.watch.class().map_or("new", class_name), monitor)
}

fn document(collection: &'static str, id: &PatientId, tag: &str, body: &impl serde::Serialize) -> DocumentWrite {
    // Plain structs: writing them cannot fail.
    let doc = serde_json::to_string(body).ok();
    DocumentWrite { collection, id: id.to_string(), tag: tag.to_owned(), rank: 0, doc }
}

const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Insufficient => "insufficient",
        Class::Normal => "normal",
        Class::Abnormal => "abnormal",
        Class::Emergency => "emergency",
    }
}

#[async_trait(?Send)]
impl Consumer for Desk {
    fn subscription(&self) -> Subscription {
        Subscription {
            name: CONSUMER,
            patterns: patterns(),
            live_only: false,
            prefetch: self.settings.batch_messages.saturating_mul(2),
        }
    }
    /// Every message is a lane of its own, so that all of a batch reach the desk's queue at once, in
    /// their order; the queue keeps it.
    fn order_key(&self, message: &Recorded) -> String {
        message.envelope.id.to_string()
    }
    async fn handle(&self, message: &Recorded) -> Result<(), Failure> {
        self.take(Job::Message(message.clone())).await
    }
}

pub(crate) fn patterns() -> Vec<Pattern> {
    ["wearable.reading.recorded", "patient.*"].into_iter().filter_map(|text| Pattern::new(text).ok()).collect()
}
