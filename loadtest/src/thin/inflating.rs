//! A stream by gzip, inflated as it comes.

use flate2::{Decompress, FlushDecompress, Status};

use super::Fault;

/// How far a stream by gzip has been inflated. It holds the 32 KiB that deflate may refer back to,
/// whether blocks do or not: what a block refers to is for a client to find out.
pub(super) struct Inflating {
    gzip: Decompress,
    is_over: bool,
}

/// Window bits of the format's largest window.
const WINDOW_BITS: u8 = 15;

impl Default for Inflating {
    fn default() -> Self {
        Self { gzip: Decompress::new_gzip(WINDOW_BITS), is_over: false }
    }
}

impl Inflating {
    /// Takes a piece of the stream, and hands over everything that can be known by it, by way of a
    /// buffer that is there for that.
    ///
    /// # Errors
    /// It is not gzip, its sum is another, something stands behind its end, or what is handed over is
    /// refused.
    pub(super) fn take(
        &mut self,
        mut piece: &[u8],
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut is_full = false;
        while !piece.is_empty() || is_full {
            if self.is_over {
                return Err(Fault::Malformed);
            }
            let before = [self.gzip.total_in(), self.gzip.total_out()];
            let done = self.gzip.decompress(piece, buffer, FlushDecompress::Sync);
            let status = done.map_err(|_| Fault::Malformed)?;
            let since = |total: u64, before| usize::try_from(total - before).unwrap_or(usize::MAX);
            let read = since(self.gzip.total_in(), before[0]);
            let written = since(self.gzip.total_out(), before[1]);
            if read == 0 && written == 0 && !is_full {
                return Err(Fault::Malformed);
            }
            piece = &piece[read..];
            self.is_over = status == Status::StreamEnd;
            is_full = written == buffer.len() && !self.is_over;
            each(&buffer[..written])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, Crc, FlushCompress};

    use super::*;

    const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    const FRAMES: [&str; 3] = ["data: one one one one\n\n", ":\n", "data: one one two two\n\n"];

    /// A header, a block for each frame, and the end with its sum.
    fn stream() -> Vec<u8> {
        let (mut bytes, mut sum) = (HEADER.to_vec(), Crc::new());
        let mut deflate = Compress::new(Compression::default(), false);
        for (number, frame) in FRAMES.iter().enumerate() {
            let is_last = number + 1 == FRAMES.len();
            let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
            bytes.reserve(100);
            deflate.compress_vec(frame.as_bytes(), &mut bytes, flush).unwrap();
            sum.update(frame.as_bytes());
        }
        bytes.extend(sum.sum().to_le_bytes());
        bytes.extend(sum.amount().to_le_bytes());
        bytes
    }

    fn inflated(pieces: &[&[u8]], buffer_bytes: usize) -> Result<String, Fault> {
        let (mut inflating, mut seen) = (Inflating::default(), Vec::new());
        for piece in pieces {
            inflating.take(piece, &mut vec![0; buffer_bytes], |plain| {
                seen.extend_from_slice(plain);
                Ok(())
            })?;
        }
        Ok(String::from_utf8(seen).unwrap())
    }

    #[test]
    fn a_stream_is_the_same_wherever_it_is_cut_and_however_small_the_buffer_is() {
        let stream = stream();
        for cut in 0..stream.len() {
            let (one, other) = stream.split_at(cut);
            for buffer_bytes in [1, 22, 1_000] {
                let seen = inflated(&[one, other], buffer_bytes);
                assert_eq!(seen, Ok(FRAMES.concat()), "cut at {cut}, {buffer_bytes}");
            }
        }
    }

    #[test]
    fn what_is_not_whole_gzip_is_a_fault() {
        let whole = stream();
        let mut other_sum = whole.clone();
        other_sum[whole.len() - 8] ^= 1;
        let mut no_header = whole.clone();
        no_header[0] = b'd';
        let more = [&whole[..], b"more"].concat();
        for stream in [b"data: one\n\n".to_vec(), other_sum, no_header, more] {
            assert_eq!(inflated(&[&stream], 1_000), Err(Fault::Malformed));
        }
        assert_eq!(inflated(&[&whole, b"more"], 1_000), Err(Fault::Malformed));
    }
}
