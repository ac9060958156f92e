//! `tidewire standalone`: a log, an ingest and an edge in one process.

use std::time::Duration;

use tidewire_edge::Edge;
use tidewire_ingest::Ingest;

use crate::{
    announcement,
    backbone::OpenBackbone,
    listeners::{Addresses, Urls},
    process::Role,
    running::{Given, Running},
    settings::{ProcessArgs, StandaloneArgs},
};

impl Role for StandaloneArgs {
    fn name(&self) -> &'static str {
        "standalone"
    }

    fn process(&self) -> &ProcessArgs {
        &self.process
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            http: self.http.http_listen,
            http_scheme: self.subscribing.public_port.http_scheme(),
            grpc: Some(self.grpc.grpc_listen),
            operations: self.operations.operations_listen,
        }
    }

    fn publish_timeout(&self) -> Duration {
        self.publishing.publish_timeout
    }

    fn describe_metrics(&self) {
        tidewire_log::metrics::describe();
        tidewire_ingest::metrics::describe();
        tidewire_edge::metrics::describe();
    }

    async fn open(&self) -> anyhow::Result<OpenBackbone> {
        OpenBackbone::embedded(&self.log).await
    }

    fn serve(&self, given: Given) -> anyhow::Result<Running> {
        let Given {
            http, grpc, backbone, publishing_ends, all_ends, open_files_max, traces, ..
        } = given;
        let ingest = tidewire_ingest::Config { traces, ..self.publishing.config() };
        let ingest = Ingest::new(ingest, backbone.clone(), publishing_ends);
        let edge = tidewire_edge::Config { traces, ..self.subscribing.config(open_files_max)? };
        let edge = Edge::start(edge, backbone, all_ends);
        let mut running = Running::default();
        running.edge(edge, http, ingest.http_router());
        running.grpc(ingest, grpc);
        Ok(running)
    }

    fn where_to_look(&self) -> String {
        format!("look at the disk that holds '{}' (--data-dir)", self.log.data_dir.display())
    }

    fn start_message(&self, program: &str, urls: &Urls) -> String {
        let data_dir = self.log.data_dir.display().to_string();
        announcement::of_standalone(program, urls, &data_dir, self.subscribing.page)
    }
}
