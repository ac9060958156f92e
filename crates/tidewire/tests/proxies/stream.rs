//! A subscriber behind a proxy, over HTTP/1.1 or HTTP/2: curl, line by line.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{program::installed, proxy::Proxy};

/// How long anything may take that has to come, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// After which nothing more is thought to come.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What the proxy speaks with its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Without TLS.
    Http1,
    /// Over TLS, as browsers want it.
    Http2,
}

pub(crate) const FRONTS: [Front; 2] = [Front::Http1, Front::Http2];

/// A stream that is read as it comes. Dropping it cuts the connection.
pub(crate) struct Stream {
    lines: Lines<BufReader<ChildStdout>>,
    front: Front,
    /// Lines of the frame that is coming.
    begun: Vec<String>,
    has_head: bool,
    /// Ends with it.
    _curl: Child,
}

/// A frame with data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) event: String,
    pub(crate) id: String,
    pub(crate) retry: String,
    pub(crate) data: String,
}

impl Stream {
    /// Asks for a stream; `query` stands behind `/v1/events?`.
    pub(crate) fn open(proxy: &Proxy, front: Front, query: &str, last_id: Option<&str>) -> Self {
        let mut curl = curl(front);
        curl.args(["--include", "--header", "Accept: text/event-stream"]);
        if let Some(id) = last_id {
            curl.args(["--header", &format!("Last-Event-ID: {id}")]);
        }
        curl.arg(format!("{}/v1/events?{query}", proxy.url(front)));
        let mut curl = curl.spawn().expect("curl runs");
        let lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        Self { lines, front, begun: Vec::new(), has_head: false, _curl: curl }
    }

    /// Waits for the head of the answer, and holds it to what a stream needs.
    pub(crate) async fn head(&mut self) {
        while !self.has_head {
            let line =
                self.line().await.unwrap_or_else(|| panic!("no answer over {:?}", self.front));
            if !line.is_empty() {
                self.begun.push(line);
                continue;
            }
            let head = std::mem::take(&mut self.begun).join("\n").to_lowercase();
            let version = if self.front == Front::Http1 { "http/1.1" } else { "http/2" };
            assert!(head.starts_with(&format!("{version} 200")), "{head}");
            assert!(head.contains("content-type: text/event-stream"), "{head}");
            assert!(head.contains("no-store"), "nobody may keep it: {head}");
            self.has_head = true;
        }
    }

    /// The next frame; none when the stream has ended.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        self.head().await;
        loop {
            let line = self.line().await?;
            if !line.is_empty() {
                self.begun.push(line);
                continue;
            }
            let mut frame = Frame::default();
            for line in std::mem::take(&mut self.begun) {
                match line.split_once(": ") {
                    Some(("event", value)) => frame.event = value.into(),
                    Some(("id", value)) => frame.id = value.into(),
                    Some(("retry", value)) => frame.retry = value.into(),
                    Some(("data", value)) => frame.data = value.into(),
                    _ => assert_eq!(line, ":", "nothing but heartbeats between"),
                }
            }
            return Some(frame);
        }
    }

    /// Waits for the first frame, which says hello.
    pub(crate) async fn hello(&mut self) -> Frame {
        let frame = timeout(PATIENCE, self.frame()).await.expect("a frame").expect("a stream");
        assert_eq!(frame.event, "tidewire.hello", "{frame:?}");
        frame
    }

    /// The next event that was published; none when the stream has ended.
    pub(crate) async fn event(&mut self) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            assert_ne!(frame.event, "tidewire.gap", "{frame:?}");
            if frame.event.is_empty() {
                return Some(frame);
            }
        }
    }

    /// Waits for these events, and no others, in this order. Returns the last one's id.
    pub(crate) async fn expect(&mut self, texts: &[String]) -> String {
        let mut id = String::new();
        for text in texts {
            let event = timeout(PATIENCE, self.event()).await;
            let event = event.unwrap_or_else(|_| panic!("{text} does not come"));
            let event = event.unwrap_or_else(|| panic!("the stream ended before {text}"));
            assert_eq!(event.data, *text, "each once, in order");
            id = event.id;
        }
        id
    }

    /// A cancelled wait loses nothing.
    async fn line(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.unwrap()?;
        Some(line.trim_end_matches('\r').to_owned())
    }
}

/// curl as the front wants it, that prints what comes when it comes. It ends with its handle, and
/// by itself should nobody be left to do that.
pub(crate) fn curl(front: Front) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--no-buffer", "--insecure", "--max-time", "300"]);
    curl.arg(if front == Front::Http1 { "--http1.1" } else { "--http2" });
    curl.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    curl
}

/// That many streams over one connection, as a browser has them over HTTP/2: nghttp, since curl opens
/// several. Dropping it cuts the connection.
pub(crate) fn browser(proxy: &Proxy, streams: u32) -> Child {
    let url = proxy.url(Front::Http2);
    let urls = (0..streams).map(|n| format!("{url}/v1/events?topic=browser.{n}&heartbeat=2"));
    let mut nghttp = Command::new(installed("nghttp"));
    nghttp.args(["--null-out", "--no-verify-peer"]).args(urls);
    nghttp.stdin(Stdio::null()).kill_on_drop(true).spawn().expect("nghttp runs")
}
