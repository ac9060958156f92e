//! The backbone on real servers.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]

mod access;
mod certificates;
mod conformance;
mod credentials;
mod foreign;
mod pages;
mod permissions;
mod policy;
mod publishing;
mod raw;
mod relay;
mod restoring;
mod steps;
mod subjects;
mod tail;
mod versions;

use std::time::Duration;

use tidewire_core::{Backbone as _, EventData, NewEvent, Topic};
use tidewire_nats::{Access, Config, Nats, StreamName, StreamSettings};
use tidewire_testbed::NatsCluster;
use tokio::time::{sleep, timeout};

/// How long a log may take to be there, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a backbone is told to use these servers.
fn config(servers: &NatsCluster, settings: StreamSettings) -> Config {
    Config {
        servers: servers.urls().iter().map(|url| url.parse().unwrap()).collect(),
        connection_name: "test".into(),
        access: Access::default(),
        stream: StreamName::default(),
        keep: Some(settings),
    }
}

/// A backbone that is in order.
async fn start(config: Config) -> Nats {
    let nats = Nats::start(config).await.unwrap();
    until_usable(&nats).await;
    nats
}

async fn until_usable(nats: &Nats) {
    let usable = async {
        while nats.trouble().is_some() || nats.bounds().await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(PATIENCE, usable).await.is_err() {
        panic!("the log is not there: {:?}", nats.trouble());
    }
}

fn event(topic: &str, data: impl Into<bytes::Bytes>) -> NewEvent {
    NewEvent::new(Topic::parse(topic).unwrap(), EventData::parse(data, 1 << 20).unwrap())
}
