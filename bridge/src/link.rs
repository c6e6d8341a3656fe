//! The bridge's actor and its two connections. A connection that failed in any way is thrown away and replaced,
//! after a wait that doubles; whoever uses one sees it go and come through [`Link`].

use crate::{
    Settings, declare,
    shared::{Shared, within},
};
use actix::prelude::*;
use futures::StreamExt;
use lapin::{Connection, ConnectionProperties, Event};
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::watch;

/// A connection whose loss was not told is found within this time.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a connection that is thrown away may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a connection is for. Two, since the broker stops reading from publishers when it is short of memory or
/// disk, and acknowledgements must go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Publish,
    Consume,
}

impl Role {
    pub(crate) const ALL: [Self; 2] = [Self::Publish, Self::Consume];
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publishing",
            Self::Consume => "consuming",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A usable connection.
pub(crate) struct Up {
    pub role: Role,
    /// Grows with every connection of this process.
    pub generation: u64,
    pub connection: Connection,
}

/// What users of a connection see of it: the connection, or why there is none.
pub(crate) type Link = Result<Arc<Up>, String>;

/// A connection turned out to be of no use.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Lost {
    pub role: Role,
    pub generation: u64,
    pub why: String,
}

/// The parts of the house changed: declare them.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub(crate) struct Declare;

/// Ends both connections in good order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// The actor that owns the connections.
pub(crate) struct Bridge {
    shared: Arc<Shared>,
    generation: u64,
    failures: [u32; 2],
}

impl Bridge {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, generation: 0, failures: [0; 2] }
    }

    fn failures(&mut self, role: Role) -> &mut u32 {
        let [publish, consume] = &mut self.failures;
        match role {
            Role::Publish => publish,
            Role::Consume => consume,
        }
    }

    fn connect(&mut self, role: Role, ctx: &mut Context<Self>) {
        self.generation += 1;
        let (shared, generation) = (Arc::clone(&self.shared), self.generation);
        let connecting = async move { open(&shared, role, generation).await };
        ctx.spawn(connecting.into_actor(self).map(move |opened, this, ctx| match opened {
            Ok(up) => this.up(up, ctx),
            Err(why) => this.down(role, why, ctx),
        }));
    }

    fn up(&mut self, up: Arc<Up>, ctx: &mut Context<Self>) {
        let role = up.role;
        *self.failures(role) = 0;
        self.shared.set_blocked(role, None);
        metrics::counter!("shers_amqp_connections_total", "role" => role.as_str()).increment(1);
        metrics::gauge!("shers_amqp_connected", "role" => role.as_str()).set(1.0);
        tracing::info!(amqp.role = role.as_str(), amqp.generation = up.generation, "connected to the broker");
        ctx.spawn(watch_over(Arc::clone(&self.shared), Arc::clone(&up)).into_actor(self));
        let _ = self.shared.link(role).send_replace(Ok(up));
        // A part may have come while the house was being declared.
        if role == Role::Publish && *self.shared.declared.borrow() < self.shared.house().0 {
            ctx.notify(Declare);
        }
    }

    fn down(&mut self, role: Role, why: String, ctx: &mut Context<Self>) {
        let failures = *self.failures(role);
        let wait = self.shared.settings.backoff(failures, self.shared.ids.random());
        *self.failures(role) += 1;
        metrics::counter!("shers_amqp_connection_failures_total", "role" => role.as_str()).increment(1);
        metrics::gauge!("shers_amqp_connected", "role" => role.as_str()).set(0.0);
        tracing::warn!(amqp.role = role.as_str(), why, retry_in_ms = wait.as_millis(), "no connection to the broker");
        if role == Role::Publish {
            self.shared.declared.send_replace(0);
        }
        let before = self.shared.link(role).send_replace(Err(why));
        if let Ok(up) = before {
            ctx.spawn(goodbye(up).into_actor(self));
        }
        ctx.run_later(wait, move |this, ctx| this.connect(role, ctx));
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        Role::ALL.into_iter().for_each(|role| self.connect(role, ctx));
    }
}

impl Handler<Lost> for Bridge {
    type Result = ();
    fn handle(&mut self, lost: Lost, ctx: &mut Self::Context) {
        let current = self.shared.link(lost.role).borrow().as_ref().is_ok_and(|up| up.generation == lost.generation);
        if current {
            self.down(lost.role, lost.why, ctx);
        }
    }
}

impl Handler<Declare> for Bridge {
    type Result = ResponseFuture<Result<(), String>>;
    fn handle(&mut self, _: Declare, _: &mut Self::Context) -> Self::Result {
        let link = self.shared.link(Role::Publish).borrow().clone();
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let up = link?;
            let declared = declare::house(&shared, &up).await;
            if let Err(why) = &declared {
                // Half a house is no house: nothing is published until all of it is declared.
                shared.lost(&up, why.clone());
            }
            declared
        })
    }
}

impl Handler<Close> for Bridge {
    type Result = ResponseActFuture<Self, ()>;
    fn handle(&mut self, _: Close, _: &mut Self::Context) -> Self::Result {
        let ended = || Err("the bridge was closed".to_owned());
        let before = Role::ALL.map(|role| self.shared.link(role).send_replace(ended()));
        let goodbyes = futures::future::join_all(before.into_iter().flatten().map(goodbye));
        Box::pin(goodbyes.into_actor(self).map(|_, _, ctx| ctx.stop()))
    }
}

async fn goodbye(up: Arc<Up>) {
    // Whoever does not answer is gone already.
    let _ = tokio::time::timeout(GOODBYE, up.connection.close(200, "OK".into())).await;
}

async fn open(shared: &Arc<Shared>, role: Role, generation: u64) -> Result<Arc<Up>, String> {
    let connection = connect(&shared.settings, &format!("{} {role}", shared.replica)).await?;
    let up = Arc::new(Up { role, generation, connection });
    if role == Role::Publish
        && let Err(why) = declare::house(shared, &up).await
    {
        goodbye(up).await;
        return Err(why);
    }
    Ok(up)
}

async fn connect(settings: &Settings, name: &str) -> Result<Connection, String> {
    let address = settings.address()?;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(|e| e.to_string())?;
    let connecting = Connection::connect_uri_with_config(address, properties, settings.tls()?, runtime);
    within(settings.connect_limit(), "connecting", connecting).await
}

/// Follows a connection and tells the actor when it is lost. Ends with the connection.
async fn watch_over(shared: Arc<Shared>, up: Arc<Up>) {
    let mut events = Box::pin(up.connection.events_listener());
    let why = loop {
        match tokio::time::timeout(LOOK_EVERY, events.next()).await {
            Ok(Some(Event::Error(error))) => break error.to_string(),
            Ok(Some(Event::ConnectionBlocked(why))) => {
                tracing::warn!(amqp.role = up.role.as_str(), why, "the broker blocks publishers");
                shared.set_blocked(up.role, Some(why));
            }
            Ok(Some(Event::ConnectionUnblocked)) => shared.set_blocked(up.role, None),
            Ok(None) => break "the connection ended".to_owned(),
            Ok(Some(_)) | Err(_) if up.connection.status().connected() => {}
            Ok(Some(_)) | Err(_) => break "the connection was closed".to_owned(),
        }
    };
    shared.lost(&up, why);
}

/// Waits for a connection.
pub(crate) async fn connected(link: &mut watch::Receiver<Link>) -> Option<Arc<Up>> {
    let found = link.wait_for(Result::is_ok).await.ok()?;
    found.as_ref().ok().cloned()
}
