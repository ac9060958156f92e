//! The bytes that may be in flight at once, over all connections.

use std::sync::Arc;

use metrics::Gauge;
use tidewire_core::NewEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::{Metrics, set_in_flight_bytes_max};

/// What an event in flight takes beside its data and topic: its futures, ids and bookkeeping.
const EVENT_BYTES_EXTRA: usize = 256;

/// A bounded number of bytes, first come, first served.
#[derive(Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    bytes_max: u32,
    in_flight: Gauge,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize, metrics: &Metrics) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        set_in_flight_bytes_max(bytes_max);
        Self {
            free: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
            in_flight: metrics.in_flight_bytes(),
        }
    }

    /// Takes an event's bytes if they are free now.
    pub(crate) fn try_take(&self, event: &NewEvent) -> Option<Permit> {
        let bytes = Arc::clone(&self.free).try_acquire_many_owned(self.bytes(event)).ok()?;
        Some(self.permit(bytes))
    }

    /// Waits for an event's bytes.
    pub(crate) async fn take(&self, event: &NewEvent) -> Permit {
        let taken = Arc::clone(&self.free).acquire_many_owned(self.bytes(event)).await;
        #[expect(clippy::expect_used, reason = "nothing in this file closes the semaphore")]
        self.permit(taken.expect("the budget is never closed"))
    }

    /// An event larger than the whole budget takes all of it, and so passes alone.
    fn bytes(&self, event: &NewEvent) -> u32 {
        let bytes = event.data.as_bytes().len() + event.topic.as_str().len() + EVENT_BYTES_EXTRA;
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max)
    }

    fn permit(&self, bytes: OwnedSemaphorePermit) -> Permit {
        self.in_flight.increment(permit_bytes(&bytes));
        Permit { bytes, in_flight: self.in_flight.clone() }
    }
}

/// Bytes taken from the budget; dropped, they are free again.
pub(crate) struct Permit {
    bytes: OwnedSemaphorePermit,
    in_flight: Gauge,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.decrement(permit_bytes(&self.bytes));
    }
}

fn permit_bytes(permit: &OwnedSemaphorePermit) -> f64 {
    // Taken as an u32, so it fits.
    f64::from(u32::try_from(permit.num_permits()).unwrap_or(u32::MAX))
}
