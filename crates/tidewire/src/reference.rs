//! Every metric of every service, and the page of the documents that lists them.

use std::fmt::{self, Write as _};

use tidewire_core::metric::{Kind, Metric, Unit};

use crate::telemetry::process_metrics;

/// Metrics that are there together.
pub(crate) struct Group {
    title: &'static str,
    metrics: &'static [&'static [Metric]],
}

pub(crate) const GROUPS: &[Group] = &[
    Group {
        title: "Every edge (`tidewire edge`, `tidewire standalone`)",
        metrics: &[tidewire_edge::metrics::METRICS],
    },
    Group {
        title: "Every ingest (`tidewire ingest`, `tidewire standalone`)",
        metrics: &[tidewire_ingest::metrics::METRICS],
    },
    Group {
        title: "On NATS (`tidewire edge`, `tidewire ingest`)",
        metrics: &[tidewire_nats::metrics::METRICS],
    },
    Group {
        title: "With a log of its own (`tidewire standalone`)",
        metrics: &[tidewire_log::metrics::METRICS],
    },
    Group {
        title: "Every process",
        metrics: &[
            process_metrics::METRICS,
            process_metrics::OF_RUNTIME,
            process_metrics::OF_SYSTEM,
        ],
    },
];

/// All metrics of all groups.
pub(crate) fn metrics() -> impl Iterator<Item = &'static Metric> {
    GROUPS.iter().flat_map(|group| group.metrics).flat_map(|metrics| *metrics)
}

/// The reference, in Markdown.
pub(crate) fn markdown() -> String {
    let mut page = String::new();
    for (number, Group { title, metrics }) in GROUPS.iter().enumerate() {
        let above = if number == 0 { "" } else { "\n" };
        // Writing to memory does not fail.
        let _written = writeln!(
            page,
            "{above}### {title}\n\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|"
        );
        for metric in metrics.iter().flat_map(|metrics| *metrics) {
            let _written = line(&mut page, metric);
        }
    }
    page
}

fn line(page: &mut String, metric: &Metric) -> fmt::Result {
    let Metric { name, kind, unit, help, labels, .. } = metric;
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let unit = match unit {
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        _ => "",
    };
    let labels = labels.iter().map(|label| {
        let values: Vec<_> = label.values.iter().map(|value| format!("`{value}`")).collect();
        // A version is another one in the next release.
        let values = if label.name == "version" { String::new() } else { values.join(", ") };
        format!("`{}` {values}", label.name).trim_end().to_owned()
    });
    let labels = labels.collect::<Vec<_>>().join("; ");
    writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {} |", help.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    const BEGINS: &str = "<!-- begins: `tidewire metrics` -->\n";
    const ENDS: &str = "<!-- ends -->";

    #[test]
    fn the_documents_list_the_metrics_that_there_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations/observability.md");
        let page = fs::read_to_string(path).unwrap();
        let (_, listed) = page.split_once(BEGINS).expect("where the list begins");
        let (listed, _) = listed.split_once(ENDS).expect("where it ends");
        assert!(
            listed == markdown(),
            "docs/operations/observability.md is stale: put what `tidewire metrics` prints there"
        );
    }

    #[test]
    fn names_say_what_metrics_do_and_what_they_are_counted_in() {
        let mut names = BTreeSet::new();
        for Metric { name, kind, unit, help, labels, .. } in metrics() {
            assert!(names.insert(*name), "{name} is declared twice");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let bare = name.trim_end_matches("_total");
            match unit {
                Unit::Seconds => assert!(bare.ends_with("_seconds"), "{name}"),
                Unit::Bytes => assert!(bare.contains("_bytes"), "{name}"),
                Unit::Count => assert!(!bare.ends_with("_seconds"), "{name}"),
                _ => panic!("{name} is counted in {unit:?}"),
            }
            assert!(!help.is_empty() && !help.contains(['|', '\n']), "{name}: {help}");
            if let Kind::Histogram(bounds) = kind {
                assert!(bounds.is_sorted_by(|a, b| a < b), "{name}");
            }
            assert!(labels.iter().all(|label| label.name != "le"), "{name}");
        }
        assert!(names.len() > 90, "{}", names.len());
    }
}
