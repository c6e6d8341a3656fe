//! A provider that sends nothing: it keeps a durable ledger of messages by our key for them, so that a
//! repeat under the same key is the same message, also after a restart.
//!
//! Told what to do by the address:
//!
//! | number | mail | what happens |
//! |---|---|---|
//! | +15005550001 | refused@sandbox.example | refused for good: no such address |
//! | +15005550007 | busy@sandbox.example | refused the first time, taken the second |
//! | +15005550008 | late@sandbox.example | taken, but the answer comes too late |
//! | +15005550009 | timeout@sandbox.example | no answer, and nobody can say later either |
//! | any other | any other | taken |

use super::{Lookup, Messenger, Outgoing, SendOutcome};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shers_contract::{derived_uuid, notification::Channel};
use shers_runtime::{Commit, Deps, DocumentWrite};
use std::time::Duration;

/// Collection of the ledger.
pub const LEDGER: &str = "sandbox.message";

/// One message in the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Our key.
    pub key: String,
    /// The sandbox's id of the message.
    pub id: String,
    /// How it travelled.
    pub channel: Channel,
    /// Where to.
    pub to: String,
    /// What it said.
    pub text: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Taken.
    Sent,
    /// Refused this once.
    Busy,
    /// Lost: the sandbox itself does not know.
    Lost,
}

impl Fate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Busy => "busy",
            Self::Lost => "lost",
        }
    }
}

/// What an address tells the sandbox to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Script {
    Take,
    Refuse,
    BusyOnce,
    TakeLate,
    TimeOut,
}

impl Script {
    fn of(to: &str) -> Self {
        match to {
            "+15005550001" | "refused@sandbox.example" => Self::Refuse,
            "+15005550007" | "busy@sandbox.example" => Self::BusyOnce,
            "+15005550008" | "late@sandbox.example" => Self::TakeLate,
            "+15005550009" | "timeout@sandbox.example" => Self::TimeOut,
            _ => Self::Take,
        }
    }
}

/// The sandbox.
pub struct Sandbox {
    deps: Deps,
    late: Duration,
}

impl Sandbox {
    /// Its name in events.
    pub const NAME: &'static str = "sandbox-messaging";

    /// A sandbox that keeps its ledger in the service's store and answers `late` where it is told to.
    #[must_use]
    pub fn new(deps: Deps, late: Duration) -> Self {
        Self { deps, late }
    }

    async fn entry(&self, key: &str) -> Result<Option<LedgerEntry>, String> {
        let found = self.deps.store.document(LEDGER, key).await.map_err(|error| error.to_string())?;
        found.map(|document| serde_json::from_str(&document.doc).map_err(|error| error.to_string())).transpose()
    }

    async fn write(&self, message: &Outgoing, fate: Fate) -> Result<String, String> {
        let id = derived_uuid(&["sandbox-message", &message.key]).to_string();
        let entry = LedgerEntry {
            key: message.key.clone(),
            id: id.clone(),
            channel: message.channel,
            to: message.to.clone(),
            text: message.text.clone(),
            fate,
        };
        let doc = serde_json::to_string(&entry).map_err(|error| error.to_string())?;
        let write = DocumentWrite {
            collection: LEDGER,
            id: message.key.clone(),
            tag: fate.as_str().to_owned(),
            rank: self.deps.clock.now().as_ms(),
            doc: Some(doc),
        };
        let commit = Commit { documents: vec![write], ..Commit::default() };
        self.deps.store.commit(commit).await.map(|_| id).map_err(|error| error.to_string())
    }

    async fn take(&self, message: &Outgoing) -> SendOutcome {
        match self.write(message, Fate::Sent).await {
            Ok(id) => SendOutcome::Sent { id },
            Err(error) => SendOutcome::Ambiguous { reason: format!("the sandbox's ledger: {error}") },
        }
    }

    /// Whether an earlier attempt of the same message was turned away as busy.
    async fn was_busy(&self, key: &str) -> bool {
        let Some((message, attempt)) = key.rsplit_once(':') else { return false };
        let Ok(attempt) = attempt.parse::<u16>() else { return false };
        for earlier in 1..attempt {
            if let Ok(Some(LedgerEntry { fate: Fate::Busy, .. })) = self.entry(&format!("{message}:{earlier}")).await {
                return true;
            }
        }
        false
    }
}

#[async_trait(?Send)]
impl Messenger for Sandbox {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn lookup(&self, key: &str) -> Lookup {
        match self.entry(key).await {
            Ok(Some(LedgerEntry { fate: Fate::Sent, id, .. })) => Lookup::Sent(id),
            Ok(Some(LedgerEntry { fate: Fate::Busy, .. }) | None) => Lookup::NotSeen,
            Ok(Some(LedgerEntry { fate: Fate::Lost, .. })) | Err(_) => Lookup::CannotTell,
        }
    }

    async fn send(&self, message: &Outgoing) -> SendOutcome {
        if let Lookup::Sent(id) = self.lookup(&message.key).await {
            return SendOutcome::Sent { id };
        }
        match Script::of(&message.to) {
            Script::Take => self.take(message).await,
            Script::Refuse => SendOutcome::Refused { reason: "there is no such address".into(), permanent: true },
            Script::BusyOnce if self.was_busy(&message.key).await => self.take(message).await,
            Script::BusyOnce => match self.write(message, Fate::Busy).await {
                Ok(_) => SendOutcome::Refused { reason: "busy, try again later".into(), permanent: false },
                Err(error) => SendOutcome::Ambiguous { reason: format!("the sandbox's ledger: {error}") },
            },
            Script::TakeLate => {
                let outcome = self.take(message).await;
                tokio::time::sleep(self.late).await;
                outcome
            }
            Script::TimeOut => {
                let written = self.write(message, Fate::Lost).await;
                tokio::time::sleep(self.late).await;
                let reason = written.err().unwrap_or_else(|| "no answer".to_owned());
                SendOutcome::Ambiguous { reason }
            }
        }
    }
}
