//! The balancer: it spreads, passes by the dead, and carries what it is given.
#![expect(clippy::unwrap_used, reason = "a failed expectation is a result")]

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use tidewire_testbed::Balancer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::{JoinSet, yield_now},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Answers each connection, once the client has said everything, with a name and what was said.
struct Target {
    address: String,
    _serving: JoinSet<()>,
}

impl Target {
    async fn start(name: &'static str) -> Self {
        let listener = bound().listen(1_024).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut said = String::new();
                    socket.read_to_string(&mut said).await.unwrap();
                    socket.write_all(format!("{name}: {said}").as_bytes()).await.unwrap();
                });
            }
        });
        Self { address, _serving: serving }
    }
}

/// A port of one's own, where nobody listens yet.
fn bound() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}

/// What is answered to `said` and the end of it.
async fn ask(balancer: &Balancer, said: &str) -> String {
    let mut socket = TcpStream::connect(balancer.address()).await.unwrap();
    socket.write_all(said.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn hundreds_of_connections_are_spread_over_all_targets_that_live() {
    let (one, two) = (Target::start("one").await, Target::start("two").await);
    let dead = bound();
    let dead_address = dead.local_addr().unwrap().to_string();
    let targets = vec![one.address.clone(), dead_address, two.address.clone()];
    let balancer = Balancer::start(targets).await;

    let answers = join_all((0..400).map(|_| ask(&balancer, "hello"))).await;
    let answers: HashSet<_> = answers.into_iter().collect();
    assert_eq!(answers, HashSet::from(["one: hello".to_owned(), "two: hello".to_owned()]));

    balancer.set_targets(vec![two.address.clone()]);
    assert_eq!(ask(&balancer, "again").await, "two: again");
}

#[tokio::test]
async fn a_client_is_let_go_when_nobody_is_there_or_it_is_cut_off() {
    let target = Target::start("one").await;
    let balancer = Balancer::start(vec![]).await;
    assert_eq!(ask(&balancer, "").await, "");

    balancer.set_targets(vec![target.address.clone()]);
    let mut socket = TcpStream::connect(balancer.address()).await.unwrap();
    let mut byte = [0];
    // Cut again and again: it may not have come through yet.
    let cut_off = async {
        loop {
            balancer.cut();
            tokio::select! {
                read = socket.read(&mut byte) => break read,
                () = yield_now() => {}
            }
        }
    };
    let ended = timeout(PATIENCE, cut_off).await.unwrap();
    assert_eq!(ended.unwrap_or(0), 0);

    let address = balancer.address().to_owned();
    drop(balancer);
    let gone = async {
        while TcpStream::connect(&address).await.is_ok() {
            yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}
