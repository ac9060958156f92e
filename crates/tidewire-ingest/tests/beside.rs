//! The services beside ours: health checking and reflection.
#![expect(clippy::unwrap_used, reason = "a test: what cannot be unwrapped is its result")]

mod hub;

use hub::{TestHub, event};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const SERVICE: &str = "tidewire.v1.Ingest";

#[tokio::test]
async fn health_says_serving() {
    let hub = TestHub::start().await;
    let mut health = HealthClient::new(hub.connect().await);
    for service in ["", SERVICE] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn a_watcher_sees_the_stop_and_does_not_hold_it_up() {
    let mut hub = TestHub::start().await;
    let mut health = HealthClient::new(hub.connect().await);
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut watched = health.watch(request).await.unwrap().into_inner();
    let mut seen = vec![watched.message().await.unwrap().unwrap()];
    hub.stop.cancel();
    while let Some(status) = watched.message().await.unwrap() {
        seen.push(status);
    }
    let statuses: Vec<_> = seen.iter().map(HealthCheckResponse::status).collect();
    assert_eq!(statuses, [ServingStatus::Serving, ServingStatus::NotServing]);
    (&mut hub.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_holds_on_does_not_hold_up_the_stop_for_ever() {
    let mut hub = TestHub::start().await;
    let (_held_open, requests) = mpsc::channel::<ServerReflectionRequest>(1);
    let mut client = ServerReflectionClient::new(hub.connect().await);
    let call = client.server_reflection_info(ReceiverStream::new(requests)).await;
    let _answers = call.unwrap().into_inner();
    let _silent = TcpStream::connect(hub.grpc).await.unwrap();
    hub.stop.cancel();
    // From here on time passes as soon as nobody has anything to do.
    tokio::time::pause();
    (&mut hub.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn reflection_lists_the_services_and_describes_ours() {
    let hub = TestHub::start().await;
    let services = match reflect(&hub, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(list) => list.service,
        other => panic!("{other:?}"),
    };
    let services: Vec<_> = services.into_iter().map(|service| service.name).collect();
    for service in [SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(services.iter().any(|name| name == service), "{service}: {services:?}");
    }
    let symbol = MessageRequest::FileContainingSymbol(SERVICE.to_owned());
    let files = match reflect(&hub, symbol).await {
        MessageResponse::FileDescriptorResponse(found) => found.file_descriptor_proto,
        other => panic!("{other:?}"),
    };
    let file = FileDescriptorProto::decode(&*files[0]).unwrap();
    let methods: Vec<_> = file.service[0].method.iter().map(|method| method.name()).collect();
    assert_eq!(methods, ["Publish", "PublishBatch", "PublishStream"]);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_and_hurts_nobody() {
    let hub = TestHub::start().await;
    let mut grpc = tonic::client::Grpc::new(hub.connect().await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/tidewire.v1.Ingest/Nothing");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let status = grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    hub.publish(event("t", "x")).await.unwrap();
}

async fn reflect(hub: &TestHub, request: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(hub.connect().await);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
    answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
}
