//! How each service is started, the same in both ways of running, and how it is laid out behind a broker.

use crate::config::Config;
use shers_contract::{
    api::Service,
    routing::{PARTITIONS, Pattern},
};
use shers_roads::RoadMap;
use shers_runtime::{
    host::{Factory, Plan, relay_part, starting},
    wire::Part,
};
use std::sync::Arc;

/// What services are started with.
#[derive(Clone)]
pub struct SetUp {
    /// The configuration.
    pub config: Config,
    /// The map.
    pub map: Arc<RoadMap>,
    /// The token that billing asks the insurer with.
    pub insurer_token: String,
}

/// Starts instances of a service.
pub fn factory(service: Service, set_up: &SetUp) -> Factory {
    let SetUp { config, map, insurer_token } = set_up.clone();
    match service {
        Service::Stream => starting(move |deps| {
            let mut stream = config.stream.clone();
            if config.is_distributed() {
                // Behind a broker the log's order is not the order in which things happened across services.
                stream.audit_events = 0;
            }
            shers_stream::start(deps, stream)
        }),
        Service::Wearable => starting(move |deps| shers_wearable::start(deps, config.wearable.clone())),
        Service::Triage => starting(move |deps| shers_triage::start(deps, config.triage.clone())),
        Service::Incidents => starting(move |deps| shers_incidents::start(deps, config.incidents.clone())),
        Service::Dispatch => starting(move |deps| {
            let roads = Arc::new(shers_dispatch::gateway::BuiltIn::new(Arc::clone(&map)));
            shers_dispatch::start(deps, config.dispatch.clone(), roads)
        }),
        Service::Notification => starting(move |deps| shers_notification::start(deps, config.notification.clone())),
        Service::Insurance => starting(move |deps| shers_insurance::start(deps, config.insurance.clone())),
        Service::Billing => {
            starting(move |deps| shers_billing::start(deps, config.billing.clone(), insurer_token.clone(), None))
        }
    }
}

/// Partitions of a service behind a broker; 0 for one that runs in each of its processes.
pub fn partitions(service: Service) -> u16 {
    match service {
        // By patient: an incident's messages have one owner.
        Service::Triage | Service::Incidents | Service::Notification | Service::Billing => PARTITIONS,
        // The fleet is one region, the read models are folded in one place.
        Service::Dispatch | Service::Stream => 1,
        // Each request stands alone.
        Service::Wearable | Service::Insurance => 0,
    }
}

/// What a service hears: the patterns of its consumers, and what it reads of others from its own log.
fn hears(service: Service) -> Vec<Pattern> {
    match service {
        Service::Triage => shers_triage::hears(),
        Service::Incidents => shers_incidents::hears(),
        Service::Dispatch => shers_dispatch::hears(),
        Service::Notification => shers_notification::hears(),
        Service::Billing => shers_billing::hears(),
        Service::Stream => vec![Pattern::all()],
        Service::Wearable | Service::Insurance => Vec::new(),
    }
}

/// Document collections of which each partition has its own.
fn own_collections(service: Service) -> &'static [&'static str] {
    match service {
        Service::Triage => shers_triage::COLLECTIONS_OF_WEARERS,
        _ => &[],
    }
}

/// How a service is hosted; `None` for one that runs everywhere.
pub fn plan(service: Service, set_up: &SetUp) -> Option<Plan> {
    let partitions = partitions(service);
    (partitions > 0).then(|| Plan {
        service,
        partitions,
        patterns: hears(service),
        own_collections: own_collections(service),
        start: factory(service, set_up),
    })
}

/// Every part of the house: what is declared on the broker before anything is published.
pub fn parts() -> Vec<Part> {
    let hosted = Service::ALL.into_iter().filter(|service| partitions(*service) > 0).map(|service| Part {
        name: service.as_str().to_owned(),
        patterns: hears(service),
        partitions: partitions(service),
    });
    hosted.chain(Service::ALL.into_iter().map(relay_part)).collect()
}
