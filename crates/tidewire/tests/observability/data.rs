//! What dashboards and rules ask for is there, while a hub works.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    dashboards::{asked_by_annotations, asked_by_panels},
    hub::Hub,
    load::Load,
    prometheus::{LOOK_INTERVAL, PATIENCE, Prometheus},
    rules::{self, RULES},
};

/// Beginnings of the names that are ours, or our process's.
const OURS: [&str; 3] = ["tidewire_", "process_", "job:tidewire_"];

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_has_data_and_every_name_is_a_metric() {
    let hub = Hub::start().await;
    let _load = Load::begin(&hub);
    let rules = std::fs::read_to_string(RULES).unwrap();
    let prometheus = Prometheus::start(&hub.targets(), &rules).await;

    let began = Instant::now();
    let mut without_data = asked_by_panels();
    while !without_data.is_empty() {
        let places: Vec<_> = without_data
            .iter()
            .map(|asked| format!("{}: {}", asked.place, asked.expression))
            .collect();
        assert!(began.elapsed() < PATIENCE, "without data:\n{}", places.join("\n"));
        sleep(LOOK_INTERVAL).await;
        let mut left = Vec::new();
        for asked in without_data {
            if !has_data(&prometheus.query(&asked.expression).await) {
                left.push(asked);
            }
        }
        without_data = left;
    }
    // Those find something only where something happens: it is enough that they can be asked.
    for asked in asked_by_annotations() {
        prometheus.query(&asked.expression).await;
    }
    every_name_is_a_metric(&prometheus).await;
    nothing_is_alarming(&prometheus).await;
}

/// Whether there is a series with a number.
fn has_data(result: &[Value]) -> bool {
    let number = |series: &Value| series["value"][1].as_str()?.parse::<f64>().ok();
    result.iter().filter_map(number).any(f64::is_finite)
}

async fn every_name_is_a_metric(prometheus: &Prometheus) {
    let told = prometheus.ask("/api/v1/label/__name__/values").await;
    let told = told.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let read = rules::read_by(prometheus).await;
    // What rules record takes a while to be there.
    let known: BTreeSet<_> = told.chain(read.iter().map(|(name, _)| name.clone())).collect();
    let of_rules = read.into_iter().map(|(name, expression)| (format!("rule {name}"), expression));
    let of_dashboards = asked_by_panels().into_iter().chain(asked_by_annotations());
    let of_dashboards = of_dashboards.map(|asked| (asked.place, asked.expression));
    for (place, expression) in of_rules.chain(of_dashboards) {
        for name in names_in(&expression) {
            assert!(known.contains(name), "{place}: there is no metric {name}");
        }
    }
}

/// The names of metrics in an expression. Values of labels are no names.
fn names_in(expression: &str) -> impl Iterator<Item = &str> {
    let is_outside = |(index, part)| (index % 2 == 0).then_some(part);
    let outside = expression.split('"').enumerate().filter_map(is_outside);
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = outside.flat_map(move |part| part.split(move |c| !is_of_name(c)));
    words.filter(|word| OURS.iter().any(|ours| word.starts_with(ours)))
}

async fn nothing_is_alarming(prometheus: &Prometheus) {
    let firing = prometheus.query(r#"ALERTS{alertstate="firing"}"#).await;
    assert!(firing.is_empty(), "of a hub that is well: {firing:?}");
}

#[test]
fn names_are_found_and_values_of_labels_are_not() {
    let expression =
        r#"sum by (le) (rate(tidewire_a_bucket{job=~"tidewire_b"}[5m])) / process_c > up"#;
    let found: Vec<_> = names_in(expression).collect();
    assert_eq!(found, ["tidewire_a_bucket", "process_c"]);
}
