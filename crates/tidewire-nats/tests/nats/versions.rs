//! Older servers: which do, and what is said of those that do not.

use tidewire_nats::{Nats, StreamSettings};
use tidewire_testbed::{NatsCluster, NatsOptions};
use tokio::time::timeout;

use crate::{PATIENCE, config};

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_with_what_is_needed() {
    let options = NatsOptions { version: Some("2.10.26".into()), ..NatsOptions::default() };
    let servers = NatsCluster::start_with(1, options).await;
    for keep in [Some(StreamSettings::default()), None] {
        let is_edge = keep.is_none();
        let config = tidewire_nats::Config { keep, ..config(&servers, StreamSettings::default()) };
        let nats = Nats::start(config).await.unwrap();
        let failure = timeout(PATIENCE, nats.failed()).await.expect("it cannot go on").to_string();
        let said = "the NATS server is of version 2.10.26; 2.11 or newer is needed";
        assert_eq!(failure, said, "edge: {is_edge}");
        assert!(nats.trouble().unwrap().contains(said));
    }
}
