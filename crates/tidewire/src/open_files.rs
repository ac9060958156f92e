//! How many files and connections the process may have open.

use tracing::{debug, info, warn};

/// Open files that subscribers leave: 256 to the log, to publishers and to the operations port, and
/// as many to connections beyond the limit, which are told so.
const RESERVED: u64 = 512;

/// Raises the soft limit to the hard one: each connection is an open file, and the usual soft
/// limit of 1,024 is there for programs that still call `select(2)`. The limit then in force.
pub(crate) fn raise_limit() -> u64 {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            debug!(limit, "open files");
            limit
        }
        Err(error) => {
            warn!(%error, "the limit of open files stays as it is");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(soft, _)| soft)
        }
    }
}

/// How many connections subscribers may have: what was asked for, or what the limit leaves them.
pub(crate) fn connections_max(asked: usize, limit: u64) -> usize {
    let left = limit.saturating_sub(RESERVED).max(limit / 2);
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    if left < asked {
        info!(connections_max = left, open_files_max = limit, "connections are bounded by files");
    }
    asked.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_leave_files_to_the_others() {
        assert_eq!(connections_max(100, 1_000_000), 100);
        assert_eq!(connections_max(100_000, 20_000), 19_488);
        assert_eq!(connections_max(100_000, 300), 150, "half, where there are few");
    }
}
