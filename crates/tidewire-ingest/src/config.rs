//! What an operator may choose.

use std::time::Duration;

use tidewire_core::limits::EVENT_BYTES_MAX_DEFAULT;

/// How the ingest is set up.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Bytes of one event's data; at most 1 MiB, whatever is said here. 60 KiB by default.
    pub event_bytes_max: usize,
    /// Bytes of all events that wait for their receipt, over all connections: data, topic and 256
    /// for each event. Calls beyond it are refused, streams wait. 64 MiB by default.
    pub in_flight_bytes_max: usize,
    /// Events of one `PublishStream` that wait for their receipt, or whose answer waits for the
    /// client to read it. Beyond it the stream is not read. 4,096 by default.
    pub stream_in_flight_max: usize,
    /// How long a receipt is waited for. After it the answer is "unavailable", and the event may
    /// have been stored. 10 s by default.
    pub publish_timeout: Duration,
    /// Bytes of one gRPC message, a whole batch included, and of one HTTP body. 4 MiB by default.
    pub message_bytes_max: usize,
    /// Whether calls are traced, with the global tracer. Off by default.
    pub traces: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            event_bytes_max: EVENT_BYTES_MAX_DEFAULT,
            in_flight_bytes_max: 64 * 1024 * 1024,
            stream_in_flight_max: 4_096,
            publish_timeout: Duration::from_secs(10),
            message_bytes_max: 4 * 1024 * 1024,
            traces: false,
        }
    }
}
