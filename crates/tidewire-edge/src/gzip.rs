//! gzip in blocks that stand alone: one is made once, and is part of many clients' streams.
//!
//! A block refers to nothing before it and ends at a byte's end (RFC 1951, section 3.2), so a
//! decoder behind any header (RFC 1952) gives out all of it at once. The end of a stream says what
//! was in it as a whole: that is put together from what is known of each part.

use std::cell::RefCell;

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};

/// What a stream begins with: deflated, without a name or a time, from no system in particular.
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last block: without anything in it.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];
/// What is shorter has too little in it that comes again: it is stored at once, heartbeats above all.
const DEFLATED_BYTES_MIN: usize = 64;
/// Bytes before those that are stored in one piece, and how many those may be.
const STORED_HEAD_BYTES: usize = 5;
const STORED_BYTES_MAX: usize = 0xffff;
/// Lower ones hardly shrink events of a few hundred bytes, and higher ones hardly shrink larger ones
/// further; measured, see `docs/decisions/0014-gzip.md`.
const LEVEL: u32 = 6;

thread_local! {
    /// Some 300 KiB for each thread that hands frames out, and none for a connection.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// Deflates data on its own, or stores it where that is as short.
pub(crate) fn block(data: &[u8]) -> Bytes {
    deflated(data).unwrap_or_else(|| stored(data))
}

/// The end of a stream in which there was so much.
pub(crate) fn end(check: Check) -> [u8; 10] {
    let mut end = [0; 10];
    end[..2].copy_from_slice(&LAST_BLOCK);
    end[2..6].copy_from_slice(&check.crc.to_le_bytes());
    end[6..].copy_from_slice(&check.length.to_le_bytes());
    end
}

/// `None` where it would not be shorter than what [`stored`] makes of it.
fn deflated(data: &[u8]) -> Option<Bytes> {
    if data.len() < DEFLATED_BYTES_MIN {
        return None;
    }
    let mut output = Vec::with_capacity(stored_length(data));
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        compressor.compress_vec(data, &mut output, FlushCompress::Sync).ok()
    })?;
    // While it fills what it has been given it may have more to say.
    (output.len() < stored_length(data)).then(|| Bytes::copy_from_slice(&output))
}

fn stored(data: &[u8]) -> Bytes {
    let mut output = Vec::with_capacity(stored_length(data));
    for piece in data.chunks(STORED_BYTES_MAX) {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        output.push(0);
        output.extend_from_slice(&length.to_le_bytes());
        output.extend_from_slice(&(!length).to_le_bytes());
        output.extend_from_slice(piece);
    }
    output.into()
}

fn stored_length(data: &[u8]) -> usize {
    data.len() + data.len().div_ceil(STORED_BYTES_MAX) * STORED_HEAD_BYTES
}

/// What the end of a stream says of what was in it; by default nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Check {
    crc: u32,
    /// Modulo 2^32.
    length: u32,
}

impl Check {
    pub(crate) fn of(data: &[u8]) -> Self {
        // A frame has far fewer bytes.
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Self { crc: crc32fast::hash(data), length }
    }

    /// The check of both, one behind the other. The second is of less than 4 GiB.
    pub(crate) fn then(self, second: Self) -> Self {
        if second.length == 0 {
            return self;
        }
        let mut both = Hasher::new_with_initial_len(self.crc, self.length.into());
        both.combine(&Hasher::new_with_initial_len(second.crc, second.length.into()));
        Self { crc: both.finalize(), length: self.length.wrapping_add(second.length) }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress, Status};
    use proptest::prelude::*;

    use super::*;

    /// What a client reads at once of what has come.
    fn read(client: &mut Decompress, bytes: &[u8]) -> (Vec<u8>, Status) {
        let before = client.total_in();
        let mut data = Vec::with_capacity(4 * 1024 * 1024);
        let status = client.decompress_vec(bytes, &mut data, FlushDecompress::Sync).unwrap();
        assert_eq!(client.total_in() - before, bytes.len() as u64, "it takes all of it");
        (data, status)
    }

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let text = "(\\{\"(price|symbol)\":[0-9]{1,4}\\}){0,60}".prop_map(String::into_bytes);
        let noise = proptest::collection::vec(any::<u8>(), 0..300);
        let long =
            (any::<u8>(), 65_000_usize..140_000).prop_map(|(byte, length)| vec![byte; length]);
        proptest::collection::vec(prop_oneof![5 => text, 3 => noise, 1 => long], 0..12)
    }

    proptest! {
        #[test]
        fn each_part_is_read_when_it_has_come_and_the_end_agrees(parts in parts()) {
            let mut client = Decompress::new_gzip(15);
            read(&mut client, &HEADER);
            let mut check = Check::default();
            for part in &parts {
                let block = block(part);
                prop_assert!(block.len() <= stored_length(part));
                prop_assert_eq!(&read(&mut client, &block).0, part);
                check = check.then(Check::of(part));
            }
            let (rest, status) = read(&mut client, &end(check));
            prop_assert_eq!((rest, status), (vec![], Status::StreamEnd));
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let mut noise = Vec::new();
        let mut state = 1_u32;
        noise.resize_with(200_000, || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        for length in [1, 100, 65_535, 65_536, 200_000] {
            assert_eq!(block(&noise[..length]), stored(&noise[..length]), "{length}");
        }
        assert_eq!(block(b""), "");
        assert_eq!(&*block(b":\n"), b"\0\x02\0\xfd\xff:\n");
    }
}
