//! The gRPC server: its bounds, the services beside ours, and how it ends.

use std::time::Duration;

use http::Response;
use tidewire_proto::v1::ingest_server::IngestServer;
use tokio::{net::TcpListener, time::sleep};
use tonic::{
    Status,
    body::Body,
    server::NamedService as _,
    service::LayerExt as _,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server as reflection;
use tower::{ServiceBuilder, util::MapResponseLayer};
use tracing::warn;

use crate::{grpc::GrpcDoor, ingest::Ingest, metrics::Transport::Grpc, status};

/// Calls open at once on one connection. Each may be receiving a whole message.
const CALLS_MAX: u32 = 256;
/// Bytes of one call's headers: metadata is a trace and a token, not data.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that one call may have sent and the server not read.
const CALL_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for one connection: a few streams that are not read leave room for other calls.
const CONNECTION_WINDOW_BYTES: u32 = 4 * CALL_WINDOW_BYTES;
/// A connection that is silent for so long is asked whether its client is there …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// … and closed without an answer within this.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// After this a connection takes no more calls, and its client opens another, perhaps to a younger
/// replica. Calls that are open go on.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 60);
/// How long a call may take to send its one message, beside the wait for the receipt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Once stopping, health watchers have this long to see it before their streams end.
const WATCH_GRACE: Duration = Duration::from_millis(500);
/// How long clients have to read their last answers, beside the wait for the receipts.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the gRPC server ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the gRPC server failed: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

impl Ingest {
    /// Serves gRPC (the `Ingest` service, health checking and reflection) on a bound listener,
    /// until the ingest is told to stop; then finishes what is in flight, and returns when every
    /// connection is closed, or some seconds after the publish timeout at the latest.
    ///
    /// A request that is longer than the limit is answered with `RESOURCE_EXHAUSTED`, one that is
    /// no well-formed message with `INVALID_ARGUMENT`; on a stream either ends the stream, once
    /// what is in flight is answered.
    ///
    /// # Errors
    /// [`ServeError`] where the server cannot go on.
    pub async fn serve_grpc(&self, listener: TcpListener) -> Result<(), ServeError> {
        let (health, health_server) = tonic_health::server::health_reporter();
        health.set_serving::<IngestServer<GrpcDoor>>().await;
        let stopping = async {
            self.stopping().cancelled().await;
            for service in ["", IngestServer::<GrpcDoor>::NAME] {
                health.set_service_status(service, ServingStatus::NotServing).await;
            }
        };
        let bytes_max = self.config().message_bytes_max;
        let ours = IngestServer::new(GrpcDoor(self.clone())).max_decoding_message_size(bytes_max);
        let ingest = self.clone();
        let reworded = MapResponseLayer::new(move |response| ingest.reworded(response));
        let counted = ServiceBuilder::new().layer(self.counted_unary()).layer(reworded);
        let serving = bounded(self.config().publish_timeout + REQUEST_TIMEOUT)
            .add_service(counted.named_layer(ours))
            .add_service(health_server)
            .add_service(reflected(reflection().build_v1()))
            .add_service(reflected(reflection().build_v1alpha()))
            .serve_with_incoming_shutdown(incoming(listener), stopping);
        tokio::select! {
            served = serving => Ok(served?),
            () = self.drained(health.clone()) => {
                warn!("gRPC clients still held connections open after the drain");
                Ok(())
            }
        }
    }

    /// Puts tonic's own refusals, which are an answer's headers, into the protocol's words.
    fn reworded(&self, response: Response<Body>) -> Response<Body> {
        let unreadable = Status::from_header_map(response.headers())
            .and_then(|status| status::unreadable(&status, self.config().message_bytes_max));
        match unreadable {
            Some(refusal) => status::of_refusal(&self.refused(Grpc, refusal)).into_http(),
            None => response,
        }
    }

    /// Completes when a drain has taken as long as it may.
    async fn drained(&self, mut health: HealthReporter) {
        self.stopping().cancelled().await;
        sleep(WATCH_GRACE).await;
        for service in ["", IngestServer::<GrpcDoor>::NAME] {
            health.clear_service_status(service).await;
        }
        sleep(self.config().publish_timeout + DRAIN_TIMEOUT).await;
    }
}

fn bounded(call_timeout: Duration) -> Server {
    Server::builder()
        .timeout(call_timeout)
        .max_concurrent_streams(CALLS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(CONNECTION_AGE_MAX)
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_INTERVAL))
}

fn reflection() -> reflection::Builder<'static> {
    reflection::Builder::configure()
        .register_encoded_file_descriptor_set(tidewire_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Both versions of reflection are served: older tools ask for `v1alpha` only.
#[expect(clippy::expect_used, reason = "the descriptors are compiled in, and a test asks them")]
fn reflected<S>(built: Result<S, reflection::Error>) -> S {
    built.expect("the descriptors are well-formed")
}
