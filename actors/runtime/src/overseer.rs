//! Looking after the house: actors, dead letters, whether it can serve. In one process that is a Keeper and
//! an exchange; behind a broker every instance of every service is asked.

use crate::exchange::{DeadLetter, Exchange};
use crate::keeper::{ActorInfo, Keeper};
use async_trait::async_trait;
use shers_contract::{Problem, api::ActorAction};
use std::sync::Arc;

/// Looks after the house.
#[async_trait]
pub trait Overseer: Send + Sync + 'static {
    /// Actors, the troubled ones first, at most so many a category and instance.
    async fn actors(&self, per_category: usize) -> Vec<ActorInfo>;
    /// Acts on an actor.
    async fn act(&self, actor: &str, action: ActorAction) -> Result<(), Problem>;
    /// Messages that were given up, newest first.
    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Problem>;
    /// Delivers a dead letter once more; false when there is none with this id.
    async fn replay(&self, id: &str) -> Result<bool, Problem>;
    /// Why this process can't serve now; empty when it can.
    fn troubles(&self) -> Vec<String>;
}

/// One instance's own.
#[derive(Clone)]
pub struct LocalOverseer {
    /// Where its messages come from.
    pub exchange: Arc<dyn Exchange>,
    /// Its actors.
    pub keeper: Keeper,
}

fn unavailable(error: &crate::exchange::ExchangeError) -> Problem {
    tracing::warn!(%error, "the exchange can't be asked");
    Problem::unavailable("the exchange can't be asked now; try again")
}

#[async_trait]
impl Overseer for LocalOverseer {
    async fn actors(&self, per_category: usize) -> Vec<ActorInfo> {
        self.keeper.survey(per_category).await
    }
    async fn act(&self, actor: &str, action: ActorAction) -> Result<(), Problem> {
        self.keeper.act(actor, action).await
    }
    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Problem> {
        self.exchange.dead_letters().await.map_err(|error| unavailable(&error))
    }
    async fn replay(&self, id: &str) -> Result<bool, Problem> {
        self.exchange.replay(id).await.map_err(|error| unavailable(&error))
    }
    fn troubles(&self) -> Vec<String> {
        self.keeper.troubles()
    }
}
