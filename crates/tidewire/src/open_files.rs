//! How many files and connections the process may have open.

use tracing::{debug, warn};

/// Raises the soft limit to the hard one: each connection is an open file, and the usual soft
/// limit of 1,024 is there for programs that still call `select(2)`.
pub(crate) fn raise_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}
