//! What the insurer answers to a `CoverageEligibilityRequest`.
//!
//! - A request that cannot be read is a problem, not a resource: nothing is known of it to answer about.
//! - No such plan, or not in force on the day of service: `complete`, `inforce` false.
//! - Excluded service: `complete`, `excluded` true.
//! - Covered: the benefits, with what the plan pays of this item as `allowedMoney` of `benefit`.
//! - Another currency than the plan's: outcome `error`.
//! - Status `cancelled`: what the active one claimed is released; `complete`, without insurance.

use crate::model::plan::{Plan, Share};
use serde::Deserialize;
use serde_json::Value;
use shers_contract::{
    Money, PlanId, Timestamp, derived_uuid,
    fhir::{
        Amount, AmountError, BENEFIT_SYSTEM, Benefit, Concept, CoverageEligibilityResponse, ERROR_SYSTEM,
        EligibilityRequest, EligibilityResponse, Identifier, Outcome, PLAN_SYSTEM, Period, REQUEST_SYSTEM, Reference,
        ResponseError, ResponseInsurance, ResponseItem, SERVICE_SYSTEM, Status,
    },
};

/// The name under which this insurer answers.
pub const INSURER: &str = "sandbox-insurer";

/// A request this insurer cannot answer about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// JSON pointer to what is wrong; empty when the whole is.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

fn malformed(field: &'static str, reason: impl Into<String>) -> Malformed {
    Malformed { field, reason: reason.into() }
}

/// A request that was understood.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    request: EligibilityRequest,
    /// The question's own identifier.
    pub question: String,
    /// Under which plan.
    pub plan_id: PlanId,
    coverage: Reference,
    service: Concept,
    service_code: String,
    price: Money,
}

/// What is known about the asked plan and question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing<'a> {
    /// There is no such plan.
    NoPlan,
    /// The plan, and how often this question was put off before.
    Plan(&'a Plan, PutOff),
}

/// How often a question was put off, by the sandbox's behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct PutOff {
    /// With an error.
    pub errors: u32,
    /// With `queued`.
    pub queued: u32,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// [`Malformed`] with the place.
    pub fn read(body: &Value) -> Result<Self, Malformed> {
        let request = EligibilityRequest::deserialize(body)
            .map_err(|error| malformed("", format!("this is not a FHIR R4 CoverageEligibilityRequest: {error}")))?;
        if matches!(request.status, Status::Draft | Status::EnteredInError) {
            return Err(malformed("/status", "the status is `active`, or `cancelled` to release what was claimed"));
        }
        let own = request.identifier.iter().find(|id| id.system.as_deref() == Some(REQUEST_SYSTEM));
        let question = own.and_then(|id| id.value.clone()).filter(|value| !value.is_empty());
        let question = question.ok_or_else(|| {
            malformed(
                "/identifier",
                format!("the request needs an identifier in {REQUEST_SYSTEM}, the same when repeated"),
            )
        })?;
        let insurance = request.insurance.iter().find(|i| i.focal == Some(true)).or_else(|| request.insurance.first());
        let coverage = insurance.map(|insurance| insurance.coverage.clone());
        let coverage = coverage.ok_or_else(|| malformed("/insurance", "the request names no coverage"))?;
        let plan_id = plan_of(&coverage)?;
        let item = request.item.first().ok_or_else(|| malformed("/item", "the request names no item"))?;
        let service = item.product_or_service.clone().unwrap_or_default();
        let service_code = service.in_system(SERVICE_SYSTEM).unwrap_or_default().to_owned();
        if service_code.is_empty() {
            return Err(malformed("/item/0/productOrService", format!("the item needs a code in {SERVICE_SYSTEM}")));
        }
        let price = item.unit_price.as_ref().ok_or_else(|| malformed("/item/0/unitPrice", "the item has no price"))?;
        let price = price.to_money().map_err(|error| malformed("/item/0/unitPrice", error.to_string()))?;
        if price.amount_minor < 0 {
            return Err(malformed("/item/0/unitPrice", "a price is not negative"));
        }
        Ok(Self { question, plan_id, coverage, service, service_code, price, request })
    }

    /// The answer, and how often the question is put off with it.
    ///
    /// # Errors
    /// An amount has no exact decimal.
    pub fn answer(&self, standing: Standing<'_>, now: Timestamp) -> Result<(EligibilityResponse, PutOff), AmountError> {
        let (plan, before) = match standing {
            Standing::NoPlan => {
                let answer = self.complete("no such plan", self.insurance(false, None, Vec::new()), now);
                return Ok((answer, PutOff::default()));
            }
            Standing::Plan(plan, before) => (plan, before),
        };
        if self.request.status == Status::Cancelled {
            return Ok((
                self.response(Outcome::Complete, Some("released: nothing will be claimed".to_owned()), now),
                before,
            ));
        }
        if before.errors < plan.sandbox.error_times {
            let after = PutOff { errors: before.errors + 1, ..before };
            return Ok((self.error("sandbox-outage", "the sandbox fails on purpose", now), after));
        }
        if before.queued < plan.sandbox.queued_times {
            let after = PutOff { queued: before.queued + 1, ..before };
            return Ok((self.response(Outcome::Queued, Some("queued: ask again".to_owned()), now), after));
        }
        Ok((self.covered(plan, now)?, before))
    }

    fn covered(&self, plan: &Plan, now: Timestamp) -> Result<EligibilityResponse, AmountError> {
        if plan.currency != self.price.currency {
            let text = format!("the plan is in {}, the price in {}", plan.currency.code(), self.price.currency.code());
            return Ok(self.error("currency-mismatch", &text, now));
        }
        let period = Period { start: plan.period.from, end: plan.period.until };
        if !plan.in_force(self.request.serviced_date) {
            let insurance = self.insurance(false, Some(period), Vec::new());
            return Ok(self.complete("not in force on the day of service", insurance, now));
        }
        if plan.excludes(&self.service_code) {
            let item = ResponseItem {
                product_or_service: Some(self.service.clone()),
                excluded: Some(true),
                benefit: Vec::new(),
            };
            let text = format!("the plan excludes {}", self.service_code);
            return Ok(self.complete(&text, self.insurance(true, Some(period), vec![item]), now));
        }
        let share = plan.split(self.price.amount_minor);
        let item = ResponseItem {
            product_or_service: Some(self.service.clone()),
            excluded: Some(false),
            benefit: self.benefits(plan, share)?,
        };
        let insurer = self.price.with_amount(share.insurer_minor);
        let patient = self.price.with_amount(share.patient_minor);
        let text = format!("{} pays {insurer}, the patient {patient}", plan.name);
        Ok(self.complete(&text, self.insurance(true, Some(period), vec![item]), now))
    }

    fn benefits(&self, plan: &Plan, share: Share) -> Result<Vec<Benefit>, AmountError> {
        let money = |minor: i64| Amount::of(self.price.with_amount(minor));
        let mut benefits = vec![
            Benefit {
                allowed_money: Some(money(share.insurer_minor)?),
                used_money: Some(money(0)?),
                ..benefit("benefit")
            },
            Benefit {
                allowed_money: Some(money(plan.deductible_minor)?),
                used_money: Some(money(share.deductible_minor)?),
                ..benefit("deductible")
            },
            Benefit { allowed_money: Some(money(plan.copay_minor)?), ..benefit("copay") },
            Benefit { allowed_unsigned_int: Some(u32::from(plan.copay_percent)), ..benefit("copay-percent") },
        ];
        if let Some(most) = plan.copay_maximum_minor {
            benefits.push(Benefit {
                allowed_money: Some(money(most)?),
                used_money: Some(money(share.copay_minor)?),
                ..benefit("copay-maximum")
            });
        }
        Ok(benefits)
    }

    fn insurance(&self, inforce: bool, period: Option<Period>, item: Vec<ResponseItem>) -> ResponseInsurance {
        let benefit_period = period.filter(|period| *period != Period::default());
        ResponseInsurance { coverage: self.coverage.clone(), inforce: Some(inforce), benefit_period, item }
    }

    fn complete(&self, disposition: &str, insurance: ResponseInsurance, now: Timestamp) -> EligibilityResponse {
        let response = self.response(Outcome::Complete, Some(disposition.to_owned()), now);
        EligibilityResponse { insurance: vec![insurance], ..response }
    }

    fn error(&self, code: &str, disposition: &str, now: Timestamp) -> EligibilityResponse {
        let response = self.response(Outcome::Error, Some(disposition.to_owned()), now);
        EligibilityResponse { error: vec![ResponseError { code: Concept::code(ERROR_SYSTEM, code) }], ..response }
    }

    fn response(&self, outcome: Outcome, disposition: Option<String>, now: Timestamp) -> EligibilityResponse {
        // The same question under the same plan is the same response, however often it is asked.
        let id = derived_uuid(&["eligibility-response", &self.question, self.plan_id.as_str()]);
        let request =
            Reference { identifier: Some(Identifier::new(REQUEST_SYSTEM, &self.question)), ..Reference::default() };
        EligibilityResponse {
            resource_type: CoverageEligibilityResponse::default(),
            id: Some(id.to_string()),
            status: Status::Active,
            purpose: self.request.purpose.clone(),
            patient: self.request.patient.clone(),
            created: now,
            request,
            outcome,
            disposition,
            insurer: Reference { display: Some(INSURER.to_owned()), ..Reference::default() },
            insurance: Vec::new(),
            error: Vec::new(),
        }
    }
}

/// The plan in a coverage's logical reference.
fn plan_of(coverage: &Reference) -> Result<PlanId, Malformed> {
    let identifier = coverage.identifier.as_ref();
    let plan = identifier.and_then(|id| id.system.as_deref()).and_then(|system| system.strip_prefix(PLAN_SYSTEM));
    let member = identifier.and_then(|id| id.value.as_deref()).unwrap_or_default();
    let plan = plan.and_then(|plan| PlanId::new(plan).ok()).filter(|_| !member.is_empty());
    plan.ok_or_else(|| {
        malformed(
            "/insurance/0/coverage/identifier",
            format!("the coverage is an identifier with system {PLAN_SYSTEM}<plan> and the member's number as value"),
        )
    })
}

/// A benefit of one type.
fn benefit(code: &str) -> Benefit {
    Benefit { kind: Concept::code(BENEFIT_SYSTEM, code), ..Benefit::default() }
}
