//! What can be typed.

use std::{ffi::OsString, num::NonZeroU64, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidewire_client::Start;
use tidewire_core::Cursor;

use crate::settings::{
    EdgeArgs, FileArgs, IngestArgs, StandaloneArgs, TelemetryArgs,
    units::{HOUR, SECOND, duration},
};

/// An event hub: services publish once, any number of browsers and services listen, and whoever
/// comes back goes on exactly where it stopped.
#[derive(Debug, Parser)]
#[command(name = "tidewire", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const FIRST_STEPS: &str = "\
First steps, each in a terminal of its own:
  tidewire standalone                        a hub; it says what listens where
  tidewire demo                              this machine's figures as events; then open the page
  tidewire subscribe --topic '>'             every event as it comes
  tidewire publish --topic greetings --data hello

A hub of many processes, over NATS: `tidewire ingest` and `tidewire edge`.
`tidewire help COMMAND` says more about each.";

impl Cli {
    /// Checks what no argument can say alone.
    pub(crate) fn check(&self) -> Result<(), String> {
        use ServiceSettings as Of;
        match &self.command {
            Command::Standalone(args)
            | Command::Config(ConfigArgs { service: Of::Standalone(args), .. }) => {
                args.settings.check()
            }
            Command::Ingest(args)
            | Command::Config(ConfigArgs { service: Of::Ingest(args), .. }) => {
                args.settings.check()
            }
            Command::Edge(args) | Command::Config(ConfigArgs { service: Of::Edge(args), .. }) => {
                args.settings.check()
            }
            Command::Publish(_) | Command::Subscribe(_) | Command::Demo(_) | Command::Metrics => {
                Ok(())
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a whole hub in this process, its log in a directory
    ///
    /// Every option below is a setting: a flag (--data-dir), an environment variable
    /// (TIDEWIRE_DATA_DIR) or a line of a TOML file (data_dir). A flag beats the environment, which
    /// beats the file, which beats the default. `tidewire config` shows what is in force and why.
    ///
    /// SIGTERM and Ctrl-C end it in order: it reports itself not ready, ends its streams (clients
    /// come back by themselves), finishes what it has accepted, and closes its log. A second one
    /// ends it at once.
    #[command(after_help = STANDALONE_EXAMPLES)]
    Standalone(ServiceArgs<StandaloneArgs>),

    /// Takes events in, and stores them in a stream on NATS: one half of a hub of many processes
    ///
    /// Services publish to it over gRPC or HTTP; it answers each event with a receipt once NATS has
    /// stored it. It holds nothing itself: run as many as you like, and let any of them die. Edges
    /// (`tidewire edge`) on the same stream serve the subscribers.
    ///
    /// It needs a NATS server 2.11 or newer with JetStream (`nats-server -js` is one), and makes
    /// the stream where it is missing. Until NATS and the stream are there it is not ready, says
    /// what it waits for, and answers that it is unavailable.
    ///
    /// Every option below is a setting: a flag, an environment variable or a line of a TOML file,
    /// as with standalone. `tidewire config ingest` shows what is in force and why.
    ///
    /// SIGTERM and Ctrl-C end it in order: it reports itself not ready, and finishes what it has
    /// accepted. A second one ends it at once.
    #[command(after_help = INGEST_EXAMPLES)]
    Ingest(ServiceArgs<IngestArgs>),

    /// Streams events out of a stream on NATS: the other half of a hub of many processes
    ///
    /// Browsers and services subscribe to it over Server-Sent Events. It follows the stream that
    /// ingests (`tidewire ingest`) write, and keeps the recent part in memory. It holds nothing
    /// that its clients' cursors cannot rebuild: run as many as you like behind one address, and
    /// let any of them die; clients go on at another, where they stopped.
    ///
    /// It needs a NATS server 2.11 or newer with JetStream, and waits for an ingest to make the
    /// stream. Until NATS and the stream are there, and the recent events are in memory, it is not
    /// ready, and says what it waits for.
    ///
    /// Every option below is a setting: a flag, an environment variable or a line of a TOML file,
    /// as with standalone. `tidewire config edge` shows what is in force and why.
    ///
    /// SIGTERM and Ctrl-C end it in order: it reports itself not ready, and ends its streams;
    /// clients come back by themselves. A second one ends it at once.
    #[command(after_help = EDGE_EXAMPLES)]
    Edge(ServiceArgs<EdgeArgs>),

    Publish(PublishArgs),
    Subscribe(SubscribeArgs),
    Demo(DemoArgs),
    Config(ConfigArgs),

    /// Lists every metric that a hub tells at `/metrics` of its operations port, as Markdown
    ///
    /// Grouped by the services that tell them, with their types, units, labels and meanings.
    Metrics,
}

// What clap shows of it stands where a command has it.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs<S: Args> {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    #[command(flatten)]
    pub(crate) settings: S,
}

const STANDALONE_EXAMPLES: &str = "\
Examples:
  tidewire standalone
  tidewire standalone --data-dir /var/lib/tidewire --retention-age 7d --retention-bytes 50GiB
  tidewire standalone --http-listen 0.0.0.0:8080 --cors-origin https://app.example.com
  TIDEWIRE_LOG_FILTER=warn tidewire standalone --config tidewire.toml";

const INGEST_EXAMPLES: &str = "\
Examples:
  tidewire ingest
  tidewire ingest --nats-url nats://n1:4222,nats://n2:4222,nats://n3:4222 --nats-replicas 3
  tidewire ingest --nats-credentials ingest.creds --nats-tls --retention-age 7d
  TIDEWIRE_NATS_PASSWORD=… tidewire ingest --nats-user ingest --nats-stream-policy verify";

const EDGE_EXAMPLES: &str = "\
Examples:
  tidewire edge
  tidewire edge --nats-url nats://n1:4222,nats://n2:4222,nats://n3:4222
  tidewire edge --http-listen 127.0.0.1:0 --operations-listen 127.0.0.1:0
  TIDEWIRE_NATS_PASSWORD=… tidewire edge --nats-user edge --cors-origin https://app.example.com";

/// Publishes events: one, or each line of standard input
///
/// Each event's cursor is printed once the event is stored, in the order of the lines, with
/// `duplicate` behind it where its id was stored before. It ends with 0 when every event is
/// stored, and with 1 when one was not: the line and the reason stand on standard error.
///
/// A hub that goes away meanwhile is waited for, up to 30 s. The first Ctrl-C ends the reading and
/// waits a little for receipts that are on their way.
#[derive(Debug, Args)]
#[command(after_help = PUBLISH_EXAMPLES)]
pub(crate) struct PublishArgs {
    /// What the events are about: up to 16 tokens joined by dots, such as orders.eu.42.
    #[arg(long)]
    pub(crate) topic: String,

    /// The event name that browsers see: A-Z a-z 0-9 . _ ~ : / -, at most 64. `message` if absent.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,

    /// The event's idempotency key, at most 128 bytes: the same one again within the hub's
    /// deduplication window is stored once. For one event only.
    #[arg(long, requires = "data")]
    pub(crate) id: Option<String>,

    /// What the event says. Without it, each line of standard input that is not empty is an event.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) data: Option<String>,

    /// The hub's gRPC address.
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

const PUBLISH_EXAMPLES: &str = "\
Examples:
  tidewire publish --topic orders.eu.42 --type created --id order-42 --data '{\"total\":12}'
  tail -f app.log | tidewire publish --topic logs.app";

/// Subscribes, and prints events as they come
///
/// A lost stream is taken up again by itself, where it stopped. What the hub could not keep is a
/// gap, and is said: on standard error, and with --json on standard output too. Each event is one
/// line: its cursor, its topic, its type and its data, with control characters escaped. With --json
/// each line is an object whose `kind` is event (with cursor, topic, type, time and data), gap (with
/// reason, requested and resumed_from), connected, disconnected or ended.
#[derive(Debug, Args)]
#[command(after_help = SUBSCRIBE_EXAMPLES)]
pub(crate) struct SubscribeArgs {
    /// What to listen to: a topic whose tokens may be * (any one token) or, last, > (one or more).
    /// May be repeated.
    #[arg(long, required = true, value_name = "FILTER")]
    pub(crate) topic: Vec<String>,

    /// Where to start: `now`, with what is published from now on; `earliest`, with the oldest event
    /// kept; `latest`, with the last event of every topic; `last:N`, with the last N events, 1 to
    /// 1,000; or a time such as 2026-01-31T12:00:00Z, with the events since.
    #[arg(long, value_name = "START", default_value = "now")]
    pub(crate) from: Start,

    /// Resume after this cursor, which an event or a receipt has told; beats --from.
    #[arg(long, value_name = "CURSOR")]
    pub(crate) last_event_id: Option<Cursor>,

    /// Where to go on when what comes next is no longer kept.
    #[arg(long, value_enum, default_value_t = AfterGap::Earliest)]
    pub(crate) on_gap: AfterGap,

    /// Print one JSON object for each event, gap, connection and disconnection.
    #[arg(long)]
    pub(crate) json: bool,

    /// End after so many events.
    #[arg(long, value_name = "EVENTS")]
    pub(crate) count: Option<NonZeroU64>,

    /// The hub's HTTP address.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

const SUBSCRIBE_EXAMPLES: &str = "\
Examples:
  tidewire subscribe --topic 'orders.>'
  tidewire subscribe --topic orders.eu.42 --from earliest --count 10 --json
  tidewire subscribe --topic 'prices.>' --from latest
  tidewire subscribe --topic 'orders.>' --from last:20
  tidewire subscribe --topic '>' --last-event-id 5f3a91c2-10482";

/// Where a subscription goes on after a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AfterGap {
    /// With the oldest event kept
    Earliest,
    /// With what is published from then on
    Now,
}

/// Publishes this machine's own figures, so that there is something to look at
///
/// Processor, memory, disks and network, as JSON on topics below machine, over the public gRPC
/// API. When the hub is away it keeps what it measures, up to a bound, and goes on by itself.
#[derive(Debug, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub(crate) struct DemoArgs {
    /// The hub's gRPC address.
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    pub(crate) url: String,

    /// How often the figures are taken: 100ms to 1h.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration(SECOND / 10..=HOUR))]
    pub(crate) interval: Duration,

    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

const DEMO_EXAMPLES: &str = "\
Examples:
  tidewire demo
  tidewire demo --interval 250ms --url http://hub.example.com:50051";

/// Shows every setting in force: its value, and where that is from
///
/// It takes the same options, environment and file as the service it speaks about, and starts
/// nothing. Without a service it speaks about standalone. Passwords and tokens are not shown.
#[derive(Debug, Args)]
#[command(
    after_help = CONFIG_EXAMPLES,
    disable_help_subcommand = true,
    override_usage = "tidewire config [--toml] [standalone|ingest|edge] [OPTIONS]",
    subcommand_help_heading = "Services",
    subcommand_value_name = "SERVICE"
)]
pub(crate) struct ConfigArgs {
    /// Print a TOML file with the values in force, each with its meaning; it reads back the same.
    #[arg(long, global = true)]
    pub(crate) toml: bool,

    #[command(subcommand)]
    pub(crate) service: ServiceSettings,
}

const CONFIG_EXAMPLES: &str = "\
Examples:
  tidewire config
  tidewire config --toml > tidewire.toml
  tidewire config edge --nats-url nats://nats.example.com:4222
  TIDEWIRE_RETENTION_AGE=7d tidewire config standalone --config tidewire.toml

`tidewire config SERVICE --help` lists the options.";

/// A service that has settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceSettings {
    /// The whole hub in one process; also where no service is named
    Standalone(ServiceArgs<StandaloneArgs>),
    /// The publishing service, over NATS
    Ingest(ServiceArgs<IngestArgs>),
    /// The subscribing service, over NATS
    Edge(ServiceArgs<EdgeArgs>),
}

/// `tidewire config` speaks of a whole hub where no service is named; clap has no word for that.
pub(crate) fn with_default_service(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_config = arguments.get(1).is_some_and(|command| command == "config");
    let begins_with_option = match arguments.iter().skip(2).find(|&word| word != "--toml") {
        Some(word) if word == "-h" || word == "--help" => false,
        Some(word) => word.to_string_lossy().starts_with('-'),
        None => true,
    };
    if is_config && begins_with_option {
        arguments.insert(2, "standalone".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_speaks_of_a_whole_hub_unless_a_service_is_named() {
        for (typed, wanted) in [
            ("t config", "t config standalone"),
            ("t config --toml", "t config standalone --toml"),
            ("t config --data-dir x", "t config standalone --data-dir x"),
            ("t config --toml --config edge", "t config standalone --toml --config edge"),
            ("t config edge --toml", "t config edge --toml"),
            ("t config --toml ingest", "t config --toml ingest"),
            ("t config egde", "t config egde"),
            ("t config --help", "t config --help"),
            ("t standalone", "t standalone"),
            ("t", "t"),
        ] {
            let words = typed.split_whitespace().map(OsString::from).collect();
            let words = with_default_service(words);
            assert_eq!(words.join(std::ffi::OsStr::new(" ")), *wanted, "{typed}");
        }
    }
}
