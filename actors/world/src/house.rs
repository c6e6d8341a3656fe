//! The real services over faulty ports, on the current thread.

use crate::chance::Shared;
use crate::exchange::FaultyExchange;
use crate::faults::{Dial, Life};
use crate::gateways::{Bank, Courier, DirectInsurer, Post, Wire};
use crate::store::FaultyStore;
use shers_billing::{gateway::sandbox::SandboxPayments, model::RetryPolicy};
use shers_contract::api::Service;
use shers_dispatch::gateway::StraightLine;
use shers_runtime::{
    Clock, Deps, Endpoint, Exchange, Ids, Keeper, Store, log_exchange::LogExchange, testing::MemoryStore,
};
use std::{collections::BTreeMap, error::Error, rc::Rc, sync::Arc};

/// What outlives every process.
pub struct Ground {
    /// The log.
    pub log: Arc<MemoryStore>,
    /// The bank's books.
    pub books: Arc<MemoryStore>,
    /// Messages delivered.
    pub post: Post,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Faults.
    pub dial: Arc<Dial>,
    /// Chance of the store.
    pub store_chance: Arc<Shared>,
    /// Chance of the exchange.
    pub exchange_chance: Arc<Shared>,
    /// Chance of the gateways.
    pub wire_chance: Arc<Shared>,
}

/// One running process.
pub struct House {
    /// The doors of its services.
    pub doors: BTreeMap<Service, Arc<dyn Endpoint>>,
    /// Its supervision.
    pub keeper: Keeper,
}

impl Ground {
    fn deps_over(&self, store: Arc<dyn Store>, exchange: Arc<dyn Exchange>) -> Deps {
        let (clock, ids) = (Arc::clone(&self.clock), Arc::clone(&self.ids));
        let keeper = Keeper::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&ids), "world", true);
        Deps { store, exchange, clock, ids, keeper }
    }

    /// Starts the house for one life.
    ///
    /// # Errors
    /// A service did not start: the store failed it.
    pub async fn start(&self, life: &Arc<Life>) -> Result<House, Box<dyn Error>> {
        let faulty = FaultyStore::new(
            Arc::clone(&self.log),
            Arc::clone(life),
            Arc::clone(&self.dial),
            Arc::clone(&self.store_chance),
        );
        let store: Arc<dyn Store> = Arc::new(faulty);
        let exchange = FaultyExchange {
            inner: Arc::new(LogExchange::new(Arc::clone(&store), Arc::clone(&self.clock))),
            life: Arc::clone(life),
            dial: Arc::clone(&self.dial),
            chance: Arc::clone(&self.exchange_chance),
        };
        let deps = self.deps_over(store, Arc::new(exchange));
        let wire = Wire { dial: Arc::clone(&self.dial), chance: Arc::clone(&self.wire_chance) };
        let mut doors: BTreeMap<Service, Arc<dyn Endpoint>> = BTreeMap::new();
        doors
            .insert(Service::Wearable, shers_wearable::start(deps.clone(), shers_wearable::Settings::default()).await?);
        doors.insert(Service::Triage, shers_triage::start(deps.clone(), shers_triage::Settings::default()).await?);
        let incidents = shers_incidents::start(deps.clone(), shers_incidents::Settings::default()).await?;
        doors.insert(Service::Incidents, incidents);
        let eta = Arc::new(StraightLine::default());
        let dispatch = shers_dispatch::start(deps.clone(), shers_dispatch::Settings::default(), eta).await?;
        doors.insert(Service::Dispatch, dispatch);
        let courier = Courier { post: Rc::clone(&self.post), wire: wire.clone() };
        let notification = shers_notification::Settings::default();
        let notification = shers_notification::start_with(deps.clone(), notification, Some(Rc::new(courier))).await?;
        doors.insert(Service::Notification, notification);
        let insurance = shers_insurance::start(deps.clone(), shers_insurance::Settings::default()).await?;
        doors.insert(Service::Insurance, Arc::clone(&insurance));
        let insurer = DirectInsurer {
            door: insurance,
            wire: wire.clone(),
            ids: Arc::clone(&self.ids),
            clock: Arc::clone(&self.clock),
        };
        let bank = Bank { books: self.bank(), wire };
        let billing =
            shers_billing::start_with(deps.clone(), billing_settings(), Arc::new(insurer), Some(Arc::new(bank)))
                .await?;
        doors.insert(Service::Billing, billing);
        doors.insert(Service::Stream, shers_stream::start(deps.clone(), shers_stream::Settings::default()).await?);
        Ok(House { doors, keeper: deps.keeper })
    }

    /// The books of the bank, which never fail by themselves.
    fn bank(&self) -> SandboxPayments {
        let store: Arc<dyn Store> = Arc::clone(&self.books) as Arc<dyn Store>;
        let exchange = Arc::new(LogExchange::new(Arc::clone(&store), Arc::clone(&self.clock)));
        SandboxPayments::new(&self.deps_over(store, exchange))
    }
}

/// The real settings, save that retries end within an hour, so that a world need not wait longer.
fn billing_settings() -> shers_billing::Settings {
    shers_billing::Settings {
        insurer_retry: RetryPolicy { first_ms: 1_000, max_ms: 60_000, tries: 8 },
        poll: RetryPolicy { first_ms: 2_000, max_ms: 60_000, tries: 20 },
        payment_retry: RetryPolicy { first_ms: 1_000, max_ms: 60_000, tries: 8 },
        compensation_retry: RetryPolicy { first_ms: 1_000, max_ms: 60_000, tries: 16 },
        ..shers_billing::Settings::default()
    }
}
