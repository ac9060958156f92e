//! HTTP/2 by hand: exactly the frames that were meant (RFC 9113, section 4.1).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::port::{PATIENCE, Port};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A header block (RFC 7541): `GET http://hub/v1/events?topic=t`.
pub(crate) fn subscribe() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x01, 3];
    block.extend_from_slice(b"hub");
    block.extend_from_slice(&[0x04, 18]);
    block.extend_from_slice(b"/v1/events?topic=t");
    block
}

/// The same with a body to come: `POST`.
pub(crate) fn publish() -> Vec<u8> {
    let mut block = subscribe();
    block[0] = 0x83;
    block
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A client that writes what it likes.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
}

impl Raw {
    /// Connects, and says hello with these settings.
    pub(crate) async fn connect(port: &Port, settings: &[u8]) -> Self {
        let mut socket = port.connect().await;
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
        socket.write_all(&hello).await.unwrap();
        Self { socket }
    }

    /// Writes, unless the hub has closed the connection.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    /// Reads a frame: its kind, stream and payload; `None` at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        let read = timeout(PATIENCE, self.socket.read_exact(&mut head)).await;
        read.expect("a frame, or the end").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.socket.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some((head[3], stream, payload))
    }

    /// Reads to the end of the connection: how long that took, and the reason that the hub gave.
    pub(crate) async fn ended(&mut self) -> (Duration, Option<String>) {
        let begun = Instant::now();
        let mut reason = None;
        while let Some((kind, _, payload)) = self.read().await {
            if kind == GOAWAY {
                reason = Some(String::from_utf8_lossy(&payload[8..]).into_owned());
            }
        }
        (begun.elapsed(), reason)
    }
}
