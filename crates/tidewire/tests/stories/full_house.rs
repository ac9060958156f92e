//! More subscribers than the process may open files for: they are told so, and publishing and
//! operations go on.

use tidewire_client::{EventData, NewEvent, Topic};
use tidewire_testbed::under_shell;
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    hub::{Flags, Hub},
    raw,
};

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_beyond_the_open_files_are_refused_and_nobody_else_suffers() {
    let flags = ["--retention-bytes", "1MiB"];
    let mut hub = Hub::start_with(Flags { ingest: &flags, ..Flags::default() }).await;
    assert!(hub.edge.terminate().await.success());
    hub.edge.start_again_as(|command| under_shell("ulimit -n 200", &command));

    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..300 {
        match subscribe(&hub).await {
            Some(socket) => held.push(socket),
            None => refused += 1,
        }
    }
    assert_eq!((held.len(), refused), (100, 200));
    assert_eq!(raw::get(&hub.edge.operations, "/livez", &[]).await.status, 200);
    let full = "tidewire_edge_connections_refused_total{reason=\"full\"} ";
    hub.edge.tells(full, 200.0).await;

    // Enough for the log to go through several segments.
    let publisher = hub.publisher();
    for _ in 0..40 {
        let data = EventData::parse("x".repeat(50_000), 60_000).unwrap();
        publisher.publish(NewEvent::new(Topic::parse("t").unwrap(), data)).await.unwrap();
    }
    raw::read_until(&mut held[0], "xxxx").await;
    held.truncate(50);
    while subscribe(&hub).await.is_none() {}
}

/// A subscription, or `None` where it is told to come back later.
async fn subscribe(hub: &Hub) -> Option<TcpStream> {
    let mut socket = raw::connect(&hub.http).await;
    raw::send(&mut socket, "GET", "/v1/events?topic=t", &[]).await;
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    match &status {
        b"HTTP/1.1 200" => Some(socket),
        b"HTTP/1.1 503" => None,
        _ => panic!("{}", status.escape_ascii()),
    }
}
