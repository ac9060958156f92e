//! The rules, and a copy of them for who cannot wait.

use std::fs;

use serde_json::Value;

use crate::prometheus::Prometheus;

pub(crate) const RULES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus/rules/tidewire.yaml");

/// The rules as they are, but that an alert fires after three seconds where it would wait for minutes.
pub(crate) fn impatient() -> String {
    let rules = fs::read_to_string(RULES).unwrap();
    let hurry = |line: &str| {
        let waits = line.trim_start().starts_with("for: ");
        if waits { "        for: 3s\n".to_owned() } else { format!("{line}\n") }
    };
    let hurried: String = rules.lines().map(hurry).collect();
    assert_ne!(hurried, rules, "some wait");
    hurried
}

/// Each rule's name and expression, as Prometheus has read them.
pub(crate) async fn read_by(prometheus: &Prometheus) -> Vec<(String, String)> {
    let told = prometheus.ask("/api/v1/rules").await;
    let groups = told["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules.map(|rule| (text(&rule["name"]), text(&rule["query"]))).collect()
}
