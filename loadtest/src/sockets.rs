//! What a server's sockets hold in the kernel, as `ss` tells it: of its own end alone, which the whole
//! machine's figures do not tell from its clients'.

use std::process::Command;

use anyhow::{Context, ensure};

/// What the connections of a port hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// What is queued in both directions, with what the kernel needs for it and has set aside. The
    /// sockets themselves are not in it.
    pub(crate) bytes: u64,
    /// Connections whose client has not taken all that was sent.
    pub(crate) full: u64,
}

/// Asks about the server's end of all connections that stand.
pub(crate) fn held_at(port: u16) -> anyhow::Result<Held> {
    let mut ss = Command::new("ss");
    ss.args(["-tnmHO", "state", "established", "sport", "=", &format!(":{port}")]);
    let output = ss.output().context("ss, of iproute2, does not run")?;
    ensure!(output.status.success(), "ss failed: {}", String::from_utf8_lossy(&output.stderr));
    let mut held = Held::default();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (bytes, unsent) = read(line).with_context(|| format!("ss says {line:?}"))?;
        held.bytes += bytes;
        held.full += u64::from(unsent > 0);
    }
    Ok(held)
}

/// The memory of one connection, and how much of what was sent its client has not taken.
fn read(line: &str) -> Option<(u64, u64)> {
    let unsent = line.split_whitespace().nth(1)?.parse().ok()?;
    let (_, memory) = line.split_once("skmem:(")?;
    let (memory, _) = memory.split_once(')')?;
    let mut bytes = 0;
    for part in memory.split(',') {
        let digits = part.find(|letter: char| letter.is_ascii_digit())?;
        let (name, value) = part.split_at(digits);
        // Received, set aside, to be sent, options, backlog; the others are limits, or counted already.
        if ["r", "f", "w", "o", "bl"].contains(&name) {
            bytes += value.parse::<u64>().ok()?;
        }
    }
    Some((bytes, unsent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_queued_and_set_aside_is_counted_and_limits_are_not() {
        let line = "0      16384   127.0.0.1:8080  127.0.0.2:10001 skmem:(r1,rb131072,t7,tb87040,f20,\
                    w300,o4000,bl50000,d9)";
        assert_eq!(read(line), Some((54_321, 16_384)));
        assert_eq!(read("0 0 127.0.0.1:8080 127.0.0.2:10001"), None);
    }

    #[test]
    fn a_port_without_connections_holds_nothing() {
        assert_eq!(held_at(1).unwrap(), Held::default());
    }
}
