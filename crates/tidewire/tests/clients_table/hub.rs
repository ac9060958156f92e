//! A hub of a test's own, whose clients come back soon. Dropping it ends it.

use std::{ops::Range, path::Path, time::Duration};

use tidewire_client::{EventData, EventId, EventType, NewEvent, Publisher, Topic};
use tidewire_testbed::{NatsCluster, Process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewire");
const RETRY: [&str; 4] = ["--retry-min", "20ms", "--retry-max", "200ms"];
/// What everybody here subscribes to.
pub(crate) const TOPIC: &str = "clients";
/// Tries are for a hub that has just come back, on connections that it has left.
const TRIES_MAX: usize = 100;
const TRY_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct Hub {
    /// What serves subscribers: all of the hub, where that is one process.
    pub(crate) edge: Process,
    publisher: Publisher,
    _ingest: Option<Process>,
    /// Last, since the others stand on it.
    pub(crate) nats: Option<NatsCluster>,
}

impl Hub {
    /// Starts a hub that keeps its own log.
    pub(crate) async fn embedded(flags: &[&str]) -> Self {
        let mut edge = launch("standalone", &[&RETRY, flags].concat());
        edge.ready().await;
        let publisher = Publisher::connect(&edge.grpc).unwrap();
        Self { edge, publisher, _ingest: None, nats: None }
    }

    /// Starts an ingest and an edge over a NATS server.
    pub(crate) async fn on_nats(edge_flags: &[&str]) -> Self {
        let nats = NatsCluster::start(1).await;
        let urls = nats.urls().join(",");
        let at = ["--nats-url", &urls];
        let mut ingest = launch("ingest", &at);
        let mut edge = launch("edge", &[&at[..], &RETRY, edge_flags].concat());
        ingest.ready().await;
        edge.ready().await;
        let publisher = Publisher::connect(&ingest.grpc).unwrap();
        Self { edge, publisher, _ingest: Some(ingest), nats: Some(nats) }
    }

    /// Publishes events, and waits for their receipts. Each is stored once, however often it has to be
    /// tried.
    pub(crate) async fn publish(&self, form: Form, numbers: Range<usize>) {
        let events: Vec<_> = numbers.map(|number| form.event(number)).collect();
        for _ in 0..TRIES_MAX {
            let results = self.publisher.publish_batch(events.clone()).await;
            if results.is_ok_and(|results| results.iter().all(Result::is_ok)) {
                return;
            }
            sleep(TRY_INTERVAL).await;
        }
        panic!("events could not be published");
    }

    /// Takes a place among the hub's connections, as soon as there is one, until it is dropped.
    pub(crate) async fn occupy(&self) -> TcpStream {
        for _ in 0..TRIES_MAX {
            let mut socket = TcpStream::connect(self.address()).await.unwrap();
            let request = format!("GET /v1/events?topic=nothing HTTP/1.1\r\nHost: {TOPIC}\r\n\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            socket.read_exact(&mut status).await.unwrap();
            if &status == b"HTTP/1.1 200" {
                return socket;
            }
            sleep(TRY_INTERVAL).await;
        }
        panic!("the hub stays full");
    }

    /// Where it is subscribed to, without the scheme.
    pub(crate) fn address(&self) -> &str {
        self.edge.http.strip_prefix("http://").unwrap()
    }
}

fn launch(service: &str, flags: &[&str]) -> Process {
    let flags: Vec<_> = flags.iter().copied().map(str::to_owned).collect();
    Process::launch(Path::new(PROGRAM), service, &flags)
}

/// What an event looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Plain,
    /// As Datastar wants it.
    Datastar,
}

impl Form {
    /// The event of a number, which makes its id.
    fn event(self, number: usize) -> NewEvent {
        let (event_type, data) = match self {
            Self::Plain => ("", text(number)),
            Self::Datastar => {
                ("datastar-merge-signals", format!("signals {{\"text\":\"{}\"}}", text(number)))
            }
        };
        NewEvent {
            id: EventId::parse(&text(number)).unwrap(),
            event_type: EventType::parse(event_type).unwrap(),
            ..NewEvent::new(Topic::parse(TOPIC).unwrap(), EventData::parse(data, 100).unwrap())
        }
    }
}

/// What a subscriber sees of an event.
pub(crate) fn text(number: usize) -> String {
    format!("event-number-{number}")
}
