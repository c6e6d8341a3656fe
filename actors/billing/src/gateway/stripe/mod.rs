//! Stripe behind the port of payments: payment intents with manual capture, and refunds.
//!
//! - Every call that changes something carries the key that the log knows, under
//!   `RequestStrategy::Idempotent`, once, within our own time limit. The loop that repeats it is the saga's,
//!   durable and always around that one key.
//! - An intent carries its key and its bill as metadata, and nothing about the patient. That is how it is
//!   found when the answer to its creation was lost.
//! - Whatever an error leaves open is read back: the state of the intent decides, not the error.
//! - Answers are read into small types of our own: an unknown field or word breaks nothing.

mod amounts;
mod failure;

use crate::gateway::payment::{
    AmountLimits, CancelOutcome, ConfirmOutcome, CreateOutcome, CreatePayment, FoundPayment, PaymentGateway,
    PaymentState, ReadOutcome, RefundOutcome, Sought,
};
use crate::settings::OwnLimits;
use async_trait::async_trait;
use failure::{Failure, kebab, meaning};
use miniserde::Deserialize;
use shers_contract::{Currency, Money, Secret};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use stripe::{Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeError, StripeRequest};
use stripe_core::{
    PaymentIntentCaptureMethod,
    payment_intent::{
        CancelPaymentIntent, CapturePaymentIntent, ConfirmPaymentIntent, ConfirmPaymentIntentOffSession,
        CreatePaymentIntent, CreatePaymentIntentAutomaticPaymentMethods,
        CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects, ListPaymentIntent, RetrievePaymentIntent,
    },
    refund::{CreateRefund, ListRefund},
};

/// Name in events.
pub const NAME: &str = "stripe";
/// Metadata: the bill.
pub const BILL: &str = "shers_bill";
/// Metadata: the key under which the payment was created.
pub const KEY: &str = "shers_key";
/// Objects a page of a list.
const PAGE: i64 = 100;
/// Pages of a list that are looked through for a key.
const MAX_PAGES: usize = 50;
/// How far Stripe's clock may be behind ours, seconds.
const CLOCK_MARGIN_S: i64 = 3_600;

/// An intent, as far as it matters.
#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    metadata: Option<HashMap<String, String>>,
    last_payment_error: Option<LastError>,
}

#[derive(Deserialize)]
struct LastError {
    code: Option<String>,
    decline_code: Option<String>,
}

#[derive(Deserialize)]
struct Intents {
    data: Vec<Intent>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Refund {
    amount: i64,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Refunds {
    data: Vec<Refund>,
}

/// What was paid back of a payment, in Stripe's units.
#[derive(Default)]
struct PaidBack {
    done: i64,
    pending: i64,
    failed: bool,
}

/// Stripe could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("setting up the client of Stripe")]
pub struct SetUpError(#[source] StripeError);

/// Stripe.
pub struct Stripe {
    client: Client,
    time_limit: Duration,
    own_limits: BTreeMap<String, OwnLimits>,
}

impl Stripe {
    /// Stripe at `url`, asked with the secret `key`.
    ///
    /// # Errors
    /// The address or the key cannot be one.
    pub fn new(
        url: &str,
        key: &Secret,
        time_limit: Duration,
        own_limits: BTreeMap<String, OwnLimits>,
    ) -> Result<Self, SetUpError> {
        let client = ClientBuilder::new(key.reveal()).url(url).build().map_err(SetUpError)?;
        Ok(Self { client, time_limit, own_limits })
    }

    /// One call, once, within the time limit.
    async fn call<T: Deserialize>(&self, request: &impl StripeRequest, key: Option<&str>) -> Result<T, Failure> {
        let strategy = match key.map(IdempotencyKey::new) {
            None => RequestStrategy::Once,
            Some(Ok(key)) => RequestStrategy::Idempotent(key),
            Some(Err(error)) => return Err(Failure::Blocked(error.to_string())),
        };
        let sending = request.build().customize::<T>().request_strategy(strategy).send(&self.client);
        match tokio::time::timeout(self.time_limit, sending).await {
            Err(_) => Err(meaning(StripeError::Timeout)),
            Ok(answer) => answer.map_err(meaning),
        }
    }

    async fn intent(&self, id: &str) -> Result<Intent, Failure> {
        self.call(&RetrievePaymentIntent::new(id), None).await
    }

    async fn paid_back(&self, id: &str) -> Result<PaidBack, Failure> {
        let refunds: Refunds = self.call(&ListRefund::new().payment_intent(id).limit(PAGE), None).await?;
        Ok(refunds.data.iter().fold(PaidBack::default(), |sum, refund| match refund.status.as_deref() {
            Some("failed" | "canceled") => PaidBack { failed: true, ..sum },
            Some("pending" | "requires_action") => PaidBack { pending: sum.pending + refund.amount, ..sum },
            Some(_) | None => PaidBack { done: sum.done + refund.amount, ..sum },
        }))
    }

    /// The intent as the port knows it.
    async fn found(&self, intent: Intent) -> Result<FoundPayment, Failure> {
        let (state, decline_code) = match state(&intent) {
            PaymentState::Succeeded if self.paid_back(&intent.id).await?.done > 0 => (PaymentState::Refunded, None),
            PaymentState::Declined => (PaymentState::Declined, Some(decline(&intent))),
            state => (state, None),
        };
        Ok(FoundPayment { id: intent.id, state, decline_code })
    }

    /// The intent that carries a key, newest first, not older than the attempt.
    async fn search(&self, sought: &Sought) -> Result<Option<Intent>, Failure> {
        let since = sought.since.as_ms() / 1_000 - CLOCK_MARGIN_S;
        let list = || ListPaymentIntent::new().created(stripe_types::RangeQueryTs::gte(since)).limit(PAGE);
        let mut request = list();
        for _ in 0..MAX_PAGES {
            let page: Intents = self.call(&request, None).await?;
            let last = page.data.last().map(|intent| intent.id.clone());
            let carries = |intent: &Intent| {
                intent.metadata.as_ref().and_then(|metadata| metadata.get(KEY)).is_some_and(|key| *key == sought.key)
            };
            if let Some(intent) = page.data.into_iter().find(carries) {
                return Ok(Some(intent));
            }
            match last {
                Some(last) if page.has_more => request = list().starting_after(last),
                Some(_) | None => return Ok(None),
            }
        }
        Err(Failure::Later(format!("stripe: the payment is not among the newest {} of this attempt", PAGE * 50)))
    }

    /// How confirming or capturing ended, by the state that the intent is in.
    async fn by_state(&self, answer: Result<Intent, Failure>, id: &str, before: PaymentState) -> ConfirmOutcome {
        let (intent, refusal) = match answer {
            Ok(intent) => (intent, None),
            Err(Failure::Unknown(why)) => return ConfirmOutcome::Unknown(why),
            Err(Failure::Later(why)) => return ConfirmOutcome::Retry(why),
            Err(Failure::Declined { code, reason }) => return ConfirmOutcome::Declined { code, reason },
            Err(Failure::Authentication) => return ConfirmOutcome::RequiresAction,
            Err(Failure::Blocked(why) | Failure::Missing(why)) => return ConfirmOutcome::Blocked(why),
            Err(Failure::Refused { reason, .. }) => match self.intent(id).await {
                Ok(intent) => (intent, Some(reason)),
                Err(_) => return ConfirmOutcome::Unknown(reason),
            },
        };
        match state(&intent) {
            same if same == before => match refusal {
                Some(reason) => ConfirmOutcome::Blocked(reason),
                None => ConfirmOutcome::Unknown(format!("stripe: the payment is still {}", kebab(&intent.status))),
            },
            PaymentState::Authorised => ConfirmOutcome::Authorised,
            PaymentState::Succeeded | PaymentState::Refunded => ConfirmOutcome::Succeeded,
            PaymentState::RequiresAction => ConfirmOutcome::RequiresAction,
            PaymentState::Processing => ConfirmOutcome::Processing,
            PaymentState::Declined => {
                ConfirmOutcome::Declined { code: decline(&intent), reason: "stripe declined the card".to_owned() }
            }
            PaymentState::Cancelled => ConfirmOutcome::Declined {
                code: "payment-cancelled".to_owned(),
                reason: "the payment was cancelled at stripe".to_owned(),
            },
            PaymentState::RequiresConfirmation => {
                ConfirmOutcome::Blocked("stripe: the payment is not confirmed".to_owned())
            }
        }
    }
}

fn state(intent: &Intent) -> PaymentState {
    match intent.status.as_str() {
        "requires_confirmation" => PaymentState::RequiresConfirmation,
        "requires_capture" => PaymentState::Authorised,
        "requires_action" => PaymentState::RequiresAction,
        "requires_payment_method" => PaymentState::Declined,
        "succeeded" => PaymentState::Succeeded,
        "canceled" => PaymentState::Cancelled,
        // `processing`, and words of a later day: nothing is decided from them.
        _ => PaymentState::Processing,
    }
}

fn decline(intent: &Intent) -> String {
    let error = intent.last_payment_error.as_ref();
    let code = error.and_then(|error| error.decline_code.as_ref().or(error.code.as_ref()));
    code.map_or_else(|| "card-declined".to_owned(), |code| kebab(code))
}

/// `cus_…-pm_…` is a card that a customer of the account has saved; anything else is a card by itself.
fn customer_and_card(payment_method: &str) -> (Option<&str>, &str) {
    match payment_method.split_once('-') {
        Some((customer, card)) if customer.starts_with("cus_") => (Some(customer), card),
        Some(_) | None => (None, payment_method),
    }
}

fn creation(payment: &CreatePayment, units: i64) -> CreatePaymentIntent {
    let currency = currency(payment.amount.currency);
    let metadata =
        HashMap::from([(BILL.to_owned(), payment.bill_id.to_string()), (KEY.to_owned(), payment.key.clone())]);
    let (customer, card) = customer_and_card(&payment.payment_method);
    // A method that sends the patient to another page has nobody to send.
    let mut without_redirects = CreatePaymentIntentAutomaticPaymentMethods::new(true);
    without_redirects.allow_redirects = Some(CreatePaymentIntentAutomaticPaymentMethodsAllowRedirects::Never);
    let request = CreatePaymentIntent::new(units, currency)
        .capture_method(PaymentIntentCaptureMethod::Manual)
        .payment_method(card)
        .automatic_payment_methods(without_redirects)
        .metadata(metadata);
    match customer {
        Some(customer) => request.customer(customer),
        None => request,
    }
}

fn currency(currency: Currency) -> stripe_types::Currency {
    let code = currency.code().to_ascii_lowercase();
    code.parse().unwrap_or(stripe_types::Currency::Unknown(code))
}

#[async_trait]
impl PaymentGateway for Stripe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn limits(&self, amount: Money) -> AmountLimits {
        amounts::limits(amount.currency, &self.own_limits)
    }

    async fn create(&self, payment: CreatePayment) -> CreateOutcome {
        let Some(units) = amounts::to_stripe(payment.amount) else {
            return CreateOutcome::Blocked(format!("stripe cannot be asked for exactly {}", payment.amount));
        };
        match self.call::<Intent>(&creation(&payment, units), Some(&payment.key)).await {
            Ok(intent) => CreateOutcome::Created { id: intent.id },
            Err(Failure::Unknown(why)) => CreateOutcome::Unknown(why),
            Err(Failure::Later(why)) => CreateOutcome::Retry(why),
            Err(Failure::Declined { code, reason }) => CreateOutcome::Declined { code, reason },
            Err(Failure::Authentication) => CreateOutcome::Declined {
                code: "authentication-required".to_owned(),
                reason: "the bank wants the patient to authenticate, who is not present".to_owned(),
            },
            // The only thing that a creation names is the card, and its customer.
            Err(Failure::Missing(reason)) => {
                CreateOutcome::Declined { code: "payment-method-unknown".to_owned(), reason }
            }
            Err(Failure::Refused { code, reason }) if code == "amount-too-small" || code == "amount-too-large" => {
                CreateOutcome::Declined { code, reason }
            }
            Err(Failure::Refused { reason, .. } | Failure::Blocked(reason)) => CreateOutcome::Blocked(reason),
        }
    }

    async fn confirm(&self, key: &str, id: &str) -> ConfirmOutcome {
        // The patient is not here to authenticate: a bank that wants it declines at once.
        let request = ConfirmPaymentIntent::new(id).off_session(ConfirmPaymentIntentOffSession::Bool(true));
        let answer = self.call(&request, Some(key)).await;
        self.by_state(answer, id, PaymentState::RequiresConfirmation).await
    }

    async fn capture(&self, key: &str, id: &str) -> ConfirmOutcome {
        let answer = self.call(&CapturePaymentIntent::new(id), Some(key)).await;
        self.by_state(answer, id, PaymentState::Authorised).await
    }

    async fn find(&self, sought: &Sought) -> ReadOutcome {
        match self.search(sought).await {
            Ok(Some(intent)) => match self.found(intent).await {
                Ok(found) => ReadOutcome::Found(found),
                Err(failure) => ReadOutcome::Retry(text(failure)),
            },
            Ok(None) => ReadOutcome::Absent,
            Err(failure) => ReadOutcome::Retry(text(failure)),
        }
    }

    async fn read(&self, id: &str) -> ReadOutcome {
        let found = match self.intent(id).await {
            Ok(intent) => self.found(intent).await,
            Err(Failure::Missing(_)) => return ReadOutcome::Absent,
            Err(failure) => Err(failure),
        };
        found.map_or_else(|failure| ReadOutcome::Retry(text(failure)), ReadOutcome::Found)
    }

    async fn cancel(&self, key: &str, id: &str) -> CancelOutcome {
        let (intent, refusal) = match self.call::<Intent>(&CancelPaymentIntent::new(id), Some(key)).await {
            Ok(intent) => (intent, None),
            Err(Failure::Unknown(why)) => return CancelOutcome::Unknown(why),
            Err(Failure::Later(why)) => return CancelOutcome::Retry(why),
            Err(Failure::Blocked(why) | Failure::Missing(why)) => return CancelOutcome::Blocked(why),
            Err(failure @ (Failure::Refused { .. } | Failure::Declined { .. } | Failure::Authentication)) => {
                match self.intent(id).await {
                    Ok(intent) => (intent, Some(text(failure))),
                    Err(_) => return CancelOutcome::Unknown(text(failure)),
                }
            }
        };
        match (state(&intent), refusal) {
            (PaymentState::Cancelled, _) => CancelOutcome::Cancelled,
            (PaymentState::Succeeded | PaymentState::Refunded, _) => CancelOutcome::Succeeded,
            (PaymentState::Processing, _) => CancelOutcome::Unknown("stripe has not decided yet".to_owned()),
            (_, Some(reason)) => CancelOutcome::Blocked(reason),
            (_, None) => CancelOutcome::Unknown(format!("stripe: the payment is {}", kebab(&intent.status))),
        }
    }

    async fn refund(&self, key: &str, id: &str, amount: Money) -> RefundOutcome {
        let Some(units) = amounts::to_stripe(amount) else {
            return RefundOutcome::Failed(format!("stripe cannot pay back exactly {amount}"));
        };
        if let Some(outcome) = self.refunded(id, units).await {
            return outcome;
        }
        let request = CreateRefund::new().payment_intent(id).amount(units);
        match self.call::<Refund>(&request, Some(key)).await {
            Ok(refund) => match refund.status.as_deref() {
                Some("failed" | "canceled") => RefundOutcome::Failed("stripe could not pay back".to_owned()),
                Some("pending" | "requires_action") => RefundOutcome::Unknown("the refund is on its way".to_owned()),
                Some(_) | None => RefundOutcome::Refunded,
            },
            Err(Failure::Unknown(why)) => RefundOutcome::Unknown(why),
            Err(Failure::Later(why)) => RefundOutcome::Retry(why),
            // It may have been paid back meanwhile, by us or by hand.
            Err(failure) => self.refunded(id, units).await.unwrap_or_else(|| RefundOutcome::Failed(text(failure))),
        }
    }
}

impl Stripe {
    /// How paying back stands by the refunds that exist; `None` when there is none to go by.
    async fn refunded(&self, id: &str, units: i64) -> Option<RefundOutcome> {
        match self.paid_back(id).await {
            Ok(back) if back.done >= units => Some(RefundOutcome::Refunded),
            Ok(back) if back.done + back.pending >= units => {
                Some(RefundOutcome::Unknown("the refund is on its way".to_owned()))
            }
            Ok(back) if back.failed => Some(RefundOutcome::Failed("stripe could not pay back".to_owned())),
            Ok(_) => None,
            Err(failure) => Some(RefundOutcome::Retry(text(failure))),
        }
    }
}

fn text(failure: Failure) -> String {
    match failure {
        Failure::Unknown(why) | Failure::Later(why) | Failure::Missing(why) | Failure::Blocked(why) => why,
        Failure::Declined { reason, .. } | Failure::Refused { reason, .. } => reason,
        Failure::Authentication => "stripe wants the patient to authenticate".to_owned(),
    }
}
