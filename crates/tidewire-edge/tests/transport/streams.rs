//! Streams over plain HTTP/1.1, written by the edge itself and by hyper: nobody can tell which.

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::RngExt as _;
use tidewire_edge::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::port::{PATIENCE, Port};

/// Bytes that a slow client's kernel holds for it.
const RECEIVE_BYTES: u32 = 128 * 1024;

/// The same edge twice: one that writes streams itself, and one that leaves them to hyper.
fn both(config: Config) -> [Config; 2] {
    [true, false].map(|lean_streams| Config { lean_streams, ..config.clone() })
}

/// A subscriber that reads an answer as HTTP/1.1 and SSE have it, and no other way.
struct Strict {
    socket: TcpStream,
    unread: Vec<u8>,
    head: String,
    body: String,
    /// Whether the last chunk has come.
    has_ended: bool,
}

impl Strict {
    async fn open(address: SocketAddr, query: &str, headers: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        let asked = format!("GET /v1/events?{query} HTTP/1.1\r\nhost: hub\r\n{headers}\r\n");
        socket.write_all(asked.as_bytes()).await.unwrap();
        let (unread, head, body) = (Vec::new(), String::new(), String::new());
        Self { socket, unread, head, body, has_ended: false }
    }

    /// Reads some; `false` at the end.
    async fn read(&mut self, bytes_max: usize) -> bool {
        let mut bytes = vec![0; bytes_max];
        let read = timeout(PATIENCE, self.socket.read(&mut bytes)).await.expect("more or the end");
        let read = read.unwrap();
        self.unread.extend_from_slice(&bytes[..read]);
        if self.head.is_empty() {
            let Some(length) = find(&self.unread, b"\r\n\r\n") else { return read > 0 };
            self.head = String::from_utf8(self.unread.drain(..length + 4).collect()).unwrap();
            assert!(self.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", self.head);
        }
        while self.take_chunk() {}
        read > 0
    }

    fn take_chunk(&mut self) -> bool {
        let Some(line) = find(&self.unread, b"\r\n") else { return false };
        assert!(!self.has_ended, "something stands behind the last chunk");
        let length = std::str::from_utf8(&self.unread[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let end = line + 2 + length;
        if self.unread.len() < end + 2 {
            return false;
        }
        assert_eq!(&self.unread[end..end + 2], b"\r\n");
        self.body.push_str(std::str::from_utf8(&self.unread[line + 2..end]).unwrap());
        self.unread.drain(..end + 2);
        self.has_ended = length == 0;
        true
    }

    async fn sees(&mut self, wanted: &str) {
        while !self.body.contains(wanted) {
            assert!(self.read(4_096).await, "it ended before {wanted:?}: {}", self.body);
        }
    }

    async fn ends(&mut self) {
        while self.read(4_096).await {}
        assert!(self.unread.is_empty(), "half a chunk: {:?}", self.unread);
    }

    /// Takes the whole frames that have come.
    fn frames(&mut self) -> Vec<Frame> {
        let Some(end) = self.body.rfind("\n\n") else { return Vec::new() };
        let rest = self.body.split_off(end + 2);
        let whole = std::mem::replace(&mut self.body, rest);
        whole.trim_end_matches('\n').split("\n\n").map(Frame::of).collect()
    }
}

struct Frame {
    id: Option<String>,
    name: Option<String>,
    number: Option<usize>,
}

impl Frame {
    fn of(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::to_owned)
        };
        let data = field("data: ");
        let number = data.and_then(|data| data.split(' ').next()?.parse().ok());
        Self { id: field("id: "), name: field("event: "), number }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

const EVENTS: usize = 3_000;
const TOPICS: [&str; 3] = ["a", "b", "c.d"];

fn topic(number: usize) -> &'static str {
    TOPICS[number * number % 7 % TOPICS.len()]
}

/// Reads as it likes, leaves and comes back, until it has seen the last event it wants; says which it
/// saw.
async fn wander(
    address: SocketAddr,
    wants: &str,
    mut published: watch::Receiver<usize>,
    last: usize,
    seed: u64,
) -> Vec<usize> {
    let mut rng = proptest::test_runner::TestRng::from_seed(
        proptest::test_runner::RngAlgorithm::XorShift,
        &[&seed.to_le_bytes()[..], &[7; 8]].concat(),
    );
    let (mut seen, mut at) = (Vec::new(), None::<String>);
    loop {
        let header = at.as_ref().map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let query = format!("{wants}&from=earliest");
        let mut client = Strict::open(address, &query, &header).await;
        loop {
            if rng.random_ratio(1, 20) {
                let until = (*published.borrow() + rng.random_range(1..400)).min(EVENTS);
                published.wait_for(|published| *published >= until).await.unwrap();
            }
            if !client.read(rng.random_range(1..8_192)).await {
                break;
            }
            for frame in client.frames() {
                assert_ne!(frame.name.as_deref(), Some("tidewire.gap"));
                at = frame.id.or(at);
                seen.extend(frame.number);
            }
            if seen.last() == Some(&last) {
                return seen;
            }
            if rng.random_ratio(1, 60) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_as_they_like_gets_each_event_once_and_in_order() {
    for config in both(Config { window_events_max: 500, ..Config::default() }) {
        let port = Port::serve(config).await;
        let (publishing, published) = watch::channel(0);
        let wishes = ["topic=a", "topic=b&topic=c.d", "topic=%3E", "topic=c.*"];
        let clients: Vec<_> = (0..40)
            .map(|n| {
                let wish = wishes[n % wishes.len()];
                let wanted: Vec<_> = (0..EVENTS).filter(|n| wants(wish, topic(*n))).collect();
                let last = *wanted.last().unwrap();
                let wandering = wander(port.address, wish, published.clone(), last, n as u64);
                (tokio::spawn(wandering), wanted)
            })
            .collect();
        let mut number = 0;
        while number < EVENTS {
            for _ in 0..number % 37 + 1 {
                let data = format!("{number} {}", "x".repeat(number * 31 % 2_000));
                port.log.publish_to(topic(number), &data);
                number += 1;
                if number == EVENTS {
                    break;
                }
            }
            publishing.send_replace(number);
            sleep(Duration::from_millis(1)).await;
        }
        for (client, wanted) in clients {
            let seen = timeout(3 * PATIENCE, client).await.expect("it gets to the end").unwrap();
            assert_eq!(seen, wanted);
        }
        port.end().await;
    }
}

fn wants(wish: &str, topic: &str) -> bool {
    match wish {
        "topic=%3E" => true,
        "topic=c.*" => topic == "c.d",
        wish => wish.split('&').any(|one| one.strip_prefix("topic=") == Some(topic)),
    }
}

#[tokio::test]
async fn a_silence_is_broken_in_time() {
    for config in both(Config::default()) {
        let port = Port::serve(config).await;
        let mut client = Strict::open(port.address, "topic=t&heartbeat=2", "").await;
        client.sees("tidewire.hello").await;
        client.body.clear();
        let begun = Instant::now();
        client.sees(":\n").await;
        let silence = begun.elapsed();
        let range = Duration::from_millis(1_500)..Duration::from_millis(2_500);
        assert!(range.contains(&silence), "{silence:?}");
        port.end().await;
    }
}

#[tokio::test]
async fn a_probe_comes_into_the_silence_that_it_asks_for() {
    for config in both(Config::default()) {
        let port = Port::serve(config).await;
        let mut client = Strict::open(port.address, "topic=t&probe=1", "").await;
        client.sees("tidewire.probe").await;
        port.log.publish("behind it");
        client.sees("data: behind it").await;
        port.end().await;
    }
}

#[tokio::test]
async fn a_drain_ends_each_stream_in_its_form() {
    let window = Duration::from_millis(200);
    for config in both(Config { drain_window: window, ..Config::default() }) {
        let port = Port::serve(config).await;
        let mut clients = Vec::new();
        for n in 0..20 {
            let query = ["topic=t&end=eof", "topic=t&end=abort"][n % 2];
            let mut client = Strict::open(port.address, query, "").await;
            client.sees("tidewire.hello").await;
            clients.push(client);
        }
        port.log.publish("before");
        let plan = port.edge.drain();
        assert_eq!(plan.streams, 20);
        for (n, client) in clients.iter_mut().enumerate() {
            client.ends().await;
            assert!(client.body.contains("data: before"), "{}", client.body);
            assert!(client.body.contains("event: tidewire.retry"), "{}", client.body);
            assert!(client.body.ends_with("{\"reason\":\"draining\"}\n\n"), "{}", client.body);
            assert_eq!(client.has_ended, n % 2 == 0, "by the last chunk, or without it");
        }
        let mut late = Strict::open(port.address, "topic=t&overload=soft", "").await;
        late.ends().await;
        assert!(late.body.starts_with("event: tidewire.retry"), "{}", late.body);
        port.end().await;
    }
}

#[tokio::test]
async fn who_leaves_or_talks_too_much_is_let_go() {
    for config in both(Config::default()) {
        let is_lean = config.lean_streams;
        let port = Port::serve(config).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Strict::open(port.address, "topic=t", "").await;
            client.sees("tidewire.hello").await;
            clients.push(client);
        }
        drop(clients.pop());
        streams_are(&port, 2).await;
        // One that closes only its own side is not waited for either.
        clients[1].socket.shutdown().await.unwrap();
        streams_are(&port, 1).await;
        let noise = [b'x'; 10_000];
        if is_lean {
            while clients[0].socket.write_all(&noise).await.is_ok() {}
            streams_are(&port, 0).await;
        }
        port.end().await;
    }
}

/// Waits until so many streams are open.
async fn streams_are(port: &Port, streams: usize) {
    let counted = async {
        while port.edge.drain_plan().streams != streams {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect("the hub notices");
}

#[tokio::test]
async fn who_takes_nothing_is_let_go_and_the_others_go_on() {
    let write_timeout = Duration::from_millis(700);
    for config in both(Config { write_timeout, ..Config::default() }) {
        let port = Port::serve(config).await;
        let mut stalled = Strict::open(port.address, "topic=t", "").await;
        stalled.sees("tidewire.hello").await;
        let mut reads = Strict::open(port.address, "topic=t", "").await;
        // Before that it may begin behind what is published.
        reads.sees("tidewire.hello").await;
        for n in 0..300 {
            port.log.publish(&format!("{n} {}", "x".repeat(4_000)));
        }
        reads.sees("data: 299 ").await;
        streams_are(&port, 1).await;
        port.log.publish("still here");
        reads.sees("data: still here").await;
        port.end().await;
    }
}

#[tokio::test]
async fn the_head_is_the_same_whoever_writes_it() {
    let mut heads = Vec::new();
    for config in both(Config::default()) {
        let port = Port::serve(config).await;
        let mut of_one = Vec::new();
        for (query, headers) in [
            ("topic=t", ""),
            ("topic=t", "origin: https://a.example\r\n"),
            ("topic=t", "last-event-id: 00000001-5\r\n"),
            ("topic=t&overload=soft", ""),
        ] {
            let mut client = Strict::open(port.address, query, headers).await;
            client.sees("data: ").await;
            let mut lines: Vec<_> = client.head.lines().map(str::to_owned).collect();
            lines.retain(|line| !line.starts_with("date: "));
            lines.sort();
            of_one.push(lines);
        }
        heads.push(of_one);
        port.end().await;
    }
    assert_eq!(heads[0], heads[1]);
}

#[tokio::test]
async fn what_is_wrong_is_answered_the_same_way() {
    let mut answers = Vec::new();
    for config in both(Config::default()) {
        let port = Port::serve(config).await;
        let mut socket = port.connect().await;
        let asked = b"GET /v1/events?topic=a..b HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n";
        socket.write_all(asked).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, socket.read_to_string(&mut answer)).await.expect("all of it").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("date: "));
        lines.sort();
        answers.push((lines, body.to_owned()));
        port.end().await;
    }
    assert!(answers[0].0.contains(&"HTTP/1.1 400 Bad Request".to_owned()), "{answers:?}");
    assert_eq!(answers[0], answers[1]);
}
