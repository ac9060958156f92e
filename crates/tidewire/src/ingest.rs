//! `tidewire ingest`: the publishing service, its events kept by NATS.

use std::time::Duration;

use tidewire_ingest::{Config, Ingest};

use crate::{
    announcement,
    backbone::OpenBackbone,
    listeners::{Addresses, Urls},
    process::Role,
    running::{Given, Running},
    settings::{IngestArgs, ProcessArgs},
};

impl Role for IngestArgs {
    fn name(&self) -> &'static str {
        "ingest"
    }

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            http: self.http.http_listen,
            http_scheme: "http",
            grpc: Some(self.grpc.grpc_listen),
            operations: self.operations.operations_listen,
        }
    }

    fn publish_timeout(&self) -> Duration {
        self.publishing.publish_timeout
    }

    fn describe_metrics(&self) {
        tidewire_nats::metrics::describe();
        tidewire_ingest::metrics::describe();
    }

    async fn open(&self) -> anyhow::Result<OpenBackbone> {
        OpenBackbone::on_nats(&self.nats, "ingest", Some(self.stream.settings())).await
    }

    fn serve(&self, given: Given) -> anyhow::Result<Running> {
        let Given { http, grpc, backbone, publishing_ends, open_files_max, traces, .. } = given;
        let config = Config { traces, ..self.publishing.config() };
        let ingest = Ingest::new(config, backbone, publishing_ends.clone());
        let mut running = Running::default();
        running.http(http, ingest.http_router(), open_files_max, publishing_ends);
        running.grpc(ingest, grpc);
        Ok(running)
    }

    fn where_to_look(&self) -> String {
        format!(
            "is a NATS server with JetStream at {} (--nats-url; `nats-server -js` is one), and may \
             this process log in and use the stream {} there?",
            self.nats.servers(),
            self.nats.nats_stream
        )
    }

    fn start_message(&self, program: &str, urls: &Urls) -> String {
        announcement::of_ingest(program, urls, &self.nats)
    }
}
