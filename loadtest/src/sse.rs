//! Server-Sent Events by hand, as thin as they go: thousands of subscribers fit in one process.

use std::time::Duration;

use anyhow::{Context, ensure};
use memchr::memchr_iter;
use tidewire_client::Cursor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an edge may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(30);

/// Connects and asks for events, after a cursor where there is one.
pub(crate) async fn open(
    http: &str,
    filter: &str,
    after: Option<Cursor>,
) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address(http)).await?;
    ask(&mut socket, filter, after, "").await?;
    Ok(socket)
}

/// The `host:port` of a URL.
pub(crate) fn address(http: &str) -> &str {
    http.trim_start_matches("http://")
}

/// Asks for events on a connection that has just been made. Each of the headers, beside those that
/// every request has, ends with CR and LF.
pub(crate) async fn ask(
    socket: &mut TcpStream,
    filter: &str,
    after: Option<Cursor>,
    headers: &str,
) -> anyhow::Result<()> {
    let address = socket.peer_addr()?;
    let resume = after.map_or_else(String::new, |cursor| format!("Last-Event-ID: {cursor}\r\n"));
    let head = format!(
        "GET /v1/events?topic={filter} HTTP/1.1\r\nHost: {address}\r\n\
         Accept: text/event-stream\r\n{headers}{resume}\r\n"
    );
    Ok(socket.write_all(head.as_bytes()).await?)
}

/// Reads as far as the hello; says the position that it names. What stands behind it is lost.
pub(crate) async fn hello(socket: &mut TcpStream) -> anyhow::Result<Cursor> {
    let mut frames = Frames::default();
    let mut found = None;
    let mut bytes = Vec::new();
    let read = async {
        while found.is_none() {
            bytes.clear();
            ensure!(socket.read_buf(&mut bytes).await? > 0, "the hub closed a connection");
            frames.take(&bytes, |frame| {
                ensure!(frame.event == "tidewire.hello", "it begins with {}", frame.event);
                found = Some(frame.id.parse::<Cursor>()?);
                Ok(())
            })?;
        }
        anyhow::Ok(())
    };
    timeout(HELLO_MAX, read).await.context("there is no hello")??;
    found.context("a hello")
}

/// How far an edge has followed the log: what it tells one who wants nothing of what there is.
pub(crate) async fn head(http: &str) -> anyhow::Result<u64> {
    let mut socket = open(http, "load.nothing", None).await?;
    Ok(hello(&mut socket).await?.sequence.0)
}

/// One frame's fields; empty where it has none of that name.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) retry: String,
}

/// Cuts what comes into frames.
///
/// Chunks of HTTP begin and end between frames, with lines that end in CR and LF; no line of a frame
/// does.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The beginning of a line that has not ended yet.
    rest: Vec<u8>,
    frame: Frame,
}

impl Frames {
    /// Takes bytes as they come, and hands over each frame that they complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&Frame) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut from = 0;
        for end in memchr_iter(b'\n', bytes) {
            let line = &bytes[from..end];
            from = end + 1;
            let is_whole = if self.rest.is_empty() {
                self.frame.take(line)?
            } else {
                self.rest.extend_from_slice(line);
                let is_whole = self.frame.take(&self.rest)?;
                self.rest.clear();
                is_whole
            };
            if is_whole {
                each(&self.frame)?;
                self.frame.clear();
            }
        }
        self.rest.extend_from_slice(&bytes[from..]);
        Ok(())
    }
}

impl Frame {
    /// Takes a line; says whether it ends the frame.
    fn take(&mut self, line: &[u8]) -> anyhow::Result<bool> {
        if line.is_empty() {
            return Ok(!self.data.is_empty());
        }
        let line = str::from_utf8(line)?;
        if let Some(line) = line.strip_suffix('\r') {
            let status = line.strip_prefix("HTTP/1.1 ");
            ensure!(status.is_none_or(|status| status.starts_with("200")), "the hub says {line}");
            return Ok(false);
        }
        match line.split_once(": ") {
            Some(("id", id)) => self.id.push_str(id),
            Some(("event", event)) => self.event.push_str(event),
            Some(("data", data)) => self.data.push_str(data),
            Some(("retry", retry)) => self.retry.push_str(retry),
            _ => {}
        }
        Ok(false)
    }

    fn clear(&mut self) {
        self.id.clear();
        self.event.clear();
        self.data.clear();
        self.retry.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
        2f\r\nid: 0000000a-7\nevent: price\ndata: one\n\nid: 0000000a-9\ndata: two\n\n\r\n\
        2\r\n:\n\r\n\
        1a\r\nid: 0000000a-10\ndata: three\n\n\r\n";

    fn read(pieces: &[&[u8]]) -> Vec<(String, String, String)> {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let each = |frame: &Frame| {
                seen.push((frame.id.clone(), frame.event.clone(), frame.data.clone()));
                Ok(())
            };
            frames.take(piece, each).unwrap();
        }
        seen
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let owned = |id: &str, event: &str, data: &str| (id.into(), event.into(), data.into());
        let whole = [
            owned("0000000a-7", "price", "one"),
            owned("0000000a-9", "", "two"),
            owned("0000000a-10", "", "three"),
        ];
        for cut in 0..ANSWER.len() {
            let (one, other) = ANSWER.as_bytes().split_at(cut);
            assert_eq!(read(&[one, other]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_answer_that_is_no_stream_is_an_error() {
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\n";
        assert!(Frames::default().take(refusal, |_| Ok(())).is_err());
    }
}
