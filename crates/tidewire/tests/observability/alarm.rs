//! An alert fires where something is wrong, and is over when that is.

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    hub::{Hub, address},
    prometheus::{LOOK_INTERVAL, PATIENCE, Prometheus},
    rules,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_fires_while_an_edge_is_dead_and_is_over_when_it_is_back() {
    let mut hub = Hub::start().await;
    let prometheus = Prometheus::start(&hub.targets(), &rules::impatient()).await;
    let edge = address(&hub.edges[0].operations);
    until(&prometheus, "all are seen", async || {
        prometheus.query("up == 1").await.len() == hub.targets().len()
    })
    .await;
    assert_eq!(firing(&prometheus, "TidewireDown").await, Vec::<Value>::new());

    hub.edges[0].kill();
    for alert in ["TidewireDown", "TidewireEdgesDown"] {
        until(&prometheus, alert, async || !firing(&prometheus, alert).await.is_empty()).await;
    }
    let [down] = &*firing(&prometheus, "TidewireDown").await else {
        panic!("one is down");
    };
    assert_eq!(down["labels"]["instance"], edge);
    assert_eq!(down["labels"]["severity"], "warning");
    let annotations = &down["annotations"];
    assert_eq!(annotations["summary"], format!("{edge} of tidewire-edge does not answer"));
    assert_eq!(annotations["runbook_url"], "docs/operations/runbooks/TidewireDown.md");

    hub.edges[0].launch_again();
    hub.edges[0].ready().await;
    until(&prometheus, "it is over", async || firing(&prometheus, "TidewireDown").await.is_empty())
        .await;
}

/// What fires of an alert.
async fn firing(prometheus: &Prometheus, alert: &str) -> Vec<Value> {
    let told = prometheus.ask("/api/v1/alerts").await;
    let fires = |one: &Value| one["labels"]["alertname"] == alert && one["state"] == "firing";
    told["alerts"].as_array().unwrap().iter().filter(|one| fires(one)).cloned().collect()
}

async fn until(prometheus: &Prometheus, what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        if began.elapsed() > PATIENCE {
            panic!("never: {what}; alerts: {}", prometheus.ask("/api/v1/alerts").await);
        }
        sleep(LOOK_INTERVAL).await;
    }
}
