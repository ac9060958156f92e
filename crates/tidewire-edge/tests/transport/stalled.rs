//! Streams that are not read while their connection is: each is let go alone.

use std::time::Duration;

use tidewire_edge::Config;
use tokio::time::{Instant, timeout};

use super::{
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
        WINDOW_UPDATE, frame, subscribe,
    },
    port::{Http2, PATIENCE, Port},
};

const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer than a window of HTTP/2 and everything that is held besides.
const EVENTS: usize = 100;

fn impatient() -> Config {
    Config { write_timeout: WRITE_TIMEOUT, ..Config::default() }
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_let_go_and_its_neighbour_goes_on() {
    let port = Port::serve(impatient()).await;
    let mut raw = Raw::connect(&port, &[]).await;
    raw.subscribe(1).await;
    raw.subscribe(3).await;
    // The first one's window stays shut once it is full; the other's, and the connection's, open.
    raw.open_window(0, 1 << 24).await;
    raw.open_window(3, 1 << 24).await;
    for n in 0..EVENTS {
        port.log.publish(&format!("{n:02000}"));
    }
    let begun = Instant::now();
    let (mut stalled, mut read) = (0, 0);
    let reset = async {
        loop {
            match raw.next().await {
                (DATA, 1, data) => stalled += data.len(),
                (DATA, 3, data) => read += data.len(),
                (RST_STREAM, 1, reason) => break reason,
                _ => {}
            }
        }
    };
    let reason = timeout(PATIENCE, reset).await.expect("the stream is let go");
    assert_eq!(reason, 8_u32.to_be_bytes(), "CANCEL");
    assert!(
        (WRITE_TIMEOUT..10 * WRITE_TIMEOUT).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert!((60_000..65_536).contains(&stalled), "the window is full: {stalled} bytes");
    assert!(read >= EVENTS * 2_000, "{read} bytes");
    port.log.publish("last");
    raw.sees(3, "data: last").await;
    drop(raw);
    port.end().await;
}

#[tokio::test]
async fn a_stream_whose_window_was_never_open_is_let_go() {
    let port = Port::serve(impatient()).await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    let mut raw = Raw::connect(&port, &[0, 4, 0, 0, 0, 0]).await;
    raw.subscribe(1).await;
    let reset = async { while raw.next().await.0 != RST_STREAM {} };
    timeout(PATIENCE, reset).await.expect("the stream is let go");
    drop(raw);
    port.end().await;
}

#[tokio::test]
async fn a_slow_reader_that_takes_something_in_time_is_kept() {
    let port = Port::serve(impatient()).await;
    let mut raw = Raw::connect(&port, &[0, 4, 0, 0, 0, 0]).await;
    raw.subscribe(1).await;
    port.log.publish(&"x".repeat(20_000));
    let mut taken = 0;
    for _ in 0..12 {
        tokio::time::sleep(WRITE_TIMEOUT / 3).await;
        raw.open_window(1, 2_500).await;
        let until = taken + 2_500;
        while taken < until.min(20_000) {
            let (kind, _, data) = raw.next().await;
            assert_ne!(kind, RST_STREAM, "let go after {taken} bytes");
            taken += if kind == DATA { data.len() } else { 0 };
        }
    }
    drop(raw);
    port.end().await;
}

#[tokio::test]
async fn a_silent_stream_that_is_read_is_kept() {
    let port = Port::serve(impatient()).await;
    let mut client = Http2::connect(port.connect().await).await;
    let mut stream = client.subscribe().await;
    tokio::time::sleep(3 * WRITE_TIMEOUT).await;
    port.log.publish("at last");
    stream.sees("data: at last").await;
}

#[tokio::test]
async fn a_stalled_stream_does_not_hold_up_the_end() {
    // With the write timeout of every day, which is longer than this test is patient.
    let port = Port::serve(Config::default()).await;
    let mut raw = Raw::connect(&port, &[0, 4, 0, 0, 0, 0]).await;
    raw.subscribe(1).await;
    port.end().await;
}

impl Raw {
    /// Subscribes, and waits until the answer begins.
    async fn subscribe(&mut self, stream: u32) {
        let asked = frame(HEADERS, END_HEADERS | END_STREAM, stream, &subscribe());
        assert!(self.write(&asked).await);
        while self.next().await.0 != HEADERS {}
    }

    async fn open_window(&mut self, stream: u32, bytes: u32) {
        assert!(self.write(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())).await);
    }

    /// The next frame, what must be answered being answered.
    async fn next(&mut self) -> (u8, u32, Vec<u8>) {
        let (kind, stream, payload) = self.read().await.expect("the connection goes on");
        match kind {
            SETTINGS if !payload.is_empty() => {
                assert!(self.write(&frame(SETTINGS, ACK, 0, &[])).await);
            }
            PING => assert!(self.write(&frame(PING, ACK, 0, &payload)).await),
            _ => {}
        }
        (kind, stream, payload)
    }

    /// Reads until a text has come on a stream.
    async fn sees(&mut self, stream: u32, wanted: &str) {
        let mut seen = String::new();
        let reading = async {
            while !seen.contains(wanted) {
                let (kind, of, data) = self.next().await;
                if (kind, of) == (DATA, stream) {
                    seen.push_str(std::str::from_utf8(&data).unwrap());
                }
            }
        };
        timeout(PATIENCE, reading).await.expect(wanted);
    }
}
