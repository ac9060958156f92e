//! What subscribers see of edges that come and go behind a proxy.

use std::time::Duration;

use tidewire_testbed::Process;
use tokio::time::{sleep, timeout};

use crate::{
    hub::{Hub, texts},
    program::Kind,
    proxy::Proxy,
    stream::{FRONTS, Front, LOOK_INTERVAL, PATIENCE, Stream, curl},
    table::ours,
};

const TOPIC: &str = "rolling";
/// From the first event on, although the first may be published before the stream is open.
const QUERY: &str = "topic=rolling&from=earliest";
/// What a subscriber waits before it comes back.
const RETRY: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn nginx_brings_subscribers_to_the_edge_that_is_there() {
    edges_come_and_go(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_brings_subscribers_to_the_edge_that_is_there() {
    edges_come_and_go(Kind::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_brings_subscribers_to_the_edge_that_is_there() {
    edges_come_and_go(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_brings_subscribers_to_the_edge_that_is_there() {
    edges_come_and_go(Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_brings_subscribers_to_the_edge_that_is_there() {
    edges_come_and_go(Kind::Apache).await;
}

/// One edge after the other is killed, then both, while a subscriber of each front follows.
async fn edges_come_and_go(kind: Kind) {
    let mut hub = Hub::start().await;
    let proxy = Proxy::start(kind, &ours(kind.example()), hub.upstreams()).await;
    // One on each edge, over each front: the proxy gives the second to the edge that has fewer.
    let mut followers = [FRONTS, FRONTS]
        .concat()
        .into_iter()
        .map(|front| Follower::new(&proxy, front))
        .collect::<Vec<_>>();
    follow(&hub, &mut followers, texts(0..50)).await;

    hub.edges[0].kill();
    follow(&hub, &mut followers, texts(50..100)).await;
    let turned_away: usize = followers.iter().map(|follower| follower.turned_away).sum();
    assert_eq!(turned_away, 0, "the other edge was there all the time");
    hub.edges[0].start_again();

    hub.edges[1].kill();
    follow(&hub, &mut followers, texts(100..150)).await;
    let least = followers.iter().map(|follower| follower.opened).min();
    assert!(least >= Some(2), "each edge that a subscriber had was killed: {least:?}");

    hub.edges[0].kill();
    let meanwhile = texts(150..200);
    hub.publish(TOPIC, &meanwhile).await;
    answers_that_it_has_no_edge(&proxy).await;
    hub.edges.iter_mut().for_each(Process::start_again);
    for follower in &mut followers {
        follower.expect(&meanwhile).await;
    }
}

/// Publishes events, which all of them see.
async fn follow(hub: &Hub, followers: &mut [Follower<'_>], texts: Vec<String>) {
    hub.publish(TOPIC, &texts).await;
    for follower in followers {
        follower.expect(&texts).await;
    }
}

/// A stock `EventSource` ends for good at any status but 200.
async fn answers_that_it_has_no_edge(proxy: &Proxy) {
    for front in FRONTS {
        let told = async {
            loop {
                let mut stream = Stream::open(proxy, front, QUERY, None);
                let frame = stream.frame().await.expect("a frame");
                // An edge that has just been killed may have begun an answer.
                if frame.event == "tidewire.retry" {
                    assert!(frame.retry.parse::<u32>().unwrap() >= 1_000, "{frame:?}");
                    assert_eq!(frame.data, r#"{"reason":"unavailable"}"#);
                    assert_eq!(frame.id, "", "it moves nobody");
                    return assert_eq!(stream.frame().await, None, "and the end");
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(PATIENCE, told).await.expect("the proxy knows that no edge is there");

        let mut plain = curl(front);
        plain.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
        plain.arg(format!("{}/v1/events?{QUERY}", proxy.url(front)));
        let status = String::from_utf8(plain.output().await.unwrap().stdout).unwrap();
        assert_eq!(status, "503", "whoever asks for no stream is told so");
    }
}

/// A subscriber that comes back, as an `EventSource` does.
struct Follower<'a> {
    proxy: &'a Proxy,
    front: Front,
    stream: Stream,
    last_id: Option<String>,
    opened: usize,
    /// How often it was told that no edge is there.
    turned_away: usize,
}

impl<'a> Follower<'a> {
    fn new(proxy: &'a Proxy, front: Front) -> Self {
        let stream = Stream::open(proxy, front, QUERY, None);
        Self { proxy, front, stream, last_id: None, opened: 1, turned_away: 0 }
    }

    /// Waits for these events, each once, in order, over as many connections as it takes.
    async fn expect(&mut self, texts: &[String]) {
        for text in texts {
            let event = timeout(PATIENCE, self.event()).await;
            assert_eq!(event.unwrap_or_else(|_| panic!("{text} does not come")), *text);
        }
    }

    async fn event(&mut self) -> String {
        loop {
            match self.stream.frame().await {
                Some(frame) => {
                    assert_ne!(frame.event, "tidewire.gap", "{frame:?}");
                    self.turned_away += usize::from(frame.event == "tidewire.retry");
                    if !frame.id.is_empty() {
                        self.last_id = Some(frame.id);
                    }
                    if frame.event.is_empty() {
                        return frame.data;
                    }
                }
                None => {
                    sleep(RETRY).await;
                    self.stream =
                        Stream::open(self.proxy, self.front, QUERY, self.last_id.as_deref());
                    self.opened += 1;
                }
            }
        }
    }
}
