//! What happens for each event and each client, as tests of their own: `scripts/instructions` counts the
//! instructions of what is [`counted`], each test `OPERATIONS` times.

use std::{
    collections::VecDeque,
    env,
    hint::black_box,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::stream;
use http::HeaderMap;
use tidewire_core::{
    Backbone, Bounds, Cursor, Epoch, EventData, EventStream, InterestIndex, NewEvent, Page,
    PageLimit, PublishError, ReadError, Receipt, Sequence, Topic, TopicFilter,
    limits::EVENT_BYTES_MAX,
};
use tokio::runtime::Runtime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    Config, Edge, Envelope, SubscribeRequest,
    connection::{Came, Connections, Lean},
    frame,
    http::stream_route,
    plain::{Arrival, Held},
    stream::Streams,
};

const EPOCH: Epoch = Epoch(1);
/// Streams of one feed.
const STREAMS: usize = 64;
const EVENT_BYTES: usize = 300;
const REQUEST: &str = "GET /v1/events?topic=a.b&topic=c.* HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                       Accept: text/event-stream\r\nCache-Control: no-cache\r\n\
                       User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n\r\n";

/// How often a test does what is counted: once, where nobody counts.
fn operations() -> usize {
    env::var("OPERATIONS").map_or(1, |operations| operations.parse().unwrap())
}

/// Does something again and again. What its callers do beside is not counted.
#[inline(never)]
fn counted(operations: usize, operation: &mut dyn FnMut()) {
    for _ in 0..operations {
        operation();
    }
}

#[test]
fn an_event_is_handed_to_every_stream() {
    let mut edge = Driven::start();
    let clients: Vec<_> = (0..STREAMS).map(|_| edge.client()).collect();
    edge.hear_out();
    let mut events: VecDeque<_> = (1..=operations()).map(|number| vec![event(number)]).collect();
    counted(operations(), &mut || {
        let shared = edge.edge.shared();
        shared.fanout.dispatch(events.pop_front().unwrap(), &shared.traces);
        edge.sweeper.open_mail();
        edge.sweeper.sweep();
        edge.sweeper.count();
    });
    for client in clients {
        assert_eq!(read(client).matches("\ndata: xxx").count(), operations());
    }
}

#[test]
fn a_stream_begins() {
    let mut edge = Driven::start();
    let (clients, mut arrivals): (Vec<_>, Vec<_>) =
        (0..operations()).map(|_| edge.arrival()).unzip();
    counted(operations(), &mut || {
        edge.sweeper.welcome(arrivals.pop().unwrap());
        edge.hear_out();
    });
    for client in clients {
        assert!(read(client).contains("event: tidewire.hello\n"));
    }
}

#[test]
fn a_request_is_read() {
    let headers = HeaderMap::new();
    let query = "topic=a.b&topic=c.%2A&from=now&heartbeat=10";
    counted(operations(), &mut || {
        let request = SubscribeRequest::parse(black_box(query), &headers).unwrap();
        assert_eq!(black_box(request).interest.filters().len(), 2);
    });
}

#[test]
fn an_event_is_framed() {
    let event = event(7);
    counted(operations(), &mut || {
        let frame = frame::event(black_box(&event), Envelope::None);
        assert!(black_box(frame).len() > EVENT_BYTES);
    });
}

#[test]
fn a_topic_is_matched_among_ten_thousand_interests() {
    let mut index = InterestIndex::default();
    for number in 0..10_000 {
        let filter = match number % 10 {
            0 => format!("floor.{}.*.temperature", number / 100),
            1 => format!("*.{number}.machine.>"),
            _ => format!("floor.{}.machine{number}.temperature", number / 100),
        };
        let filter = TopicFilter::parse(&filter).unwrap();
        index.insert(&tidewire_core::Interest::new(vec![filter]).unwrap(), number);
    }
    let topic = Topic::parse("floor.42.machine4242.temperature").unwrap();
    let mut found = Vec::new();
    counted(operations(), &mut || {
        index.find(black_box(&topic), &mut found);
        assert_eq!(black_box(&found).len(), 11, "itself, and ten of its floor");
    });
}

/// An edge with one sweeper, which does what it is told on this thread.
struct Driven {
    sweeper: Sweeper,
    events: Events,
    connections: Arc<Connections>,
    listener: TcpListener,
    edge: Edge,
    runtime: Runtime,
}

impl Driven {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (edge, sweeper, connections) = runtime.block_on(async {
            let edge = Edge::start(Config::default(), Arc::new(Quiet), CancellationToken::new());
            while !edge.shared().health.is_following() {
                tokio::task::yield_now().await;
            }
            let shared = edge.shared();
            let poll = Poll::new().unwrap();
            let (post, sweepers) = Sweepers::of_one(&poll).unwrap();
            let streams = Streams::new(shared.config.write_timeout);
            let connections = Connections::new(
                edge.router(),
                &shared.config,
                streams,
                &shared.drain,
                Some(Lean { sweepers: sweepers.clone(), route: stream_route(shared) }),
            );
            let sweeper = Sweeper::new(poll, post, Arc::clone(shared), sweepers, Handle::current());
            (edge, sweeper, Arc::new(connections))
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let events = Events::with_capacity(EVENTS_MAX);
        Self { sweeper, events, connections, listener, edge, runtime }
    }

    /// A client that has asked for a stream, and what has come of it here.
    fn arrival(&self) -> (TcpStream, Arrival) {
        let _inside = self.runtime.enter();
        let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.write_all(REQUEST.as_bytes()).unwrap();
        let (socket, address) = self.listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let Ok(place) = self.edge.shared().admission.connection(address.ip()) else {
            panic!("there is room")
        };
        let held = Held { _place: place, _open: TaskTracker::new().token() };
        let connections = Arc::clone(&self.connections);
        (client, Arrival::new(socket, Came::from(address.ip()), held, connections))
    }

    /// Hears what sockets have to say by now.
    fn hear_out(&mut self) {
        self.sweeper.poll.poll(&mut self.events, Some(Duration::ZERO)).unwrap();
        self.sweeper.hear_sockets(&self.events);
        self.sweeper.hear_out();
        self.sweeper.look_at_begun();
    }

    fn client(&mut self) -> TcpStream {
        let (client, arrival) = self.arrival();
        self.sweeper.welcome(arrival);
        client
    }
}

fn event(number: usize) -> tidewire_core::Event {
    let data = EventData::parse("x".repeat(EVENT_BYTES), EVENT_BYTES_MAX).unwrap();
    let cursor = Cursor::new(EPOCH, Sequence(number.try_into().unwrap()));
    NewEvent::new(Topic::parse("a.b").unwrap(), data)
        .stored(cursor, tidewire_core::UnixMillis::now())
}

/// All that has come.
fn read(mut client: TcpStream) -> String {
    client.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    // It ends where nothing more is there.
    client.read_to_end(&mut bytes).unwrap_err();
    String::from_utf8(bytes).unwrap()
}

/// A log that stays empty.
struct Quiet;

#[async_trait]
impl Backbone for Quiet {
    async fn publish(&self, _: NewEvent) -> Result<Receipt, PublishError> {
        Err(PublishError::Unavailable("quiet".into()))
    }
    async fn read(
        &self,
        _: &tidewire_core::Interest,
        after: Cursor,
        _: PageLimit,
    ) -> Result<Page, ReadError> {
        Ok(Page { events: Vec::new(), next: after })
    }
    async fn latest(
        &self,
        _: &tidewire_core::Interest,
        after: Cursor,
        _: PageLimit,
    ) -> Result<Page, ReadError> {
        Ok(Page { events: Vec::new(), next: after })
    }
    async fn tail(&self, _: Cursor) -> Result<EventStream, ReadError> {
        Ok(Box::pin(stream::pending()))
    }
    async fn bounds(&self) -> Result<Bounds, ReadError> {
        Ok(Bounds { epoch: EPOCH, oldest: Sequence(1), head: Sequence(0) })
    }
    async fn cursor_at(&self, _: tidewire_core::UnixMillis) -> Result<Cursor, ReadError> {
        Ok(Cursor::new(EPOCH, Sequence(0)))
    }
}
