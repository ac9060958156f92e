//! The gRPC service: what each call makes of its events, and of their outcomes.

use tidewire_proto::v1::{
    PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse,
    PublishStreamRequest, ingest_server,
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use crate::{
    answer::{result_of, written},
    border::{Border, check_count},
    ingest::Ingest,
    metrics::Transport::Grpc,
    publish_stream::Answers,
    status,
    trace_parent::TraceParent,
};

/// The ingest as tonic calls it.
pub(crate) struct GrpcDoor(pub(crate) Ingest);

#[tonic::async_trait]
impl ingest_server::Ingest for GrpcDoor {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let border = border_of(&self.0, request.metadata());
        let event = border.check_proto(request.into_inner().event);
        match self.0.publish(event, Grpc).await {
            Ok(receipt) => Ok(Response::new(PublishResponse { receipt: Some(written(receipt)) })),
            Err(refusal) => Err(status::of_refusal(&refusal)),
        }
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let border = border_of(&self.0, request.metadata());
        let events = request.into_inner().events;
        check_count(events.len())
            .map_err(|invalid| status::of_refusal(&self.0.refused(Grpc, invalid.into())))?;
        let events = events.into_iter().map(|event| border.check_proto(Some(event))).collect();
        let outcomes = self.0.publish_all(events, Grpc).await;
        let results = outcomes.into_iter().map(result_of).collect();
        Ok(Response::new(PublishBatchResponse { results }))
    }

    type PublishStreamStream = Answers;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let border = border_of(&self.0, request.metadata());
        Ok(Response::new(Answers::start(self.0.clone(), border, request.into_inner())))
    }
}

fn border_of(ingest: &Ingest, metadata: &MetadataMap) -> Border {
    let trace = metadata.get(TraceParent::NAME);
    ingest.border(trace.and_then(|trace| trace.to_str().ok()))
}
