//! The peers, which others wrote, and what they lack of Stripe, added here and nowhere hidden:
//!
//! - localstripe (PyPI) has payment intents. It refuses parameters that it does not know
//!   (`automatic_payment_methods`, `off_session`, `created`), so these are taken out; and it captures what was
//!   cancelled, which Stripe refuses and so does this.
//! - stripe-stateful-mock (npm) has charges and refunds, with idempotency keys of its own, and no payment
//!   intents. [`Intents`] keeps those in front of it: confirming one is an uncaptured charge of the peer,
//!   capturing and refunding are the peer's. Its keys are passed on, so its idempotency is what answers.
//!
//! What was charged and paid back is asked of the peers' own lists.

use crate::http::{Request, encoded};
use crate::proxy::{Op, error};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Status and body.
pub type Answer = (u16, String);

const SECRET: &str = "sk_test_peers";

pub enum Kind {
    Localstripe,
    Stateful(Intents),
}

pub struct Peer {
    pub kind: Kind,
    url: String,
    http: reqwest::Client,
}

/// Payment intents before a peer that has none.
#[derive(Default)]
pub struct Intents {
    next: AtomicU64,
    by_id: Mutex<HashMap<String, Intent>>,
}

#[derive(Clone)]
struct Intent {
    created: u64,
    form: BTreeMap<String, String>,
    source: String,
    status: &'static str,
    charge: Option<String>,
    code: Option<String>,
}

/// What the peer's own lists say of one bill.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Charges that succeeded and were captured.
    pub charges: usize,
    /// Their sum minus what was paid back.
    pub net: i64,
}

impl Peer {
    pub fn new(kind: Kind, url: String) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        Self { kind, url, http }
    }

    /// One request to the peer itself.
    async fn ask(&self, method: &str, target: &str, form: &BTreeMap<String, String>, key: Option<&str>) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{target}", self.url)).bearer_auth(SECRET);
        if !form.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(encoded(form));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.expect("the peer answers");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    async fn list(&self, target: &str) -> Vec<Value> {
        let mut items: Vec<Value> = Vec::new();
        loop {
            let after = items
                .last()
                .map_or(String::new(), |item| format!("&starting_after={}", item["id"].as_str().expect("an id")));
            let (status, body) = self.ask("GET", &format!("{target}?limit=100{after}"), &BTreeMap::new(), None).await;
            assert_eq!(status, 200, "{target}: {body}");
            let page: Value = serde_json::from_str(&body).expect("a list");
            let data = page["data"].as_array().expect("data");
            items.extend(data.iter().cloned());
            if data.is_empty() || page["has_more"] != json!(true) {
                return items;
            }
        }
    }

    /// Forgets what it can of earlier scenarios.
    pub async fn begin(&self) {
        match &self.kind {
            Kind::Localstripe => {
                let (status, body) = self.ask("DELETE", "/_config/data", &BTreeMap::new(), None).await;
                assert_eq!(status, 200, "{body}");
            }
            Kind::Stateful(intents) => intents.by_id.lock().expect("not poisoned").clear(),
        }
    }

    /// A card with this number, at localstripe.
    pub async fn card(&self, number: &str) -> String {
        let form = [
            ("type", "card"),
            ("card[number]", number),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2035"),
            ("card[cvc]", "123"),
        ];
        let form = form.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (status, body) = self.ask("POST", "/v1/payment_methods", &form, None).await;
        assert_eq!(status, 200, "{body}");
        let card: Value = serde_json::from_str(&body).expect("a card");
        card["id"].as_str().expect("an id").to_owned()
    }

    /// Has localstripe send its own webhooks, signed by itself, to `url`.
    pub async fn webhooks_to(&self, url: &str, secret: &str) {
        let form = BTreeMap::from([("url".to_owned(), url.to_owned()), ("secret".to_owned(), secret.to_owned())]);
        let (status, body) = self.ask("POST", "/_config/webhooks/shers", &form, None).await;
        assert_eq!(status, 200, "{body}");
    }

    /// What its lists say of a bill.
    pub async fn ledger(&self, bill: &str) -> Ledger {
        let of_bill = |charge: &Value| match &self.kind {
            // Its lists hold this scenario only.
            Kind::Localstripe => true,
            Kind::Stateful(_) => charge["metadata"]["shers_bill"] == json!(bill),
        };
        let charges = self.list("/v1/charges").await;
        let moved: Vec<&Value> = charges
            .iter()
            .filter(|charge| {
                of_bill(charge) && charge["status"] == json!("succeeded") && charge["captured"] == json!(true)
            })
            .collect();
        let sum = |items: &[&Value]| items.iter().map(|item| item["amount"].as_i64().expect("an amount")).sum::<i64>();
        let ids: Vec<&Value> = moved.iter().map(|charge| &charge["id"]).collect();
        let refunds = self.list("/v1/refunds").await;
        let back: Vec<&Value> = refunds.iter().filter(|refund| ids.contains(&&refund["charge"])).collect();
        let net = sum(&moved) - sum(&back);
        if matches!(self.kind, Kind::Localstripe) {
            // It keeps a balance, too, and that must say the same.
            let balance = self.list("/v1/balance_transactions").await;
            assert_eq!(sum(&balance.iter().collect::<Vec<_>>()), net, "{balance:?}");
        }
        Ledger { charges: moved.len(), net }
    }

    /// Whether the peer's own idempotency answers for this call.
    pub fn keeps_keys(&self, op: Op) -> bool {
        matches!(self.kind, Kind::Stateful(_)) && matches!(op, Op::Confirm | Op::Capture | Op::Refund)
    }

    /// Lets the peer do what the adapter asks of Stripe.
    pub async fn forward(&self, op: Op, request: &Request) -> Answer {
        match &self.kind {
            Kind::Localstripe => self.localstripe(op, request).await,
            Kind::Stateful(intents) => self.stateful(intents, op, request).await,
        }
    }

    async fn localstripe(&self, op: Op, request: &Request) -> Answer {
        if op == Op::Capture {
            let intent = request.path.trim_end_matches("/capture");
            let (status, body) = self.ask("GET", intent, &BTreeMap::new(), None).await;
            let intent: Value = serde_json::from_str(&body).unwrap_or_default();
            if status == 200 && intent["status"] != json!("requires_capture") {
                return error(400, "invalid_request_error", "payment_intent_unexpected_state");
            }
        }
        let known = |name: &String| {
            !["automatic_payment_methods", "off_session", "created"].iter().any(|unknown| name.starts_with(unknown))
        };
        let kept = |parameters: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            parameters.iter().filter(|(name, _)| known(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
        };
        let query = kept(&request.query);
        let target =
            if query.is_empty() { request.path.clone() } else { format!("{}?{}", request.path, encoded(&query)) };
        self.ask(&request.method, &target, &kept(&request.form), None).await
    }

    async fn stateful(&self, intents: &Intents, op: Op, request: &Request) -> Answer {
        let id = request.path.split('/').nth(3).unwrap_or_default().to_owned();
        let none = BTreeMap::new();
        match op {
            Op::Create => intents.create(&request.form),
            Op::Find => intents.list(),
            Op::Read => intents.show(&id),
            Op::Confirm => {
                let Some(intent) = intents.get(&id) else {
                    return error(404, "invalid_request_error", "resource_missing");
                };
                let mut form = BTreeMap::from([
                    ("capture".to_owned(), "false".to_owned()),
                    ("source".to_owned(), intent.source.clone()),
                ]);
                let passed = |name: &str| name == "amount" || name == "currency" || name.starts_with("metadata");
                form.extend(intent.form.iter().filter(|(name, _)| passed(name)).map(|(n, v)| (n.clone(), v.clone())));
                let (status, body) = self.ask("POST", "/v1/charges", &form, request.key()).await;
                let said: Value = serde_json::from_str(&body).unwrap_or_default();
                match status {
                    200 => intents.change(&id, "requires_confirmation", |intent| {
                        intent.status = "requires_capture";
                        intent.charge = said["id"].as_str().map(str::to_owned);
                    }),
                    402 => {
                        let word = said["error"]["decline_code"].as_str().or(said["error"]["code"].as_str());
                        let word = word.map(str::to_owned);
                        intents.change(&id, "requires_confirmation", |intent| {
                            intent.status = "requires_payment_method";
                            intent.code = word;
                        });
                        (status, body)
                    }
                    _ => (status, body),
                }
            }
            Op::Capture => {
                let Some(charge) =
                    intents.get(&id).filter(|intent| intent.status != "canceled").and_then(|intent| intent.charge)
                else {
                    return error(400, "invalid_request_error", "payment_intent_unexpected_state");
                };
                let (status, body) =
                    self.ask("POST", &format!("/v1/charges/{charge}/capture"), &none, request.key()).await;
                match status {
                    200 => intents.change(&id, "requires_capture", |intent| intent.status = "succeeded"),
                    _ => (status, body),
                }
            }
            Op::Cancel => {
                let Some(intent) = intents.get(&id) else {
                    return error(404, "invalid_request_error", "resource_missing");
                };
                if intent.status == "succeeded" || intent.status == "canceled" {
                    return error(400, "invalid_request_error", "payment_intent_unexpected_state");
                }
                if let Some(charge) = intent.charge {
                    let form = BTreeMap::from([("charge".to_owned(), charge)]);
                    let (status, body) = self.ask("POST", "/v1/refunds", &form, request.key()).await;
                    assert_eq!(status, 200, "what is reserved can be let go: {body}");
                }
                intents.change(&id, intent.status, |intent| intent.status = "canceled")
            }
            Op::Refund => {
                let intent = request.form.get("payment_intent").and_then(|id| intents.get(id));
                let Some(charge) = intent.and_then(|intent| intent.charge) else {
                    return error(404, "invalid_request_error", "resource_missing");
                };
                let form = BTreeMap::from([
                    ("charge".to_owned(), charge),
                    ("amount".to_owned(), request.form["amount"].clone()),
                ]);
                self.ask("POST", "/v1/refunds", &form, request.key()).await
            }
            Op::Refunds => {
                let intent = request.query.get("payment_intent").and_then(|id| intents.get(id));
                let charge = intent.and_then(|intent| intent.charge).unwrap_or_default();
                self.ask("GET", &format!("/v1/refunds?charge={charge}&limit=100"), &none, None).await
            }
        }
    }
}

impl Intents {
    fn get(&self, id: &str) -> Option<Intent> {
        self.by_id.lock().expect("not poisoned").get(id).cloned()
    }

    fn create(&self, form: &BTreeMap<String, String>) -> Answer {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let id = format!("pi_{number}");
        let card = form["payment_method"].as_str();
        // `pm_chain_a_b` is first the peer's token a, then b; the end makes the chain this payment's own.
        let source = match card.strip_prefix("pm_chain_") {
            Some(chain) => {
                let tokens = chain.split('_').map(|token| format!("tok_{token}")).collect::<Vec<_>>().join("|");
                format!("{tokens}|{}", uuid::Uuid::new_v4().simple())
            }
            None => format!("tok_{}", card.trim_start_matches("pm_card_")),
        };
        let intent = Intent {
            created: number,
            form: form.clone(),
            source,
            status: "requires_confirmation",
            charge: None,
            code: None,
        };
        let shown = intent.shown(&id).to_string();
        self.by_id.lock().expect("not poisoned").insert(id, intent);
        (200, shown)
    }

    fn show(&self, id: &str) -> Answer {
        match self.get(id) {
            Some(intent) => (200, intent.shown(id).to_string()),
            None => error(404, "invalid_request_error", "resource_missing"),
        }
    }

    fn list(&self) -> Answer {
        let by_id = self.by_id.lock().expect("not poisoned");
        let mut all: Vec<_> = by_id.iter().collect();
        all.sort_by_key(|(_, intent)| std::cmp::Reverse(intent.created));
        let data: Vec<Value> = all.into_iter().map(|(id, intent)| intent.shown(id)).collect();
        (200, json!({ "object": "list", "has_more": false, "data": data }).to_string())
    }

    /// Changes an intent that is still as it was `before`, and shows it.
    fn change(&self, id: &str, before: &str, change: impl FnOnce(&mut Intent)) -> Answer {
        if let Some(intent) = self.by_id.lock().expect("not poisoned").get_mut(id)
            && intent.status == before
        {
            change(intent);
        }
        self.show(id)
    }
}

impl Intent {
    fn shown(&self, id: &str) -> Value {
        let word = |name: &str| self.form.get(name).cloned().unwrap_or_default();
        let error = self.code.as_ref().map(|code| json!({ "code": "card_declined", "decline_code": code }));
        json!({
            "id": id, "object": "payment_intent", "status": self.status, "last_payment_error": error,
            "metadata": { "shers_bill": word("metadata[shers_bill]"), "shers_key": word("metadata[shers_key]") },
        })
    }
}
