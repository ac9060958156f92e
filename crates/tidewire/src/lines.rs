//! Lines of an input, each of bounded length.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// An input, line by line.
pub(crate) struct Lines<R> {
    input: R,
    bytes_max: usize,
    number: u64,
}

/// One line that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its place in the input; the first is 1.
    pub(crate) number: u64,
    /// What it says, without its end.
    pub(crate) text: Result<Bytes, TooLong>,
}

/// The line has more bytes than is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(input: R, bytes_max: usize) -> Self {
        Self { input, bytes_max, number: 0 }
    }

    /// The next line that is not empty, or none at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let text = self.read_piece().await?;
            if text.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if !text.ends_with(b"\n") {
                self.skip_rest().await?;
            }
            let text = without_end(text);
            if !text.is_empty() {
                let text = if text.len() > self.bytes_max { Err(TooLong) } else { Ok(text.into()) };
                return Ok(Some(Line { number: self.number, text }));
            }
        }
    }

    /// Reads up to the line's end, or a little further than is allowed.
    async fn read_piece(&mut self) -> io::Result<Vec<u8>> {
        let bytes_max = u64::try_from(self.bytes_max + b"\r\n".len()).unwrap_or(u64::MAX);
        let mut piece = Vec::new();
        (&mut self.input).take(bytes_max).read_until(b'\n', &mut piece).await?;
        Ok(piece)
    }

    async fn skip_rest(&mut self) -> io::Result<()> {
        loop {
            let piece = self.read_piece().await?;
            if piece.is_empty() || piece.ends_with(b"\n") {
                return Ok(());
            }
        }
    }
}

fn without_end(mut text: Vec<u8>) -> Vec<u8> {
    if text.ends_with(b"\n") {
        text.pop();
        if text.ends_with(b"\r") {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(input: &str, bytes_max: usize) -> Vec<(u64, Result<String, TooLong>)> {
        let mut lines = Lines::new(input.as_bytes(), bytes_max);
        let mut read = Vec::new();
        while let Some(Line { number, text }) = lines.next().await.unwrap() {
            let text = text.map(|text| String::from_utf8(text.to_vec()).unwrap());
            read.push((number, text));
        }
        read
    }

    #[tokio::test]
    async fn counts_every_line_and_hands_out_those_that_say_something() {
        let read = lines_of("one\n\r\n\ntwo\r\nthree", 10).await;
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(read, [(1, text("one")), (4, text("two")), (5, text("three"))]);
        assert_eq!(lines_of("", 10).await, []);
        assert_eq!(lines_of("\n\n", 10).await, []);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_costs_itself_only() {
        for end in ["\n", "\r\n"] {
            for length in 0..30 {
                let input = format!("abc{end}{}{end}def{end}", "x".repeat(length));
                let mut wanted = vec![(1, Ok("abc".to_owned())), (3, Ok("def".to_owned()))];
                match length {
                    0 => {}
                    1..=5 => wanted.insert(1, (2, Ok("x".repeat(length)))),
                    _ => wanted.insert(1, (2, Err(TooLong))),
                }
                assert_eq!(lines_of(&input, 5).await, wanted, "{input:?}");
            }
        }
        assert_eq!(lines_of("xxxxxx", 5).await, [(1, Err(TooLong))]);
    }
}
