//! A NATS client that sends whatever bytes it is told to: others may write to the stream, too.

use std::io;

use tidewire_testbed::NatsCluster;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

pub(crate) struct Raw(BufReader<TcpStream>);

impl Raw {
    /// Connects to the first server.
    pub(crate) async fn connect(servers: &NatsCluster) -> Self {
        let url = servers.urls().remove(0);
        let stream = TcpStream::connect(url.trim_start_matches("nats://")).await.unwrap();
        let mut raw = Self(BufReader::new(stream));
        raw.send(b"CONNECT {\"headers\":true,\"verbose\":false}\r\n").await.unwrap();
        raw.settled().await;
        raw
    }

    /// Publishes; returns when the server has taken it.
    pub(crate) async fn publish(&mut self, subject: &[u8], headers: &[u8], payload: &[u8]) {
        let sizes = match headers {
            [] => format!(" {}\r\n", payload.len()),
            headers => format!(" {} {}\r\n", headers.len(), headers.len() + payload.len()),
        };
        let verb: &[u8] = if headers.is_empty() { b"PUB " } else { b"HPUB " };
        let command = [verb, subject, sizes.as_bytes(), headers, payload, b"\r\n"].concat();
        self.send(&command).await.unwrap();
        self.settled().await;
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes).await
    }

    async fn settled(&mut self) {
        self.send(b"PING\r\n").await.unwrap();
        let mut line = String::new();
        while line != "PONG\r\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the server has hung up");
            assert!(!line.starts_with("-ERR"), "{line}");
        }
    }
}
