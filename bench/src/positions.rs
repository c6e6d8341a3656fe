//! Positions of a thousand units through the real dispatch service over SQLite: each is checked, durable, on the map and
//! seen by its unit before it is answered.

use crate::{
    actors,
    house::{Bench, Failure},
    report::Report,
};
use futures::{StreamExt, stream};
use shers_contract::{
    LatLon, Timestamp, Traceparent, UnitId,
    api::{Call, Principal, Request, Role, UnitFix},
};
use shers_db::{SqliteOptions, SqliteStore};
use shers_dispatch::{Settings, gateway::BuiltIn};
use shers_roads::RoadMap;
use shers_runtime::{Endpoint, Store, clock::system_now};
use std::{sync::Arc, time::Instant};

const UNITS: u32 = 1_000;
const IN_FLIGHT: usize = 256;

fn call(n: u64, request: Request) -> Call {
    Call {
        id: shers_contract::derived_uuid(&["bench-call", &n.to_string()]),
        principal: Principal { subject: "bench".into(), role: Role::Administrator },
        traceparent: Traceparent { trace_id: u128::from(n) + 1, span_id: n + 1 },
        exercise: false,
        idempotency: None,
        if_match: None,
        request,
    }
}

fn fix(map: &RoadMap, n: u32, at: Timestamp) -> UnitFix {
    // A few metres along the road each time, so that no fix is refused as impossible.
    let share = f64::from(n % UNITS) / f64::from(UNITS);
    let location: LatLon = map.random_road_point(share, 0.5 + f64::from(n / UNITS) * 1e-4);
    UnitFix { at: Some(at), location, speed_mps: None, heading_deg: None }
}

async fn measured(store: Arc<dyn Store>, map: Arc<RoadMap>, rounds: u32) -> Result<(f64, usize), Failure> {
    let deps = actors::deps(store);
    let source = Arc::new(BuiltIn::new(Arc::clone(&map)));
    let endpoint = shers_dispatch::start(deps, Settings::default(), source).await?;
    let start = system_now();
    for n in 0..UNITS {
        let profile = serde_json::json!({"unit_id": format!("u-{n}"), "location": fix(&map, n, start).location});
        let request = Request::RegisterUnit(serde_json::from_value(profile)?);
        endpoint.call(call(u64::from(n), request)).await.map_err(|problem| problem.detail)?;
    }
    let ask = |n: u32| {
        let endpoint: Arc<dyn Endpoint> = Arc::clone(&endpoint);
        let at = start.plus_ms(i64::from(n / UNITS) * 1_000 - 3_000_000);
        let request =
            UnitId::new(format!("u-{}", n % UNITS)).map(|id| Request::ReportLocations(id, vec![fix(&map, n, at)]));
        async move {
            let Ok(request) = request else { return false };
            endpoint.call(call(u64::from(UNITS + n), request)).await.is_ok_and(|answer| answer.status == 202)
        }
    };
    let started = Instant::now();
    let kept =
        stream::iter(0..UNITS * rounds).map(ask).buffer_unordered(IN_FLIGHT).filter(|ok| futures::future::ready(*ok));
    let kept = kept.count().await;
    Ok((f64::from(UNITS * rounds) / started.elapsed().as_secs_f64(), kept))
}

/// Positions a second.
pub fn run(bench: &Bench, report: &mut Report, map: &Arc<RoadMap>) -> Result<(), Failure> {
    let rounds = bench.pick(10, 50);
    let (mut rates, mut void) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds() {
        let directory = bench.directory(&format!("positions-{round}"))?;
        let store = SqliteStore::open(&directory, &SqliteOptions::default())?;
        let store: Arc<dyn Store> = store;
        let (rate, kept) = actix_rt::System::new().block_on(measured(store, Arc::clone(map), rounds))?;
        if kept == (UNITS * rounds) as usize {
            rates.push(rate);
        } else {
            void.push(format!("{kept} of {} were kept", UNITS * rounds));
        }
    }
    let note =
        format!("{UNITS} units, one position a request, {IN_FLIGHT} requests in flight, SQLite with synced commits");
    report.add("dispatch", "positions through the service", "a second", None, &rates, void, note);
    Ok(())
}
