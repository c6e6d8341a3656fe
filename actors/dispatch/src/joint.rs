//! The waiting list served as a whole when several units are free.

use crate::desk::Desk;
use crate::model::desk::{Known, Recommendation, duration_text};
use crate::model::joint::{assign, weight};
use futures::future::join_all;
use shers_contract::{IncidentId, UnitId};
use std::collections::{BTreeMap, BTreeSet};

impl Desk {
    /// A recommendation for each of the waiting at the head of `order`, the unit of the joint solution first.
    /// None for those that are better looked at alone.
    pub(crate) async fn plan_jointly(&self, order: &[IncidentId]) -> BTreeMap<IncidentId, Recommendation> {
        let waiting: Vec<Known> = {
            let book = self.book.borrow();
            let open = order.iter().filter(|incident| book.fleet.at_work_for(incident).is_empty());
            let known = open.filter_map(|incident| book.queue.known(incident));
            known.filter(|known| known.request.location.is_some()).take(self.settings.max_joint).cloned().collect()
        };
        if waiting.len() < 2 {
            return BTreeMap::new();
        }
        // Of n incidents each gets one of its own n best units, for the n − 1 others leave one of them free.
        let keep = waiting.len().max(self.settings.max_candidates).max(2);
        // All are asked for at once, so that a slow provider costs its time budget once.
        let found = join_all(waiting.iter().map(|known| self.recommendation_among(&known.request, keep))).await;
        let units: BTreeSet<UnitId> =
            found.iter().flat_map(|r| r.candidates.iter().map(|c| c.unit_id.clone())).collect();
        let units: Vec<UnitId> = units.into_iter().collect();
        let costs = waiting.iter().zip(&found).map(|(known, recommendation)| {
            let cost = |unit: &UnitId| {
                let candidate = recommendation.candidates.iter().find(|candidate| candidate.unit_id == *unit)?;
                Some(i64::from(candidate.eta_s) * weight(known.request.priority))
            };
            units.iter().map(cost).collect()
        });
        let chosen = assign(&costs.collect());
        let goes = |index: &Option<usize>| index.and_then(|index| units.get(index)).cloned();
        let chosen: Vec<Option<UnitId>> = chosen.iter().map(goes).collect();
        let mut plans = BTreeMap::new();
        for (recommendation, unit) in found.into_iter().zip(&chosen) {
            let mut plan =
                unit.as_ref().map_or_else(|| recommendation.clone(), |unit| preferring(&recommendation, unit));
            plan.candidates.truncate(self.settings.max_candidates.max(2));
            plans.insert(plan.incident_id.clone(), plan);
        }
        plans
    }
}

/// The recommendation with `unit` first, and why when it is not the closest.
fn preferring(recommendation: &Recommendation, unit: &UnitId) -> Recommendation {
    let mut plan = recommendation.clone();
    let Some(index) = plan.candidates.iter().position(|candidate| candidate.unit_id == *unit) else { return plan };
    let ours = plan.candidates.remove(index);
    if let Some(closest) = plan.candidates.first().filter(|_| index > 0) {
        plan.reason = format!(
            "{unit} goes ({}), though {} is closer ({}): several incidents wait, and this way the times of all of \
             them together, weighted by priority, are the shortest.",
            duration_text(ours.eta_s),
            closest.unit_id,
            duration_text(closest.eta_s),
        );
    }
    plan.candidates.insert(0, ours);
    plan
}
