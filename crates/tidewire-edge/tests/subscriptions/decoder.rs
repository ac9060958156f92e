//! What a client makes of a stream's bytes, as soon as they have come.

use flate2::{Decompress, FlushDecompress, Status};
use tidewire_edge::Coding;

/// More than is ever handed out at once, unpacked.
const FRAMES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The decoder of one stream.
pub(crate) struct Decoder {
    /// `None` where the stream is not coded.
    gzip: Option<Decompress>,
    has_ended: bool,
}

impl Decoder {
    pub(crate) fn of(coding: Coding) -> Self {
        let gzip = (coding == Coding::Gzip).then(|| Decompress::new_gzip(15));
        Self { has_ended: gzip.is_none(), gzip }
    }

    /// The frames that have come with these bytes, all of them whole.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> String {
        let Some(gzip) = &mut self.gzip else { return String::from_utf8(bytes.into()).unwrap() };
        let read_before = gzip.total_in();
        let mut frames = Vec::with_capacity(FRAMES_BYTES_MAX);
        let status = gzip.decompress_vec(bytes, &mut frames, FlushDecompress::Sync).unwrap();
        assert_eq!(gzip.total_in() - read_before, bytes.len() as u64, "nothing is left over");
        self.has_ended = status == Status::StreamEnd;
        String::from_utf8(frames).unwrap()
    }

    /// Whether the stream may end here: its coding has, and its sum is right.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }
}
