//! A stream against a real gRPC server that loses connections, answers late, never, or backwards.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use futures_util::{FutureExt, future::join_all, poll};
use parking_lot::Mutex;
use tidewire_core::{Cursor, Epoch, EventData, Sequence, Topic};
use tidewire_proto::v1::{
    self, PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse,
    PublishResult, PublishStreamRequest, PublishStreamResponse,
    ingest_server::{Ingest, IngestServer},
    publish_result,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Response, Status, Streaming, async_trait,
    transport::{Server, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;
use crate::Publisher;

/// Nothing here takes nearly as long; a test that waits for ever should say so.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What a hub does with the events of one stream.
#[derive(Clone, Copy)]
enum Conduct {
    /// Stores and answers each.
    Serve,
    /// Stores so many, answers only half of them, and ends the stream with an error.
    FailAfter(usize),
    /// Ends the stream in good order after so many.
    EndAfter(usize),
    /// Stores each, and answers none.
    KeepSilent,
    /// Answers in groups of so many, the last one first.
    AnswerBackwards(usize),
    /// Refuses every third event at first.
    RefuseSome,
    /// Refuses the stream itself.
    Deny,
    /// Stores each, and answers once told to.
    AnswerWhenTold,
}

/// A hub that keeps events in memory, once for each id.
#[derive(Clone, Default)]
struct Hub(Arc<HubState>);

#[derive(Default)]
struct HubState {
    stored: Mutex<Stored>,
    /// What to do with the next streams; afterwards it serves.
    conducts: Mutex<VecDeque<Conduct>>,
    told: tokio::sync::Notify,
}

#[derive(Default)]
struct Stored {
    /// Ids, in the order of the log.
    log: Vec<String>,
    places: BTreeMap<String, u64>,
    refused: BTreeMap<String, usize>,
    streams: usize,
}

impl Hub {
    fn with_conducts(conducts: impl IntoIterator<Item = Conduct>) -> Self {
        let hub = Self::default();
        hub.0.conducts.lock().extend(conducts);
        hub
    }

    fn log(&self) -> Vec<String> {
        self.0.stored.lock().log.clone()
    }

    fn streams(&self) -> usize {
        self.0.stored.lock().streams
    }

    /// Stores an event, unless its topic is one that is refused.
    fn store(&self, event: v1::Event) -> Result<v1::Receipt, Status> {
        match event.topic.as_str() {
            "wrong" => {
                let details = ErrorDetails::with_bad_request_violation("topic", "is wrong");
                return Err(Status::with_error_details(Code::InvalidArgument, "no", details));
            }
            "huge" => return Err(Status::resource_exhausted("at most 7 bytes")),
            _ => {}
        }
        let mut guard = self.0.stored.lock();
        let stored = &mut *guard;
        let duplicate = stored.places.contains_key(&event.id);
        if !duplicate {
            stored.log.push(event.id.clone());
            stored.places.insert(event.id.clone(), stored.log.len() as u64);
        }
        Ok(v1::Receipt { cursor: cursor(stored.places[&event.id]).to_string(), duplicate })
    }

    /// Refuses every third event twice, once for each reason that may pass, before it is stored.
    fn store_unless_busy(&self, number: usize, event: v1::Event) -> Result<v1::Receipt, Status> {
        let refusals = match self.0.stored.lock().refused.entry(event.id.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                *entry.insert(if number.is_multiple_of(3) { 2 } else { 0 })
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                *entry.get_mut() = entry.get().saturating_sub(1);
                *entry.get()
            }
        };
        match refusals {
            0 => self.store(event),
            1 => Err(Status::unavailable("the log does not answer")),
            _ => {
                let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
                Err(Status::with_error_details(Code::ResourceExhausted, "busy", details))
            }
        }
    }

    /// Plays a conduct to the stream's end.
    async fn play(
        self,
        conduct: Conduct,
        mut requests: Streaming<PublishStreamRequest>,
        answers: mpsc::Sender<Result<PublishStreamResponse, Status>>,
    ) {
        let mut held_back = Vec::new();
        let mut number = 0;
        while let Ok(Some(PublishStreamRequest { request_id, event })) = requests.message().await {
            number += 1;
            let event = event.expect("an event");
            let answer = match conduct {
                Conduct::RefuseSome => self.store_unless_busy(number, event),
                _ => self.store(event),
            };
            held_back.push(PublishStreamResponse { request_id, result: Some(result(answer)) });
            match conduct {
                Conduct::KeepSilent => held_back.clear(),
                Conduct::FailAfter(last) => {
                    if number.is_multiple_of(2) {
                        held_back.clear();
                    }
                    if number == last {
                        let _ = answers.send(Err(Status::internal("it broke"))).await;
                        return;
                    }
                }
                Conduct::AnswerBackwards(group) if held_back.len() < group => continue,
                Conduct::AnswerBackwards(_) => held_back.reverse(),
                Conduct::AnswerWhenTold => self.0.told.notified().await,
                Conduct::Serve | Conduct::EndAfter(_) | Conduct::RefuseSome | Conduct::Deny => {}
            }
            for answer in held_back.drain(..) {
                let _ = answers.send(Ok(answer)).await;
            }
            if matches!(conduct, Conduct::EndAfter(last) if number == last) {
                return;
            }
        }
        for answer in held_back {
            let _ = answers.send(Ok(answer)).await;
        }
    }
}

#[async_trait]
impl Ingest for Hub {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let receipt = self.store(request.into_inner().event.expect("an event"))?;
        Ok(Response::new(PublishResponse { receipt: Some(receipt) }))
    }

    async fn publish_batch(
        &self,
        request: Request<PublishBatchRequest>,
    ) -> Result<Response<PublishBatchResponse>, Status> {
        let events = request.into_inner().events.into_iter();
        let results = events.map(|event| result(self.store(event))).collect();
        Ok(Response::new(PublishBatchResponse { results }))
    }

    type PublishStreamStream = ReceiverStream<Result<PublishStreamResponse, Status>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        self.0.stored.lock().streams += 1;
        let conduct = self.0.conducts.lock().pop_front().unwrap_or(Conduct::Serve);
        if matches!(conduct, Conduct::Deny) {
            return Err(Status::permission_denied("not you"));
        }
        let (answers, stream) = mpsc::channel(16);
        // Ends with its stream, or with the test's runtime.
        tokio::spawn(self.clone().play(conduct, request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn result(answer: Result<v1::Receipt, Status>) -> PublishResult {
    PublishResult {
        result: Some(match answer {
            Ok(receipt) => publish_result::Result::Receipt(receipt),
            Err(status) => {
                use prost::Message as _;
                let details = tonic_types::Status::decode(status.details()).unwrap().details;
                publish_result::Result::Status(v1::Status {
                    code: status.code().into(),
                    message: status.message().to_owned(),
                    details,
                })
            }
        }),
    }
}

fn cursor(place: u64) -> Cursor {
    Cursor::new(Epoch(7), Sequence(place))
}

/// Serves a hub for as long as the returned set lives.
async fn serve(hub: &Hub) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = IngestServer::new(hub.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let incoming = TcpIncoming::from(listener);
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    (address, tasks)
}

/// What a proxy lets through before it cuts a connection off.
#[derive(Clone, Copy)]
enum Cut {
    /// So many bytes towards the hub.
    Requests(u64),
    /// So many bytes from the hub.
    Answers(u64),
}

/// Puts a proxy before a hub, which cuts its first connections off.
async fn cut_off(hub: SocketAddr, cuts: Vec<Cut>, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut cuts = cuts.into_iter();
        let mut connections = JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let hub = TcpStream::connect(hub).await.unwrap();
            let (requests_max, answers_max) = match cuts.next() {
                Some(Cut::Requests(bytes)) => (bytes, u64::MAX),
                Some(Cut::Answers(bytes)) => (u64::MAX, bytes),
                None => (u64::MAX, u64::MAX),
            };
            connections.spawn(async move {
                let (from_client, mut to_client) = client.into_split();
                let (from_hub, mut to_hub) = hub.into_split();
                let mut requests = from_client.take(requests_max);
                let mut answers = from_hub.take(answers_max);
                // Whichever ends first ends both; unread bytes make it a reset.
                tokio::select! {
                    _ = copy(&mut requests, &mut to_hub) => {}
                    _ = copy(&mut answers, &mut to_client) => {}
                }
                let _ = to_client.shutdown().await;
            });
        }
    });
    address
}

fn publisher(address: SocketAddr) -> Publisher {
    Publisher::connect(&format!("http://{address}")).unwrap()
}

fn event(topic: &str, id: &str) -> NewEvent {
    let topic = Topic::parse(topic).unwrap();
    let data = EventData::parse(format!("data of {id}"), 100).unwrap();
    NewEvent { id: EventId::parse(id).unwrap(), ..NewEvent::new(topic, data) }
}

async fn send(stream: &PublishStream, event: NewEvent) -> Pending {
    timeout(WAIT_MAX, stream.send(event)).await.expect("there is room in time").unwrap()
}

async fn finish(stream: PublishStream) -> Result<(), PublishError> {
    timeout(WAIT_MAX, stream.finish()).await.expect("it ends")
}

/// Publishes so many events, with ids in order, on one stream, and waits for every receipt.
async fn publish_all(stream: PublishStream, count: usize) -> Vec<Result<Receipt, PublishError>> {
    let mut pending = Vec::new();
    for number in 0..count {
        pending.push(send(&stream, event("t", &format!("{number:06}"))).await);
    }
    let receipts = timeout(WAIT_MAX, join_all(pending)).await.expect("every receipt comes");
    finish(stream).await.unwrap();
    receipts
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:06}")).collect()
}

fn cursors(receipts: Vec<Result<Receipt, PublishError>>) -> Vec<Cursor> {
    receipts.into_iter().map(|receipt| receipt.unwrap().cursor).collect()
}

/// Checks that every event is in the log once, in order, and that each receipt names its place.
fn assert_once_in_order(hub: &Hub, receipts: Vec<Result<Receipt, PublishError>>) {
    let count = receipts.len();
    assert_eq!(hub.log(), ids(count));
    assert_eq!(cursors(receipts), (1..=count as u64).map(cursor).collect::<Vec<_>>());
}

#[tokio::test]
async fn publishes_one_event_and_a_batch_in_calls_of_their_own() {
    let hub = Hub::default();
    let (address, _tasks) = serve(&hub).await;
    let publisher = publisher(address);
    let first = publisher.publish(event("t", "a")).await.unwrap();
    assert_eq!(first, Receipt { cursor: cursor(1), duplicate: false });
    let wrong = publisher.publish(event("wrong", "b")).await.unwrap_err();
    let invalid = PublishError::Invalid { field: "topic".into(), reason: "is wrong".into() };
    assert_eq!(wrong, invalid);

    let batch = vec![event("t", "a"), event("wrong", "b"), event("huge", "c"), event("t", "d")];
    let answers = publisher.publish_batch(batch).await.unwrap();
    assert_eq!(
        answers,
        [
            Ok(Receipt { cursor: cursor(1), duplicate: true }),
            Err(invalid),
            Err(PublishError::TooLarge { reason: "at most 7 bytes".into() }),
            Ok(Receipt { cursor: cursor(2), duplicate: false }),
        ]
    );
    for count in [0, 1_001] {
        let refusal = publisher.publish_batch(vec![event("t", "e"); count]).await.unwrap_err();
        assert!(matches!(refusal, PublishError::Invalid { field, .. } if field == "events"));
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_is_refused_and_one_without_a_hub_may_pass() {
    for url in ["", "127.0.0.1:1", "https://127.0.0.1:1"] {
        let refusal = Publisher::connect(url).unwrap_err();
        assert!(matches!(refusal, PublishError::Invalid { field, .. } if field == "url"), "{url}");
    }
    let nobody = publisher(nobody_there().await);
    let error = nobody.publish(event("t", "a")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unavailable { .. }) && error.may_pass(), "{error}");
}

/// An address at which nobody listens.
async fn nobody_there() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn every_event_is_stored_once_in_order_and_answered() {
    let hub = Hub::default();
    let (address, _tasks) = serve(&hub).await;
    let receipts = publish_all(publisher(address).stream(StreamOptions::default()), 5_000).await;
    assert!(receipts.iter().all(|receipt| matches!(receipt, Ok(Receipt { duplicate: false, .. }))));
    assert_once_in_order(&hub, receipts);
    assert_eq!(hub.streams(), 1);
}

#[tokio::test]
async fn connections_cut_off_at_any_byte_lose_and_repeat_nothing() {
    let hub = Hub::default();
    let (address, mut tasks) = serve(&hub).await;
    let cuts = vec![
        Cut::Answers(0),
        Cut::Requests(0),
        Cut::Answers(1_003),
        Cut::Requests(4_001),
        Cut::Answers(20_011),
        Cut::Requests(30_029),
        Cut::Answers(64),
    ];
    let proxy = cut_off(address, cuts, &mut tasks).await;
    let options = StreamOptions { in_flight_max: 100, ..StreamOptions::default() };
    let receipts = publish_all(publisher(proxy).stream(options), 5_000).await;
    assert_once_in_order(&hub, receipts);
    assert!(hub.streams() >= 4, "{} streams: the cuts did not happen", hub.streams());
}

#[tokio::test]
async fn streams_that_the_hub_ends_lose_and_repeat_nothing() {
    let hub = Hub::with_conducts([
        Conduct::FailAfter(1),
        Conduct::EndAfter(1),
        Conduct::FailAfter(300),
        Conduct::EndAfter(500),
    ]);
    let (address, _tasks) = serve(&hub).await;
    let receipts = publish_all(publisher(address).stream(StreamOptions::default()), 3_000).await;
    assert_once_in_order(&hub, receipts);
    assert_eq!(hub.streams(), 5);
}

#[tokio::test]
async fn a_hub_that_never_answers_is_left_and_asked_again() {
    let hub = Hub::with_conducts([Conduct::KeepSilent, Conduct::KeepSilent]);
    let (address, _tasks) = serve(&hub).await;
    let options =
        StreamOptions { silence_max: Duration::from_millis(50), ..StreamOptions::default() };
    let receipts = publish_all(publisher(address).stream(options), 200).await;
    assert_once_in_order(&hub, receipts);
    assert!(hub.streams() >= 3);
}

#[tokio::test]
async fn answers_out_of_order_find_their_events() {
    let hub = Hub::with_conducts([Conduct::AnswerBackwards(7)]);
    let (address, _tasks) = serve(&hub).await;
    let options = StreamOptions { in_flight_max: 64, ..StreamOptions::default() };
    let stream = publisher(address).stream(options);
    // A multiple of the group: no answer is held back when the sender waits for room.
    let receipts = publish_all(stream, 700).await;
    assert_once_in_order(&hub, receipts);
    assert_eq!(hub.streams(), 1);
}

#[tokio::test]
async fn what_the_hub_cannot_store_at_first_is_sent_again() {
    let hub = Hub::with_conducts([Conduct::RefuseSome]);
    let (address, _tasks) = serve(&hub).await;
    let receipts = publish_all(publisher(address).stream(StreamOptions::default()), 300).await;
    let mut log = hub.log();
    let in_log: Vec<_> = cursors(receipts)
        .iter()
        .map(|at| log[usize::try_from(at.sequence.0).unwrap() - 1].clone())
        .collect();
    assert_eq!(in_log, ids(300), "each receipt names its event's place");
    log.sort_unstable();
    assert_eq!(log, ids(300), "each is stored once");
    assert_eq!(hub.0.stored.lock().refused.len(), 300);
}

#[tokio::test]
async fn what_is_wrong_is_final_and_keeps_nothing_else_back() {
    let hub = Hub::default();
    let (address, _tasks) = serve(&hub).await;
    let stream = publisher(address).stream(StreamOptions::default());
    let mut pending = Vec::new();
    for topic in ["t", "wrong", "huge", "t"] {
        pending.push(send(&stream, event(topic, &format!("{}", pending.len()))).await);
    }
    let answers = timeout(WAIT_MAX, join_all(pending)).await.unwrap();
    assert!(matches!(&answers[1], Err(PublishError::Invalid { field, .. }) if field == "topic"));
    assert!(matches!(&answers[2], Err(PublishError::TooLarge { .. })));
    assert_eq!(answers[3], Ok(Receipt { cursor: cursor(2), duplicate: false }));
    finish(stream).await.unwrap();
    assert_eq!(hub.log(), ["0", "3"]);
}

#[tokio::test]
async fn a_stream_that_is_denied_says_so_to_every_event() {
    let hub = Hub::with_conducts([Conduct::Deny]);
    let (address, _tasks) = serve(&hub).await;
    let stream = publisher(address).stream(StreamOptions::default());
    let denied = PublishError::Denied { reason: "not you".into() };
    let pending = send(&stream, event("t", "a")).await;
    assert_eq!(timeout(WAIT_MAX, pending).await.unwrap(), Err(denied.clone()));
    assert_eq!(finish(stream).await, Err(denied));
}

#[tokio::test]
async fn a_hub_that_stays_away_is_given_up() {
    let options = StreamOptions {
        give_up_after: Duration::from_millis(200),
        in_flight_max: 2,
        ..StreamOptions::default()
    };
    let stream = publisher(nobody_there().await).stream(options);
    let pending = [send(&stream, event("t", "a")).await, send(&stream, event("t", "b")).await];
    let waiting = stream.send(event("t", "c"));
    let (answers, waited) = timeout(WAIT_MAX, async { tokio::join!(join_all(pending), waiting) })
        .await
        .expect("it gives up");
    for answer in answers {
        let Err(PublishError::Unavailable { reason, .. }) = answer else { panic!("{answer:?}") };
        assert!(reason.starts_with("nothing was stored for 0.2 s: "), "{reason}");
    }
    assert_eq!(waited.err(), Some(PublishError::StreamOver));
    assert_eq!(stream.send(event("t", "d")).await.err(), Some(PublishError::StreamOver));
    assert!(matches!(finish(stream).await, Err(PublishError::Unavailable { .. })));
}

#[tokio::test]
async fn one_event_more_than_may_be_unanswered_waits() {
    let hub = Hub::with_conducts([Conduct::AnswerWhenTold]);
    let (address, _tasks) = serve(&hub).await;
    let options = StreamOptions { in_flight_max: 2, ..StreamOptions::default() };
    let stream = publisher(address).stream(options);
    let first = send(&stream, event("t", "a")).await;
    let second = stream.send(event("t", "b")).now_or_never().expect("there is room").unwrap();
    let mut third = Box::pin(stream.send(event("t", "c")));
    assert!(poll!(&mut third).is_pending(), "two are unanswered");
    hub.0.told.notify_one();
    timeout(WAIT_MAX, first).await.unwrap().unwrap();
    let third = timeout(WAIT_MAX, third).await.expect("an answer makes room").unwrap();
    hub.0.told.notify_one();
    timeout(WAIT_MAX, second).await.unwrap().unwrap();
    hub.0.told.notify_one();
    timeout(WAIT_MAX, third).await.unwrap().unwrap();
    finish(stream).await.unwrap();
}

#[tokio::test]
async fn an_event_without_an_id_gets_one_of_its_own() {
    let hub = Hub::with_conducts([Conduct::FailAfter(1), Conduct::FailAfter(2)]);
    let (address, _tasks) = serve(&hub).await;
    let stream = publisher(address).stream(StreamOptions::default());
    let pending = [send(&stream, event("t", "")).await, send(&stream, event("t", "")).await];
    let receipts = timeout(WAIT_MAX, join_all(pending)).await.unwrap();
    assert_eq!(cursors(receipts), [cursor(1), cursor(2)]);
    finish(stream).await.unwrap();
    let log = hub.log();
    assert!(log.len() == 2 && log[0] != log[1] && log.iter().all(|id| id.len() == 32), "{log:?}");
}

#[tokio::test]
async fn a_stream_ended_while_nothing_was_in_flight_is_opened_again_when_needed() {
    let hub = Hub::with_conducts([Conduct::EndAfter(1)]);
    let (address, _tasks) = serve(&hub).await;
    let stream = publisher(address).stream(StreamOptions::default());
    for id in ["000000", "000001"] {
        let pending = send(&stream, event("t", id)).await;
        timeout(WAIT_MAX, pending).await.unwrap().unwrap();
    }
    finish(stream).await.unwrap();
    assert_eq!(hub.log(), ids(2));
    assert_eq!(hub.streams(), 2);
}

#[tokio::test]
async fn an_unused_stream_finishes_and_a_dropped_one_still_delivers() {
    let hub = Hub::default();
    let (address, _tasks) = serve(&hub).await;
    let publisher = publisher(address);
    finish(publisher.stream(StreamOptions::default())).await.unwrap();
    assert_eq!(hub.streams(), 0, "no connection is made for nothing");

    let stream = publisher.stream(StreamOptions::default());
    let pending = send(&stream, event("t", "a")).await;
    drop(stream);
    assert_eq!(timeout(WAIT_MAX, pending).await.unwrap().unwrap().cursor, cursor(1));
}
