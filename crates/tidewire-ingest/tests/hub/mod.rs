//! A whole ingest on free ports, and what a publisher sees of it.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a test's own module")]

pub mod held;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tempfile::TempDir;
use tidewire_core::{Backbone, Event, Interest, PageLimit};
use tidewire_ingest::{Config, Ingest, ServeError};
use tidewire_log::Log;
use tidewire_proto::v1::{
    self, PublishRequest, PublishResponse, PublishResult, PublishStreamRequest,
    PublishStreamResponse, ingest_client::IngestClient, publish_result::Result as Outcome,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt as _};

/// An ingest that serves until it is told to stop, or dropped.
pub struct TestHub {
    pub backbone: Arc<dyn Backbone>,
    pub stop: CancellationToken,
    /// How serving gRPC ended.
    pub serving: JoinHandle<Result<(), ServeError>>,
    pub grpc: SocketAddr,
    http: SocketAddr,
    _dir: Option<TempDir>,
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TestHub {
    /// In front of a real log.
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub async fn start_with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(tidewire_log::Config::new(dir.path())).await.unwrap();
        let mut hub = Self::start_before(config, Arc::new(log)).await;
        hub._dir = Some(dir);
        hub
    }

    /// In front of a given backbone.
    pub async fn start_before(config: Config, backbone: Arc<dyn Backbone>) -> Self {
        let stop = CancellationToken::new();
        let ingest = Ingest::new(config, Arc::clone(&backbone), stop.clone());
        Self::serve(ingest, backbone, stop).await
    }

    pub async fn serve(
        ingest: Ingest,
        backbone: Arc<dyn Backbone>,
        stop: CancellationToken,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = listener.local_addr().unwrap();
        let router = ingest.http_router();
        let serving = tokio::spawn(async move { ingest.serve_grpc(listener).await });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let stopping = stop.clone().cancelled_owned();
        tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(stopping).into_future());
        Self { backbone, stop, serving, grpc, http, _dir: None }
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.grpc)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn client(&self) -> IngestClient<Channel> {
        IngestClient::new(self.connect().await)
    }

    pub async fn publish(&self, event: v1::Event) -> Result<v1::Receipt, Status> {
        let request = PublishRequest { event: Some(event) };
        let answer = self.client().await.publish(request).await?;
        let PublishResponse { receipt } = answer.into_inner();
        Ok(receipt.unwrap())
    }

    /// Opens a publish stream of a connection of its own.
    pub async fn stream(&self) -> TestStream {
        let (requests, sent) = mpsc::channel(10_000);
        let answers = self.client().await.publish_stream(ReceiverStream::new(sent)).await.unwrap();
        TestStream { requests: Some(requests), answers: answers.into_inner() }
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Http {
        let mut request = Request::post(format!("http://{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Http { status, headers, body }
    }

    pub async fn post_json(&self, body: impl Into<Bytes>) -> Http {
        self.post("/v1/events", &[("content-type", "application/json")], body).await
    }

    /// Everything that is in the log.
    pub async fn stored(&self) -> Vec<Event> {
        let bounds = self.backbone.bounds().await.unwrap();
        let (mut after, mut events) = (bounds.start(), Vec::new());
        while after != bounds.head() {
            let limit = PageLimit { events: 10_000, bytes: 64 * 1024 * 1024 };
            let page = self.backbone.read(&Interest::everything(), after, limit).await.unwrap();
            events.extend(page.events);
            after = page.next;
        }
        events
    }

    /// The data of everything that is in the log.
    pub async fn stored_data(&self) -> Vec<String> {
        let events = self.stored().await;
        events
            .iter()
            .map(|e| String::from_utf8(e.event.data.as_bytes().to_vec()).unwrap())
            .collect()
    }
}

/// One publish stream, as its client holds it.
pub struct TestStream {
    requests: Option<mpsc::Sender<PublishStreamRequest>>,
    pub answers: Streaming<PublishStreamResponse>,
}

impl TestStream {
    pub async fn send(&self, request_id: u64, event: v1::Event) {
        let request = PublishStreamRequest { request_id, event: Some(event) };
        self.requests.as_ref().unwrap().send(request).await.unwrap();
    }

    /// The next answer; `None` at the stream's good end.
    pub async fn next(&mut self) -> Result<Option<(u64, Outcome)>, Status> {
        let answer = self.answers.message().await?;
        Ok(answer.map(|answer| (answer.request_id, outcome(answer.result.unwrap()))))
    }

    /// The next answer, which is a receipt.
    pub async fn receipt(&mut self) -> (u64, v1::Receipt) {
        match self.next().await.unwrap().unwrap() {
            (request_id, Outcome::Receipt(receipt)) => (request_id, receipt),
            (request_id, Outcome::Status(status)) => panic!("{request_id}: {status:?}"),
        }
    }

    /// The next answer, which is a status.
    pub async fn refusal(&mut self) -> (u64, Status) {
        match self.next().await.unwrap().unwrap() {
            (request_id, Outcome::Receipt(receipt)) => panic!("{request_id}: {receipt:?}"),
            (request_id, Outcome::Status(status)) => (request_id, whole(status)),
        }
    }

    /// Says that no more will come.
    pub fn half_close(&mut self) {
        self.requests = None;
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Http {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Http {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn event(topic: &str, data: impl Into<String>) -> v1::Event {
    v1::Event { topic: topic.to_owned(), data: data.into(), ..Default::default() }
}

pub fn outcome(result: PublishResult) -> Outcome {
    result.result.unwrap()
}

/// A status inside an answer, as a call of its own would have had it.
pub fn whole(status: v1::Status) -> Status {
    let bytes = prost::Message::encode_to_vec(&status);
    Status::with_details(status.code.into(), status.message, bytes.into())
}

/// The one field that a status names, and the reason.
pub fn violation(status: &Status) -> Option<(String, String)> {
    let details: ErrorDetails = status.get_error_details();
    let violations = &details.bad_request()?.field_violations;
    assert_eq!(violations.len(), 1, "{status:?}");
    Some((violations[0].field.clone(), violations[0].description.clone()))
}

/// Whether a status says that waiting helps.
pub fn says_retry(status: &Status) -> bool {
    let details: ErrorDetails = status.get_error_details();
    details.retry_info().is_some_and(|retry| retry.retry_delay.is_some())
}

/// The sequence of a receipt's cursor.
pub fn sequence(receipt: &v1::Receipt) -> u64 {
    receipt.cursor.parse::<tidewire_core::Cursor>().unwrap().sequence.0
}
