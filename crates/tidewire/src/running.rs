//! What a process serves, on which of its ports.

use std::sync::Arc;

use axum::Router;
use tidewire_core::{Backbone, Relay};
use tidewire_edge::Edge;
use tidewire_ingest::Ingest;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{http_port, readiness::Check, services::Services};

/// What there is to serve with.
pub(crate) struct Given {
    pub(crate) http: TcpListener,
    /// There where the role has an address for it.
    pub(crate) grpc: Option<TcpListener>,
    pub(crate) backbone: Arc<dyn Backbone>,
    /// The way to other edges, where the log is one that others stand on too.
    pub(crate) relay: Option<Arc<dyn Relay>>,
    /// Ends what publishes: what is in flight is finished, and nothing more is taken.
    pub(crate) publishing_ends: CancellationToken,
    /// Ends everything else that is served, in good order.
    pub(crate) all_ends: CancellationToken,
    /// How many files the process may have open.
    pub(crate) open_files_max: u64,
    /// Whether what is done is traced.
    pub(crate) traces: bool,
}

/// What is being served, and what each part is missing to be ready.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) services: Services,
    pub(crate) checks: Vec<Check>,
    /// What is to be drained, where there is one.
    pub(crate) edge: Option<Arc<Edge>>,
}

impl Running {
    /// Serves an edge, and routes beside its own, on the HTTP port.
    pub(crate) fn edge(&mut self, edge: Edge, http: TcpListener, beside: Router) {
        let edge = Arc::new(edge);
        self.services.start("the HTTP port", {
            let edge = Arc::clone(&edge);
            async move {
                let served = edge.serve(http, beside).await;
                edge.stopped().await;
                served
            }
        });
        self.edge = Some(Arc::clone(&edge));
        self.checks.push(Box::new(move || edge.trouble().map(|reason| format!("edge: {reason}"))));
    }

    /// Serves an ingest on the gRPC port.
    pub(crate) fn grpc(&mut self, ingest: Ingest, grpc: Option<TcpListener>) {
        let Some(grpc) = grpc else { return };
        self.services.start("the gRPC port", async move { ingest.serve_grpc(grpc).await });
    }

    /// Serves routes that answer and are done on the HTTP port, without an edge.
    pub(crate) fn http(
        &mut self,
        http: TcpListener,
        routes: Router,
        open_files_max: u64,
        publishing_ends: CancellationToken,
    ) {
        let served = http_port::serve(http, routes, open_files_max, publishing_ends);
        self.services.start("the HTTP port", async move {
            served.await;
            anyhow::Ok(())
        });
    }
}
