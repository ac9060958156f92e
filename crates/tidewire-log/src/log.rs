//! The log as everyone else holds it: a [`Backbone`] that is opened and closed.

use std::{io, thread::JoinHandle};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidewire_core::{
    Backbone, Bounds, Cursor, EventStream, Interest, NewEvent, Page, PageLimit, PublishError,
    ReadError, Receipt, Sequence, UnixMillis,
};
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
};

use crate::{
    commit::{Waiting, unavailable},
    config::Config,
    error::OpenError,
    queue::Queue,
    reader::{self, Place},
    reads::Reads,
    recovery, tail,
    writer::{Command, QUEUED_MAX, Writer},
};

/// A log in a directory, open for writing and reading.
///
/// Dropping it without [`close`](Log::close) ends it a little later, without anybody waiting for
/// it: what was accepted is still stored.
pub struct Log {
    reads: Reads,
    queue: Queue<Command>,
    /// Closed when the writer has ended.
    head: watch::Receiver<Sequence>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log in a directory, or begins a new one where there is none. Needs a tokio
    /// runtime. Reads the whole log: about half a second for each GiB in the page cache.
    ///
    /// What a crash left unfinished at the end is cut off; it was never acknowledged.
    ///
    /// # Errors
    /// [`OpenError::Locked`] where another process has it open, [`OpenError::Corrupt`] where what
    /// was acknowledged is damaged, [`OpenError::Version`] where another format was written, and
    /// [`OpenError::Io`] where the directory cannot be used.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let dir = config.dir.clone();
        let opening = spawn_blocking(move || start(&config));
        opening.await.map_err(|error| OpenError::io("open", dir)(io::Error::other(error)))?
    }

    /// Stores what was accepted, and ends the log. Publishes and tails end with `Unavailable`
    /// from then on. When this returns, the log may be opened again.
    pub async fn close(&self) {
        // An error means that the writer has ended already.
        let _ = self.queue.put(Command::Close).await;
        let mut head = self.head.clone();
        while head.changed().await.is_ok() {}
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            // It has let go of everything, and returns. Had it panicked, that was said already.
            let _ = spawn_blocking(move || writer.join()).await;
        }
    }

    /// Why the log is of no use until it is opened again; `None` while it works.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let ended = || self.head.has_changed().is_err().then(|| CLOSED.to_owned());
        self.reads.shared.failure().map(str::to_owned).or_else(ended)
    }
}

const CLOSED: &str = "the log is closed";

fn start(config: &Config) -> Result<Log, OpenError> {
    let failed = |error| OpenError::io("begin to write to", &config.dir)(error);
    let (writer, shared) = Writer::new(recovery::recover(config)?, config);
    let head = writer.head();
    let (queue, waiting) = Queue::new(QUEUED_MAX);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
    let writer = std::thread::Builder::new()
        .name("tidewire-log".into())
        .spawn(move || writer.run(&runtime, waiting))
        .map_err(failed)?;
    Ok(Log { reads: Reads::new(shared), queue, head, writer: Mutex::new(Some(writer)) })
}

#[async_trait]
impl Backbone for Log {
    async fn publish(&self, event: NewEvent) -> Result<Receipt, PublishError> {
        let (answer, receipt) = oneshot::channel();
        let publish = Command::Publish(Waiting { event, answer });
        self.queue.put(publish).await.map_err(|_| unavailable(CLOSED))?;
        receipt.await.map_err(|_| unavailable("the log ended before it answered"))?
    }

    async fn read(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let interest = interest.clone();
        let read = move |shared: &_| reader::read(shared, &interest, &mut Place::new(after), limit);
        self.reads.run(read).await
    }

    async fn latest(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let interest = interest.clone();
        self.reads.run(move |shared| reader::latest(shared, &interest, after, limit)).await
    }

    async fn tail(&self, after: Cursor) -> Result<EventStream, ReadError> {
        self.reads.shared.check_alive()?;
        self.reads.shared.bounds().check(after)?;
        Ok(tail::follow(self.reads.clone(), self.head.clone(), Place::new(after)))
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        self.reads.shared.check_alive()?;
        Ok(self.reads.shared.bounds())
    }

    async fn cursor_at(&self, time: UnixMillis) -> Result<Cursor, ReadError> {
        self.reads.run(move |shared| reader::cursor_at(shared, time)).await
    }
}
