//! Why a log could not be opened.

use std::{io, path::PathBuf};

/// Why a log could not be opened. Nothing that was stored is changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two processes must not write one log: end the other one, or use another directory.
    #[error("another process has this log open: {}", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// What was acknowledged is damaged. Somebody has to decide; opening it again will not help.
    #[error(
        "the log is damaged: {} at byte {byte}: {reason}; restore the directory from a copy, or \
         move it away to begin a new log without the old events",
        file.display()
    )]
    Corrupt {
        /// The damaged segment file.
        file: PathBuf,
        /// Where in it the damage begins.
        byte: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The log was written by a version with another format: use that one.
    #[error("{} is of format version {version}, which this version cannot read", file.display())]
    Version {
        /// The segment file.
        file: PathBuf,
        /// Its format version.
        version: u32,
    },
    /// The directory cannot be used: permissions, a full or failing disk.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Gives an I/O error its context.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
