//! A stand-in for a process behind the gateway: says what it was asked, hangs up, or lets a stream drip.

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Header by which a request says what the stand-in shall do: `hang-up` or `drip`.
pub const PLAY: &str = "x-play";

/// One stand-in; it lives as long as the test's runtime.
pub struct Stub {
    /// `host:port`.
    pub address: String,
    /// Requests it has read whole: method, path with query, headers.
    pub seen: Arc<Mutex<Vec<Value>>>,
    /// Lets the second drop of a dripping stream fall.
    pub go_on: Arc<Notify>,
}

impl Stub {
    /// Starts one that calls itself `name`.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let stub = Self { address, seen: Arc::default(), go_on: Arc::default() };
        let (seen, go_on, name) = (Arc::clone(&stub.seen), Arc::clone(&stub.go_on), name.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, go_on, name) = (Arc::clone(&seen), Arc::clone(&go_on), name.clone());
                tokio::spawn(async move {
                    // A peer that goes away ends its own connection only.
                    let _ = serve(stream, &name, &seen, &go_on).await;
                });
            }
        });
        stub
    }

    /// How many requests it has read.
    pub fn count(&self) -> usize {
        self.seen.lock().expect("no panic while holding it").len()
    }
}

async fn serve(stream: TcpStream, name: &str, seen: &Mutex<Vec<Value>>, go_on: &Notify) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (method, path) = line.split_once(' ').unwrap_or_default();
        let path = path.split(' ').next().unwrap_or_default();
        let mut headers = serde_json::Map::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            let Some((key, value)) = header.trim_end().split_once(": ") else { break };
            headers.insert(key.to_ascii_lowercase(), value.into());
        }
        let length = headers.get("content-length").and_then(Value::as_str).and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let play = headers.get(PLAY).and_then(Value::as_str).unwrap_or_default().to_owned();
        let asked = json!({"service": name, "method": method, "path": path, "headers": headers});
        seen.lock().expect("no panic while holding it").push(asked.clone());
        match play.as_str() {
            "hang-up" => return Ok(()),
            "drip" => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                stream.write_all(format!("{head}data: first\n\n").as_bytes()).await?;
                stream.flush().await?;
                go_on.notified().await;
                stream.write_all(b"data: second\n\n").await?;
                return stream.flush().await;
            }
            _ => {
                let body = asked.to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await?;
                stream.flush().await?;
            }
        }
    }
}
