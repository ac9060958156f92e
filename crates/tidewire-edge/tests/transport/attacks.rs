//! Attacks on the port: each ends within its bound, and a good subscriber beside it goes on.

use std::time::Duration;

use tidewire_edge::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, Raw,
        WINDOW_UPDATE, frame, publish, subscribe,
    },
    port::{PATIENCE, Plain, Port},
};

/// The bounds of these tests: short, so that what they end is ended soon.
const BOUND: Duration = Duration::from_millis(300);

fn bounded() -> Config {
    Config {
        header_timeout: BOUND,
        handshake_timeout: BOUND,
        http2_ping_interval: BOUND,
        http2_ping_timeout: BOUND,
        ..Config::default()
    }
}

/// A port with a good subscriber, who must see what comes after the attack.
struct Scene {
    port: Port,
    good: Plain<tokio::net::TcpStream>,
}

impl Scene {
    async fn begin() -> Self {
        let port = Port::serve(bounded()).await;
        let good = port.subscriber().await;
        Self { port, good }
    }

    async fn end(mut self) {
        self.port.log.publish("still here");
        self.good.sees("data: still here").await;
        self.port.end().await;
    }
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed_in_time() {
    let scene = Scene::begin().await;
    let half_asked = "GET /v1/events?topic=t HTTP/1.1\r\nhost: ";
    for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nS", half_asked] {
        let mut socket = scene.port.connect().await;
        socket.write_all(said.as_bytes()).await.unwrap();
        let (begun, mut answer) = (Instant::now(), Vec::new());
        timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it is closed").ok();
        assert!((BOUND..10 * BOUND).contains(&begun.elapsed()), "{said:?}: {:?}", begun.elapsed());
    }
    // HTTP/2 is agreed on, and then nothing is asked for.
    let mut idle = Raw::connect(&scene.port, &[]).await;
    let (took, _) = idle.ended().await;
    assert!((BOUND..10 * BOUND).contains(&took), "{took:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let scene = Scene::begin().await;
    let mut socket = scene.port.connect().await;
    let (mut reading, mut writing) = socket.split();
    let begun = Instant::now();
    let mut answer = Vec::new();
    tokio::select! {
        _ = reading.read_to_end(&mut answer) => {}
        () = async {
            for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
                if writing.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(BOUND / 10).await;
            }
        } => {}
    }
    assert!((BOUND..10 * BOUND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    scene.end().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_in_time() {
    let scene = Scene::begin().await;
    let mut gone = Raw::connect(&scene.port, &[]).await;
    let asked = frame(HEADERS, END_HEADERS | END_STREAM, 1, &subscribe());
    assert!(gone.write(&asked).await);
    let (took, _) = gone.ended().await;
    assert!((2 * BOUND..10 * BOUND).contains(&took), "{took:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let scene = Scene::begin().await;
    let many = "x: y\r\n".repeat(100);
    let large = format!("x: {}\r\n", "y".repeat(20_000));
    for headers in [many, large] {
        let mut socket = scene.port.connect().await;
        let head = format!("GET /v1/events?topic=t HTTP/1.1\r\nhost: hub\r\n{headers}\r\n");
        // It may be closed before all is written.
        socket.write_all(head.as_bytes()).await.ok();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
    // 16 KiB in HTTP/2 too: a literal header, never indexed, with a value of 20,000 bytes.
    let mut block = subscribe();
    block.extend_from_slice(&[0x10, 1, b'x', 0x7f]);
    block.extend_from_slice(&[0xa1, 0x9b, 0x01]);
    block.extend_from_slice(&[b'y'; 20_000]);
    let (first, second) = block.split_at(16_000);
    let mut raw = Raw::connect(&scene.port, &[]).await;
    let frames =
        [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, second)];
    assert!(raw.write(&frames.concat()).await);
    let answer = loop {
        match raw.read().await {
            Some((HEADERS, 1, block)) => break block,
            Some((RST_STREAM, 1, _)) | None => break Vec::new(),
            Some(_) => {}
        }
    };
    // `:status: 431`, as Huffman codes.
    let status_431 = [0x48, 0x83, 0x69, 0x90, 0xff];
    assert!(answer.starts_with(&status_431) || answer.is_empty(), "{answer:x?}");
    scene.end().await;
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    flood("rapid reset", |n| {
        let stream = 2 * n + 1;
        let asked = frame(HEADERS, END_HEADERS | END_STREAM, stream, &subscribe());
        [asked, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    })
    .await;
}

#[tokio::test]
async fn resets_that_are_provoked_end_the_connection() {
    flood("made you reset", |n| {
        let stream = 2 * n + 1;
        let asked = frame(HEADERS, END_HEADERS | END_STREAM, stream, &subscribe());
        [asked, frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes())].concat()
    })
    .await;
}

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let block = subscribe();
    flood("CONTINUATION", |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &block),
        _ => frame(CONTINUATION, 0, 1, &[0x10, 1, b'x', 1, b'y']),
    })
    .await;
}

#[tokio::test]
async fn empty_data_without_an_end_ends_the_connection() {
    flood("empty DATA", |n| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &publish()),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
}

/// Writes frames for as long as the hub takes them, which must not be long.
async fn flood(name: &str, frames: impl Fn(u32) -> Vec<u8>) {
    const FRAMES_MAX: u32 = 200_000;
    let scene = Scene::begin().await;
    let mut raw = Raw::connect(&scene.port, &[]).await;
    let begun = Instant::now();
    let mut written = 0;
    let Raw { socket } = &mut raw;
    let (mut reading, mut writing) = socket.split();
    let mut said = Vec::new();
    // Whoever does not read what is answered is soon not read either.
    let flooding = async {
        while written < FRAMES_MAX && writing.write_all(&frames(written)).await.is_ok() {
            written += 1;
        }
    };
    let reading = reading.read_to_end(&mut said);
    let both = async { tokio::join!(flooding, reading) };
    timeout(PATIENCE, both).await.expect("the hub ends the connection").1.ok();
    let reason = String::from_utf8_lossy(&said[said.len().saturating_sub(24)..]).into_owned();
    println!(
        "{name}: ended after {written} of at most {FRAMES_MAX}, {:?}: {reason:?}",
        begun.elapsed()
    );
    assert!(written < FRAMES_MAX, "it was ended by the hub");
    assert!(!said.starts_with(PREFACE));
    scene.end().await;
}
