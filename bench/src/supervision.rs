//! What supervision costs and how fast it brings back: messages through the supervised aggregate actor
//! against a bare actix actor with an equal state, the time from a death to the first message handled by the
//! next life, and the time until 10,000 actors that died at once have all answered.
//!
//! Each side runs in a process of its own. No message is written: the question is refused, so that what is
//! measured is the way to the actor and back, and for a new life reading its ten events.

use crate::{
    actors::{self, Ask, Bare, Made},
    house::{Bench, Failure},
    incidents,
    report::{Report, median},
};
use actix::Actor;
use futures::{StreamExt, stream};
use shers_contract::api::ActorAction;
use shers_incidents::model::Incident;
use shers_runtime::{Deps, Directory, DirectoryOptions, KeeperOptions, clock::system_now};
use std::{io::Write, rc::Rc, sync::Arc, time::Instant};

/// Messages on the way at the same time.
const AT_ONCE: usize = 64;
/// Deaths whose time is taken.
const DEATHS: usize = 500;

/// The child process: prints its figures.
pub fn child(kind: &str, count: usize) -> Result<(), Failure> {
    // A person reads the report; 10,000 backtraces are not part of what is measured.
    std::panic::set_hook(Box::new(|_| {}));
    let figure = actix_rt::System::new().block_on(async {
        match kind {
            "bare" => bare(count).await,
            "kept" => kept(count).await,
            "death" => death().await,
            _ => storm(count).await,
        }
    })?;
    writeln!(std::io::stdout(), "{figure}")?;
    Ok(())
}

fn kept_actors(count: usize) -> (Deps, Directory<Incident>) {
    let deps = actors::deps(Arc::new(Made::of(count, system_now())));
    // Only what is asked for: a whole category that fails would wait for its back-off.
    let keeper = KeeperOptions { max_failing_actors: usize::MAX, ..KeeperOptions::default() };
    let options = DirectoryOptions { performer: Rc::new(()), observer: None, keeper };
    (deps.clone(), Directory::new(deps, options))
}

/// Messages a second to one bare actor.
async fn bare(count: usize) -> Result<f64, Failure> {
    let addr = Bare::new(0, system_now()).start();
    addr.send(Ask).await?;
    let started = Instant::now();
    let mut answers = stream::iter(0..count).map(|_| addr.send(Ask)).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Messages a second to one supervised actor.
async fn kept(count: usize) -> Result<f64, Failure> {
    let (deps, directory) = kept_actors(1);
    let id = incidents::id(0);
    actors::ask(&directory, id.as_str(), &deps).await?;
    let started = Instant::now();
    let asks = stream::iter(0..count).map(|_| actors::ask(&directory, id.as_str(), &deps));
    let mut answers = asks.buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Median microseconds from a death to the first answer of the next life; each actor dies once, so there is
/// no back-off.
async fn death() -> Result<f64, Failure> {
    let (deps, directory) = kept_actors(DEATHS);
    let mut took = Vec::with_capacity(DEATHS);
    for n in 0..DEATHS {
        let id = incidents::id(n);
        actors::ask(&directory, id.as_str(), &deps).await?;
        let actor = format!("incident/{id}");
        deps.keeper.act(&actor, ActorAction::Crash).await.map_err(|problem| problem.detail)?;
        let started = Instant::now();
        actors::ask(&directory, id.as_str(), &deps).await?;
        took.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&took))
}

/// Milliseconds until all that died at once have answered.
async fn storm(count: usize) -> Result<f64, Failure> {
    let (deps, directory) = kept_actors(count);
    for n in 0..count {
        actors::ask(&directory, incidents::id(n).as_str(), &deps).await?;
    }
    for n in 0..count {
        let actor = format!("incident/{}", incidents::id(n));
        deps.keeper.act(&actor, ActorAction::Crash).await.map_err(|problem| problem.detail)?;
    }
    let started = Instant::now();
    for n in 0..count {
        actors::ask(&directory, incidents::id(n).as_str(), &deps).await?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let messages = bench.pick("200000", "2000000");
    let many = bench.pick("2000", "10000");
    let (mut ratios, mut bares, mut kepts, mut deaths, mut storms) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..bench.rounds() {
        let one = |kind, count| -> Result<f64, Failure> {
            Ok(bench.measured(&["supervision", kind, count])?.first().copied().unwrap_or(f64::NAN))
        };
        let (bare, kept) = (one("bare", messages)?, one("kept", messages)?);
        ratios.push(kept / bare);
        bares.push(bare);
        kepts.push(kept);
        deaths.push(one("death", messages)?);
        storms.push(one("storm", many)?);
    }
    let note = format!(
        "{:.0} messages/s through directory, mailbox, slot and decision against {:.0}, {AT_ONCE} on the way",
        median(&kepts),
        median(&bares)
    );
    report.add("supervision", "messages, supervised / bare", "of bare", None, &ratios, Vec::new(), note);
    let note = format!("median of {DEATHS} deaths, reading {} events included, no back-off", incidents::EVENTS);
    report.add("supervision", "death to first answer of the next life", "µs", None, &deaths, Vec::new(), note);
    let note = format!("{many} actors that died at once, until each has answered");
    report.add("supervision", "a storm of restarts", "ms", None, &storms, Vec::new(), note);
    Ok(())
}
