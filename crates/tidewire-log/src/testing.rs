//! A log for tests of its parts: a writer without a thread, so that each commit is what the test
//! makes it, at the time the test says.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use tidewire_core::{
    Cursor, Event, EventData, EventId, Interest, NewEvent, PageLimit, PublishError, ReadError,
    Receipt, Topic, Ttl, UnixMillis,
};
use tokio::sync::oneshot;

use crate::{
    commit::Waiting,
    config::Config,
    error::OpenError,
    reader::{self, Place},
    recovery,
    shared::Shared,
    writer::Writer,
};

/// No limit of the caller's.
pub(crate) const ALL: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };

/// The time of the first commit, if nothing else is said.
pub(crate) const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// A log in a directory of its own. It keeps everything, whatever the time.
pub(crate) struct TestLog {
    pub(crate) config: Config,
    pub(crate) writer: Writer,
    pub(crate) shared: Arc<Shared>,
    _dir: TempDir,
}

impl TestLog {
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let dir = TempDir::new().unwrap();
        let ever = std::time::Duration::from_secs(1 << 40);
        let config = change(Config { retention_age: ever, ..Config::new(dir.path()) });
        let (writer, shared) = open(&config).unwrap();
        Self { config, writer, shared, _dir: dir }
    }

    /// A log in a directory that holds one already.
    pub(crate) fn reopened(dir: TempDir, config: Config) -> Result<Self, OpenError> {
        let (writer, shared) = open(&config)?;
        Ok(Self { config, writer, shared, _dir: dir })
    }

    /// Publishes as one commit.
    pub(crate) fn commit(&mut self, events: Vec<NewEvent>) -> Vec<Result<Receipt, PublishError>> {
        self.commit_at(events, START)
    }

    pub(crate) fn commit_at(
        &mut self,
        events: Vec<NewEvent>,
        now: UnixMillis,
    ) -> Vec<Result<Receipt, PublishError>> {
        let (waiting, receipts): (Vec<_>, Vec<_>) = events
            .into_iter()
            .map(|event| {
                let (answer, receipt) = oneshot::channel();
                (Waiting { event, answer }, receipt)
            })
            .unzip();
        self.writer.commit(waiting, now);
        receipts.into_iter().map(|mut receipt| receipt.try_recv().expect("an answer")).collect()
    }

    /// A copy of the directory as it is now: what a crash would leave.
    pub(crate) fn copy(&self) -> (TempDir, Config) {
        let copy = TempDir::new().unwrap();
        for file in fs::read_dir(&self.config.dir).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let config = Config { dir: copy.path().to_owned(), ..self.config.clone() };
        (copy, config)
    }

    pub(crate) fn read(&self) -> Vec<Event> {
        read_all(&self.shared, &Interest::everything())
    }
}

/// Opens a log without its thread.
pub(crate) fn open(config: &Config) -> Result<(Writer, Arc<Shared>), OpenError> {
    Ok(Writer::new(recovery::recover(config)?, config))
}

/// Everything wanted, page by page.
pub(crate) fn read_all(shared: &Shared, interest: &Interest) -> Vec<Event> {
    let mut place = Place::new(shared.bounds().start());
    let mut events = Vec::new();
    while place.after != shared.bounds().head() {
        events.extend(read(shared, interest, &mut place, ALL).unwrap().events);
    }
    events
}

pub(crate) fn read(
    shared: &Shared,
    interest: &Interest,
    place: &mut Place,
    limit: PageLimit,
) -> Result<tidewire_core::Page, ReadError> {
    let before = place.after;
    let page = reader::read(shared, interest, place, limit)?;
    assert!(page.next > before || before == shared.bounds().head(), "a page makes progress");
    Ok(page)
}

/// The segment files, oldest first.
pub(crate) fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension() == Some("seg".as_ref())).collect();
    files.sort();
    files
}

pub(crate) fn event(topic: &str, data: &str) -> NewEvent {
    let data = EventData::parse(data.to_owned(), usize::MAX).unwrap();
    NewEvent::new(Topic::parse(topic).unwrap(), data)
}

/// So many small events.
pub(crate) fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|n| event(&format!("t.{n}"), &n.to_string())).collect()
}

pub(crate) fn with_id(event: NewEvent, id: &str) -> NewEvent {
    NewEvent { id: EventId::parse(id).unwrap(), ..event }
}

pub(crate) fn with_ttl(event: NewEvent, seconds: u64) -> NewEvent {
    NewEvent { ttl: Some(Ttl::from_seconds(seconds).unwrap()), ..event }
}

/// Where events stand.
pub(crate) fn cursors(events: &[Event]) -> Vec<Cursor> {
    events.iter().map(|event| event.cursor).collect()
}

/// Receipts that all came, as cursors.
pub(crate) fn stored(receipts: Vec<Result<Receipt, PublishError>>) -> Vec<Cursor> {
    receipts.into_iter().map(|receipt| receipt.unwrap().cursor).collect()
}
