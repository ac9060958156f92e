//! What Tidewire promises to write, checked line by line: section 4.1 of the protocol.

use tidewire_core::{EventType, ResumePoint};

use crate::parser::{ParseError, split_field};

/// Frames without a place in the log of their own. Every other frame has an `id`.
const WITHOUT_ID: [&str; 4] =
    ["tidewire.retry", "tidewire.auth", "tidewire.probe", "tidewire.buffered"];

/// The rules, and what is known of the frame that is being read.
#[derive(Debug, Default)]
pub(super) struct Strict {
    lines: u64,
    frame: Fields,
}

/// What a frame has had so far.
#[derive(Debug, Default)]
struct Fields {
    any: bool,
    id: bool,
    retry: bool,
    event_type: Option<String>,
    data_lines: usize,
    data_bytes: usize,
}

impl Strict {
    /// Checks a line, which is without its end; `ended_by` is the first byte of that.
    pub(super) fn check(&mut self, line: &[u8], ended_by: u8) -> Result<(), ParseError> {
        self.lines += 1;
        if ended_by != b'\n' {
            return self.broken("holds a carriage return");
        }
        if line.contains(&0) {
            return self.broken("holds a NUL");
        }
        let Ok(text) = std::str::from_utf8(line) else { return self.broken("is not UTF-8") };
        match text {
            "" => self.check_end(),
            ":" if self.frame.any => self.broken("is a comment within a frame"),
            ":" => Ok(()),
            _ => self.check_field(line, text),
        }
    }

    fn check_field(&mut self, line: &[u8], text: &str) -> Result<(), ParseError> {
        if !text.contains(':') {
            return self.broken("is a field without a colon");
        }
        let (name, value) = split_field(line);
        // A cut at an ASCII character leaves UTF-8 on both sides.
        let value = std::str::from_utf8(value).unwrap_or_default();
        self.frame.any = true;
        match name {
            b"" => self.broken("is a comment with text"),
            b"data" => {
                self.frame.data_lines += 1;
                self.frame.data_bytes += value.len();
                Ok(())
            }
            b"event" => self.check_event_type(value),
            b"id" => self.check_id(value),
            b"retry" => self.check_retry(value),
            _ => self.broken("is an unknown field"),
        }
    }

    fn check_event_type(&mut self, value: &str) -> Result<(), ParseError> {
        if self.frame.event_type.is_some() {
            return self.broken("is a second event field");
        }
        let name = value.strip_prefix("tidewire.").unwrap_or(value);
        if !matches!(EventType::parse(name), Ok(Some(_))) {
            return self.broken("is no event type");
        }
        self.frame.event_type = Some(value.to_owned());
        Ok(())
    }

    fn check_id(&mut self, value: &str) -> Result<(), ParseError> {
        if std::mem::replace(&mut self.frame.id, true) {
            return self.broken("is a second id field");
        }
        if value.parse::<ResumePoint>().is_err() {
            return self.broken("is an id that is no cursor");
        }
        Ok(())
    }

    fn check_retry(&mut self, value: &str) -> Result<(), ParseError> {
        if std::mem::replace(&mut self.frame.retry, true) {
            return self.broken("is a second retry field");
        }
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.broken("is a retry field that is no number");
        }
        Ok(())
    }

    /// A blank line: the frame must be one that every client delivers.
    fn check_end(&mut self) -> Result<(), ParseError> {
        let frame = std::mem::take(&mut self.frame);
        let event_type = frame.event_type.as_deref().unwrap_or_default();
        if !frame.any {
            self.broken("is blank without a frame before it")
        } else if frame.data_lines == 0 {
            self.broken("ends a frame without data")
        } else if frame.data_lines == 1 && frame.data_bytes == 0 {
            self.broken("ends a frame of empty data")
        } else if !frame.id && !WITHOUT_ID.contains(&event_type) {
            self.broken("ends a frame without an id")
        } else {
            Ok(())
        }
    }

    fn broken(&self, reason: &'static str) -> Result<(), ParseError> {
        Err(ParseError::Broken { line: self.lines, reason })
    }
}
