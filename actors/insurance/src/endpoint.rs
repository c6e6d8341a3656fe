//! Plans over REST, questions over FHIR.
//!
//! A question that cannot be read is answered with `application/problem+json` like everything else here,
//! not with an `OperationOutcome`; one that can is answered with HTTP 200 and a response whose `outcome`
//! says the rest.

use crate::model::{Asked, Plan, Standing, answer::PutOff};
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use shers_contract::{
    PlanId, Problem,
    api::{Answer, Call, Reply, Request},
    derived_uuid,
};
use shers_runtime::{Commit, CommitError, Deps, DocumentWrite, LocalEndpoint};

/// Collection of the plans.
pub(crate) const PLANS: &str = "insurance.plan";
/// Collection of the questions that the sandbox has put off.
const QUESTIONS: &str = "insurance.question";

/// Answers for the insurer.
pub(crate) struct Counter {
    pub(crate) deps: Deps,
}

impl Counter {
    pub(crate) async fn plan(&self, id: &PlanId) -> Result<Option<Plan>, Problem> {
        self.read(PLANS, id.as_str()).await
    }

    pub(crate) async fn store_plan(&self, plan: &Plan) -> Result<(), Problem> {
        self.write(PLANS, plan.plan_id.to_string(), plan).await
    }

    async fn read<T: DeserializeOwned>(&self, collection: &'static str, id: &str) -> Result<Option<T>, Problem> {
        let document = self.deps.store.document(collection, id).await;
        let document = document.map_err(|error| Problem::unavailable(error.to_string()))?;
        let read = document.map(|document| serde_json::from_str(&document.doc)).transpose();
        read.map_err(|error| Problem::new(500, "stored-form", format!("document {id} of {collection}: {error}")))
    }

    async fn write<T: Serialize>(&self, collection: &'static str, id: String, value: &T) -> Result<(), Problem> {
        let doc = serde_json::to_string(value);
        let doc = doc.map_err(|error| Problem::new(500, "stored-form", error.to_string()))?;
        let write = DocumentWrite { collection, id, tag: String::new(), rank: 0, doc: Some(doc) };
        let commit = Commit { documents: vec![write], ..Commit::default() };
        match self.deps.store.commit(commit).await {
            Ok(_) => Ok(()),
            Err(CommitError::Unknown(_)) => Err(Problem::unknown_outcome()),
            Err(error) => Err(Problem::unavailable(error.to_string())),
        }
    }

    async fn put_plan(&self, id: &PlanId, body: &Value) -> Reply {
        let mut body = body.clone();
        if let Some(members) = body.as_object_mut() {
            members.entry("plan_id").or_insert_with(|| Value::from(id.as_str()));
        }
        let plan: Plan = serde_json::from_value(body).map_err(|error| {
            Problem::malformed(format!(
                "this is not a plan: {error}; one is {{\"name\": \"…\", \"currency\": \"CHF\", \"copay_percent\": 10}}"
            ))
        })?;
        if plan.plan_id != *id {
            return Err(Problem::invalid("/plan_id", format!("the plan's id is {id}, as in the path")));
        }
        plan.check().map_err(|error| Problem::invalid(error.field, error.reason))?;
        let known = self.plan(id).await?.is_some();
        self.store_plan(&plan).await?;
        Ok(shown(&plan).with_status(if known { 200 } else { 201 }))
    }

    async fn get_plan(&self, id: &PlanId) -> Reply {
        let plan = self.plan(id).await?.ok_or_else(|| Problem::not_found("plan", id.as_str()))?;
        Ok(shown(&plan))
    }

    async fn eligibility(&self, body: &Value) -> Reply {
        let asked = Asked::read(body).map_err(|error| match error.field {
            "" => Problem::malformed(error.reason),
            field => Problem::invalid(field, error.reason),
        })?;
        let plan = self.plan(&asked.plan_id).await?;
        let counted = plan.as_ref().is_some_and(|plan| !plan.sandbox.is_plain());
        let question = derived_uuid(&[&asked.question, asked.plan_id.as_str()]).to_string();
        let before: PutOff =
            if counted { self.read(QUESTIONS, &question).await?.unwrap_or_default() } else { PutOff::default() };
        let standing = plan.as_ref().map_or(Standing::NoPlan, |plan| Standing::Plan(plan, before));
        let (response, after) = asked
            .answer(standing, self.deps.clock.now())
            .map_err(|error| Problem::invalid("/item/0/unitPrice", error.to_string()))?;
        if after != before {
            self.write(QUESTIONS, question, &after).await?;
        }
        let outcome = serde_json::to_value(response.outcome).unwrap_or_default();
        metrics::counter!("shers_eligibility_total", "outcome" => outcome.as_str().unwrap_or_default().to_owned())
            .increment(1);
        Ok(shown(&response))
    }
}

fn shown<T: Serialize>(value: &T) -> Answer {
    // Plain structs with text keys: writing them cannot fail.
    Answer::ok(serde_json::to_value(value).unwrap_or_default())
}

#[async_trait(?Send)]
impl LocalEndpoint for Counter {
    async fn call(&self, call: Call) -> Reply {
        match &call.request {
            Request::PutPlan(id, body) => self.put_plan(id, body).await,
            Request::GetPlan(id) => self.get_plan(id).await,
            Request::Eligibility(body) => self.eligibility(body).await,
            _ => Err(Problem::new(500, "misrouted-request", "the insurer answers nothing of the kind")),
        }
    }
}
