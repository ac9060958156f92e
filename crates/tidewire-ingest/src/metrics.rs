//! What the ingest counts: one function for each observation.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use tidewire_core::Receipt;

use crate::refusal::Refusal;

const EVENTS: &str = "tidewire_ingest_events_total";
const BYTES: &str = "tidewire_ingest_bytes_total";
const RECEIPT: &str = "tidewire_ingest_receipt_seconds";
const IN_FLIGHT: &str = "tidewire_ingest_in_flight_bytes";
const STREAMS: &str = "tidewire_ingest_streams";

/// Says what each metric means. Called once, after a recorder is installed.
pub fn describe() {
    describe_counter!(EVENTS, Unit::Count, "events handed in, by outcome and transport");
    describe_counter!(BYTES, Unit::Bytes, "bytes of data stored");
    describe_histogram!(RECEIPT, Unit::Seconds, "from handing an event over to its receipt");
    describe_gauge!(IN_FLIGHT, Unit::Bytes, "bytes of events that wait for their receipt");
    describe_gauge!(STREAMS, Unit::Count, "open publish streams");
}

/// How an event came in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Grpc,
    Http,
}

/// The handles, looked up once: most are used for every event.
pub(crate) struct Metrics {
    grpc: Outcomes,
    http: Outcomes,
    bytes: Counter,
    receipt: Histogram,
    in_flight_bytes: Gauge,
    streams: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            grpc: Outcomes::of("grpc"),
            http: Outcomes::of("http"),
            bytes: counter!(BYTES),
            receipt: histogram!(RECEIPT),
            in_flight_bytes: gauge!(IN_FLIGHT),
            streams: gauge!(STREAMS),
        }
    }

    /// An event, or a request that could not be read as events, has its answer.
    pub(crate) fn count_answered(&self, transport: Transport, outcome: Result<&Receipt, &Refusal>) {
        let outcomes = match transport {
            Transport::Grpc => &self.grpc,
            Transport::Http => &self.http,
        };
        outcomes.counter(outcome).increment(1);
    }

    /// So many bytes of data were stored.
    pub(crate) fn count_stored_bytes(&self, bytes: u64) {
        self.bytes.increment(bytes);
    }

    /// A receipt came after so long.
    pub(crate) fn observe_receipt(&self, after: Duration) {
        self.receipt.record(after.as_secs_f64());
    }

    /// The gauge that the budget keeps.
    pub(crate) fn in_flight_bytes(&self) -> Gauge {
        self.in_flight_bytes.clone()
    }

    /// A publish stream is open until the answer is dropped.
    pub(crate) fn stream_opened(&self) -> OpenStream {
        self.streams.increment(1.0);
        OpenStream(self.streams.clone())
    }
}

/// Counts a publish stream while it is open.
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// One transport's counters.
struct Outcomes {
    stored: Counter,
    duplicate: Counter,
    invalid: Counter,
    too_large: Counter,
    exhausted: Counter,
    unavailable: Counter,
}

impl Outcomes {
    fn of(transport: &'static str) -> Self {
        let outcome = |outcome: &'static str| counter!(EVENTS, "outcome" => outcome, "transport" => transport);
        Self {
            stored: outcome("stored"),
            duplicate: outcome("duplicate"),
            invalid: outcome("invalid"),
            too_large: outcome("too_large"),
            exhausted: outcome("exhausted"),
            unavailable: outcome("unavailable"),
        }
    }

    fn counter(&self, outcome: Result<&Receipt, &Refusal>) -> &Counter {
        match outcome {
            Ok(receipt) if receipt.duplicate => &self.duplicate,
            Ok(_) => &self.stored,
            Err(Refusal::Invalid(_)) => &self.invalid,
            Err(Refusal::TooLarge(_)) => &self.too_large,
            Err(Refusal::Exhausted) => &self.exhausted,
            Err(Refusal::Unavailable(_)) => &self.unavailable,
        }
    }
}
