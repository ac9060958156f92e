//! The gRPC service: what each call makes of its events, and of their outcomes.

use tidewire_core::TraceParent;
use tidewire_proto::v1::{
    self, PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse,
    PublishStreamRequest, ingest_server,
};
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataMap};

use crate::{
    answer::{result_of, written},
    border::check_count,
    ingest::Ingest,
    metrics::Transport::Grpc,
    publish_stream::Answers,
    status,
    traces::Method,
};

/// The ingest as tonic calls it.
pub(crate) struct GrpcDoor(pub(crate) Ingest);

#[tonic::async_trait]
impl ingest_server::Ingest for GrpcDoor {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let mut trace = trace_of(request.metadata());
        let event = request.into_inner().event;
        if trace.is_none() && self.0.traces().are_on() {
            trace = event.as_ref().and_then(own_trace).and_then(TraceParent::parse);
        }
        let mut call = self.0.traces().call(Method::Publish, trace);
        let event = self.0.border(call.trace()).check_proto(event);
        let outcome = self.0.publish(event, Grpc).await;
        call.sent(&outcome);
        match outcome {
            Ok(receipt) => {
                call.answered_grpc(Code::Ok);
                Ok(Response::new(PublishResponse { receipt: Some(written(receipt)) }))
            }
            Err(refusal) => {
                let status = status::of_refusal(&refusal);
                call.answered_grpc(status.code());
                Err(status)
            }
        }
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let mut call = self.0.traces().call(Method::PublishBatch, trace_of(request.metadata()));
        let border = self.0.border(call.trace());
        let events = request.into_inner().events;
        if let Err(invalid) = check_count(events.len()) {
            let status = status::of_refusal(&self.0.refused(Grpc, invalid.into()));
            call.answered_grpc(status.code());
            return Err(status);
        }
        let events = events.into_iter().map(|event| border.check_proto(Some(event))).collect();
        let outcomes = self.0.publish_all(events, Grpc).await;
        call.sent_all(&outcomes);
        call.answered_grpc(Code::Ok);
        let results = outcomes.into_iter().map(result_of).collect();
        Ok(Response::new(PublishBatchResponse { results }))
    }

    type PublishStreamStream = Answers;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let call = self.0.traces().stream(trace_of(request.metadata()));
        Ok(Response::new(Answers::start(self.0.clone(), call, request.into_inner())))
    }
}

fn trace_of(metadata: &MetadataMap) -> Option<TraceParent> {
    metadata.get(TraceParent::NAME)?.to_str().ok().and_then(TraceParent::parse)
}

/// The trace that an event brings among its attributes.
pub(crate) fn own_trace(event: &v1::Event) -> Option<&str> {
    event.attributes.get(TraceParent::NAME).map(String::as_str)
}
