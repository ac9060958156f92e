//! An incremental reader of Server-Sent Events, as the WHATWG HTML standard has them (section
//! 9.2.6): any bytes, cut anywhere.

use std::{mem, time::Duration};

use bytes::{Buf, BytesMut};

use crate::parser::strict::Strict;

mod strict;
#[cfg(test)]
mod tests;

/// Bytes that one frame may have, unless told otherwise: twice the largest event that a hub can be
/// configured to take, for its envelope and the `data:` of its lines.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 2 * 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How much a reader forgives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// All that the standard forgives: what a browser does.
    #[default]
    Lenient,
    /// Nothing: whatever Tidewire promises not to write is an error. For tests of a hub.
    Strict,
}

/// One frame, as a browser would dispatch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Its `event:`; `message` where it has none.
    pub event_type: String,
    /// Its `data:` lines, joined by line feeds.
    pub data: String,
    /// The last `id:` of the connection, this frame's included; empty before the first.
    pub last_event_id: String,
}

/// Why a stream cannot be read on. The parser is of no use after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A frame is larger than allowed.
    #[error("a frame has more than {bytes_max} bytes")]
    TooLarge {
        /// What is allowed.
        bytes_max: usize,
    },
    /// Read strictly, the stream breaks a rule.
    #[error("line {line} of the stream {reason}")]
    Broken {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An incremental parser: bytes go in as they come, frames come out when they are whole. It holds
/// at most one frame, and whatever was pushed and not yet asked for.
#[derive(Debug)]
pub struct Parser {
    buffer: BytesMut,
    /// So many bytes of the buffer are known to hold no end of a line.
    scanned: usize,
    bytes_max: usize,
    begun: bool,
    after_cr: bool,
    block: Block,
    strict: Option<Strict>,
}

impl Parser {
    /// A parser at the beginning of a stream, for frames of at most `frame_bytes_max` bytes.
    pub fn new(reading: Reading, frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            bytes_max: frame_bytes_max,
            begun: false,
            after_cr: false,
            block: Block::default(),
            strict: (reading == Reading::Strict).then(Strict::default),
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame of what was pushed. A frame without its blank line is never one,
    /// however the stream ends.
    ///
    /// # Errors
    /// [`ParseError`], once and for all.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, ParseError> {
        if !self.begin()? {
            return Ok(None);
        }
        while let Some(end) = self.find_line_end()? {
            let line = &self.buffer[..end];
            let ended_by = self.buffer[end];
            if let Some(strict) = &mut self.strict {
                strict.check(line, ended_by)?;
            }
            let frame = self.block.take_line(line);
            self.buffer.advance(end + 1);
            self.scanned = 0;
            self.after_cr = ended_by == b'\r';
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }

    /// The last `id:` of the frames that have come out; empty before the first.
    pub fn last_event_id(&self) -> &str {
        &self.block.last_event_id
    }

    /// The last `retry:`: how long a client should wait before it comes back.
    pub fn retry(&self) -> Option<Duration> {
        self.block.retry
    }

    /// Drops a byte order mark; false while there are too few bytes to tell.
    fn begin(&mut self) -> Result<bool, ParseError> {
        if self.begun {
            return Ok(true);
        }
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            if self.strict.is_some() {
                let reason = "begins with a byte order mark";
                return Err(ParseError::Broken { line: 1, reason });
            }
            self.buffer.advance(BYTE_ORDER_MARK.len());
        } else if BYTE_ORDER_MARK.starts_with(&self.buffer) {
            return Ok(false);
        }
        self.begun = true;
        Ok(true)
    }

    /// Where the next line ends: at its CR or LF.
    fn find_line_end(&mut self) -> Result<Option<usize>, ParseError> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                self.buffer.advance(1);
            }
        }
        let found = memchr::memchr2(b'\n', b'\r', &self.buffer[self.scanned..]);
        let end = found.map(|at| self.scanned + at);
        self.scanned = self.buffer.len();
        // The same answer whether the line came whole or in parts.
        if end.unwrap_or(self.scanned) + self.block.data.len() > self.bytes_max {
            return Err(ParseError::TooLarge { bytes_max: self.bytes_max });
        }
        Ok(end)
    }
}

/// The fields since the last blank line, and what outlives them.
#[derive(Debug, Default)]
struct Block {
    event_type: String,
    /// Each line with a line feed behind it.
    data: Vec<u8>,
    /// The last `id:` read; it counts once its frame is whole.
    id: String,
    last_event_id: String,
    retry: Option<Duration>,
}

impl Block {
    /// Takes a line without its end; a blank one may complete a frame.
    fn take_line(&mut self, line: &[u8]) -> Option<RawFrame> {
        if line.is_empty() {
            return self.complete();
        }
        let (name, value) = split_field(line);
        match name {
            b"data" => {
                self.data.reserve(value.len() + 1);
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => assign(&mut self.id, value),
            b"event" => assign(&mut self.event_type, value),
            b"retry" => self.retry = milliseconds(value).or(self.retry),
            _ => {}
        }
        None
    }

    fn complete(&mut self) -> Option<RawFrame> {
        self.last_event_id.clone_from(&self.id);
        let event_type = mem::take(&mut self.event_type);
        let mut data = mem::take(&mut self.data);
        // Nothing where there was no `data` line at all; an empty one is an empty event.
        data.pop()?;
        let event_type = if event_type.is_empty() { "message".into() } else { event_type };
        let data = String::from_utf8(data)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Some(RawFrame { event_type, data, last_event_id: self.last_event_id.clone() })
    }
}

/// A line's field and value. A comment has the empty field, which means nothing to anybody.
fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

fn assign(text: &mut String, value: &[u8]) {
    text.clear();
    text.push_str(&String::from_utf8_lossy(value));
}

/// ASCII digits only; more than fit are as good as none.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits)?;
    number.parse().ok().map(Duration::from_millis)
}
