//! A segment: one file with a header and the records of a range of sequences without a hole.
//!
//! It is named by its first sequence (`00000000000000000001.seg`) and begins with a header;
//! all numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `tidewire` |
//! | 4 | format version, 1 |
//! | 4 | the log's epoch, not 0; the same in all segments |
//! | 8 | first sequence |
//! | 4 | CRC-32 (IEEE) over the 24 bytes before |
//!
//! Then records, as in `record.rs`, to the end of the file.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tidewire_core::{Epoch, Sequence, UnixMillis};

use crate::{directory::Directory, error::OpenError};

/// Bytes of a header, and where the first record begins.
pub(crate) const HEADER_BYTES: usize = 28;
const MAGIC: [u8; 8] = *b"tidewire";
const VERSION: u32 = 1;

/// Bytes of records between two marks: what a read passes over before it reaches its place, about
/// 10 µs from the page cache. A mark costs 24 bytes of memory.
const MARK_BYTES: u64 = 64 * 1024;

/// One file of the log. The writer extends the last one; all others never change again.
pub(crate) struct Segment {
    pub(crate) base: Sequence,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    extent: RwLock<Extent>,
}

/// What of a segment is synced, and where in it things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes of the file, header included.
    pub(crate) end: u64,
    /// Times of the first and the last event; `None` where there is none yet.
    pub(crate) times: Option<(UnixMillis, UnixMillis)>,
    /// A sparse index, in order; the first mark is the first record.
    marks: Vec<Mark>,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    sequence: Sequence,
    time: UnixMillis,
    offset: u64,
}

impl Segment {
    /// Makes a segment without events. When this returns it is durable under its name; so a
    /// segment file with a broken header is never what a crash left.
    pub(crate) fn create(
        directory: &Directory,
        epoch: Epoch,
        base: Sequence,
    ) -> Result<Self, CreateError> {
        let path = directory.segment(base);
        let unfinished = directory.unfinished_segment(base);
        let file = write_header(&unfinished, epoch, base).map_err(|error| {
            // It is tried again later, and removed on opening.
            let _ = fs::remove_file(&unfinished);
            CreateError::Nothing(error)
        })?;
        fs::rename(&unfinished, &path).map_err(CreateError::Nothing)?;
        directory.sync().map_err(CreateError::Unknown)?;
        Ok(Self::new(base, path, file, Extent::default()))
    }

    /// A file whose header has been written or checked.
    pub(crate) fn new(base: Sequence, path: PathBuf, file: File, extent: Extent) -> Self {
        Self { base, path, file, extent: RwLock::new(extent) }
    }

    /// What is synced now.
    pub(crate) fn extent(&self) -> RwLockReadGuard<'_, Extent> {
        self.extent.read()
    }

    /// For the writer, once it has synced more.
    pub(crate) fn extent_mut(&self) -> RwLockWriteGuard<'_, Extent> {
        self.extent.write()
    }
}

/// How far making a segment went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// There is no segment; it can be tried again.
    #[error(transparent)]
    Nothing(io::Error),
    /// There may be one after a restart: nobody knows what the directory holds.
    #[error("cannot sync the directory: {0}")]
    Unknown(io::Error),
}

fn write_header(path: &Path, epoch: Epoch, base: Sequence) -> io::Result<File> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all(&header(epoch, base))?;
    file.sync_all()?;
    Ok(file)
}

fn header(epoch: Epoch, base: Sequence) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&epoch.0.to_le_bytes());
    header.extend_from_slice(&base.0.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header
}

/// Reads the header of the segment that begins with `base`.
pub(crate) fn read_header(file: &File, path: &Path, base: Sequence) -> Result<Epoch, OpenError> {
    let corrupt = |byte, reason: &str| OpenError::Corrupt {
        file: path.to_owned(),
        byte,
        reason: reason.to_owned(),
    };
    let mut found = [0; HEADER_BYTES];
    if let Err(error) = file.read_exact_at(&mut found, 0) {
        return Err(match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupt(0, "the header is cut short"),
            _ => OpenError::io("read", path)(error),
        });
    }
    let [version, epoch, ..] = [8, 12]
        .map(|at| u32::from_le_bytes([found[at], found[at + 1], found[at + 2], found[at + 3]]));
    if found[..8] != MAGIC {
        Err(corrupt(0, "this is no segment of a log"))
    } else if crc32fast::hash(&found[..24]).to_le_bytes() != found[24..] {
        Err(corrupt(0, "the header does not match its checksum"))
    } else if version != VERSION {
        Err(OpenError::Version { file: path.to_owned(), version })
    } else if found[16..24] != base.0.to_le_bytes() {
        Err(corrupt(16, "the header names another first sequence than the file's name"))
    } else if epoch == 0 {
        Err(corrupt(12, "the epoch is 0"))
    } else {
        Ok(Epoch(epoch))
    }
}

impl Default for Extent {
    /// A header, and no record.
    fn default() -> Self {
        Self { end: HEADER_BYTES as u64, times: None, marks: Vec::new() }
    }
}

impl Extent {
    /// Adds the record that begins where the last one ends.
    pub(crate) fn push(&mut self, sequence: Sequence, time: UnixMillis, bytes: u64) {
        let offset = self.end;
        if self.marks.last().is_none_or(|mark| offset - mark.offset >= MARK_BYTES) {
            self.marks.push(Mark { sequence, time, offset });
        }
        let first = self.times.map_or(time, |(first, _)| first);
        self.times = Some((first, time));
        self.end = offset + bytes;
    }

    /// A place at or before the record of `sequence`, near it.
    pub(crate) fn offset_near(&self, sequence: Sequence) -> u64 {
        self.offset_before(|mark| mark.sequence <= sequence)
    }

    /// A place at or before the first record that is not earlier than `time`, near it.
    pub(crate) fn offset_near_time(&self, time: UnixMillis) -> u64 {
        self.offset_before(|mark| mark.time < time)
    }

    /// The last mark for which `is_before` holds; it holds for none after one for which it does
    /// not.
    fn offset_before(&self, is_before: impl Fn(&Mark) -> bool) -> u64 {
        let after = self.marks.partition_point(is_before);
        after.checked_sub(1).map_or(HEADER_BYTES as u64, |at| self.marks[at].offset)
    }
}
