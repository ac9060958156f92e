//! Questions to JetStream's API, in a few lines of the NATS protocol.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take: a server that is frozen never gives one.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How often a question is asked while nobody answers it.
const ASKS_MAX: usize = 12;
const INBOX: &str = "_INBOX.test";

/// A connection to one of the servers.
pub(crate) struct JetStream {
    urls: Vec<String>,
    socket: BufReader<TcpStream>,
}

/// A place from which somebody follows the log.
pub(crate) struct Consumer {
    pub(crate) name: String,
    /// The name of the server at which it is.
    pub(crate) server: String,
    /// Whether somebody waits for what it hands out: one that was given up stays for a while.
    pub(crate) is_in_use: bool,
}

impl JetStream {
    /// Connects to the first of these that answers.
    pub(crate) async fn connect(urls: &[String]) -> Self {
        for url in urls {
            if let Ok(Ok(socket)) = timeout(ANSWER_PATIENCE, log_in(url)).await {
                return Self { urls: urls.to_vec(), socket };
            }
        }
        panic!("none of {urls:?} answers");
    }

    pub(crate) async fn delete_stream(&mut self, stream: &str) {
        self.ask(&format!("STREAM.DELETE.{stream}"), &Value::Null).await;
    }

    /// Makes a stream on one server, whichever that is; it holds what is published to `subject`.
    pub(crate) async fn make_stream(&mut self, stream: &str, subject: &str) {
        let config = json!({ "name": stream, "subjects": [subject], "num_replicas": 1 });
        self.ask(&format!("STREAM.CREATE.{stream}"), &config).await;
    }

    /// Asks a stream's leader to let another server lead, which it may refuse.
    pub(crate) async fn hand_lead_to(&mut self, stream: &str, server: &str) {
        let to = json!({ "placement": { "preferred": server } }).to_string();
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        self.request(&subject, to.as_bytes()).await;
    }

    /// The consumers of a stream: the tails of edges, and what they read for subscribers.
    pub(crate) async fn consumers(&mut self, stream: &str) -> Vec<Consumer> {
        let list = self.ask(&format!("CONSUMER.LIST.{stream}"), &json!({ "offset": 0 })).await;
        let consumers = list["consumers"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        consumers
            .map(|one| Consumer {
                name: text(&one["name"]),
                server: text(&one["cluster"]["leader"]),
                is_in_use: one["num_waiting"].as_u64() > Some(0),
            })
            .collect()
    }

    /// Deletes a consumer, unless that has happened already.
    pub(crate) async fn delete_consumer(&mut self, stream: &str, name: &str) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
        self.request(&subject, b"").await;
    }

    /// Publishes to a stream; whether it took that.
    pub(crate) async fn publish(&mut self, subject: &str, payload: &[u8]) -> bool {
        let answer = self.request(subject, payload).await;
        answer.is_some_and(|answer| answer["error"].is_null())
    }

    /// Asks until somebody answers; the answer is no refusal.
    async fn ask(&mut self, what: &str, question: &Value) -> Value {
        let question = if question.is_null() { String::new() } else { question.to_string() };
        for _ in 0..ASKS_MAX {
            let answer = self.request(&format!("$JS.API.{what}"), question.as_bytes()).await;
            if let Some(answer) = answer {
                assert!(answer["error"].is_null(), "{what}: {}", answer["error"]);
                return answer;
            }
        }
        panic!("nobody answers {what}");
    }

    /// Sends a request, and waits for the answer; none where nobody gives one. What comes too late
    /// for it is not taken for the next one's: that has another connection.
    async fn request(&mut self, subject: &str, payload: &[u8]) -> Option<Value> {
        let head = format!("PUB {subject} {INBOX} {}\r\n", payload.len());
        let answer = timeout(ANSWER_PATIENCE, async {
            self.socket.write_all(&[head.as_bytes(), payload, b"\r\n"].concat()).await?;
            self.answer().await
        });
        match answer.await {
            Ok(Ok(answer)) => answer,
            _ => {
                *self = Self::connect(&self.urls.clone()).await;
                None
            }
        }
    }

    async fn answer(&mut self) -> io::Result<Option<Value>> {
        loop {
            let line = read_line(&mut self.socket).await?;
            let words: Vec<_> = line.split(' ').collect();
            let bytes = || words.last().and_then(|word| word.parse().ok()).expect("a size");
            match words[0] {
                "PING" => self.socket.write_all(b"PONG\r\n").await?,
                "MSG" => {
                    let payload = self.payload(bytes()).await?;
                    return Ok(Some(serde_json::from_slice(&payload)?));
                }
                // Headers, and nothing else: nobody is there.
                "HMSG" => {
                    self.payload(bytes()).await?;
                    return Ok(None);
                }
                "-ERR" => return Err(io::Error::other(line)),
                _ => {}
            }
        }
    }

    async fn payload(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut payload = vec![0; bytes + 2];
        self.socket.read_exact(&mut payload).await?;
        payload.truncate(bytes);
        Ok(payload)
    }
}

async fn log_in(url: &str) -> io::Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect(url.trim_start_matches("nats://")).await?;
    let mut socket = BufReader::new(socket);
    read_line(&mut socket).await?;
    let options = json!({ "verbose": false, "headers": true, "no_responders": true });
    socket.write_all(format!("CONNECT {options}\r\nSUB {INBOX} 1\r\nPING\r\n").as_bytes()).await?;
    while read_line(&mut socket).await? != "PONG" {}
    Ok(socket)
}

async fn read_line(socket: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if socket.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}
