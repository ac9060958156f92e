//! How many may come in from one address, whatever stands between.

use std::{net::SocketAddr, time::Duration};

use http::Request;
use tidewire_edge::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use super::port::{Http2, PATIENCE, Plain, Port};

fn two_for_each(trusted: &[&str]) -> Config {
    let trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
    Config { connections_address_max: 2, trusted_proxies, ..Config::default() }
}

/// Connects from another address of this machine.
async fn connect_from(address: &str, port: &Port) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    socket.connect(port.address).await.unwrap()
}

/// What is answered to a subscriber who comes from `client` by a proxy, or says so.
async fn answer(port: &Port, client: &str) -> (TcpStream, String) {
    let mut socket = port.connect().await;
    let head = format!(
        "GET /v1/events?topic=t&overload=soft HTTP/1.1\r\nhost: hub\r\n\
         x-forwarded-for: {client}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("data: ") {
        let mut bytes = [0; 4096];
        let read = timeout(PATIENCE, socket.read(&mut bytes)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "{answer}");
        answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    (socket, answer)
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let port = Port::serve(two_for_each(&[])).await;
    let held = [port.subscriber().await, port.subscriber().await];
    let (_, said) = answer(&port, "").await;
    assert!(said.contains("{\"reason\":\"address_full\"}"), "{said}");
    let mut other = Plain::subscribe(connect_from("127.0.0.2", &port).await).await;
    drop(held);
    // The places are free when the hub has noticed.
    let again = async { while !answer(&port, "").await.1.contains("tidewire.hello") {} };
    timeout(PATIENCE, again).await.expect("a place is free again");
    port.log.publish("news");
    other.sees("data: news").await;
    port.end().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_places() {
    let port = Port::serve(two_for_each(&["127.0.0.0/8"])).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let (socket, said) = answer(&port, "192.0.2.1").await;
        assert!(said.contains("tidewire.hello"), "{said}");
        held.push(socket);
    }
    let (_, said) = answer(&port, "192.0.2.1").await;
    assert!(said.contains("{\"reason\":\"address_full\"}"), "{said}");
    // What the client itself put before it changes nothing.
    let (_, said) = answer(&port, "203.0.113.6, 192.0.2.1").await;
    assert!(said.contains("address_full"), "{said}");
    let (_, said) = answer(&port, "192.0.2.2").await;
    assert!(said.contains("tidewire.hello"), "{said}");
    port.end().await;
}

#[tokio::test]
async fn who_is_no_proxy_cannot_choose_its_address() {
    let port = Port::serve(two_for_each(&["192.0.2.0/24"])).await;
    let _held = [answer(&port, "203.0.113.1").await, answer(&port, "203.0.113.2").await];
    let (_, said) = answer(&port, "203.0.113.3").await;
    assert!(said.contains("address_full"), "{said}");
    port.end().await;
}

#[tokio::test]
async fn streams_of_one_connection_count_as_connections_do() {
    let port = Port::serve(two_for_each(&[])).await;
    let mut client = Http2::connect(port.connect().await).await;
    let held = [client.subscribe().await, client.subscribe().await];
    let ask = || Request::get("http://hub/v1/events?topic=t&overload=soft").body(()).unwrap();
    let mut refused = client.send(ask(), "").await;
    refused.sees("{\"reason\":\"address_full\"}").await;
    drop(held);
    let again = async {
        loop {
            let mut answer = client.send(ask(), "").await;
            answer.sees("data: ").await;
            if answer.seen.contains("tidewire.hello") {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("a place is free again");
    port.end().await;
}

#[tokio::test]
async fn a_storm_is_accepted_at_the_rate_and_nobody_is_refused() {
    let port = Port::serve(Config { accept_rate_max: 20, ..Config::default() }).await;
    let begun = Instant::now();
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(port.subscriber().await);
    }
    let elapsed = begun.elapsed();
    // Twenty at once, and twenty in the second after.
    assert!(elapsed >= Duration::from_millis(900), "{elapsed:?}");
    drop(held);
    port.end().await;
}
