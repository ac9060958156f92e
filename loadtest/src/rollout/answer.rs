//! The head of an answer: its status, and when to come again.

use std::time::Duration;

use anyhow::{Context, ensure};

/// Bytes of a head at most; a hub's are some hundreds.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What a head says that counts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
}

/// Takes bytes until the head is whole.
#[derive(Debug, Default)]
pub(super) struct HeadReader(Vec<u8>);

impl HeadReader {
    /// Takes bytes as they come. With the last of the head: what it says, and what follows it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> anyhow::Result<Option<(Head, Vec<u8>)>> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.windows(4).position(|window| window == b"\r\n\r\n") else {
            ensure!(self.0.len() <= HEAD_BYTES_MAX, "a head without an end");
            return Ok(None);
        };
        let head = parse(str::from_utf8(&self.0[..end])?)?;
        Ok(Some((head, self.0.split_off(end + 4))))
    }
}

fn parse(head: &str) -> anyhow::Result<Head> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let retry_after = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("retry-after").then(|| value.parse().ok())?
    });
    let retry_after = retry_after.map(Duration::from_secs);
    Ok(Head { status: status.context("an answer without a status")?, retry_after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_same_wherever_the_bytes_are_cut() {
        let answer =
            b"HTTP/1.1 503 Service Unavailable\r\nvary: origin\r\nRetry-After: 7\r\n\r\n{}";
        for cut in 0..answer.len() - 3 {
            let (one, other) = answer.split_at(cut);
            let mut reader = HeadReader::default();
            assert_eq!(reader.take(one).unwrap(), None, "cut at {cut}");
            let head = Head { status: 503, retry_after: Some(Duration::from_secs(7)) };
            assert_eq!(reader.take(other).unwrap(), Some((head, b"{}".to_vec())), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(HeadReader::default().take(b"SSH-2.0\r\n\r\n").is_err());
        assert!(HeadReader::default().take(&[b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
