//! What an operator may choose about an edge.

use std::{ops::RangeInclusive, time::Duration};

use http::HeaderValue;

use crate::{Coding, Network, Tls};

/// How an edge behaves; `Default` is right for most.
#[derive(Debug, Clone)]
pub struct Config {
    /// This edge's name in hello frames.
    pub name: String,
    /// Events the window in memory holds at most. Readers within it cost the log nothing.
    pub window_events_max: usize,
    /// Bytes of frames and data the window holds at most.
    pub window_bytes_max: usize,
    /// Pages read from the log at once, for all subscriptions together.
    pub replays_max: usize,
    /// Silence after which a heartbeat is sent, less up to 20 % jitter; a subscriber may ask for
    /// another of 2 to 30 s.
    pub heartbeat_interval: Duration,
    /// Milliseconds from which each connection draws its own `retry`, since no browser has jitter.
    pub retry_milliseconds: RangeInclusive<u64>,
    /// Connections at once; of those beyond it some are told so, and the rest are closed as soon as
    /// they are accepted: an `EventSource` tries again after either. Each is an open file, and the
    /// log needs some too. As many subscriptions at once, since HTTP/2 carries several on a
    /// connection.
    pub connections_max: usize,
    /// Connections of one client address at once, and as many subscriptions. An IPv6 client is its
    /// /64. Behind a proxy that is not among `trusted_proxies`, all clients have one address.
    pub connections_address_max: usize,
    /// Whose word is taken for whom a request is from, in `Forwarded` and `X-Forwarded-For`; none
    /// by default. Their own connections count for no address.
    pub trusted_proxies: Vec<Network>,
    /// Connections accepted in a second, after a second's worth at once; more wait in the kernel's
    /// queue.
    pub accept_rate_max: u32,
    /// Whether the edge writes streams over plain HTTP/1.1 itself, instead of hyper: for a small part
    /// of the memory, and less than half the processor time.
    pub lean_streams: bool,
    /// The age at which a stream ends and its client comes back, to another edge perhaps; each
    /// draws its own, up to 20 % more or less. Zero is never.
    pub connection_age_max: Duration,
    /// The time over which streams end in a drain, each at a moment of its own; up to twice as long
    /// where more would end in a second than `drain_rate_max`.
    pub drain_window: Duration,
    /// Streams that end in one second of a drain; more do only where twice the window is too short.
    /// And clients that are asked to come back in one second, of all that are sent away.
    pub drain_rate_max: u32,
    /// How long a subscriber's kernel may leave sent bytes unacknowledged, or its window closed,
    /// before its connection is let go; and how long an HTTP/2 stream may take nothing before it
    /// is, and its connection goes on.
    pub write_timeout: Duration,
    /// How long a client may take to send the head of a request, the first one of a connection
    /// included, whatever it speaks.
    pub header_timeout: Duration,
    /// What makes the port speak TLS; none where a proxy does, or nobody need.
    pub tls: Option<Tls>,
    /// How long a client may take to shake hands.
    pub handshake_timeout: Duration,
    /// How often the certificate's files are looked at. A change is taken when it has stood still
    /// for one look.
    pub certificate_look_interval: Duration,
    /// Requests that one HTTP/2 connection may have open at once. A browser has one connection for
    /// all its tabs, and each stream of each of them stays open.
    pub http2_streams_max: u32,
    /// Silence after which an HTTP/2 client is asked whether it is there …
    pub http2_ping_interval: Duration,
    /// … and for so long it may owe the answer before its connection is closed.
    pub http2_ping_timeout: Duration,
    /// In which coding streams are sent to clients that would rather have it.
    pub compression: Coding,
    /// Origins whose pages may read streams; none by default.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether connects and events are traced, with the global tracer.
    pub traces: bool,
    /// Whether the demonstration page is served at `/`.
    pub page: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "edge".into(),
            window_events_max: 65_536,
            window_bytes_max: 64 * 1024 * 1024,
            replays_max: 16,
            heartbeat_interval: Duration::from_secs(15),
            retry_milliseconds: 1_000..=5_000,
            connections_max: 100_000,
            connections_address_max: 100_000,
            trusted_proxies: Vec::new(),
            accept_rate_max: 5_000,
            lean_streams: true,
            connection_age_max: Duration::from_secs(30 * 60),
            drain_window: Duration::from_secs(60),
            drain_rate_max: 1_000,
            write_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            tls: None,
            handshake_timeout: Duration::from_secs(5),
            certificate_look_interval: Duration::from_secs(5),
            http2_streams_max: 256,
            http2_ping_interval: Duration::from_secs(10),
            http2_ping_timeout: Duration::from_secs(5),
            compression: Coding::Identity,
            cors_origins: Vec::new(),
            traces: false,
            page: false,
        }
    }
}
