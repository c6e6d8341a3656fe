//! The supervision tree of a process as a person sees it, and what a person may do to it.
//!
//! ```text
//! process ── category/* ── actor     (incident, unit, bill …: many, in one or more directories)
//!         └─ category/* ── task      (consumer, projector, writer, worker, session …)
//! ```

use crate::keeper::{ActorInfo, ActorState, CategoryInfo, Control, Keeper, SupervisionTree};
use shers_contract::{Problem, api::ActorAction};
use std::{cmp::Reverse, collections::BTreeMap};
use tokio::sync::oneshot;

/// Name of a category's supervisor.
fn supervisor(category: &str) -> String {
    format!("{category}/*")
}

fn category_of(actor: &str) -> &str {
    actor.split_once('/').map_or(actor, |(category, _)| category)
}

/// The troubled first, then those with many lives, then by name.
pub(crate) fn by_trouble(a: &ActorInfo, b: &ActorInfo) -> std::cmp::Ordering {
    let rank = |i: &ActorInfo| (i.state == ActorState::Running, Reverse(i.incarnation));
    rank(a).cmp(&rank(b)).then_with(|| a.actor.cmp(&b.actor))
}

impl Keeper {
    /// The actors and tasks of this process, at most `per_category` of each, the troubled ones first.
    pub async fn list(&self, per_category: usize) -> Vec<ActorInfo> {
        let mut of: BTreeMap<String, Vec<ActorInfo>> = BTreeMap::new();
        for control in self.controls(None) {
            let (reply, answer) = oneshot::channel();
            if control.send(Control::List(per_category, reply)).is_ok() {
                for info in answer.await.unwrap_or_default() {
                    of.entry(category_of(&info.actor).to_owned()).or_default().push(info);
                }
            }
        }
        for task in self.tasks() {
            of.entry(task.category.to_owned()).or_default().push(task.info());
        }
        let mut all = Vec::new();
        for (category, mut infos) in of {
            infos.sort_by(by_trouble);
            infos.truncate(per_category);
            all.extend(infos.into_iter().map(|info| ActorInfo { parent: Some(supervisor(&category)), ..info }));
        }
        all
    }

    /// The whole tree as one list, parents before children: the process, each category's supervisor, and at
    /// most `per_category` of its actors or tasks.
    pub async fn survey(&self, per_category: usize) -> Vec<ActorInfo> {
        let tree = self.tree().await;
        let failing = tree.categories.iter().any(|category| category.failing);
        let node = |actor: String, parent: Option<String>, failing: bool, supervises: Option<CategoryInfo>| ActorInfo {
            actor,
            state: if failing { ActorState::Restarting } else { ActorState::Running },
            incarnation: 1,
            restarts: supervises.as_ref().map_or(0, |of| u32::try_from(of.died_lately).unwrap_or(u32::MAX)),
            last_cause: None,
            detail: failing.then(|| "what it supervises keeps dying".to_owned()),
            back_at: None,
            waiting: supervises.as_ref().map_or(0, |of| of.waiting),
            parked: 0,
            parent,
            supervises,
        };
        let root = tree.node;
        let mut all = vec![node(root.clone(), None, failing, None)];
        for category in tree.categories {
            let (name, failing) = (supervisor(&category.category), category.failing);
            all.push(node(name, Some(root.clone()), failing, Some(category)));
        }
        all.extend(self.list(per_category).await);
        all
    }

    /// A page of one category's actors by name, after the id `after`.
    pub async fn page(&self, category: &str, after: Option<String>, limit: usize) -> Vec<ActorInfo> {
        let mut page = Vec::new();
        for control in self.controls(Some(category)) {
            let (reply, answer) = oneshot::channel();
            if control.send(Control::Page(after.clone(), limit, reply)).is_ok() {
                page.extend(answer.await.unwrap_or_default());
            }
        }
        page.sort_by(|a, b| a.actor.cmp(&b.actor));
        page.truncate(limit);
        page
    }

    /// This process and its categories, with how many of their actors and tasks do what.
    pub async fn tree(&self) -> SupervisionTree {
        let mut of: BTreeMap<String, CategoryInfo> = BTreeMap::new();
        let mut add = |category: &str, running, restarting, quarantined, waiting| {
            let info = of.entry(category.to_owned()).or_insert_with(|| self.category_info(category));
            info.running += running;
            info.restarting += restarting;
            info.quarantined += quarantined;
            info.waiting += waiting;
        };
        for control in self.controls(None) {
            let (reply, answer) = oneshot::channel();
            if control.send(Control::Count(reply)).is_ok()
                && let Ok(one) = answer.await
            {
                add(&one.category, one.running, one.restarting, one.quarantined, one.waiting);
            }
        }
        for task in self.tasks() {
            let (state, in_hand) = task.state();
            let is = |wanted| usize::from(state == wanted);
            add(task.category, is(ActorState::Running), is(ActorState::Restarting), 0, in_hand);
        }
        SupervisionTree { node: self.node().to_owned(), categories: of.into_values().collect() }
    }

    /// Acts on one actor or task, whichever of the category's directories it is in.
    ///
    /// # Errors
    /// Not found, or a conflict with what the actor is doing.
    pub async fn act(&self, actor: &str, action: ActorAction) -> Result<(), Problem> {
        if let Some(task) = self.task(actor) {
            return task.act(action);
        }
        let not_found = || Problem::not_found("actor", actor);
        let (category, id) = actor.split_once('/').ok_or_else(not_found)?;
        let controls = self.controls(Some(category));
        for control in &controls {
            let (reply, answer) = oneshot::channel();
            // One that is gone holds no actor.
            if control.send(Control::Act(id.to_owned(), action, reply)).is_err() {
                continue;
            }
            match answer.await {
                Ok(Err(problem)) if problem.status == 404 => {}
                Ok(done) => return done,
                Err(_) => return Err(Problem::unknown_outcome()),
            }
        }
        Err(not_found())
    }
}
