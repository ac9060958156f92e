//! Something of everything that a hub does all day: events come in each way, some subscribers stay, and
//! some come and go. Dropping it ends it.

use std::time::Duration;

use tidewire_client::{EventData, NewEvent, Publisher, StreamOptions, Topic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::hub::{Hub, address};

const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
const VISIT: Duration = Duration::from_millis(500);
/// Longer than any test.
const STAY: Duration = Duration::from_secs(3_600);

pub(crate) struct Load {
    _tasks: JoinSet<()>,
}

impl Load {
    pub(crate) fn begin(hub: &Hub) -> Self {
        let mut tasks = JoinSet::new();
        for process in [&hub.ingest, &hub.standalone] {
            tasks.spawn(publish(Publisher::connect(&process.grpc).unwrap()));
        }
        for edge in &hub.edges {
            tasks.spawn(subscribe(address(&edge.http), "now", STAY));
            // Each has a snapshot read from the log for it.
            tasks.spawn(subscribe(address(&edge.http), "latest", VISIT));
        }
        Self { _tasks: tasks }
    }
}

/// By one call for an event, by one for some, and by a stream.
async fn publish(publisher: Publisher) {
    let stream = publisher.stream(StreamOptions::default());
    loop {
        publisher.publish(event()).await.unwrap();
        publisher.publish_batch(vec![event(), event()]).await.unwrap();
        let pending = stream.send(event()).await.unwrap();
        pending.await.unwrap();
        sleep(PUBLISH_INTERVAL).await;
    }
}

fn event() -> NewEvent {
    let data = EventData::parse(format!("{{\"of\":\"{}\"}}", "load ".repeat(50)), 60_000);
    NewEvent::new(Topic::parse("load").unwrap(), data.unwrap())
}

/// Opens a stream, reads what comes for so long, leaves, and comes back. An edge may be away meanwhile.
async fn subscribe(edge: String, from: &'static str, stay: Duration) {
    let request = format!(
        "GET /v1/events?topic=load&from={from} HTTP/1.1\r\nHost: hub\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let leave = Instant::now() + stay;
        if let Ok(mut socket) = TcpStream::connect(&edge).await
            && socket.write_all(request.as_bytes()).await.is_ok()
        {
            while let Ok(Ok(1..)) = timeout_at(leave, socket.read(&mut buffer)).await {}
        }
        sleep(PUBLISH_INTERVAL).await;
    }
}
