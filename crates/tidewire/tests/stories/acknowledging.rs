//! Pages that acknowledge their probes behind a load balancer, and one that cannot.

use std::{path::Path, time::Duration};

use futures_util::future::join_all;
use tidewire_testbed::{Balancer, NatsCluster, Process};
use tokio::{net::TcpStream, time::timeout};

use super::{hub::Hub, raw};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewire");
/// So many that the balancer sends some of their acknowledgements to the edge that holds the
/// connection, and some to the other: all to one happens once in 2^29 times.
const STREAMS: u32 = 30;
const PATH: &str = "/v1/events?topic=quiet&ack=2&heartbeat=2";

/// A quiet stream, up to its probe, and its connection's name.
async fn probed(url: &str, path: &str) -> (TcpStream, String) {
    let mut socket = raw::connect(url).await;
    raw::send(&mut socket, "GET", path, &[]).await;
    let hello = raw::read_until(&mut socket, "max_age_seconds").await;
    let (_, connection) = hello.split_once("\"connection\":\"").unwrap();
    raw::read_until(&mut socket, "event: tidewire.probe\n").await;
    (socket, connection[..24].to_owned())
}

async fn acknowledge(url: &str, connection: &str) -> u16 {
    let path = format!("/v1/ack/{connection}");
    raw::request(url, "POST", &path, &[("Content-Length", "0")]).await.status
}

/// Heartbeats for longer than an acknowledgement may take.
async fn goes_on(socket: &mut TcpStream) {
    for _ in 0..2 {
        let said = raw::read_until(socket, "\n:\n").await;
        assert!(!said.contains("tidewire.buffered"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_with_its_acknowledgement_and_ends_in_good_order_without() {
    let hub = Hub::start().await;
    let (mut acknowledged, connection) = probed(&hub.http, PATH).await;
    assert_eq!(acknowledge(&hub.http, &connection).await, 204);
    goes_on(&mut acknowledged).await;

    // Also where the client's form is an end without the last chunk.
    let (mut held_back, connection) = probed(&hub.http, &format!("{PATH}&end=abort")).await;
    let said = raw::read_until(&mut held_back, "\n0\r\n\r\n").await;
    assert!(said.contains("event: tidewire.buffered\nretry: "), "{said}");
    assert_eq!(acknowledge(&hub.http, &connection).await, 404);
    let ended = "tidewire_edge_connections_closed_total{reason=\"buffered\"} ";
    hub.edge.tells(ended, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_acknowledgement_is_refused() {
    let hub = Hub::start().await;
    for path in ["/v1/ack/x", "/v1/ack/%FF", "/v1/ack/", "/v1/ack/a%2Fb", "/v1/ack/a/b"] {
        let answer = raw::request(&hub.http, "POST", path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    assert_eq!(raw::get(&hub.http, "/v1/ack/x", &[]).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_edge_behind_a_balancer_takes_an_acknowledgement() {
    let nats = NatsCluster::start(1).await;
    let url = nats.urls().join(",");
    let launch = |service: &str| {
        let flags = ["--nats-url", &url].map(str::to_owned);
        Process::launch(Path::new(PROGRAM), service, &flags)
    };
    let mut ingest = launch("ingest");
    let mut edges = [launch("edge"), launch("edge")];
    for process in [&mut ingest].into_iter().chain(&mut edges) {
        process.ready().await;
    }
    let targets = edges.iter().map(|edge| edge.http.trim_start_matches("http://").to_owned());
    let balancer = Balancer::start(targets.collect()).await;
    let door = balancer.url();

    let outcomes = join_all((0..STREAMS).map(async |_| {
        let (mut socket, connection) = probed(&door, PATH).await;
        let status = acknowledge(&door, &connection).await;
        goes_on(&mut socket).await;
        status
    }))
    .await;
    let count = |status| outcomes.iter().map(|outcome| u32::from(*outcome == status)).sum::<u32>();
    let (held_there, passed_on) = (count(204), count(202));
    println!("{held_there} acknowledged where they were held, {passed_on} passed on");
    assert_eq!(held_there + passed_on, STREAMS, "{outcomes:?}");
    assert!(held_there > 0 && passed_on > 0, "{outcomes:?}");
    // Each reached the edge that it was for, and was counted there a moment after it was heard.
    let heard = "tidewire_edge_acknowledgements_total{outcome=\"heard\"} ";
    let counted = async {
        while edges[0].metric(heard).await + edges[1].metric(heard).await != f64::from(passed_on) {}
    };
    timeout(Duration::from_secs(30), counted).await.expect("each reached the edge it was for");
}
