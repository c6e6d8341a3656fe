//! The fault proxy: this project's own, and no part of what it tests. It stands between the adapter of Stripe
//! and a peer that others wrote, and
//!
//! - spoils calls by a script: drops, holds, doubles, refuses or answers them with nonsense, before or after
//!   the peer has processed them, or says that the process is to die then;
//! - adds what the peer lacks: idempotency keys (see [`Proxy::process`]), and what [`crate::peer`] lists;
//! - sends the peer's own objects as webhooks, signed, before the answer of the call that caused them.

use crate::http::{self, Request};
use crate::peer::{Answer, Peer};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// A call of the adapter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Op {
    Create,
    Find,
    Read,
    Confirm,
    Capture,
    Cancel,
    Refund,
    Refunds,
}

pub const OPS: [Op; 8] =
    [Op::Create, Op::Find, Op::Read, Op::Confirm, Op::Capture, Op::Cancel, Op::Refund, Op::Refunds];

impl Op {
    fn of(request: &Request) -> Self {
        let path = request.path.as_str();
        match (request.method.as_str(), path) {
            ("POST", "/v1/payment_intents") => Self::Create,
            ("GET", "/v1/payment_intents") => Self::Find,
            ("POST", "/v1/refunds") => Self::Refund,
            ("GET", "/v1/refunds") => Self::Refunds,
            ("POST", _) if path.ends_with("/confirm") => Self::Confirm,
            ("POST", _) if path.ends_with("/capture") => Self::Capture,
            ("POST", _) if path.ends_with("/cancel") => Self::Cancel,
            _ => Self::Read,
        }
    }
}

/// How a call goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection breaks before the peer hears of it.
    DropBefore,
    /// The connection breaks after the peer has processed it.
    DropAfter,
    /// It reaches the peer twice.
    Doubled,
    /// 429, not processed.
    Busy,
    /// 402, not processed, kept under the key.
    Declined,
    /// 500, not processed, kept under the key.
    SavedErrorBefore,
    /// 500 although it was processed, kept under the key.
    SavedErrorAfter,
    /// Processed; the answer is no JSON.
    Garbage,
    /// Processed; no answer within the time limit.
    Slow,
    /// Not processed before the caller has given up; then it is.
    Late,
    /// The process dies before the peer hears of it.
    DiesBefore,
    /// The process dies after the peer has processed it.
    DiesAfter,
}

/// Faults that cost no waiting.
pub const QUICK: [Fault; 10] = [
    Fault::DropBefore,
    Fault::DropAfter,
    Fault::Doubled,
    Fault::Busy,
    Fault::Declined,
    Fault::SavedErrorBefore,
    Fault::SavedErrorAfter,
    Fault::Garbage,
    Fault::DiesBefore,
    Fault::DiesAfter,
];

/// When the peer's events are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Telling {
    /// Never.
    #[default]
    Not,
    /// Twice, before the answer of the call that caused them.
    Early,
    /// Kept, to be told later by the test.
    Kept,
}

/// What one scenario makes of the line.
#[derive(Default)]
pub struct Script {
    pub faults: HashMap<Op, (Fault, u32)>,
    /// Captures are processed and their answers lost, and nothing can be read, until somebody cancels.
    pub silent: bool,
    pub telling: Telling,
}

type Hook = Arc<dyn Fn(String) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
type Slot = (String, String);
type Saved = (BTreeMap<String, String>, Answer);

#[derive(Default)]
struct State {
    script: Script,
    saved: HashMap<Slot, Saved>,
    busy: HashSet<Slot>,
    seen: Vec<(Op, Option<String>)>,
    told: Vec<String>,
    hook: Option<Hook>,
    death: Arc<Notify>,
}

/// The proxy before one peer.
pub struct Proxy {
    pub url: String,
    pub peer: Peer,
    /// Whether a capture was processed.
    pub charged: AtomicBool,
    state: Mutex<State>,
    /// One call at a time at the peer: Stripe locks the objects that a call touches.
    turn: tokio::sync::Mutex<()>,
}

impl Proxy {
    /// Starts it on a thread of its own, which outlives every process under test.
    pub fn start(peer: Peer) -> Arc<Self> {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let url = format!("http://{}", listener.local_addr().expect("an address"));
                let proxy = Arc::new(Self {
                    url,
                    peer,
                    charged: AtomicBool::new(false),
                    state: Mutex::default(),
                    turn: tokio::sync::Mutex::new(()),
                });
                tell.send(Arc::clone(&proxy)).expect("the test waits for it");
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::task::spawn_local(Arc::clone(&proxy).serve(socket));
                }
            });
        });
        told.recv().expect("the proxy starts")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Begins a scenario: its script, and who is told when the process is to die.
    pub fn begin(&self, script: Script, death: Arc<Notify>) {
        *self.state() = State { script, death, ..State::default() };
        self.charged.store(false, Ordering::SeqCst);
    }

    /// Who takes webhooks now.
    pub fn hook(&self, hook: Option<Hook>) {
        self.state().hook = hook;
    }

    /// Events that were kept.
    pub fn told(&self) -> Vec<String> {
        self.state().told.clone()
    }

    /// Calls that came, with their keys.
    pub fn seen(&self) -> Vec<(Op, Option<String>)> {
        self.state().seen.clone()
    }

    fn fault(&self, op: Op) -> Option<Fault> {
        let mut state = self.state();
        let cancelled = state.seen.iter().any(|(seen, _)| *seen == Op::Cancel);
        if state.script.silent && !cancelled {
            match op {
                Op::Capture => return Some(Fault::DropAfter),
                Op::Read if self.charged.load(Ordering::SeqCst) => return Some(Fault::DropBefore),
                _ => {}
            }
        }
        let (fault, times) = state.script.faults.get_mut(&op)?;
        *times = times.checked_sub(1)?;
        Some(*fault)
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        let Some(request) = http::read(&mut socket).await else { return };
        let op = Op::of(&request);
        self.state().seen.push((op, request.key().map(str::to_owned)));
        let death = Arc::clone(&self.state().death);
        let answer = match self.fault(op) {
            None => self.process(op, &request).await,
            Some(Fault::DropBefore) => return,
            Some(Fault::DropAfter) => {
                self.process(op, &request).await;
                return;
            }
            Some(Fault::Doubled) => {
                self.process(op, &request).await;
                self.process(op, &request).await
            }
            Some(Fault::Busy) => error(429, "rate_limit_error", "lock_timeout"),
            Some(Fault::Declined) => self.keep(&request, error(402, "card_error", "card_declined")),
            Some(Fault::SavedErrorBefore) => self.keep(&request, error(500, "api_error", "")),
            Some(Fault::SavedErrorAfter) => {
                self.process(op, &request).await;
                self.keep(&request, error(500, "api_error", ""))
            }
            Some(Fault::Garbage) => {
                self.process(op, &request).await;
                (200, "<html>".to_owned())
            }
            Some(Fault::Slow) => {
                self.process(op, &request).await;
                return http::gone(&mut socket).await;
            }
            Some(Fault::Late) => {
                http::gone(&mut socket).await;
                self.process(op, &request).await;
                return;
            }
            Some(Fault::DiesBefore) => return death.notify_one(),
            Some(Fault::DiesAfter) => {
                self.process(op, &request).await;
                return death.notify_one();
            }
        };
        http::write(&mut socket, answer.0, &answer.1).await;
    }

    /// Keeps an answer under the request's key, if it has one.
    fn keep(&self, request: &Request, answer: Answer) -> Answer {
        if let Some(key) = request.key() {
            let slot = (request.path.clone(), key.to_owned());
            self.state().saved.insert(slot, (request.form.clone(), answer.clone()));
        }
        answer
    }

    /// Lets the peer process a call, once a key: the same key gives the same answer, is refused while the first
    /// call is under way, and for other parameters. Answers 401, 409 and 429 are not kept.
    async fn process(&self, op: Op, request: &Request) -> Answer {
        let slot = request.key().map(|key| (request.path.clone(), key.to_owned()));
        if let Some(slot) = &slot {
            let mut state = self.state();
            if let Some((form, answer)) = state.saved.get(slot) {
                let same = *form == request.form;
                return if same { answer.clone() } else { error(400, "idempotency_error", "") };
            }
            if !state.busy.insert(slot.clone()) {
                return error(409, "idempotency_error", "idempotency_key_in_use");
            }
        }
        let turn = self.turn.lock().await;
        let answer = self.peer.forward(op, request).await;
        drop(turn);
        if let Some(slot) = &slot {
            self.state().busy.remove(slot);
            if !matches!(answer.0, 401 | 409 | 429) && !self.peer.keeps_keys(op) {
                self.keep(request, answer.clone());
            }
        }
        if answer.0 == 200 {
            if op == Op::Capture {
                self.charged.store(true, Ordering::SeqCst);
            }
            self.tell(op, &answer.1).await;
        }
        answer
    }

    /// Makes an event of the peer's own object.
    async fn tell(&self, op: Op, object: &str) {
        if !matches!(op, Op::Create | Op::Confirm | Op::Capture | Op::Cancel) {
            return;
        }
        let object: Value = serde_json::from_str(object).expect("an object");
        let event =
            json!({ "id": "evt", "object": "event", "type": "payment_intent.changed", "data": { "object": object } });
        let event = event.to_string();
        let (telling, hook) = {
            let state = self.state();
            (state.script.telling, state.hook.clone())
        };
        match (telling, hook) {
            (Telling::Early, Some(hook)) => {
                hook(event.clone()).await;
                hook(event).await;
            }
            (Telling::Kept, _) => self.state().told.push(event),
            (Telling::Early, None) | (Telling::Not, _) => {}
        }
    }
}

/// An error as Stripe writes it.
pub fn error(status: u16, kind: &str, code: &str) -> Answer {
    let mut error = json!({ "type": kind, "message": format!("by the fault proxy: {status}") });
    if !code.is_empty() {
        error["code"] = json!(code);
    }
    (status, json!({ "error": error }).to_string())
}
