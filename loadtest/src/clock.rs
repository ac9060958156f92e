//! The machine's clock, which all processes of a run share.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since some moment that is the same for every process of this machine.
pub(crate) fn microseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock begins at 0, and nanoseconds are below a billion.
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}
