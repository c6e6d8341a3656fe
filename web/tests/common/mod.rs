//! A server on a free port, over a store in memory and services that answer as they are told.

use actix_web::web::Bytes;
use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use shers_contract::{
    Problem,
    api::{Answer, Call, Principal, Reply, Role, Service},
};
use shers_runtime::overseer::LocalOverseer;
use shers_runtime::{
    Endpoint, Expected, Store,
    testing::{MemoryStore, deps_over, store_suite},
};
use shers_web::{Authentication, MapAssets, ServeError, Settings, TokenDigest, WebDeps};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest, http},
};

/// How long anything may take before a test says that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

type Answering = dyn Fn(&Call) -> BoxFuture<'static, Reply> + Send + Sync;

/// Answers for every service and remembers what was asked.
pub struct Fake {
    pub asked: Mutex<Vec<Call>>,
    answering: Box<Answering>,
}

impl Endpoint for Fake {
    fn call(&self, call: Call) -> BoxFuture<'static, Reply> {
        let answer = (self.answering)(&call);
        self.asked.lock().expect("lock").push(call);
        answer
    }
}

pub struct House {
    pub addr: SocketAddr,
    pub store: Arc<MemoryStore>,
    pub fake: Arc<Fake>,
    pub http: Client,
    pub stop: Option<oneshot::Sender<()>>,
    pub server: JoinHandle<Result<(), ServeError>>,
}

/// The settings of tests: a free port, one worker.
pub fn settings() -> Settings {
    Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), workers: 1, drain_s: 5, ..Settings::default() }
}

pub fn web_deps(store: &Arc<MemoryStore>, fake: &Arc<Fake>, exercise: bool) -> WebDeps {
    let deps = deps_over(store.clone());
    let endpoint: Arc<dyn Endpoint> = fake.clone();
    WebDeps {
        services: Service::ALL.to_vec(),
        endpoints: Service::ALL.iter().map(|service| (*service, endpoint.clone())).collect::<BTreeMap<_, _>>(),
        feed: store.clone(),
        streams: shers_web::Streams::Alone,
        clock: deps.clock,
        ids: deps.ids,
        overseer: Arc::new(LocalOverseer { exchange: deps.exchange, keeper: deps.keeper.clone() }),
        keeper: deps.keeper,
        exercise,
        map: MapAssets {
            name: "Testland".into(),
            attribution: "nobody".into(),
            bounds: [9.0, 47.0, 10.0, 48.0],
            roads: Bytes::from_static(b"roads"),
        },
        metrics: PrometheusBuilder::new().build_recorder().handle(),
    }
}

/// One token per role: the role's name.
pub fn tokens() -> Authentication {
    let roles = [Role::Device, Role::Viewer, Role::Dispatcher, Role::Administrator];
    let entry = |role: Role| {
        let name = format!("{role:?}").to_lowercase();
        (TokenDigest::of(&name), Principal { subject: name, role })
    };
    Authentication::Tokens(roles.into_iter().map(entry).collect())
}

pub fn fake(answering: impl Fn(&Call) -> BoxFuture<'static, Reply> + Send + Sync + 'static) -> Arc<Fake> {
    Arc::new(Fake { asked: Mutex::default(), answering: Box::new(answering) })
}

pub async fn house() -> House {
    house_with(settings(), tokens(), false, |_| async { Ok(Answer::ok(json!({"good": true})).at_version(7)) }.boxed())
}

pub fn house_with(
    settings: Settings,
    auth: Authentication,
    exercise: bool,
    answering: impl Fn(&Call) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
) -> House {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = MemoryStore::new();
    let fake = fake(answering);
    let bound = shers_web::bind(web_deps(&store, &fake, exercise), settings, auth).expect("a free port");
    let addr = bound.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = actix_rt::spawn(bound.run(async move {
        let _ = stopped.await;
    }));
    let http = Client::builder().timeout(PATIENCE).build().expect("a client");
    House { addr, store, fake, http, stop: Some(stop), server }
}

/// What a server answered.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Got {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a body") }
    }
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
    /// The problem, which must be a proper one.
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem: Problem = serde_json::from_str(&self.text).expect("a problem");
        assert_eq!(problem.status, self.status);
        assert!(!problem.detail.is_empty() && problem.more.contains_key("instance"), "{problem:?}");
        problem
    }
}

impl House {
    pub fn request(&self, method: &str, path: &str, token: &str) -> RequestBuilder {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("http://{}{path}", self.addr));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Got {
        Got::of(request.send().await.expect("an answer")).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Got {
        self.send(self.request("GET", path, token)).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Got {
        self.send(self.request("POST", path, token).json(&body)).await
    }

    /// Appends one event that carries each text.
    pub async fn tell(&self, texts: &[&str]) -> u64 {
        let commit = store_suite::append("incident/i-1", Expected::Any, texts, true);
        self.store.commit(commit).await.expect("stored").last_position
    }

    /// Appends `count` events named by their number.
    pub async fn tell_many(&self, prefix: &str, count: usize) -> u64 {
        let names: Vec<String> = (0..count).map(|n| format!("{prefix}{n}")).collect();
        self.tell(&names.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    pub async fn ticket(&self) -> String {
        let got = self.send(self.request("POST", "/api/v1/stream-tickets", "viewer")).await;
        assert_eq!(got.status, 201, "{got:?}");
        got.json()["ticket"].as_str().expect("a ticket").to_owned()
    }

    pub async fn socket(&self, ticket: &str, origin: Option<&str>) -> Result<Socket, u16> {
        let mut request = format!("ws://{}/api/v1/stream", self.addr).into_client_request().expect("a request");
        let offered = format!("shers.v1, {ticket}").parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", offered);
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("a header"));
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, answer)) => {
                assert_eq!(answer.headers().get("sec-websocket-protocol").expect("echoed"), "shers.v1");
                Ok(Socket(socket))
            }
            Err(WsError::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A websocket that has said hello.
    pub async fn connected(&self) -> (Socket, Value) {
        let ticket = self.ticket().await;
        let mut socket = self.socket(&ticket, None).await.expect("open");
        let hello = socket.frame().await;
        assert_eq!(hello["t"], "hello");
        (socket, hello)
    }
}

/// The client's end of a websocket.
pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What came.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Frame(Value),
    Closed(u16),
}

impl Socket {
    pub async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("sent");
    }

    pub async fn hear(&mut self) -> Heard {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("the server is silent");
            match message {
                Some(Ok(Message::Text(text))) => return Heard::Frame(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(reason))) => return Heard::Closed(reason.map_or(1005, |r| r.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(1006),
            }
        }
    }

    pub async fn frame(&mut self) -> Value {
        match self.hear().await {
            Heard::Frame(frame) => frame,
            Heard::Closed(code) => panic!("closed with {code}"),
        }
    }

    /// The next frame of this kind; others are passed over.
    pub async fn next_of(&mut self, t: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["t"] == t {
                return frame;
            }
        }
    }
}
