//! What the tests of the bridge share: a real broker, named by `SHERS_TEST_AMQP_URL`, a proxy in front of it that
//! can cut or freeze a process, and processes of the suite.

#![allow(dead_code, clippy::expect_used, reason = "each test file uses its part of it")]

use async_trait::async_trait;
use shers_bridge::{AmqpWire, Settings};
use shers_runtime::{
    Ids, SystemIds,
    testing::wire_suite,
    wire::{Part, Wire},
};
use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// The broker for the tests. Without one they are left out, by name.
pub fn broker(test: &str) -> Option<String> {
    let url = std::env::var("SHERS_TEST_AMQP_URL").ok();
    if url.is_none() {
        println!("left out: {test}: SHERS_TEST_AMQP_URL names no broker (scripts/test cluster starts one)");
    }
    url
}

/// The directory of a broker that the tests may restart (`scripts/lib/rabbitmq.sh`).
pub fn broker_dir(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("SHERS_TEST_RABBITMQ_DIR").map(PathBuf::from);
    if dir.is_none() {
        println!("left out: {test}: SHERS_TEST_RABBITMQ_DIR names no broker that may be restarted");
    }
    dir
}

/// Runs a command of `scripts/lib/rabbitmq.sh`.
pub async fn control(command: &'static str, dir: PathBuf) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/lib/rabbitmq.sh");
    let run = move || Command::new("bash").arg(script).arg(command).arg(dir).output().expect("bash runs");
    let output = tokio::task::spawn_blocking(run).await.expect("the command ran");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Something that no other test of any run is called.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{:08x}{count:02x}", SystemIds.random() >> 32)
}

/// Settings for tests: an exchange and queues of calls of their own, short times.
pub fn settings(url: &str, name: &str) -> Settings {
    Settings {
        url: Some(shers_contract::Secret::new(url)),
        exchange: format!("{name}.events"),
        calls: format!("{name}.calls"),
        heartbeat_s: 2,
        probe_interval_ms: 200,
        silence_ms: 20_000,
        publish_ms: 10_000,
        backoff_max_ms: 1_000,
        ..Settings::default()
    }
}

/// A wire over `settings`.
pub fn start(settings: Settings) -> Arc<AmqpWire> {
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    AmqpWire::start(settings, "test", ids).expect("settings without problems")
}

/// Waits for a condition that nothing announces.
///
/// # Panics
/// When it does not come within two minutes.
pub async fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.unwrap_or_else(|_| panic!("{what} did not come"));
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    Open,
    /// Bytes wait, in both directions.
    Frozen,
    /// Every connection is closed, new ones as well.
    Cut,
}

/// A proxy before the broker.
pub struct Proxy {
    flow: watch::Sender<Flow>,
    port: u16,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the broker at `url` (`amqp://user:password@host:port/vhost`).
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (_, host, _) = split(url);
        let flow = watch::Sender::new(Flow::Open);
        let seen = flow.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() == Flow::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&host).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pipe(from_client, to_server, seen.subscribe()));
                tokio::spawn(pipe(from_server, to_client, seen.subscribe()));
            }
        });
        Self { flow, port, accepting }
    }
    /// The broker's address through this proxy.
    pub fn url(&self, url: &str) -> String {
        let (before, _, after) = split(url);
        format!("{before}127.0.0.1:{}{after}", self.port)
    }
    /// Closes every connection and lets none pass.
    pub fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }
    /// Lets nothing pass, and says nothing.
    pub fn freeze(&self) {
        self.flow.send_replace(Flow::Frozen);
    }
    /// Lets everything pass again.
    pub fn open(&self) {
        self.flow.send_replace(Flow::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Before the host, host and port, after the port.
fn split(url: &str) -> (String, String, String) {
    let host_at = url.rfind('@').map_or_else(|| url.find("//").map_or(0, |at| at + 2), |at| at + 1);
    let (before, rest) = url.split_at(host_at);
    let (host, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:5672") };
    (before.to_owned(), host, after.to_owned())
}

async fn pipe(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = tokio::select! {
            cut = flow.wait_for(|flow| *flow == Flow::Cut) => { let _ = cut; return }
            read = from.read(&mut buffer) => read,
        };
        let Ok(count @ 1..) = read else { return };
        let Ok(now) = flow.wait_for(|flow| *flow != Flow::Frozen).await.map(|flow| *flow) else { return };
        if now == Flow::Cut || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// A process behind a proxy of its own.
pub struct Process {
    pub wire: Arc<AmqpWire>,
    pub proxy: Proxy,
}

impl Process {
    /// One more process.
    pub async fn start(url: &str, change: impl FnOnce(&mut Settings), name: &str) -> Self {
        let proxy = Proxy::before(url).await;
        let mut settings = settings(&proxy.url(url), name);
        change(&mut settings);
        Self { wire: start(settings), proxy }
    }
    /// Its wire as the port.
    pub fn port(&self) -> Arc<dyn Wire> {
        Arc::clone(&self.wire) as Arc<dyn Wire>
    }
}

#[async_trait]
impl wire_suite::Process for Process {
    fn wire(&self) -> Arc<dyn Wire> {
        self.port()
    }
    async fn cut(&self) {
        self.proxy.cut();
    }
    async fn mend(&self) {
        self.proxy.open();
    }
}

/// The suite's rig over a real broker.
pub struct Rig {
    url: String,
    name: String,
}

impl Rig {
    /// Names nothing that is there already.
    pub fn new(url: String) -> Self {
        Self { url, name: unique("suite") }
    }
}

#[async_trait]
impl wire_suite::Rig for Rig {
    async fn process(&self) -> Box<dyn wire_suite::Process> {
        Box::new(Process::start(&self.url, |settings| settings.publish_ms = 3_000, &self.name).await)
    }
    fn prefix(&self) -> String {
        self.name.clone()
    }
}

/// A part with all partitions.
pub fn part(name: &str, patterns: &[&str]) -> Part {
    wire_suite::part(name.to_owned(), patterns, shers_contract::routing::PARTITIONS)
}
