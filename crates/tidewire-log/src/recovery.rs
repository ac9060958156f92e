//! Opening: every record is read and checked, what lives in memory is built from it, and what a
//! crash left unfinished at the end is cut off.
//!
//! A commit is written only after the one before it was synced. So a crash can leave at most one
//! commit unfinished, the last one of the last segment, and nobody was told that it was stored.
//! Damage anywhere else has hit what was acknowledged: the log does not open over that in silence.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidewire_core::{Epoch, Sequence, Topic, UnixMillis};
use tokio::time::Instant;
use tracing::info;

use crate::{
    config::Config,
    deduplication::{Deduplication, IDS_MAX},
    directory::Directory,
    error::OpenError,
    record::{self, RECORD_BYTES_MAX, Record},
    scan::{CHUNK_BYTES, Scan, ScanError},
    segment::{self, CreateError, Extent, HEADER_BYTES, Segment},
    topics::{Candidate, Topics},
};

/// Bytes looked through at once for what follows damage.
const SEARCH_BYTES: usize = 1024 * 1024;

/// A log as it was found, ready to go on.
pub(crate) struct Recovered {
    pub(crate) directory: Directory,
    pub(crate) epoch: Epoch,
    pub(crate) segments: VecDeque<Arc<Segment>>,
    /// The last of them.
    pub(crate) active: Arc<Segment>,
    pub(crate) head: Sequence,
    pub(crate) last_time: UnixMillis,
    /// Size of all segments.
    pub(crate) bytes: u64,
    pub(crate) topics: Topics,
    pub(crate) ids: Deduplication,
}

/// Takes the directory, and reads the log in it.
pub(crate) fn recover(config: &Config) -> Result<Recovered, OpenError> {
    let started = Instant::now();
    let directory = Directory::take(&config.dir)?;
    let bases = directory.segments().map_err(OpenError::io("list", &config.dir))?;
    let Some((&last, finished)) = bases.split_last() else { return begin(directory, config) };

    let mut recovery = Recovery::new(bases[0], config);
    let mut segments = VecDeque::new();
    for base in finished {
        segments.push_back(Arc::new(recovery.finished_segment(*base, directory.segment(*base))?));
    }
    let Last { segment, epoch, cut } = recovery.last_segment(last, directory.segment(last))?;
    let active = Arc::new(segment);
    segments.push_back(active.clone());

    let bytes = segments.iter().map(|segment| segment.extent().end).sum();
    let Recovery { events, head, last_time, mut topics, mut ids, .. } = recovery;
    topics.set_head(head);
    ids.forget_expired(UnixMillis::now().max(last_time));
    let (segment_count, milliseconds) = (segments.len(), started.elapsed().as_millis());
    info!(events, segments = segment_count, bytes, cut, milliseconds, %epoch, "log opened");
    Ok(Recovered { directory, epoch, segments, active, head, last_time, bytes, topics, ids })
}

/// Begins a new log.
fn begin(directory: Directory, config: &Config) -> Result<Recovered, OpenError> {
    let epoch = Epoch(rand::random_range(1..=u32::MAX));
    let base = Sequence::ZERO.next();
    let active = Segment::create(&directory, epoch, base).map_err(|error| {
        let (CreateError::Nothing(error) | CreateError::Unknown(error)) = error;
        OpenError::io("begin a log in", &config.dir)(error)
    })?;
    let (active, bytes) = (Arc::new(active), HEADER_BYTES as u64);
    info!(%epoch, "log begun");
    Ok(Recovered {
        directory,
        epoch,
        segments: VecDeque::from([active.clone()]),
        head: Sequence::ZERO,
        last_time: UnixMillis(0),
        bytes,
        active,
        topics: Topics::default(),
        ids: Deduplication::new(config.deduplication_window, IDS_MAX),
    })
}

/// The segment that will be written to.
struct Last {
    segment: Segment,
    epoch: Epoch,
    /// Bytes that were cut off its end.
    cut: u64,
}

/// What a scan of a segment came to.
struct Found {
    /// The whole records.
    extent: Extent,
    /// Where the last commit among them begins.
    last_commit: u64,
    /// Whether there is anything behind them.
    end: Result<(), ScanError>,
}

/// What has been read so far.
struct Recovery {
    epoch: Option<Epoch>,
    events: u64,
    head: Sequence,
    last_time: UnixMillis,
    topics: Topics,
    ids: Deduplication,
    /// Ids of earlier events are outside the window.
    ids_since: UnixMillis,
}

impl Recovery {
    fn new(first: Sequence, config: &Config) -> Self {
        Self {
            epoch: None,
            events: 0,
            head: first.previous(),
            last_time: UnixMillis(0),
            topics: Topics::default(),
            // Even where there are more than may be remembered, none is forgotten.
            ids: Deduplication::new(config.deduplication_window, IDS_MAX),
            ids_since: UnixMillis::now().before(config.deduplication_window),
        }
    }

    /// Reads a segment that has another behind it: it must be whole.
    fn finished_segment(&mut self, base: Sequence, path: PathBuf) -> Result<Segment, OpenError> {
        let file = File::open(&path).map_err(OpenError::io("open", &path))?;
        let epoch = self.header(&file, &path, base)?;
        let length = length_of(&file, &path)?;
        let mut scan = Scan::new(&file, epoch, HEADER_BYTES as u64, length, CHUNK_BYTES);
        let found = self.records(&mut scan);
        found.end.map_err(|error| damaged(&path, error))?;
        Ok(Segment::new(base, path, file, found.extent))
    }

    /// Reads the segment that was being written to, and cuts an unfinished commit off its end.
    fn last_segment(&mut self, base: Sequence, path: PathBuf) -> Result<Last, OpenError> {
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(OpenError::io("open", &path))?;
        let epoch = self.header(&file, &path, base)?;
        let length = length_of(&file, &path)?;
        let mut scan = Scan::new(&file, epoch, HEADER_BYTES as u64, length, CHUNK_BYTES);
        let Found { extent, last_commit, end } = self.records(&mut scan);
        if let Err(error) = end {
            self.check_unfinished(&file, &path, epoch, length, error)?;
        }
        settle(&file, last_commit..extent.end).map_err(OpenError::io("write", &path))?;
        let cut = length - extent.end;
        Ok(Last { segment: Segment::new(base, path, file, extent), epoch, cut })
    }

    /// Refuses damage that a crash cannot have left.
    fn check_unfinished(
        &self,
        file: &File,
        path: &Path,
        epoch: Epoch,
        length: u64,
        error: ScanError,
    ) -> Result<(), OpenError> {
        let ScanError::Damaged { byte, reason } = error else { return Err(damaged(path, error)) };
        let later = later_commit(file, epoch, self.head, byte..length)
            .map_err(OpenError::io("read", path))?;
        later.map_or(Ok(()), |later| {
            let reason = format!("{reason}, and acknowledged events follow at byte {later}");
            Err(damaged(path, ScanError::Damaged { byte, reason }))
        })
    }

    /// Checks a segment's header, and that it begins where the one before it ended.
    fn header(&mut self, file: &File, path: &Path, base: Sequence) -> Result<Epoch, OpenError> {
        let epoch = segment::read_header(file, path, base)?;
        let corrupt = |byte, reason| damaged(path, ScanError::Damaged { byte, reason });
        if *self.epoch.get_or_insert(epoch) != epoch {
            return Err(corrupt(12, "the segment is of another epoch than the first one".into()));
        }
        if base != self.head.next() {
            let head = self.head;
            let reason = format!("the segment before it ends with event {head}: one is missing");
            return Err(corrupt(16, reason));
        }
        Ok(epoch)
    }

    /// Reads records as long as they are whole.
    fn records(&mut self, scan: &mut Scan<'_>) -> Found {
        let mut extent = Extent::default();
        let mut last_commit = extent.end;
        let end = loop {
            let (offset, record) = match scan.next() {
                Ok(Some(found)) => found,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if let Err(reason) = self.record(offset, &record) {
                break Err(ScanError::Damaged { byte: offset, reason });
            }
            extent.push(record.stamp.sequence, record.stamp.time, record.bytes as u64);
            if record.stamp.first_of_commit {
                last_commit = offset;
            }
        };
        Found { extent, last_commit, end }
    }

    /// Remembers what has to be known of a record.
    fn record(&mut self, offset: u64, record: &Record<'_>) -> Result<(), String> {
        let (sequence, time) = (record.stamp.sequence, record.stamp.time);
        if sequence != self.head.next() {
            return Err(format!("event {sequence} follows event {}", self.head));
        }
        let event = Candidate { sequence, offset, expires: record.expires() };
        self.topics
            .push(record.topic, event, || Topic::parse(record.topic))
            .map_err(|invalid| format!("an event that this version does not take: {invalid}"))?;
        if !record.id.is_empty() && time > self.ids_since {
            self.ids.remember(record.id, sequence, time);
        }
        self.events += 1;
        self.head = sequence;
        self.last_time = time;
        Ok(())
    }
}

/// Whether a commit later than `head` begins somewhere in a range of a file, and where. Only
/// after damage: it tries every byte.
fn later_commit(
    file: &File,
    epoch: Epoch,
    head: Sequence,
    range: Range<u64>,
) -> io::Result<Option<u64>> {
    let mut window = Vec::new();
    for start in range.clone().step_by(SEARCH_BYTES) {
        let left = usize::try_from(range.end - start).unwrap_or(usize::MAX);
        window.resize(left.min(SEARCH_BYTES + RECORD_BYTES_MAX), 0);
        file.read_exact_at(&mut window, start)?;
        // The damaged commit may begin at this very byte: it has the next sequence, or an earlier
        // one. A later commit's is larger.
        let found = (0..left.min(SEARCH_BYTES))
            .find(|at| record::begins_later_commit(&window[*at..], epoch, head.next()));
        if let Some(at) = found {
            return Ok(Some(start + at as u64));
        }
    }
    Ok(None)
}

/// Cuts a file off behind its last commit, and makes that durable.
///
/// The commit may never have been synced, and where its sync failed, the kernel may hold it in
/// memory and call it clean; so it is written once more before it is synced.
fn settle(file: &File, last_commit: Range<u64>) -> io::Result<()> {
    let bytes = usize::try_from(last_commit.end - last_commit.start).unwrap_or(usize::MAX);
    let mut commit = vec![0; bytes];
    file.read_exact_at(&mut commit, last_commit.start)?;
    file.set_len(last_commit.end)?;
    file.write_all_at(&commit, last_commit.start)?;
    file.sync_all()
}

fn length_of(file: &File, path: &Path) -> Result<u64, OpenError> {
    file.metadata().map(|metadata| metadata.len()).map_err(OpenError::io("measure", path))
}

fn damaged(path: &Path, error: ScanError) -> OpenError {
    match error {
        ScanError::Io(error) => OpenError::io("read", path)(error),
        ScanError::Damaged { byte, reason } => {
            OpenError::Corrupt { file: path.to_owned(), byte, reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tidewire_core::Cursor;

    use super::*;
    use crate::testing::{self, TestLog, cursors, event, events, segment_files, stored};

    /// A log of three commits in one segment, and where its records begin.
    struct Written {
        log: TestLog,
        /// Cursors of the first two commits.
        kept: Vec<Cursor>,
        /// Cursors of the last one.
        last: Vec<Cursor>,
        /// The segment's bytes, and where the last commit begins in them.
        bytes: Vec<u8>,
        last_at: usize,
    }

    impl Written {
        fn new() -> Self {
            let mut log = TestLog::new();
            let mut kept = stored(log.commit(events(3)));
            kept.extend(stored(log.commit(events(4))));
            let last_at = fs::read(log.segment()).unwrap().len();
            let last = stored(log.commit(events(3)));
            let bytes = fs::read(log.segment()).unwrap();
            Self { log, kept, last, bytes, last_at }
        }

        /// Opens a copy in which the segment holds these bytes.
        fn open_with(&self, bytes: &[u8]) -> Result<TestLog, OpenError> {
            let (dir, config) = self.log.copy();
            fs::write(&segment_files(dir.path())[0], bytes).unwrap();
            TestLog::reopened(dir, config)
        }

        /// What was acknowledged before the last commit is there, with a part of the last one;
        /// and the log goes on behind it. Returns how much of the last commit there is.
        fn check(&self, mut log: TestLog) -> usize {
            let found = cursors(&log.read());
            let all: Vec<_> = self.kept.iter().chain(&self.last).copied().collect();
            assert!(found.starts_with(&self.kept) && all.starts_with(&found), "{found:?}");
            let next = stored(log.commit(events(1)))[0];
            assert_eq!(next.sequence, found.last().unwrap().sequence.next());
            // What was cut off does not come back with what is written over it.
            let (dir, config) = log.copy();
            let again = TestLog::reopened(dir, config).unwrap();
            assert_eq!(cursors(&again.read()), cursors(&log.read()));
            found.len() - self.kept.len()
        }
    }

    impl TestLog {
        fn segment(&self) -> PathBuf {
            segment_files(&self.config.dir)[0].clone()
        }
    }

    fn corrupt_at(result: Result<TestLog, OpenError>) -> u64 {
        match result.map(drop) {
            Err(OpenError::Corrupt { byte, .. }) => byte,
            other => panic!("opened damaged: {other:?}"),
        }
    }

    #[test]
    fn a_log_cut_off_at_any_byte_of_its_last_commit_keeps_all_before_it() {
        let written = Written::new();
        for end in written.last_at..=written.bytes.len() {
            let log = written.open_with(&written.bytes[..end]).unwrap();
            let found = written.check(log);
            assert_eq!(found == 3, end == written.bytes.len(), "cut off at {end}");
        }
    }

    #[test]
    fn a_log_damaged_at_any_byte_of_its_last_commit_keeps_all_before_it() {
        let written = Written::new();
        let mut bytes = written.bytes.clone();
        for at in written.last_at..bytes.len() {
            bytes[at] ^= 0x40;
            assert!(written.check(written.open_with(&bytes).unwrap()) < 3, "byte {at} changed");
            bytes[at] ^= 0x40;
        }
    }

    #[test]
    fn garbage_behind_the_last_commit_is_cut_off() {
        let written = Written::new();
        let repeated = &written.bytes[HEADER_BYTES..];
        for garbage in [&[0; 10_000][..], &[0xff; 3], b"\x20\0\0\0garbage", &repeated[..70]] {
            let bytes = [&written.bytes, garbage].concat();
            assert_eq!(written.check(written.open_with(&bytes).unwrap()), 3);
        }
    }

    #[test]
    fn damage_at_any_byte_before_the_last_commit_is_refused() {
        let written = Written::new();
        let mut bytes = written.bytes.clone();
        for at in 0..written.last_at {
            bytes[at] ^= 0x40;
            let byte = corrupt_at(written.open_with(&bytes));
            assert!(byte <= at as u64, "byte {at} changed, and the damage named at {byte}");
            bytes[at] ^= 0x40;
        }
        bytes.drain(written.last_at - 1..written.last_at);
        corrupt_at(written.open_with(&bytes));
    }

    #[test]
    fn damage_is_seen_however_far_the_next_commit_is() {
        let mut log = TestLog::new();
        let large = event("t", &"x".repeat(1_000_000));
        log.commit(vec![large; 4]);
        log.commit(events(1));
        let (dir, config) = log.copy();
        let path = &segment_files(dir.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[5_000] ^= 1;
        fs::write(path, bytes).unwrap();
        assert_eq!(corrupt_at(TestLog::reopened(dir, config)), HEADER_BYTES as u64);
    }

    #[test]
    fn a_later_commit_is_found_across_the_parts_of_the_search() {
        let mut log = TestLog::new();
        // The second commit begins 20 bytes before the first part of the search ends.
        let overhead = record::bytes_of(&event("t", "x")) - 1;
        log.commit(vec![event("t", &"x".repeat(SEARCH_BYTES - 20 - overhead))]);
        log.commit(events(1));
        let (dir, config) = log.copy();
        let path = &segment_files(dir.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[HEADER_BYTES] ^= 1;
        fs::write(path, bytes).unwrap();
        assert_eq!(corrupt_at(TestLog::reopened(dir, config)), HEADER_BYTES as u64);
    }

    #[test]
    fn nothing_changes_in_a_damaged_log() {
        let written = Written::new();
        let (dir, config) = written.log.copy();
        let path = segment_files(dir.path())[0].clone();
        let mut bytes = written.bytes;
        bytes[40] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = recover(&config).map(drop).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("00000000000000000001.seg at byte 28"), "{text}");
        assert!(text.contains("restore the directory"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    /// A log of several segments.
    fn rolled() -> TestLog {
        let mut log =
            TestLog::with(|config| Config { retention_bytes: 10_000, segment_bytes: 1, ..config });
        for _ in 0..5 {
            log.commit(events(1));
        }
        assert!(log.shared.segment_count() > 3);
        log
    }

    #[test]
    fn a_finished_segment_that_is_damaged_or_missing_is_refused() {
        let log = rolled();
        let (dir, config) = log.copy();
        let path = segment_files(dir.path())[1].clone();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let opened = testing::open(&config).map(drop);
        assert!(matches!(opened, Err(OpenError::Corrupt { byte: 28, .. })), "cut off: {opened:?}");
        fs::remove_file(&path).unwrap();
        assert_eq!(corrupt_at(TestLog::reopened(dir, config)), 16);
    }

    #[test]
    fn the_oldest_segments_may_be_missing() {
        let log = rolled();
        let (dir, config) = log.copy();
        fs::remove_file(&segment_files(dir.path())[0]).unwrap();
        let opened = TestLog::reopened(dir, config).unwrap();
        assert_eq!(cursors(&opened.read()), cursors(&log.read())[1..]);
    }

    #[test]
    fn a_segment_of_another_log_is_refused() {
        let (log, other) = (rolled(), rolled());
        let (dir, config) = log.copy();
        let name = segment_files(dir.path())[2].clone();
        fs::copy(&segment_files(&other.config.dir)[2], name).unwrap();
        assert_eq!(corrupt_at(TestLog::reopened(dir, config)), 12);
    }

    #[test]
    fn a_segment_of_a_later_format_is_told_apart_from_damage() {
        let log = TestLog::new();
        let (dir, config) = log.copy();
        let path = &segment_files(dir.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[8] = 2;
        let checksum = crc32fast::hash(&bytes[..24]).to_le_bytes();
        bytes[24..28].copy_from_slice(&checksum);
        fs::write(path, bytes).unwrap();
        let opened = testing::open(&config).map(drop);
        assert!(matches!(opened, Err(OpenError::Version { version: 2, .. })), "{opened:?}");
    }

    #[test]
    fn what_an_interrupted_roll_left_is_removed_and_other_files_are_not() {
        let mut log = TestLog::new();
        let stored = stored(log.commit(events(3)));
        let (dir, config) = log.copy();
        let unfinished = dir.path().join("00000000000000000004.new");
        fs::write(&unfinished, b"tidew").unwrap();
        let others = [dir.path().join("notes.txt"), dir.path().join("1.seg")];
        others.iter().for_each(|path| fs::write(path, b"mine").unwrap());
        let (_writer, shared) = testing::open(&config).unwrap();
        assert_eq!(
            cursors(&testing::read_all(&shared, &tidewire_core::Interest::everything())),
            stored
        );
        assert!(!unfinished.exists());
        assert!(others.iter().all(|path| path.exists()));
    }
}
