//! The stream that holds the log: how it is to be kept, and how one that is there differs.

use serde_json::{Value, json};
use tidewire_core::{Bounds, Epoch, Sequence};

use crate::{
    api::{StreamInfo, StreamState},
    config::{Compression, Config, Storage, StreamSettings},
    subject::Subjects,
};

/// Consumers that a stream may have at once: one for each edge, and a few for its replays. A
/// server of version 2.15 allows 1,000 where nothing is said.
const CONSUMERS_MAX: u32 = 100_000;
/// In a stream's metadata: an operator changes its value to begin a new epoch, which a restored
/// backup needs.
const EPOCH_KEY: &str = "tidewire.epoch";

/// What a missing stream is made with.
pub(crate) fn wanted(config: &Config, settings: &StreamSettings) -> Value {
    json!({
        "name": config.stream.as_str(),
        "description": "The log of a Tidewire event hub",
        "subjects": [Subjects::of(&config.stream).all()],
        "retention": "limits",
        "discard": "old",
        "storage": match settings.storage {
            Storage::File => "file",
            Storage::Memory => "memory",
        },
        "num_replicas": settings.replicas,
        "max_age": nanoseconds(settings.retention_age),
        "max_bytes": settings.retention_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": settings.retention_topic_events.map_or_else(|| json!(-1), |most| json!(most)),
        "max_msg_size": -1,
        "max_consumers": CONSUMERS_MAX,
        "duplicate_window": nanoseconds(settings.deduplication_window),
        "compression": match settings.compression {
            Compression::None => "none",
            Compression::S2 => "s2",
        },
        "allow_msg_ttl": true,
    })
}

/// What no setting may change: without it events are lost, or never found.
const VITAL: [&str; 3] = ["subjects", "retention", "sealed"];
/// What the settings say, or what an event may need.
const SAID: [&str; 9] = [
    "discard",
    "storage",
    "num_replicas",
    "max_age",
    "max_bytes",
    "max_msgs_per_subject",
    "duplicate_window",
    "compression",
    "allow_msg_ttl",
];

/// What is a time.
const DURATIONS: [&str; 2] = ["max_age", "duplicate_window"];

/// How a stream is otherwise than it has to be for any log; nothing where it will do.
pub(crate) fn unusable(config: &Config, found: &StreamInfo) -> Vec<String> {
    let vital = json!({
        "subjects": [Subjects::of(&config.stream).all()],
        "retention": "limits",
        "sealed": false,
    });
    differences(&VITAL, &vital, &found.config)
}

/// How a stream is otherwise than the settings say, field by field in JetStream's names.
pub(crate) fn otherwise(
    config: &Config,
    settings: &StreamSettings,
    found: &StreamInfo,
) -> Vec<String> {
    differences(&SAID, &wanted(config, settings), &found.config)
}

fn differences(fields: &[&str], wanted: &Value, found: &Value) -> Vec<String> {
    fields
        .iter()
        .filter(|field| !is_same(&wanted[**field], &found[**field]))
        .map(|field| {
            let [found, wanted] = [found, wanted].map(|config| shown(field, &config[*field]));
            format!("{field} is {found}, not {wanted}")
        })
        .collect()
}

/// JetStream leaves out what is false, and has 0 and -1 for "no limit".
fn is_same(wanted: &Value, found: &Value) -> bool {
    let unlimited = |value: &Value| matches!(value.as_i64(), Some(0 | -1)) || value.is_null();
    match wanted {
        Value::Bool(wanted) => found.as_bool().unwrap_or(false) == *wanted,
        wanted if unlimited(wanted) => unlimited(found),
        wanted => wanted == found,
    }
}

/// Times are shown in seconds: JetStream counts nanoseconds.
fn shown(field: &str, value: &Value) -> String {
    match value {
        Value::Null => "absent".into(),
        Value::Number(nanoseconds) if DURATIONS.contains(&field) => {
            format!("{} s", nanoseconds.as_f64().unwrap_or_default() / 1e9)
        }
        value => value.to_string(),
    }
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The window within which the stream knows a repeated id.
pub(crate) fn deduplication_window(found: &StreamInfo) -> std::time::Duration {
    std::time::Duration::from_nanos(found.config["duplicate_window"].as_u64().unwrap_or_default())
}

/// Which life of the log a stream is. All that ask about one stream agree, and one that is made
/// anew has another: when it was made is part of it.
pub(crate) fn epoch(found: &StreamInfo) -> Epoch {
    let mut hash = crc32fast::Hasher::new();
    hash.update(found.created.as_bytes());
    if let Some(value) = found.config["metadata"][EPOCH_KEY].as_str() {
        hash.update(value.as_bytes());
    }
    Epoch(hash.finalize())
}

/// The ends of what a stream holds.
pub(crate) fn bounds(found: &StreamInfo) -> Bounds {
    let StreamState { messages, first_seq, last_seq } = found.state;
    let head = Sequence(last_seq);
    let oldest = if messages == 0 { head.next() } else { Sequence(first_seq) };
    Bounds { epoch: epoch(found), oldest, head }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Access, StreamName};

    fn config() -> Config {
        Config {
            servers: vec![],
            connection_name: "test".into(),
            access: Access::default(),
            stream: StreamName::default(),
            keep: None,
        }
    }

    fn found(config: Value) -> StreamInfo {
        let state = StreamState { messages: 0, first_seq: 0, last_seq: 0 };
        StreamInfo {
            created: "2026-01-01T00:00:00.000000001Z".into(),
            config,
            state,
            cluster: None,
        }
    }

    #[test]
    fn a_stream_as_it_was_made_differs_in_nothing() {
        let settings = StreamSettings::default();
        let made = found(wanted(&config(), &settings));
        assert!(otherwise(&config(), &settings, &made).is_empty());
        assert!(unusable(&config(), &made).is_empty());
    }

    #[test]
    fn each_difference_is_named_with_both_values() {
        let settings = StreamSettings::default();
        let mut other = wanted(&config(), &settings);
        other["num_replicas"] = json!(3);
        other["max_msgs_per_subject"] = json!(100);
        other["max_age"] = json!(1_500_000_000_u64);
        other["allow_msg_ttl"] = Value::Null;
        other["max_consumers"] = json!(7);
        assert_eq!(
            otherwise(&config(), &settings, &found(other)),
            [
                "num_replicas is 3, not 1",
                "max_age is 1.5 s, not 86400 s",
                "max_msgs_per_subject is 100, not -1",
                "allow_msg_ttl is absent, not true",
            ]
        );
    }

    #[test]
    fn a_stream_that_would_lose_events_is_unusable_whatever_the_settings() {
        for (field, value) in [
            ("subjects", json!(["tw.OTHER.>"])),
            ("subjects", Value::Null),
            ("retention", json!("workqueue")),
            ("sealed", json!(true)),
        ] {
            let mut other = wanted(&config(), &StreamSettings::default());
            other[field] = value;
            assert_eq!(unusable(&config(), &found(other)).len(), 1, "{field}");
        }
    }

    #[test]
    fn an_epoch_is_the_streams_moment_and_what_an_operator_adds() {
        let stream = found(json!({}));
        assert_eq!(epoch(&stream), epoch(&found(json!({ "max_age": 5 }))));
        assert_ne!(epoch(&stream), epoch(&found(json!({ "metadata": { EPOCH_KEY: "2" } }))));
        let later =
            StreamInfo { created: "2026-01-01T00:00:00.000000002Z".into(), ..stream.clone() };
        assert_ne!(epoch(&stream), epoch(&later));
    }

    #[test]
    fn an_empty_stream_begins_after_its_head() {
        let mut stream = found(json!({}));
        assert_eq!(bounds(&stream).oldest, Sequence(1));
        stream.state = StreamState { messages: 0, first_seq: 8, last_seq: 7 };
        assert_eq!((bounds(&stream).oldest, bounds(&stream).head), (Sequence(8), Sequence(7)));
        stream.state = StreamState { messages: 3, first_seq: 4, last_seq: 7 };
        assert_eq!((bounds(&stream).oldest, bounds(&stream).head), (Sequence(4), Sequence(7)));
    }
}
