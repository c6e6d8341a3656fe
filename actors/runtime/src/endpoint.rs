//! The door of a service: requests from the web layer, whatever thread or process they come from.

use async_trait::async_trait;
use futures::future::BoxFuture;
use shers_contract::{
    Problem,
    api::{Call, Reply},
};
use std::{rc::Rc, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Callable from any thread.
pub trait Endpoint: Send + Sync + 'static {
    /// Asks the service.
    fn call(&self, call: Call) -> BoxFuture<'static, Reply>;
}

/// Answers on the service's own arbiter.
#[async_trait(?Send)]
pub trait LocalEndpoint: 'static {
    /// Answers one request.
    async fn call(&self, call: Call) -> Reply;
}

type Job = (Call, oneshot::Sender<Reply>);

struct Queued {
    jobs: mpsc::Sender<Job>,
    time_limit: Duration,
}

impl Endpoint for Queued {
    fn call(&self, call: Call) -> BoxFuture<'static, Reply> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.try_send((call, reply));
        let limit = self.time_limit;
        Box::pin(async move {
            if sent.is_err() {
                return Err(Problem::unavailable("the service has more requests than it can take; try again shortly"));
            }
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) | Err(_) => Err(Problem::unknown_outcome()),
            }
        })
    }
}

/// Serves `endpoint` on the current arbiter: at most `queue` requests wait, each for at most `time_limit`.
#[must_use]
pub fn serve_local(endpoint: Rc<dyn LocalEndpoint>, queue: usize, time_limit: Duration) -> Arc<dyn Endpoint> {
    let (jobs, mut inbox) = mpsc::channel::<Job>(queue);
    actix_rt::spawn(async move {
        while let Some((call, reply)) = inbox.recv().await {
            let endpoint = Rc::clone(&endpoint);
            actix_rt::spawn(async move {
                // The asker may have given up: its answer is stored under its idempotency key.
                let _ = reply.send(endpoint.call(call).await);
            });
        }
    });
    Arc::new(Queued { jobs, time_limit })
}
