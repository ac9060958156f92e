//! The one thread that changes the log: it stores what waits, and lets go of what is old.

use std::{io, os::unix::fs::FileExt, sync::Arc};

use tidewire_core::{Sequence, UnixMillis};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tracing::{error, info, warn};

use crate::{
    commit::{Commit, Waiting},
    config::Config,
    deduplication::Deduplication,
    directory::Directory,
    metrics,
    recovery::Recovered,
    retention::Retention,
    segment::{CreateError, Segment},
    shared::Shared,
    topics::Candidate,
};

/// Publishes that wait for the writer: as many as one commit takes, so that the next one is
/// complete when the sync of this one ends. Who finds the queue full waits, in order.
pub(crate) const QUEUED_MAX: usize = COMMIT_EVENTS_MAX;
/// Events of one commit: beyond it a sync is a small part of the cost.
const COMMIT_EVENTS_MAX: usize = 4_096;
/// Bytes at which a commit takes no further event; so it is at most one event larger.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the writer is asked to do.
pub(crate) enum Command {
    Publish(Waiting),
    /// Store what was accepted before, and end.
    Close,
}

/// The log's writing end.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    retention: Retention,
    ids: Deduplication,
    /// The segment that grows.
    active: Arc<Segment>,
    /// Time of the newest event: times never go back.
    last_time: UnixMillis,
    /// Size of all segments.
    log_bytes: u64,
    /// Whether the last commit could not be written.
    refusing: bool,
    /// Let go before `head`: who sees the writer's end may open the log again.
    directory: Directory,
    /// Tells tails of every new head; it ends with the writer.
    head: watch::Sender<Sequence>,
}

/// Why a commit is not acknowledged.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    /// Nothing of it is in the log; the next one may be.
    #[error("cannot {0}: {1}")]
    Refused(&'static str, #[source] io::Error),
    /// Nobody knows what is on the disk.
    #[error("cannot {0}: {1}; the log has to be opened again")]
    Failed(&'static str, #[source] io::Error),
}

impl Writer {
    /// Goes on with a log, and shows it to readers.
    pub(crate) fn new(found: Recovered, config: &Config) -> (Self, Arc<Shared>) {
        let shared = Shared::new(found.epoch, found.segments, found.head, found.topics);
        let shared = Arc::new(shared);
        let writer = Self {
            shared: shared.clone(),
            retention: Retention::new(config),
            ids: found.ids,
            active: found.active,
            last_time: found.last_time,
            log_bytes: found.bytes,
            refusing: false,
            directory: found.directory,
            head: watch::Sender::new(found.head),
        };
        writer.report();
        (writer, shared)
    }

    /// The head as it moves; it ends when the writer has let go of the directory.
    pub(crate) fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    /// Runs until the queue is closed and empty. The runtime only waits; this thread does all the
    /// work, since a sync blocks.
    pub(crate) fn run(mut self, runtime: &Runtime, mut queue: mpsc::Receiver<Command>) {
        let tick = self.retention.tick();
        runtime.block_on(async {
            loop {
                match timeout(tick, queue.recv()).await {
                    Ok(Some(Command::Publish(first))) => {
                        let waiting = gather(first, &mut queue);
                        self.commit(waiting, UnixMillis::now());
                    }
                    Ok(Some(Command::Close)) => queue.close(),
                    Ok(None) => break,
                    Err(_) => self.look_after_quiet_log(UnixMillis::now()),
                }
            }
        });
        self.report();
    }

    /// Stores what waits, and answers it.
    pub(crate) fn commit(&mut self, waiting: Vec<Waiting>, now: UnixMillis) {
        if let Some(reason) = self.shared.failure() {
            waiting.into_iter().for_each(|publish| publish.refuse(reason));
            return;
        }
        let started = Instant::now();
        let time = now.max(self.last_time);
        self.ids.forget_expired(time);
        let first = self.shared.bounds().head.next();
        let mut commit = Commit::new(self.shared.epoch, first, time);
        waiting.into_iter().for_each(|publish| commit.add(publish, &mut self.ids));
        match self.store(&commit, time) {
            Ok(()) => {
                self.show(&commit, time);
                metrics::count_commit(commit.records.len(), started.elapsed());
                metrics::count_duplicates(commit.duplicates());
                commit.succeed();
                self.retain(time);
            }
            Err(error) => {
                self.ids.take_back(first);
                metrics::count_commit_failed();
                commit.fail(&error.to_string());
                self.note(&error);
            }
        }
        self.report();
    }

    /// Makes a commit durable.
    fn store(&mut self, commit: &Commit, now: UnixMillis) -> Result<(), StoreError> {
        if commit.bytes.is_empty() {
            return Ok(());
        }
        self.roll_if_full(now)?;
        let end = self.active.extent().end;
        if let Err(error) = self.active.file.write_all_at(&commit.bytes, end) {
            // A part may be written. It must not be taken for a commit after a crash, nor lie
            // behind a shorter one.
            self.active
                .file
                .set_len(end)
                .and_then(|()| self.active.file.sync_all())
                .map_err(|error| StoreError::Failed("cut back a failed write", error))?;
            return Err(StoreError::Refused("write", error));
        }
        // After a failed sync the kernel may drop what it could not write and call it clean: a
        // second sync would succeed without the data, and a read would still show it from memory.
        self.active.file.sync_data().map_err(|error| StoreError::Failed("sync", error))
    }

    /// Shows a durable commit to readers.
    fn show(&mut self, commit: &Commit, time: UnixMillis) {
        let Some(head) = commit.records.last().map(|record| record.sequence) else { return };
        let mut offset = self.active.extent().end;
        {
            let mut extent = self.active.extent_mut();
            for record in &commit.records {
                extent.push(record.sequence, time, record.bytes);
            }
        }
        self.shared.set_head(head);
        {
            let mut topics = self.shared.topics.write();
            for record in &commit.records {
                let (sequence, expires) = (record.sequence, record.expires);
                let event = Candidate { sequence, offset, expires };
                let parsed: Result<_, std::convert::Infallible> =
                    topics.push(record.topic.as_str(), event, || Ok(record.topic.clone()));
                let Ok(()) = parsed;
                offset += record.bytes;
            }
            topics.set_head(head);
        }
        self.log_bytes += commit.bytes.len() as u64;
        self.last_time = time;
        if std::mem::take(&mut self.refusing) {
            info!("the log can be written again");
        }
        self.head.send_replace(head);
    }

    /// Goes over to a new segment where the present one is large or old enough.
    fn roll_if_full(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        if !self.retention.is_full(&self.active.extent(), now) {
            return Ok(());
        }
        let base = self.shared.bounds().head.next();
        let segment = Segment::create(&self.directory, self.shared.epoch, base).map_err(
            |error| match error {
                CreateError::Nothing(error) => StoreError::Refused("begin a segment", error),
                CreateError::Unknown(error) => StoreError::Failed("sync the directory", error),
            },
        )?;
        self.active = Arc::new(segment);
        self.log_bytes += self.active.extent().end;
        self.shared.push_segment(self.active.clone());
        Ok(())
    }

    /// Removes what has left retention, the oldest first.
    fn retain(&mut self, now: UnixMillis) {
        while let Some(oldest) = self.shared.oldest_finished() {
            let bytes = oldest.extent().end;
            if !self.retention.is_over(&oldest.extent(), self.log_bytes, now) {
                break;
            }
            if let Err(error) = std::fs::remove_file(&oldest.path) {
                // None of the later ones may go before it: that would leave a hole.
                warn!(file = %oldest.path.display(), %error, "cannot remove an old segment");
                break;
            }
            self.shared.pop_segment();
            self.log_bytes -= bytes;
            metrics::count_segment_removed();
            // Each removal by itself, so that a crash cannot keep an older one than it removed.
            if let Err(error) = self.directory.sync() {
                self.note(&StoreError::Failed("sync the directory", error));
                break;
            }
        }
    }

    /// What age demands while nobody publishes.
    fn look_after_quiet_log(&mut self, now: UnixMillis) {
        if self.shared.failure().is_some() {
            return;
        }
        self.ids.forget_expired(now.max(self.last_time));
        if let Err(error) = self.roll_if_full(now) {
            self.note(&error);
        }
        self.retain(now);
        self.report();
    }

    /// Says once that the log cannot be written, and gives it up where that is for good.
    fn note(&mut self, error: &StoreError) {
        match error {
            StoreError::Refused(..) => {
                if !std::mem::replace(&mut self.refusing, true) {
                    error!(%error, "the log cannot be written; it goes on trying");
                }
            }
            StoreError::Failed(..) => {
                error!(%error, "the log has failed");
                self.shared.fail(error.to_string());
                // So that waiting tails see it.
                self.head.send_modify(|_| {});
            }
        }
    }

    /// Brings the gauges up to date.
    fn report(&self) {
        let shared = &self.shared;
        metrics::set_extent(shared.bounds(), self.log_bytes, shared.segment_count());
        metrics::set_failed(shared.failure().is_some());
    }
}

/// The first publish, and all that wait behind it, as far as one commit may hold them.
fn gather(first: Waiting, queue: &mut mpsc::Receiver<Command>) -> Vec<Waiting> {
    let mut bytes = first.bytes();
    let mut waiting = vec![first];
    while waiting.len() < COMMIT_EVENTS_MAX && bytes < COMMIT_BYTES_MAX {
        match queue.try_recv() {
            Ok(Command::Publish(next)) => {
                bytes += next.bytes();
                waiting.push(next);
            }
            Ok(Command::Close) => queue.close(),
            Err(_) => break,
        }
    }
    waiting
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use tidewire_core::{PublishError, ReadError};

    use super::*;
    use crate::testing::{
        START, TestLog, cursors, event, events, open, segment_files, stored, with_id,
    };

    /// Lets the next commits go to a file of the system's instead.
    fn write_to(log: &mut TestLog, path: &str) {
        let active = &log.writer.active;
        let file = File::options().read(true).write(true).open(path).unwrap();
        let segment = Segment::new(active.base, active.path.clone(), file, active.extent().clone());
        log.writer.active = Arc::new(segment);
    }

    fn later(milliseconds: u64) -> UnixMillis {
        UnixMillis(START.0 + milliseconds)
    }

    #[test]
    fn after_a_failed_sync_nothing_is_acknowledged_or_read_until_the_log_is_opened_again() {
        let mut log = TestLog::new();
        let before = stored(log.commit(events(3)));
        // It takes every write, and cannot be synced.
        write_to(&mut log, "/dev/null");
        let failed = log.commit(events(2)).remove(0).unwrap_err();
        assert!(failed.to_string().contains("cannot sync"), "{failed}");
        let later = log.commit(events(1)).remove(0).unwrap_err();
        assert!(matches!(later, PublishError::Unavailable(_)));
        assert!(matches!(log.shared.check_alive(), Err(ReadError::Unavailable(_))));
        assert_eq!(log.shared.bounds().head(), before[2]);

        let (_dir, config) = log.copy();
        let (_writer, shared) = open(&config).unwrap();
        assert_eq!(shared.failure(), None);
        assert_eq!(shared.bounds().head(), before[2]);
    }

    #[test]
    fn a_failed_write_that_cannot_be_cut_back_ends_the_log() {
        let mut log = TestLog::new();
        // It takes no write, and cannot be cut.
        write_to(&mut log, "/dev/full");
        let failed = log.commit(events(1)).remove(0).unwrap_err();
        assert!(failed.to_string().contains("cut back"), "{failed}");
        assert!(log.shared.failure().is_some());
    }

    #[test]
    fn an_id_whose_commit_failed_is_not_remembered() {
        let mut log = TestLog::new();
        write_to(&mut log, "/dev/null");
        assert!(log.commit(vec![with_id(event("t", "x"), "a")]).remove(0).is_err());
        let id = tidewire_core::EventId::parse("a").unwrap().unwrap();
        assert_eq!(log.writer.ids.look_up(&id), crate::deduplication::Known::New);
    }

    #[test]
    fn an_id_is_stored_again_after_the_window() {
        let window = Duration::from_millis(500);
        let mut log = TestLog::with(|config| Config { deduplication_window: window, ..config });
        let one = || vec![with_id(event("t", "x"), "one")];
        let first = log.commit_at(one(), later(0)).remove(0).unwrap();
        let second = log.commit_at(one(), later(499)).remove(0).unwrap();
        assert!(second.duplicate && second.cursor == first.cursor);
        let third = log.commit_at(one(), later(500)).remove(0).unwrap();
        assert!(!third.duplicate && third.cursor > first.cursor);
    }

    #[test]
    fn more_ids_than_can_be_remembered_are_refused_and_events_without_one_are_not() {
        let mut log = TestLog::new();
        log.writer.ids = Deduplication::new(Duration::from_secs(1), 2);
        let events = ["a", "b", "c", "a"].map(|id| with_id(event("t", id), id));
        let mut answers = log.commit([events.to_vec(), vec![event("t", "x")]].concat());
        let refused = answers.remove(2).unwrap_err();
        assert!(refused.to_string().contains("more ids"), "{refused}");
        assert!(answers[2].as_ref().unwrap().duplicate);
        assert_eq!(stored(answers)[3].sequence, Sequence(3));
    }

    #[test]
    fn times_never_go_back() {
        let mut log = TestLog::new();
        log.commit_at(events(1), later(1_000));
        log.commit_at(events(1), later(0));
        let times: Vec<_> = log.read().iter().map(|event| event.time).collect();
        assert_eq!(times, [later(1_000), later(1_000)]);
        let (_dir, config) = log.copy();
        log.writer = open(&config).unwrap().0;
        assert_eq!(log.writer.last_time, later(1_000));
    }

    #[test]
    fn events_leave_a_quiet_log_by_age() {
        let age = Duration::from_millis(800);
        let mut log = TestLog::with(|config| Config { retention_age: age, ..config });
        let cursors_of_all = stored(log.commit_at(events(3), later(0)));
        log.writer.look_after_quiet_log(later(99));
        assert_eq!(log.shared.segment_count(), 1);
        log.writer.look_after_quiet_log(later(100));
        assert_eq!(log.shared.segment_count(), 2, "what comes later is kept for longer");
        log.writer.look_after_quiet_log(later(799));
        assert_eq!(cursors(&log.read()), cursors_of_all);
        log.writer.look_after_quiet_log(later(800));
        let bounds = log.shared.bounds();
        assert_eq!(bounds.head(), cursors_of_all[2]);
        assert_eq!(bounds.start(), bounds.head(), "nothing is retained");
        assert_eq!(segment_files(&log.config.dir).len(), 1);

        let (_dir, config) = log.copy();
        let (_writer, shared) = open(&config).unwrap();
        assert_eq!(shared.bounds(), bounds, "an empty log remembers where it was");
    }

    #[test]
    fn a_full_log_keeps_the_newest_seven_eighths() {
        let mut log = TestLog::with(|config| Config {
            retention_bytes: 16 * 1024,
            segment_bytes: 1,
            ..config
        });
        let mut published = Vec::new();
        for n in 0..400 {
            let event = event(&format!("t.{n}"), &"x".repeat(50));
            published.extend(stored(log.commit(vec![event])));
            let bytes: u64 = log.shared.segments().iter().map(|segment| segment.extent().end).sum();
            assert_eq!(bytes, log.writer.log_bytes);
            assert!(bytes <= 16 * 1024);
        }
        let on_disk: u64 =
            segment_files(&log.config.dir).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert_eq!(on_disk, log.writer.log_bytes);
        assert!(on_disk > 7 * 2 * 1024, "{on_disk}");
        let kept = cursors(&log.read());
        assert!(published.ends_with(&kept), "what is kept is the newest, without a hole");
        let topics = log.shared.topics.read();
        let everything = tidewire_core::Interest::everything();
        let remembered = topics.find(&everything, Sequence::ZERO, UnixMillis(0));
        assert_eq!(remembered.len(), kept.len(), "topics that have left are forgotten");
    }

    #[test]
    fn an_event_that_is_too_large_is_refused_and_the_others_of_its_commit_are_stored() {
        let mut log = TestLog::new();
        let bytes = vec![b'x'; tidewire_core::limits::EVENT_BYTES_MAX + 1];
        let large = tidewire_core::NewEvent {
            data: tidewire_core::EventData::trusted(bytes.into()),
            ..event("t", "x")
        };
        let mut answers = log.commit(vec![event("a", "1"), large, event("b", "2")]);
        assert!(matches!(answers.remove(1), Err(PublishError::TooLarge { .. })));
        assert_eq!(cursors(&log.read()), stored(answers));
    }
}
