//! A walk over the records of a segment file, in order.

use std::{fs::File, io, os::unix::fs::FileExt};

use tidewire_core::Epoch;

use crate::record::{self, Record};

/// Bytes read at once when many records are wanted: the cost of a call is small beside it, and the
/// allocator hands out a block of this size without asking the kernel.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// A place in a file, and the bytes read ahead of it.
pub(crate) struct Scan<'f> {
    file: &'f File,
    epoch: Epoch,
    /// Where the next record begins.
    offset: u64,
    /// Where the last record ends.
    end: u64,
    chunk: usize,
    /// Bytes of the file; those from `start` stand at `offset`.
    buffer: Vec<u8>,
    start: usize,
}

/// Why a scan could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// At this byte of the file there is no record.
    #[error("damaged at byte {byte}: {reason}")]
    Damaged { byte: u64, reason: String },
}

impl<'f> Scan<'f> {
    /// A scan of the records between two places of a file, reading `chunk` bytes at once.
    pub(crate) fn new(file: &'f File, epoch: Epoch, offset: u64, end: u64, chunk: usize) -> Self {
        Self { file, epoch, offset, end, chunk, buffer: Vec::new(), start: 0 }
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record, and where it begins.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Record<'_>)>, ScanError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let offset = self.offset;
        let damaged =
            |reason: record::Damage| ScanError::Damaged { byte: offset, reason: reason.into() };
        self.want(record::PREFIX_BYTES)?;
        let length = record::length(&self.buffer[self.start..]).map_err(damaged)?;
        self.want(length)?;
        let bytes = &self.buffer[self.start..self.start + length];
        let record = record::parse(bytes, self.epoch).map_err(damaged)?;
        self.start += length;
        self.offset += length as u64;
        Ok(Some((offset, record)))
    }

    /// Makes sure that so many bytes from `offset` on are in the buffer.
    fn want(&mut self, bytes: usize) -> Result<(), ScanError> {
        let held = self.buffer.len() - self.start;
        if held >= bytes {
            return Ok(());
        }
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        if left < bytes {
            let reason = "a record reaches beyond the end".into();
            return Err(ScanError::Damaged { byte: self.offset, reason });
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.resize(bytes.max(self.chunk).min(left), 0);
        self.file.read_exact_at(&mut self.buffer[held..], self.offset + held as u64)?;
        Ok(())
    }
}
