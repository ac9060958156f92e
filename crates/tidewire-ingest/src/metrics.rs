//! What the ingest counts: one function for each observation.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use tidewire_core::{
    Receipt,
    metric::{self, Label, Metric, Raised, SECONDS, Unit},
};

use crate::{
    calls::{CODES, Call, Calls, METHODS, Method},
    refusal::Refusal,
};

tidewire_core::metrics! {
    EVENTS = Metric::counter(
        "tidewire_ingest_events_total",
        Unit::Count,
        "Events handed in, or requests that could not be read as events, by outcome and transport",
    )
    .by(&[
        Label {
            name: "outcome",
            values: &["stored", "duplicate", "invalid", "too_large", "exhausted", "unavailable"],
        },
        Label { name: "transport", values: &["grpc", "http"] },
    ]);
    BYTES = Metric::counter("tidewire_ingest_bytes_total", Unit::Bytes, "Bytes of data stored");
    RECEIPT = Metric::histogram(
        "tidewire_ingest_receipt_seconds",
        Unit::Seconds,
        SECONDS,
        "From handing an event over to its receipt",
    );
    IN_FLIGHT = Metric::gauge(
        "tidewire_ingest_in_flight_bytes",
        Unit::Bytes,
        "Bytes of events that wait for their receipt",
    );
    IN_FLIGHT_MAX = Metric::gauge(
        "tidewire_ingest_in_flight_bytes_max",
        Unit::Bytes,
        "Bytes of events that may wait for their receipt at once: beyond it calls are refused, and \
         streams are not read on",
    );
    STREAMS = Metric::gauge("tidewire_ingest_streams", Unit::Count, "Publish streams open now");
    CALLS = Metric::counter(
        "tidewire_ingest_calls_total",
        Unit::Count,
        "Calls that have ended, by method and by the code of their end, in gRPC's words also where it \
         was HTTP. An event that is refused within a batch or a stream does not end that badly",
    )
    .by(&[METHODS, CODES]);
    CALL = Metric::histogram(
        "tidewire_ingest_call_seconds",
        Unit::Seconds,
        SECONDS,
        "How long calls took; of a stream, for how long it was open",
    )
    .by(&[METHODS]);
}

/// Says what each metric means, and shows those that begin at zero. Called once, after a recorder is
/// installed.
pub fn describe() {
    metric::describe(METRICS);
}

/// So many bytes may be in flight.
pub(crate) fn set_in_flight_bytes_max(bytes: u32) {
    IN_FLIGHT_MAX.set(bytes.into());
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
    calls: Calls,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            grpc: Outcomes::of("grpc"),
            http: Outcomes::of("http"),
            bytes: BYTES.counter_of(&[]),
            receipt: RECEIPT.histogram_of(&[]),
            in_flight_bytes: IN_FLIGHT.gauge_of(&[]),
            streams: STREAMS.gauge_of(&[]),
            calls: Calls::new(),
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
    pub(crate) fn stream_opened(&self) -> Raised {
        Raised::new(self.streams.clone())
    }

    /// A call of a method has begun.
    pub(crate) fn call(&self, method: Method) -> Call {
        self.calls.begin(method)
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
        let outcome = |outcome| EVENTS.counter_of(&[outcome, transport]);
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
