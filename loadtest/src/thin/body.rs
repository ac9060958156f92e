//! An answer of HTTP/1.1 piece by piece: its head, and the chunks behind it where there are any.

use super::Fault;

const STATUS: Pattern = Pattern::of("http/1.1 200");
const EVENT_STREAM: Pattern = Pattern::of("content-type: text/event-stream");
const CHUNKED: Pattern = Pattern::of("transfer-encoding: chunked");
const GZIP: Pattern = Pattern::of("content-encoding: gzip");
/// Longer chunks than this are nobody's events.
const CHUNK_BYTES_MAX: u64 = 1 << 30;

/// How far an answer has been read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    Head(Head),
    /// The bytes of events, up to the end of the connection.
    Plain,
    Chunks(Chunk),
    /// The last chunk has come.
    Ended,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    status: Pattern,
    event_stream: Pattern,
    chunked: Pattern,
    gzip: Pattern,
    /// Bytes of the line so far, without its end; the first line of all has one more.
    line_bytes: u32,
    is_event_stream: bool,
    is_chunked: bool,
    is_gzip: bool,
    is_gzip_wanted: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Chunk {
    Size(u64, u8),
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataEndFeed,
    /// The lines behind the last chunk: here always an empty one.
    LastEnd,
    LastEndFeed,
}

impl Body {
    /// Of one who asked for gzip, and must get it, or for none.
    pub(super) fn new(is_gzip_wanted: bool) -> Self {
        Self::Head(Head {
            status: STATUS,
            event_stream: EVENT_STREAM,
            chunked: CHUNKED,
            gzip: GZIP,
            line_bytes: 0,
            is_event_stream: false,
            is_chunked: false,
            is_gzip: false,
            is_gzip_wanted,
        })
    }

    /// Cuts off the next piece that belongs to the events; an empty one where none is left.
    ///
    /// # Errors
    /// It is no answer with events, has another coding than was asked for, or its chunks are not as they must be.
    pub(super) fn next<'bytes>(&mut self, bytes: &mut &'bytes [u8]) -> Result<&'bytes [u8], Fault> {
        while !bytes.is_empty() {
            match self {
                Self::Plain => return Ok(std::mem::take(bytes)),
                Self::Chunks(Chunk::Data(left)) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let (piece, rest) = bytes.split_at(length);
                    *bytes = rest;
                    *left -= length as u64;
                    if *left == 0 {
                        *self = Self::Chunks(Chunk::DataEnd);
                    }
                    return Ok(piece);
                }
                Self::Head(head) => {
                    if head.take(bytes[0])? {
                        let is_chunked = head.is_chunked;
                        *self =
                            if is_chunked { Self::Chunks(Chunk::Size(0, 0)) } else { Self::Plain };
                    }
                    *bytes = &bytes[1..];
                }
                Self::Chunks(chunk) => {
                    *self = chunk.after(bytes[0])?;
                    *bytes = &bytes[1..];
                }
                Self::Ended => return Err(Fault::Malformed),
            }
        }
        Ok(&[])
    }
}

impl Head {
    /// Takes a byte; says whether it was the last.
    fn take(&mut self, byte: u8) -> Result<bool, Fault> {
        match byte {
            b'\r' => return Ok(false),
            b'\n' => {}
            _ => {
                self.status.take(byte);
                self.event_stream.take(byte);
                self.chunked.take(byte);
                self.gzip.take(byte);
                self.line_bytes += 1;
                return Ok(false);
            }
        }
        if self.status.is_begun() && !self.status.is_whole() {
            return Err(Fault::Refused);
        }
        // Only the first line counts.
        self.status = Pattern::of("");
        self.is_event_stream |= self.event_stream.is_whole();
        self.is_chunked |= self.chunked.is_whole();
        self.is_gzip |= self.gzip.is_whole();
        (self.event_stream, self.chunked, self.gzip) = (EVENT_STREAM, CHUNKED, GZIP);
        let is_end = std::mem::take(&mut self.line_bytes) == 0;
        if is_end && !self.is_event_stream {
            return Err(Fault::Refused);
        }
        if is_end && self.is_gzip != self.is_gzip_wanted {
            return Err(Fault::Malformed);
        }
        Ok(is_end)
    }
}

impl Chunk {
    fn after(self, byte: u8) -> Result<Body, Fault> {
        let next = match (self, byte) {
            (Self::Size(size, digits), b'\r') if digits > 0 => Self::SizeEnd(size),
            (Self::Size(size, digits), _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Fault::Malformed)?;
                let size = size * 16 + u64::from(digit);
                if size > CHUNK_BYTES_MAX {
                    return Err(Fault::Malformed);
                }
                Self::Size(size, digits.saturating_add(1))
            }
            (Self::SizeEnd(0), b'\n') => Self::LastEnd,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataEndFeed,
            (Self::DataEndFeed, b'\n') => Self::Size(0, 0),
            (Self::LastEnd, b'\r') => Self::LastEndFeed,
            (Self::LastEndFeed, b'\n') => return Ok(Body::Ended),
            _ => return Err(Fault::Malformed),
        };
        Ok(Body::Chunks(next))
    }
}

/// The beginning of a line, in small letters, compared byte by byte.
#[derive(Debug, Clone, Copy)]
struct Pattern {
    text: &'static str,
    /// How much of it has come; none where something else has.
    matched: Option<u8>,
}

impl Pattern {
    const fn of(text: &'static str) -> Self {
        Self { text, matched: Some(0) }
    }

    fn take(&mut self, byte: u8) {
        let Some(matched) = self.matched else { return };
        if let Some(expected) = self.text.as_bytes().get(usize::from(matched)) {
            self.matched = byte.eq_ignore_ascii_case(expected).then_some(matched + 1);
        }
    }

    fn is_begun(&self) -> bool {
        !self.text.is_empty()
    }

    fn is_whole(&self) -> bool {
        self.matched.is_some_and(|matched| usize::from(matched) == self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nDate: today\r\nContent-Type: text/event-stream; \
                        charset=utf-8\r\n";
    const CHUNKED_BODY: &str = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n";

    fn read(pieces: [&[u8]; 2]) -> Result<(Vec<u8>, Body), Fault> {
        let (mut body, mut events) = (Body::new(false), Vec::new());
        for mut piece in pieces {
            while !piece.is_empty() {
                events.extend_from_slice(body.next(&mut piece)?);
            }
        }
        Ok((events, body))
    }

    #[test]
    fn chunks_are_the_same_wherever_the_bytes_are_cut() {
        let answer = format!("{HEAD}{CHUNKED_BODY}0\r\n\r\n");
        for cut in 0..answer.len() {
            let (one, other) = answer.as_bytes().split_at(cut);
            let (events, body) = read([one, other]).unwrap();
            assert_eq!(events, b"abc0123456789", "cut at {cut}");
            assert!(matches!(body, Body::Ended), "cut at {cut}");
        }
    }

    #[test]
    fn without_chunks_everything_behind_the_head_is_events() {
        let answer = format!("{HEAD}\r\n3\r\nabc");
        assert_eq!(read([answer.as_bytes(), b""]).unwrap().0, b"3\r\nabc");
    }

    #[test]
    fn an_answer_has_the_coding_that_was_asked_for() {
        for (line, is_gzip) in [("", false), ("Content-Encoding: gzip\r\n", true)] {
            for is_wanted in [false, true] {
                let answer = format!("{HEAD}{line}\r\n");
                let read = Body::new(is_wanted).next(&mut answer.as_bytes()).map(<[u8]>::len);
                let expected = if is_gzip == is_wanted { Ok(0) } else { Err(Fault::Malformed) };
                assert_eq!(read, expected, "{line:?}, wanted: {is_wanted}");
            }
        }
    }

    #[test]
    fn what_is_not_as_it_must_be_is_a_fault() {
        for (answer, fault) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n".to_owned(), Fault::Refused),
            ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n".to_owned(), Fault::Refused),
            (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\nxyz"), Fault::Malformed),
            (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n\r\n"), Fault::Malformed),
            (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd"), Fault::Malformed),
            (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc"), Fault::Malformed),
            (format!("{HEAD}{CHUNKED_BODY}0\r\n\r\nmore"), Fault::Malformed),
        ] {
            assert_eq!(read([answer.as_bytes(), b""]).unwrap_err(), fault, "{answer}");
        }
    }
}
