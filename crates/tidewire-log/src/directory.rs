//! The log's directory: one process at a time in it, and what was done to it made durable.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use tidewire_core::Sequence;

use crate::error::OpenError;

const LOCK: &str = "lock";
const SEGMENT: &str = "seg";
/// A segment whose header is not yet known to be on the disk.
const UNFINISHED: &str = "new";

/// A directory that this process alone uses, until it is dropped.
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
    /// The kernel lets go of the lock with the process, however it ends.
    lock: File,
}

impl Directory {
    /// Takes a directory, making it where there is none.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(OpenError::io("create", path))?;
        let path = path.canonicalize().map_err(OpenError::io("find", path))?;
        if let Some(parent) = path.parent() {
            // So that a new directory outlives the machine as its files do. A parent that may not
            // be opened was not made here.
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        let handle = File::open(&path).map_err(OpenError::io("open", &path))?;
        let lock = path.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(OpenError::io("open", lock))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, handle, lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: path }),
            Err(TryLockError::Error(error)) => Err(OpenError::io("lock", path)(error)),
        }
    }

    /// The first sequences of all segments, sorted. What an interrupted roll left is removed.
    pub(crate) fn segments(&self) -> io::Result<Vec<Sequence>> {
        let mut bases = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let Some(base) = base_of(&path) else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(SEGMENT) => bases.push(base),
                Some(UNFINISHED) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// The name of the segment that begins with `base`.
    pub(crate) fn segment(&self, base: Sequence) -> PathBuf {
        self.path.join(format!("{base:020}.{SEGMENT}", base = base.0))
    }

    /// The name it has until its header is on the disk.
    pub(crate) fn unfinished_segment(&self, base: Sequence) -> PathBuf {
        self.segment(base).with_extension(UNFINISHED)
    }

    /// Makes the names in the directory durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started holds a copy
        // of it for a moment.
        let _ = self.lock.unlock();
    }
}

/// The sequence in a segment file's name: exactly 20 digits.
fn base_of(path: &Path) -> Option<Sequence> {
    let stem = path.file_stem()?.to_str()?;
    let digits = stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit());
    stem.parse().ok().filter(|_| digits).map(Sequence)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_directory_is_free_again_though_a_child_process_still_holds_the_file() {
        let dir = TempDir::new().unwrap();
        let taken = Directory::take(dir.path()).unwrap();
        let copy_of_a_child = taken.lock.try_clone().unwrap();
        assert!(matches!(Directory::take(dir.path()), Err(OpenError::Locked { .. })));
        drop(taken);
        Directory::take(dir.path()).map(drop).unwrap();
        drop(copy_of_a_child);
    }
}
