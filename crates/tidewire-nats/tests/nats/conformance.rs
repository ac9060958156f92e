//! The contract of every backbone, on one server and on three.

use std::sync::Arc;

use async_trait::async_trait;
use tidewire_core::{Backbone, Cursor, conformance::Fixture};
use tidewire_nats::{Nats, StreamSettings};
use tidewire_testbed::{NatsCluster, NatsOptions};

use crate::{config, event, start, until_usable};

mod on_one_server {
    tidewire_core::conformance_tests!(super::OnServers::new(1));
}

mod on_one_of_the_oldest_servers {
    tidewire_core::conformance_tests!(super::OnServers::new(1).of_version("2.11.11"));
}

mod on_three_servers {
    tidewire_core::conformance_tests!(super::OnServers::new(3));
}

/// A log on servers of its own, with so little room that it can be filled.
struct OnServers {
    servers: usize,
    version: Option<&'static str>,
    opened: Option<(NatsCluster, Arc<Nats>)>,
}

impl OnServers {
    fn new(servers: usize) -> Self {
        Self { servers, version: None, opened: None }
    }

    fn of_version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    fn settings(&self) -> StreamSettings {
        StreamSettings {
            replicas: self.servers,
            retention_bytes: 4 * 1024 * 1024,
            ..StreamSettings::default()
        }
    }

    fn opened(&self) -> &(NatsCluster, Arc<Nats>) {
        self.opened.as_ref().expect("the log was opened before")
    }

    async fn open_on(&mut self, servers: NatsCluster) -> Arc<dyn Backbone> {
        let nats = Arc::new(start(config(&servers, self.settings())).await);
        self.opened = Some((servers, Arc::clone(&nats)));
        nats
    }
}

#[async_trait]
impl Fixture for OnServers {
    async fn open(&mut self) -> Arc<dyn Backbone> {
        let version = self.version.map(str::to_owned);
        let options = NatsOptions { version, ..NatsOptions::default() };
        let servers = NatsCluster::start_with(self.servers, options).await;
        self.open_on(servers).await
    }

    /// All servers are killed, and started on what lies on their disks.
    async fn reopen(&mut self) -> Arc<dyn Backbone> {
        let Some((servers, nats)) = self.opened.take() else { return self.open().await };
        drop(nats);
        for server in 0..servers.nodes() {
            servers.kill(server);
        }
        for server in 0..servers.nodes() {
            servers.start_node(server);
        }
        servers.ready().await;
        self.open_on(servers).await
    }

    async fn recreate(&mut self) -> Arc<dyn Backbone> {
        let (servers, nats) = self.opened.take().expect("the log was opened before");
        nats.close().await;
        let client = async_nats::connect(servers.urls()).await.unwrap();
        let deleted = client.request("$JS.API.STREAM.DELETE.TIDEWIRE", "".into()).await.unwrap();
        assert!(String::from_utf8_lossy(&deleted.payload).contains("\"success\":true"));
        self.open_on(servers).await
    }

    async fn expire(&mut self, cursor: Cursor) {
        let nats = &self.opened().1;
        while nats.bounds().await.unwrap().oldest.previous() <= cursor.sequence {
            nats.publish(event("filling", "x".repeat(50_000))).await.unwrap();
        }
    }

    /// The server that leads the log is killed, and started again.
    async fn disturb(&mut self) {
        let (servers, nats) = self.opened();
        let leader = servers.stream_leader("TIDEWIRE").await.unwrap_or(0);
        servers.kill(leader);
        servers.start_node(leader);
        servers.ready().await;
        until_usable(nats).await;
    }
}
