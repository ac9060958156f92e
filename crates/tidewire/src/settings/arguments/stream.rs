//! How the stream on NATS is kept, by those who write to it.

use clap::{Args, ValueEnum};
use tidewire_nats::{Compression, Storage, StreamPolicy, StreamSettings};

use crate::settings::{arguments::RetentionArgs, units::count};

/// Events of one topic; more than anyone keeps, and far from where numbers end.
const TOPIC_EVENTS_MAX: usize = 1_000_000_000;

/// How the stream is kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Stream")]
pub(crate) struct StreamArgs {
    /// What to do where the stream is missing, or is otherwise than the settings below say:
    /// create, verify or require.
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Policy::Create)]
    pub(crate) nats_stream_policy: Policy,

    /// On how many NATS servers the stream lies: 1, 3 or 5. What is on one server is lost with it.
    #[arg(long, value_name = "SERVERS", default_value = "1", value_parser = replicas)]
    pub(crate) nats_replicas: usize,

    /// Where each of them keeps it: file or memory.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = StorageKind::File)]
    pub(crate) nats_storage: StorageKind,

    /// How the files are compressed: none or s2. NATS servers before 2.12.12 and 2.14.3 could
    /// damage what they had compressed.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = CompressionKind::None)]
    pub(crate) nats_compression: CompressionKind,

    #[command(flatten)]
    pub(crate) retention: RetentionArgs,

    /// How many events of one topic are kept; its oldest go first: 1 to 1000000000. No limit by
    /// default.
    #[arg(long, value_name = "EVENTS", value_parser = count(1..=TOPIC_EVENTS_MAX))]
    pub(crate) retention_topic_events: Option<usize>,
}

impl StreamArgs {
    /// Checks what no setting can say alone.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.retention.deduplication_window > self.retention.retention_age {
            return Err(
                "'deduplication_window' is longer than 'retention_age': NATS remembers an \
                        event's id no longer than the event"
                    .into(),
            );
        }
        Ok(())
    }

    /// What the backbone is told.
    pub(crate) fn settings(&self) -> StreamSettings {
        StreamSettings {
            policy: match self.nats_stream_policy {
                Policy::Create => StreamPolicy::Create,
                Policy::Verify => StreamPolicy::Verify,
                Policy::Require => StreamPolicy::Require,
            },
            replicas: self.nats_replicas,
            storage: match self.nats_storage {
                StorageKind::File => Storage::File,
                StorageKind::Memory => Storage::Memory,
            },
            retention_age: self.retention.retention_age,
            retention_bytes: self.retention.retention_bytes,
            retention_topic_events: self.retention_topic_events.map(|events| events as u64),
            deduplication_window: self.retention.deduplication_window,
            compression: match self.nats_compression {
                CompressionKind::None => Compression::None,
                CompressionKind::S2 => Compression::S2,
            },
        }
    }
}

/// [`StreamPolicy`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// Make a missing one; say how another differs, and go on
    Create,
    /// Make a missing one; say how another differs, and stop
    Verify,
    /// Wait for a missing one; say how another differs, and stop
    Require,
}

/// [`Storage`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageKind {
    /// In files
    File,
    /// In memory: a restart of all servers loses it
    Memory,
}

/// [`Compression`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionKind {
    /// Not at all
    None,
    /// By S2: less disk, more processor time
    S2,
}

/// A number of servers of which a majority is left when the fewer half is lost.
fn replicas(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(replicas @ (1 | 3 | 5)) => Ok(replicas),
        _ => Err("1, 3 or 5 is wanted".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        stream: StreamArgs,
    }

    fn typed(flags: &str) -> StreamArgs {
        Typed::try_parse_from(format!("t {flags}").split_whitespace()).unwrap().stream
    }

    #[test]
    fn the_defaults_are_the_backbones_own() {
        typed("").check().unwrap();
        assert_eq!(typed("").settings(), StreamSettings::default());
    }

    #[test]
    fn what_is_typed_is_passed_on_as_it_is() {
        let flags = "--nats-stream-policy require --nats-replicas 3 --nats-storage memory \
                     --nats-compression s2 --retention-age 1h --retention-bytes 2MiB \
                     --retention-topic-events 7 --deduplication-window 3s";
        let wanted = StreamSettings {
            policy: StreamPolicy::Require,
            replicas: 3,
            storage: Storage::Memory,
            retention_age: Duration::from_secs(60 * 60),
            retention_bytes: 2 * 1024 * 1024,
            retention_topic_events: Some(7),
            deduplication_window: Duration::from_secs(3),
            compression: Compression::S2,
        };
        assert_eq!(typed(flags).settings(), wanted);
        let verify = typed("--nats-stream-policy verify").settings();
        assert_eq!(verify.policy, StreamPolicy::Verify);
    }

    #[test]
    fn replicas_are_a_number_with_a_majority() {
        for text in ["0", "2", "4", "7", "-1", "three", ""] {
            assert!(replicas(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_are_not_remembered_longer_than_events() {
        let refusal = typed("--retention-age 1m").check().unwrap_err();
        for name in ["deduplication_window", "retention_age"] {
            assert!(refusal.contains(name), "{refusal}");
        }
        typed("--retention-age 1m --deduplication-window 1m").check().unwrap();
    }
}
