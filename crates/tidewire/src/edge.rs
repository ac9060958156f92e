//! `tidewire edge`: the subscribing service, its events kept by NATS.

use std::time::Duration;

use axum::Router;
use tidewire_edge::{Config, Edge};

use crate::{
    announcement,
    backbone::OpenBackbone,
    listeners::{Addresses, Urls},
    process::{self, Role},
    running::{Given, Running},
    settings::{EdgeArgs, ProcessArgs},
};

impl Role for EdgeArgs {
    fn name(&self) -> &'static str {
        "edge"
    }

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            http: self.http.http_listen,
            http_scheme: self.subscribing.public_port.http_scheme(),
            grpc: None,
            operations: self.operations.operations_listen,
        }
    }

    fn publish_timeout(&self) -> Duration {
        Duration::ZERO
    }

    fn describe_metrics(&self) {
        tidewire_nats::metrics::describe();
        tidewire_edge::metrics::describe();
    }

    async fn open(&self) -> anyhow::Result<OpenBackbone> {
        OpenBackbone::on_nats(&self.nats, "edge", None).await
    }

    fn serve(&self, given: Given) -> anyhow::Result<Running> {
        let Given { http, backbone, relay, all_ends, open_files_max, traces, .. } = given;
        let config = self.subscribing.config(open_files_max)?;
        let config = Config { name: process::instance(), traces, ..config };
        let edge = Edge::start(config, backbone, all_ends);
        if let Some(relay) = relay {
            edge.join(relay);
        }
        let mut running = Running::default();
        running.edge(edge, http, Router::new());
        Ok(running)
    }

    fn where_to_look(&self) -> String {
        format!(
            "is a NATS server with JetStream at {} (--nats-url), may this process log in there, and \
             has an ingest made the stream {} (`tidewire ingest`)?",
            self.nats.servers(),
            self.nats.nats_stream
        )
    }

    fn start_message(&self, program: &str, urls: &Urls) -> String {
        announcement::of_edge(program, urls, &self.nats, self.subscribing.page)
    }
}
