//! A client of the websocket `shers.v1`.

use super::{Client, SOON, client::Answer};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// An open websocket.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The first frame.
    pub hello: Value,
}

/// One event of a delivery.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivered {
    pub offset: u64,
    pub kind: String,
    pub at: String,
    pub data: Value,
    pub stream: String,
    pub correlation_id: Option<String>,
}

impl Delivered {
    fn of(item: &Value) -> Self {
        let text = |index: usize| item[index].as_str().unwrap_or_default().to_owned();
        Self {
            offset: item[0].as_u64().expect("an offset"),
            kind: text(1),
            at: text(2),
            data: item[3].clone(),
            stream: text(4),
            correlation_id: item[5].as_str().map(str::to_owned),
        }
    }
}

impl Socket {
    /// Opens one with a fresh ticket, and reads `hello`.
    pub async fn open(client: &Client) -> Self {
        let ticket = client.post("/stream-tickets", &json!({})).await.expect(201);
        let ticket = ticket["ticket"].as_str().expect("a ticket");
        let stream = Self::connect(client.address(), ticket).await.expect("the websocket opens");
        let mut socket = Self { stream, hello: Value::Null };
        socket.hello = socket.frame().await;
        assert_eq!(socket.hello["t"], "hello");
        socket
    }

    /// The handshake alone, with any ticket.
    pub async fn connect(
        address: &str,
        ticket: &str,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Box<Error>> {
        let mut request = format!("ws://{address}/api/v1/stream").into_client_request().expect("a request");
        let offered = format!("shers.v1, {ticket}").parse().expect("a header value");
        request.headers_mut().insert("sec-websocket-protocol", offered);
        let (stream, response) = tokio_tungstenite::connect_async(request).await.map_err(Box::new)?;
        let echoed = response.headers().get("sec-websocket-protocol").and_then(|v| v.to_str().ok());
        assert_eq!(echoed, Some("shers.v1"), "our protocol alone is echoed, never the ticket");
        Ok(stream)
    }

    /// Subscribes to topics on the log lane, from an offset or from now.
    pub async fn subscribe(&mut self, id: &str, topics: &[&str], from: Option<u64>) {
        let mut frame = json!({"t": "sub", "id": id, "topics": topics, "lane": "log"});
        if let Some(offset) = from {
            frame["from"] = json!({"epoch": self.hello["epoch"], "offset": offset});
        }
        self.send(&frame).await;
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Value) {
        self.stream.send(Message::text(frame.to_string())).await.expect("the socket is open");
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(SOON, self.stream.next()).await.expect("a frame in time");
            match message.expect("the socket is open").expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).expect("frames are JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a frame: {other:?}"),
            }
        }
    }

    /// Events until one satisfies `last`, which is the last of the list. Checks that the deliveries join
    /// without a gap and that offsets grow.
    pub async fn events_until(&mut self, mut last: impl FnMut(&Delivered) -> bool) -> Vec<Delivered> {
        let mut events: Vec<Delivered> = Vec::new();
        let mut told: Option<u64> = None;
        loop {
            let frame = self.frame().await;
            match frame["t"].as_str().unwrap_or_default() {
                "d" => {
                    if let Some(told) = told {
                        assert_eq!(frame["from"].as_u64(), Some(told), "deliveries join: {frame}");
                    }
                    told = frame["to"].as_u64();
                    for item in frame["ev"].as_array().expect("events") {
                        let event = Delivered::of(item);
                        assert!(events.last().is_none_or(|before| before.offset < event.offset), "offsets grow");
                        events.push(event);
                    }
                    if let Some(end) = events.iter().position(&mut last) {
                        events.truncate(end + 1);
                        return events;
                    }
                }
                "hb" => told = frame["head"].as_u64(),
                "live" | "behind" => {}
                _ => panic!("not expected here: {frame}"),
            }
        }
    }
}

/// The answer to a handshake that was refused.
pub fn refusal(error: Error) -> Answer {
    let Error::Http(response) = error else { panic!("refused before the upgrade, not {error}") };
    let (parts, body) = response.into_parts();
    let body = body.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null);
    let mut headers = reqwest::header::HeaderMap::new();
    headers.extend(parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    Answer { status: parts.status.as_u16(), headers, body }
}
