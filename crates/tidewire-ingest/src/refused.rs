//! What is logged of events that have no receipt: a line for each class, and seldom.

use std::sync::LazyLock;

use parking_lot::Mutex;
use tidewire_core::SeldomEach;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::refusal::Refusal;

/// Of one process: whoever reads its log sees one line for all of its doors.
static TOLD: Mutex<SeldomEach> = Mutex::new(SeldomEach::new());
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Logs a refusal where the last of its class is a minute old. Nothing that the caller has sent is said.
pub(crate) fn refused(refusal: &Refusal) {
    let class = refusal.class();
    let Some(count) = TOLD.lock().count(class, BEGUN.elapsed()) else { return };
    match refusal {
        Refusal::Invalid(invalid) | Refusal::TooLarge(invalid) => {
            info!(
                class,
                count,
                field = &*invalid.field,
                "events are refused: publishers must mend them"
            );
        }
        Refusal::Exhausted => warn!(
            class,
            count, "events are refused: too many bytes wait for receipts (--in-flight-bytes-max)"
        ),
        Refusal::Unavailable(why) => warn!(class, count, %why, "events get no receipt"),
    }
}
