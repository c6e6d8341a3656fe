//! A network between the store and its database that breaks where a test wants it to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[derive(Default)]
struct State {
    cut_at_commit: AtomicBool,
    closed: AtomicBool,
    cuts: AtomicUsize,
}

/// Passes bytes on, until it is told to cut.
pub struct Proxy {
    pub url: String,
    state: Arc<State>,
}

impl Proxy {
    /// A way to the server of `url` (`postgres://user@host:port/database`).
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (user, rest) = url.split_once('@').expect("user@host");
        let (server, database) = rest.split_once('/').expect("host/database");
        let database = database.split('?').next().expect("a name");
        let state = Arc::new(State::default());
        let (server, shared) = (server.to_owned(), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !shared.closed.load(Ordering::SeqCst) {
                    tokio::spawn(pass(client, server.clone(), Arc::clone(&shared)));
                }
            }
        });
        // Bytes under TLS could not be looked at.
        Self { url: format!("{user}@{address}/{database}?sslmode=disable"), state }
    }

    /// The next COMMIT reaches the server; its answer does not come back.
    pub fn cut_at_the_next_commit(&self) {
        self.state.cut_at_commit.store(true, Ordering::SeqCst);
    }

    /// And no new connection is let through.
    pub fn close(&self) {
        self.state.closed.store(true, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.state.closed.store(false, Ordering::SeqCst);
    }

    /// Times that it cut.
    pub fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, server: String, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (stop_answers, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let answers = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => {
                    // The client sees the end of the connection; the server is heard out.
                    drop(to_client);
                    while from_server.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
                    return;
                }
                read = from_server.read(&mut buffer) => {
                    let Ok(count @ 1..) = read else { return };
                    if to_client.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    let mut stop_answers = Some(stop_answers);
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        let sent = &buffer[..count];
        let commits = sent.windows(7).any(|window| window == b"COMMIT\0");
        let cut = commits && state.cut_at_commit.swap(false, Ordering::SeqCst);
        if cut && let Some(stop) = stop_answers.take() {
            // First the way back is closed, so that no answer slips through.
            let _ = stop.send(());
        }
        if to_server.write_all(sent).await.is_err() {
            break;
        }
        if cut {
            state.cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
    }
    drop(from_client);
    let _ = answers.await;
    drop(to_server);
}
