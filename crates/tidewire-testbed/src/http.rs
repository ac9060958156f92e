//! One GET of a server's monitoring.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A server that is frozen takes a connection and never answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// What a server answers.
#[derive(Debug)]
pub struct Answer {
    /// The code of its status.
    pub status: u16,
    /// All that comes behind its head.
    pub body: Vec<u8>,
}

/// Gets `path` from 127.0.0.1. As HTTP/1.0, so that the body is what comes until the end.
///
/// # Errors
/// Where the server cannot be reached, does not answer within 5 s, or not by HTTP.
pub async fn get(port: u16, path: &str) -> io::Result<Answer> {
    timeout(ANSWER_PATIENCE, async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))
    })
    .await?
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: answer[end + 4..].to_vec() })
}
