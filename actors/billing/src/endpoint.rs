//! What a person may ask of a bill, and what its payment provider reports by itself.

use crate::gateway::webhook;
use crate::model::{Bill, Command};
use crate::payers;
use async_trait::async_trait;
use serde_json::json;
use shers_contract::{
    BillId, Problem, Secret,
    api::{Answer, Call, Reply, Request},
};
use shers_runtime::{Deps, Directory, LocalEndpoint};

/// Answers for billing.
pub(crate) struct Desk {
    pub(crate) deps: Deps,
    pub(crate) bills: Directory<Bill>,
    /// Of the provider's webhooks; without one they are not taken.
    pub(crate) webhook_secret: Option<Secret>,
    pub(crate) webhook_tolerance_s: u32,
}

impl Desk {
    async fn retry(&self, call: &Call, bill: &BillId) -> Reply {
        let unavailable = |error: shers_runtime::StoreError| Problem::unavailable(error.to_string());
        let (state, _) = self.bills.state(bill.as_str()).await.map_err(unavailable)?;
        let account = state.account().ok_or_else(|| Problem::not_found("bill", bill.as_str()))?;
        // As the patient is now: a new card is why a person retries.
        let payer = payers::payer(&*self.deps.store, account.order.patient_id.as_ref()).await.map_err(unavailable)?;
        let command = Command::Retry { by: call.principal.subject.clone(), payer };
        self.bills.answer(call, bill.as_str(), command).await
    }

    async fn write_off(&self, call: &Call, bill: &BillId, reason: &str) -> Reply {
        let command = Command::WriteOff { by: call.principal.subject.clone(), reason: reason.to_owned() };
        self.bills.answer(call, bill.as_str(), command).await
    }
}

impl Desk {
    /// Takes a webhook: checks it, and lets the bill it is about hear of it. What is no business of a bill is
    /// taken and forgotten, so that the provider does not send it again.
    async fn webhook(&self, call: &Call, body: &str, signature: &str) -> Reply {
        let Some(secret) = &self.webhook_secret else {
            return Err(Problem::new(404, "not-found", "no secret is configured for the webhooks of a provider"));
        };
        let now = self.deps.clock.now();
        let checked = webhook::verify(secret, signature, body, now, self.webhook_tolerance_s);
        let report = match checked.and_then(|()| webhook::read(body)) {
            Ok(report) => report,
            Err(refused) => {
                count_webhook("refused");
                return Err(Problem::new(400, "webhook-refused", refused.to_string()));
            }
        };
        let Some((bill, report)) = report else {
            count_webhook("ignored");
            return Ok(Answer::ok(json!({ "received": true })));
        };
        self.bills.answer(call, bill.as_str(), Command::Reported(report)).await?;
        count_webhook("taken");
        Ok(Answer::ok(json!({ "received": true })))
    }
}

fn count_webhook(outcome: &'static str) {
    metrics::counter!("shers_webhooks_total", "provider" => "stripe", "outcome" => outcome).increment(1);
}

#[async_trait(?Send)]
impl LocalEndpoint for Desk {
    async fn call(&self, call: Call) -> Reply {
        match &call.request {
            Request::RetryBill(bill) => self.retry(&call, bill).await,
            Request::WriteOffBill(bill, reason) => self.write_off(&call, bill, reason).await,
            Request::PaymentWebhook { body, signature } => self.webhook(&call, body, signature).await,
            _ => Err(Problem::new(500, "misrouted-request", "billing answers nothing of the kind")),
        }
    }
}
