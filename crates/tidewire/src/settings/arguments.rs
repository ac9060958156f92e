//! Every setting of the services: its name, meaning, unit, range and default.
//!
//! A field is the setting's name in a TOML file; its flag and its environment variable are made of
//! it. Defaults are the services' own, which a test below holds them to.

mod nats;
mod public_port;
mod stream;
mod telemetry;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use axum::http::{HeaderValue, Uri};
use clap::{ArgAction, Args, value_parser};

pub(crate) use self::{
    nats::NatsArgs,
    telemetry::{LogFormat, TelemetryArgs, TracesArgs},
};
use self::{public_port::PublicPortArgs, stream::StreamArgs};
use crate::{
    open_files,
    settings::units::{DAY, GIB, HOUR, MIB, MINUTE, SECOND, TIB, bytes, count, duration},
};

/// Where settings come from besides flags and environment; no setting itself.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// A TOML file of settings, each under its name with underscores (`data_dir = "./data"`).
    /// Flags and environment beat it; what this command does not have in it is there for others.
    /// `tidewire config --toml` writes one.
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// The settings of a whole hub in one process. There is nowhere else to go for its clients, so a
/// slow end would keep them waiting for longer.
#[derive(Debug, Args)]
#[command(mut_arg("drain_delay", |argument| argument.default_value("0s")))]
#[command(mut_arg("drain_window", |argument| argument.default_value("0s")))]
pub(crate) struct StandaloneArgs {
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) grpc: GrpcArgs,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) publishing: PublishingArgs,
    #[command(flatten)]
    pub(crate) subscribing: SubscribingArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

impl StandaloneArgs {
    /// Checks what no setting can say alone.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.subscribing.check()
    }
}

/// The settings of an ingest over NATS.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) grpc: GrpcArgs,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) publishing: PublishingArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

impl IngestArgs {
    /// Checks what no setting can say alone.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.nats.check()?;
        self.stream.check()
    }
}

/// The settings of an edge over NATS.
#[derive(Debug, Args)]
pub(crate) struct EdgeArgs {
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) operations: OperationsArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) subscribing: SubscribingArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

impl EdgeArgs {
    /// Checks what no setting can say alone.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.nats.check()?;
        self.subscribing.check()
    }
}

/// Where HTTP is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct HttpArgs {
    /// The address for HTTP: subscribing over SSE (standalone, edge), and publishing with POST
    /// (standalone, ingest). Port 0 takes any free one, here and below.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    pub(crate) http_listen: SocketAddr,
}

/// Where gRPC is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct GrpcArgs {
    /// The address for gRPC: publishing.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50051", value_parser = address)]
    pub(crate) grpc_listen: SocketAddr,
}

/// Where operators look.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct OperationsArgs {
    /// The address for operations: /livez, /readyz, /metrics and /log-filter. It tells anyone who asks,
    /// and lets anyone change what is logged: keep it off public networks.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9090", value_parser = address)]
    pub(crate) operations_listen: SocketAddr,
}

/// How the log keeps events.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// The directory that holds the events; made where it does not exist. One process at a time.
    #[arg(long, value_name = "DIR", default_value = "./data", value_parser = path)]
    pub(crate) data_dir: PathBuf,

    #[command(flatten)]
    pub(crate) retention: RetentionArgs,
}

impl LogArgs {
    /// What the log is told.
    pub(crate) fn config(&self) -> tidewire_log::Config {
        tidewire_log::Config {
            retention_age: self.retention.retention_age,
            retention_bytes: self.retention.retention_bytes,
            deduplication_window: self.retention.deduplication_window,
            ..tidewire_log::Config::new(&self.data_dir)
        }
    }
}

/// How long a log keeps events and ids, wherever it lies.
#[derive(Debug, Args)]
pub(crate) struct RetentionArgs {
    /// How long events are kept: 1s to 3650d.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "24h",
        value_parser = duration(SECOND..=3650 * DAY)
    )]
    pub(crate) retention_age: Duration,

    /// How many bytes the log may take, on each NATS server that holds it where NATS does; the
    /// oldest events go first: 1MiB to 1024TiB.
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "1GiB",
        value_parser = bytes(MIB..=1024 * TIB)
    )]
    pub(crate) retention_bytes: u64,

    /// How long an event's id is remembered, so that publishing it again stores it once: 1s to 1d.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2m",
        value_parser = duration(SECOND..=DAY)
    )]
    pub(crate) deduplication_window: Duration,
}

/// What the ingest service takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Publishing")]
pub(crate) struct PublishingArgs {
    /// How large one event's data may be: 1B to 1MiB. Several SSE clients fail on lines over
    /// 64KiB.
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "60KiB",
        value_parser = bytes(1..=MIB)
    )]
    pub(crate) event_bytes_max: u64,

    /// How many bytes of events may wait for their receipts, over all publishers; beyond it
    /// publishers are told to slow down: 1MiB to 2GiB.
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "64MiB",
        value_parser = bytes(MIB..=2 * GIB)
    )]
    pub(crate) in_flight_bytes_max: u64,

    /// How many events of one PublishStream may wait for their receipts: 1 to 65536.
    #[arg(
        long,
        value_name = "EVENTS",
        default_value = "4096",
        value_parser = count(1..=65_536)
    )]
    pub(crate) stream_in_flight_max: usize,

    /// How long a publish may wait for its receipt, where the caller sets no deadline of its own:
    /// 1s to 5m.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration(SECOND..=5 * MINUTE)
    )]
    pub(crate) publish_timeout: Duration,
}

impl PublishingArgs {
    /// What the ingest is told.
    pub(crate) fn config(&self) -> tidewire_ingest::Config {
        tidewire_ingest::Config {
            event_bytes_max: as_usize(self.event_bytes_max),
            in_flight_bytes_max: as_usize(self.in_flight_bytes_max),
            stream_in_flight_max: self.stream_in_flight_max,
            publish_timeout: self.publish_timeout,
            ..tidewire_ingest::Config::default()
        }
    }
}

/// How the edge serves subscribers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Subscribing")]
pub(crate) struct SubscribingArgs {
    /// Whether the demonstration page is served at /.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) page: bool,

    /// An origin whose pages may read streams, such as `https://app.example.com`. Repeat it, or
    /// separate several by commas; none but the hub's own by default.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub(crate) cors_origin: Vec<HeaderValue>,

    /// How long a stream is silent before a heartbeat is sent, less up to 20 % jitter: 2s to 30s.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "15s",
        value_parser = duration(2 * SECOND..=30 * SECOND)
    )]
    pub(crate) heartbeat_interval: Duration,

    /// The shortest time after which a client that lost its stream comes back; each draws its own
    /// between this and --retry-max: 10ms to 1h.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1s",
        value_parser = duration(SECOND / 100..=HOUR)
    )]
    pub(crate) retry_min: Duration,

    /// The longest time after which a client that lost its stream comes back: 10ms to 1h.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration(SECOND / 100..=HOUR)
    )]
    pub(crate) retry_max: Duration,

    /// How many connections the HTTP port holds at once; one more is told to come back later, as a
    /// browser does by itself. Never more than the limit of open files leaves beside what the log
    /// and the other ports need: 1 to 10000000.
    #[arg(
        long,
        value_name = "CONNECTIONS",
        default_value = "100000",
        value_parser = count(1..=10_000_000)
    )]
    pub(crate) connections_max: usize,

    /// Whether the hub writes streams over plain HTTP/1.1 itself. If not, it leaves them to the library
    /// that serves everything else, at twenty times the memory: to compare, or to go around a fault.
    #[arg(long, value_name = "BOOL", default_value = "true", action = ArgAction::Set)]
    pub(crate) lean_streams: bool,

    /// The age at which a stream ends and its client comes back, perhaps to another edge; each draws
    /// its own, up to 20 % more or less: 1s to 7d, or 0s for never.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30m",
        value_parser = duration(Duration::ZERO..=7 * DAY)
    )]
    pub(crate) connection_age_max: Duration,

    /// The time over which streams end when the process is asked to end (SIGTERM), each at a moment
    /// of its own; up to twice as long where too many would end in a second: 0s to 1h.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration(Duration::ZERO..=HOUR)
    )]
    pub(crate) drain_window: Duration,

    /// How many streams end in a second of that window, unless twice the window is too short for
    /// all, and how many clients that are sent away are asked to come back in a second: 1 to 1000000.
    #[arg(
        long,
        value_name = "STREAMS",
        default_value = "1000",
        value_parser = value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) drain_rate_max: u32,

    /// How long a subscriber may take nothing of what is sent before its connection is let go; it
    /// resumes by its cursor: 1s to 10m.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration(SECOND..=10 * MINUTE)
    )]
    pub(crate) write_timeout: Duration,

    /// How many recent events are held in memory; who resumes within them costs the log nothing:
    /// 1 to 16777216.
    #[arg(
        long,
        value_name = "EVENTS",
        default_value = "65536",
        value_parser = count(1..=1 << 24)
    )]
    pub(crate) window_events_max: usize,

    /// How many bytes the recent events in memory may take: 1MiB to 64GiB.
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "64MiB",
        value_parser = bytes(MIB..=64 * GIB)
    )]
    pub(crate) window_bytes_max: u64,

    /// How many pages are read from the log at once, for all who resume from further back: 1 to
    /// 1024.
    #[arg(long, value_name = "PAGES", default_value = "16", value_parser = count(1..=1_024))]
    pub(crate) replays_max: usize,

    #[command(flatten)]
    pub(crate) public_port: PublicPortArgs,
}

impl SubscribingArgs {
    fn check(&self) -> Result<(), String> {
        if self.retry_min > self.retry_max {
            return Err("'retry_min' is longer than 'retry_max'".into());
        }
        if !self.connection_age_max.is_zero() && self.connection_age_max < SECOND {
            return Err("'connection_age_max' is shorter than 1s; 0s is for never".into());
        }
        self.public_port.check()
    }

    /// What the edge is told, where the process may have so many files open.
    ///
    /// # Errors
    /// Where a file is no certificate or no key.
    pub(crate) fn config(&self, open_files_max: u64) -> anyhow::Result<tidewire_edge::Config> {
        self.public_port.complete(tidewire_edge::Config {
            page: self.page,
            cors_origins: self.cors_origin.clone(),
            heartbeat_interval: self.heartbeat_interval,
            retry_milliseconds: as_millis(self.retry_min)..=as_millis(self.retry_max),
            write_timeout: self.write_timeout,
            connections_max: open_files::connections_max(self.connections_max, open_files_max),
            window_events_max: self.window_events_max,
            window_bytes_max: as_usize(self.window_bytes_max),
            replays_max: self.replays_max,
            connection_age_max: self.connection_age_max,
            lean_streams: self.lean_streams,
            drain_window: self.drain_window,
            drain_rate_max: self.drain_rate_max,
            ..tidewire_edge::Config::default()
        })
    }
}

/// What belongs to the process, whatever it serves.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,

    /// Whether anything is counted. If not, /metrics answers 404 and the status page has hardly a
    /// figure: to measure what counting costs, or where somebody else counts.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) metrics: bool,

    #[command(flatten)]
    pub(crate) traces: TracesArgs,

    /// How long the process goes on serving, new clients too, after it was asked to end (SIGTERM)
    /// and is not ready any more: as long as load balancers take to see that. Ctrl-C or a second
    /// SIGTERM cuts this and every other wait short: 0s to 10m.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration(Duration::ZERO..=10 * MINUTE)
    )]
    pub(crate) drain_delay: Duration,

    /// A file to write, as JSON, when the process is ready: its process id, version and addresses
    /// (the real ones, where a port was 0; null where it has no such port). It is removed at the
    /// end. For scripts and tests.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) ready_file: Option<PathBuf>,
}

fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an IP address and a port are wanted, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every \
         interface"
            .into()
    })
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("a path is wanted".into()) } else { Ok(text.into()) }
}

/// Reads an origin in the form in which a browser sends it (RFC 6454, section 6.2): what has a
/// path, or a slash at its end, would never match.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map(axum::http::uri::Authority::as_str).unwrap_or_default();
        ["http", "https"].contains(&scheme) && format!("{scheme}://{authority}") == text
    });
    HeaderValue::from_str(text).ok().filter(|_| is_origin).ok_or_else(|| {
        "a scheme, a host and perhaps a port are wanted, such as https://app.example.com or \
         http://localhost:3000, without a path or a slash at the end"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        settings: StandaloneArgs,
    }

    #[derive(Parser)]
    struct OfEdge {
        #[command(flatten)]
        settings: EdgeArgs,
    }

    #[test]
    fn the_defaults_are_the_services_own() {
        let Typed { settings } = Typed::try_parse_from(["t"]).unwrap();
        let ours = format!("{:?}", settings.log.config());
        assert_eq!(ours, format!("{:?}", tidewire_log::Config::new("./data")));
        let ours = format!("{:?}", settings.publishing.config());
        assert_eq!(ours, format!("{:?}", tidewire_ingest::Config::default()));
        let ours = tidewire_edge::Config { page: true, ..tidewire_edge::Config::default() };
        let alone = tidewire_edge::Config { drain_window: Duration::ZERO, ..ours.clone() };
        let of_standalone = settings.subscribing.config(u64::MAX).unwrap();
        assert_eq!(format!("{of_standalone:?}"), format!("{alone:?}"));
        let OfEdge { settings } = OfEdge::try_parse_from(["t", "--nats-url", "nats://x"]).unwrap();
        let of_edge = settings.subscribing.config(u64::MAX).unwrap();
        assert_eq!(format!("{of_edge:?}"), format!("{ours:?}"));
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for text in ["https://app.example.com", "http://localhost:3000", "http://[::1]:80"] {
            assert_eq!(origin(text).unwrap(), text);
        }
        for text in
            ["", "*", "null", "app.example.com", "https://a/", "https://a/x", "ftp://a", "https://"]
        {
            assert!(origin(text).is_err(), "{text:?}");
        }
    }
}
