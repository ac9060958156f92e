//! A client that comes back when it is told to, as a browser's `EventSource` does, or a library.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use anyhow::{bail, ensure};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    answer::{Head, HeadReader},
    journal::Journal,
    targets::Targets,
};
use crate::{
    crowd::End,
    sse::{self, Frame, Frames},
    viewer::Progress,
};

/// Bytes read at once, on the stack: a connection holds none of its own.
const READ_BYTES: usize = 8 * 1024;
/// How often one may have to connect again.
const CONNECTED_AGAIN_MAX: u32 = 50;
/// What a client waits that nobody has told how long.
const RETRY: Duration = Duration::from_secs(3);

/// What a client does with an answer that is no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It never comes back: a browser's own.
    Browser,
    /// It comes back when `Retry-After` says.
    Library,
}

impl Manner {
    /// What Chromium's and Firefox' `EventSource` send, and libraries over `fetch` do not.
    fn headers(self) -> &'static str {
        match self {
            Self::Browser => "Sec-Fetch-Mode: cors\r\nCache-Control: no-cache\r\n",
            Self::Library => "",
        }
    }
}

/// One client.
pub(super) struct Visitor {
    targets: Arc<Targets>,
    manner: Manner,
    progress: Progress,
    /// When it comes first.
    begins: Instant,
    journal: Arc<Journal>,
    /// Told when it has its first stream. Holds one from each client.
    arrived: Option<mpsc::Sender<()>>,
    /// What it waits before it comes back, as it was told last.
    retry: Duration,
    /// Since when it has had no stream; none where it has one, or never had.
    away_since: Option<Instant>,
}

impl Visitor {
    pub(super) fn new(
        targets: Arc<Targets>,
        manner: Manner,
        progress: Progress,
        begins: Instant,
        journal: Arc<Journal>,
        arrived: mpsc::Sender<()>,
    ) -> Self {
        let (arrived, retry, away_since) = (Some(arrived), RETRY, None);
        Self { targets, manner, progress, begins, journal, arrived, retry, away_since }
    }

    /// Reads until everything has come that was published before the end, once there is one. Says
    /// how often it had to connect again.
    ///
    /// # Errors
    /// What came was not what should have, or would have kept it from coming back.
    pub(super) async fn watch(mut self, mut end: End) -> anyhow::Result<u32> {
        sleep_until(self.begins).await;
        for connected_again in 0..=CONNECTED_AGAIN_MAX {
            let Some(wait) = self.visit(&mut end).await? else { return Ok(connected_again) };
            sleep(wait).await;
        }
        bail!("it had to connect again {CONNECTED_AGAIN_MAX} times")
    }

    /// One connection's life. What to wait after it; none where everything has come.
    async fn visit(&mut self, end: &mut End) -> anyhow::Result<Option<Duration>> {
        let Some(mut socket) = self.targets.connect().await else {
            self.journal.refused("no edge accepts");
            return Ok(Some(self.retry));
        };
        if self.away_since.is_some() {
            self.journal.returned();
        }
        let (filter, cursor) = (self.progress.wanted().filter(), self.progress.cursor());
        let mut answer = Answer::default();
        if sse::ask(&mut socket, &filter, cursor, self.manner.headers()).await.is_ok() {
            loop {
                let is_over = *end.borrow_and_update();
                if is_over.is_some_and(|events| self.progress.has_all_of(events)) {
                    return Ok(None);
                }
                tokio::select! {
                    readable = socket.readable() => {
                        if readable.is_err() || !self.read(&socket, &mut answer)? {
                            break;
                        }
                    }
                    told = end.changed() => ensure!(told.is_ok(), "nobody said where the end is"),
                }
            }
        }
        self.after(&answer).map(Some)
    }

    /// Takes what there is; false at the end.
    fn read(&mut self, socket: &TcpStream, answer: &mut Answer) -> anyhow::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        let bytes = match socket.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => &buffer[..length],
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        };
        self.take(bytes, answer)?;
        Ok(true)
    }

    /// Takes bytes of an answer as they come.
    fn take(&mut self, bytes: &[u8], answer: &mut Answer) -> anyhow::Result<()> {
        if answer.head.is_some() {
            return self.take_body(bytes, answer);
        }
        let Some((head, rest)) = answer.reader.take(bytes)? else { return Ok(()) };
        answer.head = Some(head);
        self.take_body(&rest, answer)
    }

    fn take_body(&mut self, bytes: &[u8], answer: &mut Answer) -> anyhow::Result<()> {
        if answer.head.is_none_or(|head| head.status != 200) {
            return Ok(());
        }
        answer.frames.take(bytes, |frame| {
            if let Ok(milliseconds) = frame.retry.parse() {
                self.retry = Duration::from_millis(milliseconds);
            }
            if frame.event == "tidewire.retry" {
                answer.said = Some(reason(frame)?);
                return Ok(());
            }
            ensure!(answer.said.is_none(), "{} came behind the end", frame.id);
            self.progress.take(frame)?;
            if frame.event == "tidewire.hello" {
                answer.has_begun = true;
                self.arrive();
            }
            Ok(())
        })
    }

    /// It has a stream.
    fn arrive(&mut self) {
        if let Some(since) = self.away_since.take() {
            self.journal.back_after(since.elapsed());
        }
        if let Some(arrived) = self.arrived.take() {
            // There is room for everybody, and nobody to tell where all is over.
            arrived.try_send(()).ok();
        }
    }

    /// What to wait once an answer has ended.
    ///
    /// # Errors
    /// This client would not have come back.
    fn after(&mut self, answer: &Answer) -> anyhow::Result<Duration> {
        let said = answer.said.as_deref();
        if answer.has_begun {
            self.away_since = Some(Instant::now());
            self.journal.ended(said.unwrap_or("without a word"));
            return Ok(self.retry);
        }
        let Some(head) = answer.head else {
            self.journal.refused("without an answer");
            return Ok(self.retry);
        };
        if head.status == 200 {
            let said = said.unwrap_or("without a word");
            self.journal.refused(&format!("by a stream that says {said}"));
            return Ok(self.retry);
        }
        ensure!(
            self.manner == Manner::Library,
            "{} ended a browser's EventSource for good",
            head.status
        );
        self.journal.refused(&format!("a library, by {}", head.status));
        Ok(head.retry_after.unwrap_or(self.retry))
    }
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
struct Answer {
    reader: HeadReader,
    head: Option<Head>,
    frames: Frames,
    /// Whether there was a hello.
    has_begun: bool,
    /// Why it ends, where that was said.
    said: Option<String>,
}

fn reason(frame: &Frame) -> anyhow::Result<String> {
    let said: serde_json::Value = serde_json::from_str(&frame.data)?;
    Ok(said["reason"].as_str().unwrap_or("nothing").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::{Topics, Wanted};

    const STREAM: &str = "HTTP/1.1 200 OK\r\n\r\n";
    const HELLO: &str = "event: tidewire.hello\nid: 0000000a-7\nretry: 1200\ndata: {}\n\n";
    const DRAINING: &str =
        "event: tidewire.retry\nretry: 2400\ndata: {\"reason\":\"draining\"}\n\n";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 9\r\n\r\n{}";

    /// What a client waits after an answer of these pieces.
    fn wait_after(manner: Manner, pieces: &[&str]) -> anyhow::Result<u128> {
        let topics = Topics { first: 0, count: 10 };
        let progress = Progress::after(topics, Wanted::One(0), 0, None);
        let (arrived, _told) = mpsc::channel(1);
        let (targets, journal) = <(Arc<Targets>, Arc<Journal>)>::default();
        let now = Instant::now();
        let mut visitor = Visitor::new(targets, manner, progress, now, journal, arrived);
        let mut answer = Answer::default();
        for piece in pieces {
            visitor.take(piece.as_bytes(), &mut answer)?;
        }
        Ok(visitor.after(&answer)?.as_millis())
    }

    #[test]
    fn a_client_waits_as_it_was_told_last() {
        for (pieces, milliseconds) in [
            (&[][..], 3_000),
            (&[STREAM], 3_000),
            (&[STREAM, HELLO], 1_200),
            (&[STREAM, HELLO, DRAINING], 2_400),
            (&[STREAM, DRAINING], 2_400),
        ] {
            for manner in [Manner::Browser, Manner::Library] {
                assert_eq!(wait_after(manner, pieces).unwrap(), milliseconds, "{pieces:?}");
            }
        }
        assert_eq!(wait_after(Manner::Library, &[BUSY]).unwrap(), 9_000);
    }

    #[test]
    fn what_ends_an_event_source_or_is_not_what_should_come_is_noticed() {
        for (fault, pieces) in [
            ("a status", &[BUSY][..]),
            ("nothing more", &["HTTP/1.1 204 No Content\r\n\r\n"]),
            ("a gap", &[STREAM, "event: tidewire.gap\nid: 0000000a-9\ndata: {}\n\n"]),
            ("a hole", &[STREAM, HELLO, "id: 0000000a-9\ndata: 0 1\n\n"]),
            ("an event behind the end", &[STREAM, DRAINING, "id: 0000000a-9\ndata: 0 0\n\n"]),
        ] {
            assert!(wait_after(Manner::Browser, pieces).is_err(), "{fault}");
        }
    }
}
