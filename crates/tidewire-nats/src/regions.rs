//! Which parts of the log are asked for again and again.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tidewire_core::Sequence;
use tokio::time::Instant;

/// Sequences of one region.
const REGION_SEQUENCES: u64 = 16_384;
/// Asked for more often than this within [`INTERVAL`] is often: as much work as reading the region
/// whole.
const ASKED_MAX: u32 = 16;
const INTERVAL: Duration = Duration::from_secs(2);
/// Regions that are remembered.
const REGIONS_MAX: usize = 4_096;

/// How often each region was asked for lately, and since when that is counted.
#[derive(Debug, Default)]
pub(crate) struct Regions(Mutex<HashMap<u64, (u32, Instant)>>);

impl Regions {
    /// Counts that what stands behind `after` was asked for; says whether that is often.
    pub(crate) fn is_asked_often(&self, after: Sequence) -> bool {
        let mut regions = self.0.lock();
        if regions.len() >= REGIONS_MAX {
            regions.retain(|_, (_, since)| since.elapsed() < INTERVAL);
        }
        let (asked, since) =
            regions.entry(after.0 / REGION_SEQUENCES).or_insert_with(|| (0, Instant::now()));
        if since.elapsed() >= INTERVAL {
            (*asked, *since) = (0, Instant::now());
        }
        *asked = asked.saturating_add(1);
        *asked > ASKED_MAX
    }

    /// Forgets what was not asked for lately.
    pub(crate) fn tidy(&self) {
        self.0.lock().retain(|_, (_, since)| since.elapsed() < INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_region_that_is_asked_for_again_and_again_is_known_for_a_while() {
        let regions = Regions::default();
        let ask = |sequence| regions.is_asked_often(Sequence(sequence));
        assert!((0..16).all(|n| !ask(n * 1_000)), "sixteen times is not often");
        assert!(ask(16_383));
        assert!(!ask(16_384), "another region");
        tokio::time::advance(INTERVAL).await;
        assert!(!ask(0), "counted anew");
    }
}
