//! Server-Sent Events byte by byte, without a buffer: a frame's fields become numbers as they come.

use memchr::{memchr2, memchr3};

use super::Fault;

/// The longest name that means something here, of a field or of an event.
const NAME_BYTES_MAX: usize = 20;
/// What stands before an event's data where a server puts it into JSON.
const WRAPPED: &[u8] = br#""data":""#;

/// What one frame said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Event(Event),
    /// One of the hub's own, that is no event: a hello, or a cursor.
    Note {
        position: Option<u64>,
    },
    /// The hub says that events are missing.
    Gap,
    /// The hub says that the stream ends.
    Farewell,
}

/// An event of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) flow: u64,
    pub(super) number: u64,
    pub(super) due: u64,
    /// Of all its data.
    pub(super) checksum: u32,
    /// The number that ends its id, where it does.
    pub(super) position: Option<u64>,
}

/// How far a stream has been read. It holds no bytes but a name's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frames {
    at: At,
    name: Name,
    kind: Name,
    position: Option<u64>,
    checksum: u32,
    /// The numbers that data begins with, and how many of them have ended.
    numbers: [u64; 3],
    ended: u8,
    /// A digit of the number that has not ended has come.
    has_digit: bool,
    /// Something else than its numbers stands where they must.
    is_alien: bool,
    has_data: bool,
    /// Its data is JSON, and what was published stands in it.
    is_wrapped: bool,
    is_event: bool,
}

/// Where in a line the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    /// Behind a CR that is all there is of a line.
    Return,
    FieldName,
    /// Behind the colon, where one space is none of the value.
    ValueStart(Field),
    Value(Field),
    /// In JSON, with so much before what was published.
    Wrapping(u8),
    Comment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Event,
    Data,
    Retry,
}

#[derive(Debug, Clone, Copy, Default)]
struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    length: u8,
}

impl Frames {
    /// Takes a piece of the stream, and hands over each frame that it completes. An empty line that
    /// ends in CR and LF may stand between frames, where it is not strict.
    ///
    /// # Errors
    /// It is not a stream of frames as they are written here, or what is handed over is refused.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        is_strict: bool,
        mut each: impl FnMut(Frame) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some((&byte, rest)) = bytes.split_first() {
            // Most of what comes is data behind its numbers, or a comment: not looked at singly.
            let is_bulk = match self.at {
                At::Value(Field::Data) => self.ended == 3,
                At::Comment => true,
                _ => false,
            };
            if is_bulk {
                let is_data = self.at == At::Value(Field::Data);
                let end = if is_data && self.is_wrapped {
                    memchr3(b'\n', b'\r', b'"', bytes)
                } else {
                    memchr2(b'\n', b'\r', bytes)
                };
                let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                if is_data {
                    self.sum(piece);
                }
                bytes = rest;
                if let Some((&end, rest)) = bytes.split_first() {
                    bytes = rest;
                    if end == b'"' {
                        self.at = At::Comment;
                    } else {
                        self.take_line_end(end)?;
                    }
                }
                continue;
            }
            if byte == b'\r' && self.at == At::LineStart && !self.is_event && !is_strict {
                self.at = At::Return;
            } else if matches!(self.at, At::LineStart | At::Return) && byte == b'\n' {
                if let Some(frame) = self.frame()? {
                    each(frame)?;
                }
                *self = Self::default();
            } else if byte == b'\n' || byte == b'\r' {
                self.take_line_end(byte)?;
            } else {
                self.take_byte(byte)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// A line's end is one line feed. None may come in a field's name.
    fn take_line_end(&mut self, byte: u8) -> Result<(), Fault> {
        let is_whole = matches!(self.at, At::Value(_) | At::Wrapping(_) | At::Comment);
        if byte == b'\r' || !is_whole {
            return Err(Fault::Malformed);
        }
        self.at = At::LineStart;
        Ok(())
    }

    fn take_byte(&mut self, byte: u8) -> Result<(), Fault> {
        match (self.at, byte) {
            (At::Return, _) => return Err(Fault::Malformed),
            (At::LineStart, b':') => self.at = At::Comment,
            (At::LineStart, _) => {
                self.name = Name::default();
                self.name.push(byte)?;
                self.at = At::FieldName;
            }
            (At::FieldName, b':') => self.begin_value()?,
            (At::FieldName, _) => self.name.push(byte)?,
            (At::ValueStart(field), b' ') => self.at = At::Value(field),
            (At::ValueStart(field) | At::Value(field), _) => {
                self.at = At::Value(field);
                self.take_value(field, byte)?;
            }
            (At::Wrapping(matched), _) => self.at = Self::after_wrapping(matched, byte),
            (At::Comment, _) => {}
        }
        Ok(())
    }

    fn begin_value(&mut self) -> Result<(), Fault> {
        let field = match self.name.as_bytes() {
            b"id" => Field::Id,
            b"event" => Field::Event,
            // Published data has one line.
            b"data" if !self.has_data => Field::Data,
            b"retry" => Field::Retry,
            _ => return Err(Fault::Malformed),
        };
        self.has_data |= field == Field::Data;
        self.is_event = true;
        self.at = At::ValueStart(field);
        Ok(())
    }

    fn take_value(&mut self, field: Field, byte: u8) -> Result<(), Fault> {
        match field {
            Field::Id => {
                let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
                self.position =
                    digit.map(|digit| self.position.unwrap_or_default().wrapping_mul(10) + digit);
            }
            Field::Event => self.kind.push(byte)?,
            Field::Data if byte == b'{' && self.checksum == 0 && !self.is_wrapped => {
                self.is_wrapped = true;
                self.at = At::Wrapping(0);
            }
            Field::Data => {
                self.sum(&[byte]);
                self.take_number(byte);
            }
            Field::Retry => {}
        }
        Ok(())
    }

    /// Where one is after another byte of JSON.
    fn after_wrapping(matched: u8, byte: u8) -> At {
        let matched = usize::from(matched);
        if byte != WRAPPED[matched] {
            return At::Wrapping(u8::from(byte == WRAPPED[0]));
        }
        match u8::try_from(matched + 1) {
            Ok(matched) if usize::from(matched) < WRAPPED.len() => At::Wrapping(matched),
            _ => At::Value(Field::Data),
        }
    }

    /// Each number is digits and a space.
    fn take_number(&mut self, byte: u8) {
        let number = &mut self.numbers[usize::from(self.ended)];
        match byte {
            b'0'..=b'9' => {
                *number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                self.has_digit = true;
            }
            b' ' if self.has_digit => {
                self.ended += 1;
                self.has_digit = false;
            }
            _ => self.is_alien = true,
        }
    }

    fn sum(&mut self, bytes: &[u8]) {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.checksum);
        hasher.update(bytes);
        self.checksum = hasher.finalize();
    }

    /// What the lines up to an empty one were; none where they were comments only.
    fn frame(&self) -> Result<Option<Frame>, Fault> {
        if !self.is_event {
            return Ok(None);
        }
        Ok(Some(match self.kind.as_bytes() {
            b"" | b"message" if self.has_data && self.ended == 3 && !self.is_alien => {
                let [flow, number, due] = self.numbers;
                let (checksum, position) = (self.checksum, self.position);
                Frame::Event(Event { flow, number, due, checksum, position })
            }
            // What a server says beside events, in JSON.
            b"" | b"message" if self.is_wrapped => Frame::Note { position: self.position },
            b"tidewire.hello" | b"tidewire.cursor" | b"tidewire.probe" => {
                Frame::Note { position: self.position }
            }
            b"tidewire.gap" => Frame::Gap,
            b"tidewire.retry" | b"tidewire.auth" | b"tidewire.buffered" => Frame::Farewell,
            _ => return Err(Fault::Malformed),
        }))
    }
}

impl Name {
    fn push(&mut self, byte: u8) -> Result<(), Fault> {
        let place = self.bytes.get_mut(usize::from(self.length)).ok_or(Fault::Malformed)?;
        *place = byte;
        self.length += 1;
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: tidewire.hello\nid: 0000000a-7\nretry: 2417\ndata: {\"a\":\"b\"}\n\n\
                          :\nid: 0000000a-9\ndata: 1 20 300 xyz\n\n: \n\n\
                          id: 0000000a-10\nevent: tidewire.gap\ndata: {}\n\n";

    fn read(pieces: [&[u8]; 2]) -> Result<Vec<Frame>, Fault> {
        read_as(pieces, true)
    }

    fn read_as(pieces: [&[u8]; 2], is_strict: bool) -> Result<Vec<Frame>, Fault> {
        let (mut frames, mut seen) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.take(piece, is_strict, |frame| {
                seen.push(frame);
                Ok(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        let checksum = crc32fast::hash(b"1 20 300 xyz");
        let event = Event { flow: 1, number: 20, due: 300, checksum, position: Some(9) };
        let whole = [Frame::Note { position: Some(7) }, Frame::Event(event), Frame::Gap];
        for cut in 0..STREAM.len() {
            let (one, other) = STREAM.as_bytes().split_at(cut);
            assert_eq!(read([one, other]).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_was_published_is_found_in_json_wherever_the_bytes_are_cut() {
        const WRAPPED_EVENT: &str = "\r\ndata: {\"connect\":{\"data\":{}}}\n\n\
            data: {\"channel\":\"a\",\"pub\":{\"data\":\"1 20 300 xyz\"}}\n\ndata: {}\n\n";
        let checksum = crc32fast::hash(b"1 20 300 xyz");
        let event = Event { flow: 1, number: 20, due: 300, checksum, position: None };
        let note = Frame::Note { position: None };
        for cut in 0..WRAPPED_EVENT.len() {
            let (one, other) = WRAPPED_EVENT.as_bytes().split_at(cut);
            let whole = [note, Frame::Event(event), note];
            assert_eq!(read_as([one, other], false).unwrap(), whole, "cut at {cut}");
        }
        assert_eq!(read([WRAPPED_EVENT.as_bytes(), b""]), Err(Fault::Malformed), "where strict");
    }

    #[test]
    fn an_id_that_does_not_end_with_a_number_is_no_position() {
        for (id, position) in [("0000000a-", None), ("17:0", Some(0)), ("a-18x", None)] {
            let frame = format!("id: {id}\ndata: 0 0 0 x\n\n");
            let [Frame::Event(event)] = read([frame.as_bytes(), b""]).unwrap()[..] else {
                panic!("{frame}")
            };
            assert_eq!(event.position, position, "{id}");
        }
    }

    #[test]
    fn what_is_no_frame_of_ours_is_a_fault() {
        for stream in [
            "data: 0 1 2 x\r\n\r\n",
            "data: 0 1 2 x\ndata: more\n\n",
            "data\n\n",
            "daat: 0 1 2 x\n\n",
            "data: somebody else's\n\n",
            "event: price\ndata: 0 1 2 x\n\n",
            "id: 7\n\n",
        ] {
            assert_eq!(read([stream.as_bytes(), b""]), Err(Fault::Malformed), "{stream:?}");
        }
    }
}
