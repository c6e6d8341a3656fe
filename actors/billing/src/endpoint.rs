//! What a person may ask of a bill.

use crate::model::{Bill, Command};
use crate::payers;
use async_trait::async_trait;
use shers_contract::{
    BillId, Problem,
    api::{Call, Reply, Request},
};
use shers_runtime::{Deps, Directory, LocalEndpoint};

/// Answers for billing.
pub(crate) struct Desk {
    pub(crate) deps: Deps,
    pub(crate) bills: Directory<Bill>,
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

#[async_trait(?Send)]
impl LocalEndpoint for Desk {
    async fn call(&self, call: Call) -> Reply {
        match &call.request {
            Request::RetryBill(bill) => self.retry(&call, bill).await,
            Request::WriteOffBill(bill, reason) => self.write_off(&call, bill, reason).await,
            Request::PaymentWebhook { .. } => {
                Err(Problem::new(404, "not-found", "no provider with webhooks is configured"))
            }
            _ => Err(Problem::new(500, "misrouted-request", "billing answers nothing of the kind")),
        }
    }
}
