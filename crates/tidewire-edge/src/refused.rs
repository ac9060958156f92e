//! What is logged of clients that are not served: a line for each reason, and seldom.

use std::sync::LazyLock;

use parking_lot::Mutex;
use tidewire_core::Seldom;
use tokio::time::Instant;

use crate::metrics;

/// What has been told of each reason. There are few, all of them ours.
static TOLD: Mutex<Vec<(&str, Seldom)>> = Mutex::new(Vec::new());
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Counts a client that is not served. Where the last line about this reason is a minute old, the
/// answer is how many there were since, for the next.
pub(crate) fn refused(reason: &'static str) -> Option<u64> {
    metrics::count_refused(reason);
    let mut told = TOLD.lock();
    let at = told.iter().position(|(of, _)| *of == reason).unwrap_or_else(|| {
        told.push((reason, Seldom::new()));
        told.len() - 1
    });
    told[at].1.count(BEGUN.elapsed())
}
