//! A subscriber that costs little, comes back when its stream ends, and checks what it gets.

mod progress;

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{bail, ensure};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

pub(crate) use self::progress::Progress;
use crate::{
    arrivals::Arrivals,
    crowd::End,
    sse::{self, Frames},
};

/// Bytes read at once, on the stack: a connection holds none of its own.
const READ_BYTES: usize = 8 * 1024;
/// How often one may lose its stream.
const CONNECTED_AGAIN_MAX: u32 = 50;
/// The wait before it comes back.
const AGAIN_DELAY: Duration = Duration::from_millis(200);

/// One subscriber.
pub(crate) struct Viewer {
    pub(crate) http: String,
    pub(crate) progress: Progress,
    /// When it comes.
    pub(crate) begins: Instant,
    /// Told when everything that it had missed has come.
    pub(crate) backlog: Option<Backlog>,
    /// What it counts each event on.
    pub(crate) delivered: Arc<AtomicU64>,
    /// Where it says when each event came.
    pub(crate) arrivals: Option<Arc<Arrivals>>,
}

/// What a subscriber has missed.
pub(crate) struct Backlog {
    /// So many events had been published.
    pub(crate) events: usize,
    /// Where it tells how long that took. Holds one from each subscriber.
    pub(crate) caught_up: mpsc::Sender<Duration>,
}

/// How a connection ended without a violation.
enum Ended {
    /// Everything has come.
    Finished,
    Lost,
}

impl Viewer {
    /// Reads until everything has come that was published before the end, once there is one. Says
    /// how often it had to connect again.
    ///
    /// # Errors
    /// What came was not what should have.
    pub(crate) async fn watch(mut self, mut end: End) -> anyhow::Result<u32> {
        sleep_until(self.begins).await;
        for connected_again in 0..=CONNECTED_AGAIN_MAX {
            if let Ended::Finished = self.read_on(&mut end).await? {
                return Ok(connected_again);
            }
            sleep(AGAIN_DELAY).await;
        }
        bail!("it lost its stream {CONNECTED_AGAIN_MAX} times")
    }

    /// One connection's life.
    async fn read_on(&mut self, end: &mut End) -> anyhow::Result<Ended> {
        let filter = self.progress.wanted().filter();
        let Ok(socket) = sse::open(&self.http, &filter, self.progress.cursor()).await else {
            return Ok(Ended::Lost);
        };
        let mut frames = Frames::default();
        loop {
            let is_over = *end.borrow_and_update();
            if is_over.is_some_and(|events| self.progress.has_all_of(events)) {
                return Ok(Ended::Finished);
            }
            tokio::select! {
                readable = socket.readable() => {
                    if readable.is_err() || !self.read(&socket, &mut frames)? {
                        return Ok(Ended::Lost);
                    }
                }
                told = end.changed() => ensure!(told.is_ok(), "nobody said where the end is"),
            }
        }
    }

    /// Takes what there is; false at the end.
    fn read(&mut self, socket: &TcpStream, frames: &mut Frames) -> anyhow::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        let bytes = match socket.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => &buffer[..length],
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        };
        let mut events = 0;
        frames.take(bytes, |frame| {
            if let Some(number) = self.progress.take(frame)? {
                events += 1;
                if let Some(arrivals) = &self.arrivals {
                    arrivals.take(number);
                }
            }
            Ok(())
        })?;
        self.delivered.fetch_add(events, Relaxed);
        if let Some(backlog) = &self.backlog
            && self.progress.has_all_of(backlog.events)
        {
            // There is room for everybody, and nobody to tell where all is over.
            backlog.caught_up.try_send(self.begins.elapsed()).ok();
            self.backlog = None;
        }
        Ok(true)
    }
}
