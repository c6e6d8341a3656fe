//! What a group of commits does, decided in memory from what the database says: each job stands or falls
//! alone, because all its checks are made before anything of it is planned. No I/O here.

use shers_contract::{Envelope, envelope::StreamName, routing};
use shers_runtime::store::{
    Append, Commit, CommitError, Committed, DocumentWrite, Expected, NewEvent, Position, Recorded, SavedAnswer,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};
use uuid::Uuid;

/// A job of the group.
pub(super) enum Job {
    Commit(Box<Commit>),
    Import(Vec<Arc<Envelope>>),
}

/// What a job did.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Committed(Committed),
    Imported(usize),
}

/// What must be known before the group can be decided.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub(super) streams: HashSet<StreamName>,
    pub(super) marks: Vec<(&'a str, Uuid)>,
    pub(super) answers: Vec<&'a str>,
}

/// How far a stream is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) version: u64,
    pub(super) open: bool,
}

/// What the database says.
#[derive(Default)]
pub(super) struct Known {
    pub(super) last: Position,
    pub(super) last_stream: i64,
    pub(super) heads: HashMap<StreamName, Head>,
    pub(super) marks: HashSet<(String, Uuid)>,
    pub(super) answers: HashSet<String>,
    /// Streams and versions that are there, of those that [`Known::doubtful`] names.
    pub(super) copies: HashSet<(i64, u64)>,
}

/// An event to insert.
pub(super) struct EventRow {
    pub(super) recorded: Recorded,
    pub(super) stream: i64,
    pub(super) correlation: Option<i64>,
    pub(super) own: bool,
    pub(super) partition: u16,
}

/// All that the group writes.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// For each job, in order.
    pub(super) outcomes: Vec<Result<Done, CommitError>>,
    pub(super) events: Vec<EventRow>,
    pub(super) new_streams: Vec<StreamName>,
    /// Streams to update or insert with their final heads.
    pub(super) touched: HashSet<StreamName>,
    pub(super) marks: Vec<(&'a str, Uuid)>,
    pub(super) documents: BTreeMap<(&'a str, &'a str), &'a DocumentWrite>,
    pub(super) cursors: BTreeMap<&'a str, Position>,
    pub(super) answers: Vec<(&'a SavedAnswer, String)>,
}

fn incident_stream(envelope_of: Option<&shers_contract::IncidentId>) -> Option<StreamName> {
    envelope_of.map(|incident| StreamName::new("incident", incident.as_str()))
}

impl Job {
    /// Bytes of what it writes, roughly.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Commit(commit) => {
                let events = commit.appends.iter().flat_map(|a| &a.events).map(|e| e.data.get().len());
                let documents = commit.documents.iter().map(|d| d.doc.as_ref().map_or(0, String::len));
                events.chain(documents).sum()
            }
            Self::Import(messages) => messages.iter().map(|m| m.data.get().len()).sum(),
        }
    }
}

/// What must be known of the jobs.
pub(super) fn wanted(jobs: &[Job]) -> Wanted<'_> {
    let mut wanted = Wanted::default();
    for job in jobs {
        match job {
            Job::Commit(commit) => {
                for append in &commit.appends {
                    wanted.streams.insert(append.stream.clone());
                    wanted
                        .streams
                        .extend(append.events.iter().filter_map(|e| incident_stream(e.correlation_id.as_ref())));
                }
                wanted.marks.extend(commit.inbox.iter().map(|mark| (mark.consumer, mark.message_id)));
                wanted.answers.extend(commit.answer.as_ref().map(|answer| answer.key.as_str()));
            }
            Job::Import(messages) => {
                for message in messages {
                    wanted.streams.insert(message.stream.clone());
                    wanted.streams.extend(incident_stream(message.correlation_id.as_ref()));
                }
            }
        }
    }
    wanted
}

impl Known {
    /// Messages to copy whose stream is as far as they are or further: whether they are there is not known yet.
    pub(super) fn doubtful(&self, jobs: &[Job]) -> Vec<(i64, u64)> {
        let imports = jobs.iter().filter_map(|job| match job {
            Job::Import(messages) => Some(messages),
            Job::Commit(_) => None,
        });
        let there = |message: &Arc<Envelope>| {
            let head = self.heads.get(&message.stream)?;
            (message.version <= head.version).then_some((head.id, message.version))
        };
        imports.flatten().filter_map(there).collect()
    }
}

/// Decides the group. Refused jobs plan nothing.
pub(super) fn decide(jobs: &[Job], known: Known) -> (Plan<'_>, Known) {
    let imports = jobs.iter().any(|job| matches!(job, Job::Import(_)));
    let mut planner = Planner { known, plan: Plan::default(), imports };
    for job in jobs {
        let outcome = match job {
            Job::Commit(commit) => planner.commit(commit).map(Done::Committed),
            Job::Import(messages) => Ok(Done::Imported(planner.import(messages))),
        };
        planner.plan.outcomes.push(outcome);
    }
    (planner.plan, planner.known)
}

struct Planner<'a> {
    known: Known,
    plan: Plan<'a>,
    imports: bool,
}

impl<'a> Planner<'a> {
    fn check(&self, commit: &Commit) -> Result<Option<String>, CommitError> {
        for append in &commit.appends {
            let actual = self.known.heads.get(&append.stream).map_or(0, |head| head.version);
            if let Expected::Version(expected) = append.expected
                && expected != actual
            {
                return Err(CommitError::Conflict { stream: append.stream.clone(), expected, actual });
            }
        }
        for mark in &commit.inbox {
            if self.known.marks.contains(&(mark.consumer.to_owned(), mark.message_id)) {
                return Err(CommitError::Repeated { consumer: mark.consumer, message_id: mark.message_id });
            }
        }
        let Some(answer) = &commit.answer else { return Ok(None) };
        if self.known.answers.contains(&answer.key) {
            return Err(CommitError::Answered);
        }
        let text = serde_json::to_string(&answer.answer);
        text.map(Some).map_err(|error| CommitError::Unavailable(error.to_string()))
    }

    fn commit(&mut self, commit: &'a Commit) -> Result<Committed, CommitError> {
        let answer = self.check(commit)?;
        for mark in &commit.inbox {
            // The same mark twice in one commit is one mark.
            if self.known.marks.insert((mark.consumer.to_owned(), mark.message_id)) {
                self.plan.marks.push((mark.consumer, mark.message_id));
            }
        }
        let mut committed = Committed::default();
        for append in &commit.appends {
            committed.versions.push(self.append(append));
            committed.last_position = self.known.last;
        }
        for write in &commit.documents {
            self.plan.documents.insert((write.collection, &write.id), write);
        }
        self.plan.cursors.extend(commit.cursors.iter().map(|(name, position)| (name.as_str(), *position)));
        if let (Some(saved), Some(text)) = (&commit.answer, answer) {
            self.known.answers.insert(saved.key.clone());
            self.plan.answers.push((saved, text));
        }
        Ok(committed)
    }

    fn append(&mut self, append: &Append) -> u64 {
        let mut head = self.head(&append.stream);
        for event in &append.events {
            head.version += 1;
            if self.imports {
                self.known.copies.insert((head.id, head.version));
            }
            self.push(Arc::new(envelope(&append.stream, head.version, event)), head.id, true);
        }
        head.open = append.open;
        self.known.heads.insert(append.stream.clone(), head);
        self.plan.touched.insert(append.stream.clone());
        head.version
    }

    fn import(&mut self, messages: &[Arc<Envelope>]) -> usize {
        let before = self.plan.events.len();
        for message in messages {
            let mut head = self.head(&message.stream);
            if !self.known.copies.insert((head.id, message.version)) {
                continue;
            }
            head.version = head.version.max(message.version);
            self.push(Arc::clone(message), head.id, false);
            self.known.heads.insert(message.stream.clone(), head);
            self.plan.touched.insert(message.stream.clone());
        }
        self.plan.events.len() - before
    }

    fn push(&mut self, envelope: Arc<Envelope>, stream: i64, own: bool) {
        let correlation = incident_stream(envelope.correlation_id.as_ref()).map(|name| self.head(&name).id);
        let partition = routing::partition(&envelope.stream, envelope.correlation_id.as_ref());
        self.known.last += 1;
        let recorded = Recorded { position: self.known.last, envelope };
        self.plan.events.push(EventRow { recorded, stream, correlation, own, partition });
    }

    /// The head of a stream, which gets an id if it has none.
    fn head(&mut self, stream: &StreamName) -> Head {
        match self.known.heads.entry(stream.clone()) {
            Entry::Occupied(head) => *head.get(),
            Entry::Vacant(vacant) => {
                self.known.last_stream += 1;
                self.plan.new_streams.push(stream.clone());
                *vacant.insert(Head { id: self.known.last_stream, version: 0, open: false })
            }
        }
    }
}

fn envelope(stream: &StreamName, version: u64, event: &NewEvent) -> Envelope {
    Envelope {
        id: event.id,
        kind: event.kind,
        v: event.v,
        stream: stream.clone(),
        version,
        at: event.at,
        correlation_id: event.correlation_id.clone(),
        causation_id: event.causation_id,
        traceparent: event.traceparent,
        exercise: event.exercise,
        data: event.data.clone(),
    }
}
