//! Following what other processes write: notifications, and a poll for those that get lost.

use super::connect::{Connector, said};
use super::options::PostgresOptions;
use super::pool::Readers;
use super::rows;
use super::tail::Tail;
use futures::FutureExt;
use shers_runtime::store::{Position, StoreError};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client};

/// Events read at once to catch up.
const CATCH_UP: usize = 2_000;
/// Other processes are told at most this often; each telling wakes every listener of the database.
const TELL_EVERY: Duration = Duration::from_millis(3);
/// A new try to listen after this.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Brings the ring up to what the database holds.
pub(super) struct Filler {
    readers: Arc<Readers>,
    tail: Arc<Tail>,
    max_events: u64,
    one_at_a_time: Mutex<()>,
}

impl Filler {
    pub(super) fn new(readers: Arc<Readers>, tail: Arc<Tail>, options: &PostgresOptions) -> Self {
        let max_events = u64::try_from(options.tail_events).unwrap_or(u64::MAX);
        Self { readers, tail, max_events, one_at_a_time: Mutex::new(()) }
    }

    /// Reads up to `last`, which is known to be committed. If that can't be done the ring starts anew there.
    pub(super) async fn fill_to(&self, last: Position) {
        let _one = self.one_at_a_time.lock().await;
        if last.saturating_sub(self.tail.last()) > self.max_events {
            self.tail.skip_to(last);
        }
        while self.tail.last() < last {
            match self.read_on().await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "catching up with the log");
                    break;
                }
            }
        }
        self.tail.skip_to(last);
    }

    /// Reads what is new.
    pub(super) async fn poll(&self) -> Result<(), StoreError> {
        let _one = self.one_at_a_time.lock().await;
        while self.read_on().await? == CATCH_UP {}
        Ok(())
    }

    async fn read_on(&self) -> Result<usize, StoreError> {
        let from = self.tail.last();
        let read = self.readers.run(move |c| rows::read_after(c, None, from, CATCH_UP).boxed()).await?;
        let count = read.len();
        // The writer may have added the same meanwhile; what is there is passed over.
        if self.tail.extend(from, read).is_err() {
            return Err(StoreError("the ring went back, which it never does".to_owned()));
        }
        Ok(count)
    }
}

/// Follows the log until the store is gone.
pub(super) async fn follow(
    connector: Connector,
    filler: Arc<Filler>,
    mut own: watch::Receiver<Position>,
    poll: Duration,
) {
    loop {
        match listen(&connector).await {
            Ok((client, mut heard)) => {
                // What was told while nobody listened.
                let mut caught_up = filler.poll().await.is_ok();
                while caught_up {
                    caught_up = hear(&connector, &filler, &client, &mut heard, &mut own, poll).await;
                    if own.has_changed().is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(error, "listening to the log"),
        }
        if own.has_changed().is_err() {
            return;
        }
        sleep(LISTEN_AGAIN_AFTER).await;
        if let Err(error) = filler.poll().await {
            tracing::warn!(%error, "following the log");
        }
    }
}

/// Waits for one thing to happen and deals with it. False when the connection is of no more use.
async fn hear(
    connector: &Connector,
    filler: &Filler,
    client: &Client,
    heard: &mut mpsc::Receiver<Position>,
    own: &mut watch::Receiver<Position>,
    poll: Duration,
) -> bool {
    tokio::select! {
        told = heard.recv() => {
            let Some(mut last) = told else { return false };
            while let Ok(later) = heard.try_recv() {
                last = last.max(later);
            }
            if last > filler.tail.last() {
                filler.fill_to(last).await;
            }
            true
        }
        changed = own.changed() => {
            if changed.is_err() {
                return false;
            }
            let last = *own.borrow_and_update();
            let started = Instant::now();
            // Both are plain texts: the schema's name is checked, the position is a number.
            let tell = format!("NOTIFY \"{}\", '{last}'", connector.schema);
            let told = matches!(timeout(connector.limit(), client.batch_execute(&tell)).await, Ok(Ok(())));
            tokio::time::sleep_until(started + TELL_EVERY).await;
            told
        }
        () = sleep(poll) => filler.poll().await.is_ok() && !client.is_closed(),
    }
}

/// A connection that listens, and what it hears.
async fn listen(connector: &Connector) -> Result<(Client, mpsc::Receiver<Position>), String> {
    let (client, mut connection) = connector.raw().await?;
    // A few are enough: only the highest position counts, and the poll sees what was dropped.
    let (tell, heard) = mpsc::channel(256);
    tokio::spawn(async move {
        let mut messages = futures::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(message) = futures::StreamExt::next(&mut messages).await {
            match message {
                Ok(AsyncMessage::Notification(notification)) => {
                    if let Ok(position) = notification.payload().parse() {
                        let _ = tell.try_send(position);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = said(&error), "the listening connection ended");
                    return;
                }
            }
        }
    });
    let listen = format!("{}; LISTEN \"{}\"", connector.session(), connector.schema);
    match timeout(connector.limit(), client.batch_execute(&listen)).await {
        Ok(listening) => listening.map_err(|error| said(&error))?,
        Err(_) => return Err("no answer to LISTEN".to_owned()),
    }
    Ok((client, heard))
}
