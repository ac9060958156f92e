//! A subscriber against a real TCP server that plays a script.

use std::{future::ready, sync::Arc};

use parking_lot::Mutex;
use tidewire_core::{Epoch, Sequence, TopicFilter};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};

use super::*;
use crate::frame::Resume;
use crate::{GapReason, Reading, Refusal, Start};

/// Nothing here takes nearly as long; a test that waits for ever should say so.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What a hub does with one connection.
struct Answer {
    head: String,
    steps: Vec<Step>,
}

enum Step {
    /// Sends bytes, as one piece.
    Send(Vec<u8>),
    /// Lets (paused) time pass.
    Wait(Duration),
    /// Ends the body in good order.
    End,
    /// Says nothing more until the client leaves.
    Stall,
}

/// An event stream of this text, in one piece, cut off at its end.
fn stream(text: &str) -> Answer {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    Answer { head: head.to_owned(), steps: vec![Step::Send(text.into())] }
}

/// An answer without a stream.
fn plain(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    Answer { head, steps: Vec::new() }
}

impl Answer {
    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The same stream, byte by byte.
    fn in_bytes(mut self) -> Self {
        self.steps = self
            .steps
            .into_iter()
            .flat_map(|step| match step {
                Step::Send(bytes) => bytes.into_iter().map(|byte| Step::Send(vec![byte])).collect(),
                other => vec![other],
            })
            .collect();
        self
    }

    async fn play(self, mut socket: TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        socket.write_all(self.head.as_bytes()).await?;
        for step in self.steps {
            match step {
                Step::Send(bytes) => {
                    socket.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
                    socket.write_all(&bytes).await?;
                    socket.write_all(b"\r\n").await?;
                }
                Step::Wait(span) => sleep(span).await,
                Step::End => socket.write_all(b"0\r\n\r\n").await?,
                Step::Stall => while socket.read(&mut [0; 64]).await? > 0 {},
            }
        }
        socket.shutdown().await
    }
}

/// What was asked, connection by connection.
type Requests = Arc<Mutex<Vec<String>>>;

/// A hub that answers its connections in turn, and keeps the requests.
struct ScriptedHub {
    url: String,
    requests: Requests,
    _task: JoinSet<()>,
}

impl ScriptedHub {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_at("127.0.0.1:0", answers).await
    }

    async fn start_at(address: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
        Self::answering(address, move |_| answers.next()).await
    }

    /// Answers with what `answer` makes of a request; without an answer, it listens no more.
    async fn answering(
        address: &str,
        mut answer: impl FnMut(&str) -> Option<Answer> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_head(&mut socket).await;
                let Some(answer) = answer(&request) else { return };
                seen.lock().push(request);
                // A client that leaves first is in order.
                let _ = answer.play(socket).await;
            }
        });
        Self { url, requests, _task: task }
    }

    /// The `Last-Event-ID` of each connection.
    fn last_event_ids(&self) -> Vec<Option<String>> {
        self.requests.lock().iter().map(|request| last_event_id(request)).collect()
    }

    fn subscriber(&self) -> Subscriber {
        builder(&self.url).build().unwrap()
    }
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn last_event_id(request: &str) -> Option<String> {
    let header = request.lines().find_map(|line| line.strip_prefix("last-event-id: "));
    header.map(str::to_owned)
}

fn builder(url: &str) -> SubscriberBuilder {
    Subscriber::builder(url)
        .filter(TopicFilter::parse("a.>").unwrap())
        .retry(Duration::from_millis(1))
}

async fn next(subscriber: &mut Subscriber) -> Item {
    timeout(WAIT_MAX, subscriber.next()).await.expect("something happens").unwrap()
}

async fn take(subscriber: &mut Subscriber, count: usize) -> Vec<Item> {
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(next(subscriber).await);
    }
    items
}

fn at(sequence: u64) -> Cursor {
    Cursor::new(Epoch(0x5f3a_91c2), Sequence(sequence))
}

fn id(sequence: u64) -> Option<String> {
    Some(at(sequence).to_string())
}

/// A hello's text. A heartbeat is expected every 15 s.
fn hello(sequence: u64, resume: &str) -> String {
    hello_with_heartbeat(sequence, resume, 15.0)
}

fn hello_with_heartbeat(sequence: u64, resume: &str, seconds: f64) -> String {
    let at = at(sequence);
    format!(
        "event: tidewire.hello\nid: {at}\nretry: 1\ndata: {{\"connection\":\"k7\",\"edge\":\"e\",\
         \"resume\":\"{resume}\",\"heartbeat_seconds\":{seconds}}}\n\n"
    )
}

fn event_text(sequence: u64) -> String {
    format!("id: {}\nevent: price\ndata: {{\"n\":{sequence}}}\n\n", at(sequence))
}

fn gap_text(requested: u64, resumed_from: u64) -> String {
    let (requested, resumed_from) = (at(requested), at(resumed_from));
    format!(
        "event: tidewire.gap\nid: {resumed_from}\ndata: {{\"reason\":\"expired\",\
         \"requested\":\"{requested}\",\"resumed_from\":\"{resumed_from}\"}}\n\n"
    )
}

fn connected(sequence: u64, resume: Resume) -> Item {
    Item::Connected { cursor: at(sequence), resume, connection: "k7".into() }
}

fn event(sequence: u64) -> Item {
    Item::Event {
        cursor: at(sequence),
        event_type: "price".into(),
        data: format!("{{\"n\":{sequence}}}"),
    }
}

fn disconnected(reason: DisconnectReason) -> Item {
    Item::Disconnected { reason }
}

fn is_cut(item: &Item) -> bool {
    matches!(item, Item::Disconnected { reason: DisconnectReason::Cut { .. } })
}

#[tokio::test]
async fn asks_as_the_protocol_says() {
    let hub = ScriptedHub::start([stream(&hello(7, "resumed")).then(Step::Stall)]).await;
    let described = builder(&hub.url).from(Start::Earliest).cursor(at(7));
    let mut subscriber = described.build().unwrap();
    next(&mut subscriber).await;
    let request = hub.requests.lock()[0].to_ascii_lowercase();
    assert!(request.starts_with("get /v1/events?topic=a.%3e&from=earliest http/1.1\r\n"));
    let host = hub.url.strip_prefix("http://").unwrap();
    for header in [
        &format!("host: {host}"),
        "accept: text/event-stream",
        &format!("last-event-id: {}", at(7)),
    ] {
        assert!(request.lines().any(|line| line == header), "{header} is not in {request}");
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_frame_repeats_that_frame_and_no_other() {
    let half = event_text(3).split_at(20).0.to_owned();
    let hub = ScriptedHub::start([
        stream(&(hello(1, "live") + &event_text(2) + &half)),
        stream(&(hello(2, "resumed") + &event_text(3))).then(Step::Stall),
    ])
    .await;
    let mut subscriber = hub.subscriber();
    assert_eq!(subscriber.cursor(), None);
    let items = take(&mut subscriber, 5).await;
    assert_eq!(items[..2], [connected(1, Resume::Live), event(2)]);
    assert!(is_cut(&items[2]), "{:?}", items[2]);
    assert_eq!(items[3..], [connected(2, Resume::Resumed), event(3)]);
    assert_eq!(subscriber.cursor(), Some(at(3)));
    assert_eq!(hub.last_event_ids(), [None, id(2)]);
}

#[tokio::test]
async fn a_snapshot_that_was_cut_is_gone_on_with() {
    let in_snapshot = |text: String, sequence: u64| {
        text.replace(&format!("id: {}\n", at(sequence)), &format!("id: {}~\n", at(sequence)))
    };
    let begun = in_snapshot(hello(1, "live"), 1) + &in_snapshot(event_text(2), 2);
    let goes_on = in_snapshot(hello(2, "resumed"), 2) + &event_text(5);
    let hub = ScriptedHub::start([
        stream(&begun),
        stream(&goes_on),
        stream(&(hello(5, "resumed"))).then(Step::Stall),
    ])
    .await;
    let mut subscriber = hub.subscriber();
    let items = take(&mut subscriber, 7).await;
    assert_eq!(items[..2], [connected(1, Resume::Live), event(2)]);
    assert_eq!(items[3..5], [connected(2, Resume::Resumed), event(5)]);
    assert_eq!(subscriber.cursor(), Some(at(5)));
    let in_snapshot = Some(format!("{}~", at(2)));
    assert_eq!(hub.last_event_ids(), [None, in_snapshot, id(5)]);
}

#[tokio::test]
async fn a_whole_frame_but_for_its_blank_line_does_not_count() {
    let nearly = event_text(2).strip_suffix('\n').unwrap().to_owned();
    let hub = ScriptedHub::start([
        stream(&(hello(1, "live") + &nearly)).then(Step::End),
        stream(&(hello(1, "resumed") + &event_text(2))).then(Step::Stall),
    ])
    .await;
    let items = take(&mut hub.subscriber(), 4).await;
    assert_eq!(
        items,
        [
            connected(1, Resume::Live),
            disconnected(DisconnectReason::Ended),
            connected(1, Resume::Resumed),
            event(2),
        ]
    );
    assert_eq!(hub.last_event_ids(), [None, id(1)]);
}

#[tokio::test]
async fn a_client_that_has_received_nothing_resumes_from_the_hello() {
    let hub = ScriptedHub::start([
        stream(&hello(7, "live")).then(Step::End),
        stream(&hello(7, "resumed")).then(Step::Stall),
    ])
    .await;
    take(&mut hub.subscriber(), 3).await;
    assert_eq!(hub.last_event_ids(), [None, id(7)]);
}

#[tokio::test]
async fn the_hubs_own_frames_move_the_cursor_known_or_not() {
    let cursor = format!("event: tidewire.cursor\nid: {}\ndata: {{}}\n\n", at(50));
    let unknown = format!("event: tidewire.future\nid: {}\ndata: x\n\n", at(60));
    let without_id = "event: tidewire.probe\ndata: {}\n\n";
    let hub = ScriptedHub::start([
        stream(&(hello(1, "live") + &cursor)).then(Step::End),
        stream(&(hello(50, "resumed") + &unknown + without_id)).then(Step::End),
        stream(&(hello(60, "resumed") + &event_text(61))).then(Step::Stall),
    ])
    .await;
    let items = take(&mut hub.subscriber(), 6).await;
    assert_eq!(items[5], event(61));
    assert_eq!(hub.last_event_ids(), [None, id(50), id(60)]);
}

#[tokio::test]
async fn a_gap_is_told_and_the_stream_goes_on_behind_it() {
    let hub =
        ScriptedHub::start([
            stream(&(gap_text(12, 700) + &hello(700, "gap") + &event_text(701))).then(Step::Stall)
        ])
        .await;
    let mut subscriber = builder(&hub.url).cursor(at(12)).build().unwrap();
    let gap = Item::Gap {
        reason: GapReason::Expired,
        requested: at(12).to_string(),
        resumed_from: at(700),
    };
    assert_eq!(take(&mut subscriber, 3).await, [gap, connected(700, Resume::Gap), event(701)]);
}

#[tokio::test]
async fn a_gap_that_was_told_is_not_asked_for_again_when_the_hello_is_cut_off() {
    let hub = ScriptedHub::start([
        stream(&gap_text(12, 700)).then(Step::End),
        stream(&hello(700, "resumed")).then(Step::Stall),
    ])
    .await;
    let mut subscriber = builder(&hub.url).cursor(at(12)).build().unwrap();
    let items = take(&mut subscriber, 3).await;
    assert!(matches!(items[0], Item::Gap { .. }), "{items:?}");
    assert_eq!(items[2], connected(700, Resume::Resumed));
    assert_eq!(hub.last_event_ids(), [id(12), id(700)]);
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let problem = r#"{"title":"Overloaded","detail":"the replay queue is full"}"#;
    let hub = ScriptedHub::start([
        plain("503 Service Unavailable", "Retry-After: 0\r\n", problem),
        plain("429 Too Many Requests", "", "<html>"),
        plain("502 Bad Gateway", "", ""),
        stream(&hello(1, "live")).then(Step::Stall),
    ])
    .await;
    let items = take(&mut hub.subscriber(), 4).await;
    let refused = |status: u16, title: &str, detail: &str, retry_after| {
        disconnected(DisconnectReason::Refused(Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            title: title.into(),
            detail: detail.into(),
            retry_after,
        }))
    };
    assert_eq!(
        items,
        [
            refused(503, "Overloaded", "the replay queue is full", Some(Duration::ZERO)),
            refused(429, "Too Many Requests", "", None),
            refused(502, "Bad Gateway", "", None),
            connected(1, Resume::Live),
        ]
    );
}

#[tokio::test]
async fn a_soft_refusal_is_an_end_with_a_reason() {
    let sent_away = "retry: 1\nevent: tidewire.retry\ndata: {\"reason\":\"draining\"}\n\n";
    let hub = ScriptedHub::start([
        stream(sent_away).then(Step::End),
        stream(&(hello(1, "live") + sent_away)),
        stream(&hello(1, "resumed")).then(Step::Stall),
    ])
    .await;
    let away = || disconnected(DisconnectReason::SentAway { reason: "draining".into() });
    assert_eq!(
        take(&mut hub.subscriber(), 4).await,
        [away(), connected(1, Resume::Live), away(), connected(1, Resume::Resumed)]
    );
}

#[tokio::test]
async fn a_final_refusal_ends_the_subscription() {
    for status in [400, 401, 403, 404, 301] {
        let body = r#"{"title":"No","detail":"topic: is empty","status":400}"#;
        let hub = ScriptedHub::start([plain(&format!("{status} Nope"), "", body)]).await;
        let mut subscriber = hub.subscriber();
        let error = timeout(WAIT_MAX, subscriber.next()).await.unwrap().unwrap_err();
        let (title, detail) = ("No".into(), "topic: is empty".into());
        assert_eq!(error, SubscribeError::Refused { status, title, detail });
        assert_eq!(next(&mut subscriber).await, Item::Ended);
    }
}

#[tokio::test]
async fn status_204_means_never_again() {
    let hub = ScriptedHub::start([
        stream(&hello(1, "live")).then(Step::End),
        Answer { head: "HTTP/1.1 204 No Content\r\n\r\n".into(), steps: Vec::new() },
    ])
    .await;
    let items = take(&mut hub.subscriber(), 4).await;
    assert_eq!(items[2..], [Item::Ended, Item::Ended]);
    assert_eq!(hub.last_event_ids().len(), 2);
}

#[tokio::test]
async fn what_is_no_tidewire_stream_ends_the_subscription() {
    let too_large = format!("id: {}\ndata: {}\n\n", at(2), "x".repeat(2_000));
    for (answer, reason) in [
        (plain("200 OK", "Content-Type: text/html\r\n", "<html>"), "text/html"),
        (stream("data: x\n\n"), "without an id"),
        (stream(&(hello(1, "live") + &too_large)), "more than 1000 bytes"),
        (stream(&(hello(1, "live") + ":\n\n")), "line 7"),
    ] {
        let hub = ScriptedHub::start([answer]).await;
        let described = builder(&hub.url).reading(Reading::Strict).frame_bytes_max(1_000);
        let mut subscriber = described.build().unwrap();
        let error = loop {
            match timeout(WAIT_MAX, subscriber.next()).await.unwrap() {
                Ok(item) => assert!(matches!(item, Item::Connected { .. }), "{item:?}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(reason), "{error}");
        assert_eq!(next(&mut subscriber).await, Item::Ended);
    }
}

#[tokio::test]
async fn a_hub_that_is_not_there_yet_is_waited_for() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut subscriber = builder(&format!("http://{address}")).build().unwrap();
    for item in take(&mut subscriber, 2).await {
        let Item::Disconnected { reason: DisconnectReason::Unreachable { .. } } = item else {
            panic!("{item:?}");
        };
    }
    let answers = [stream(&hello(1, "live")).then(Step::Stall)];
    let _hub = ScriptedHub::start_at(&address.to_string(), answers).await;
    while next(&mut subscriber).await != connected(1, Resume::Live) {}
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_and_resumed() {
    let hub = ScriptedHub::start([
        stream(&(hello_with_heartbeat(1, "live", 0.02) + &event_text(2))).then(Step::Stall),
        stream(&(hello(2, "resumed") + &event_text(3))).then(Step::Stall),
    ])
    .await;
    let items = take(&mut hub.subscriber(), 5).await;
    let silent = disconnected(DisconnectReason::Silent { after: Duration::from_millis(60) });
    assert_eq!(items[2], silent);
    assert_eq!(items[4], event(3));
    assert_eq!(hub.last_event_ids(), [None, id(2)]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_quiet_connection() {
    let quiet = || Step::Wait(Duration::from_secs(25));
    let hub = ScriptedHub::start([stream(&hello_with_heartbeat(1, "live", 10.0))
        .then(quiet())
        .then(Step::Send(b":\n".to_vec()))
        .then(quiet())
        .then(Step::Send(b":\n".to_vec()))
        .then(quiet())
        .then(Step::Send(event_text(2).into_bytes()))
        .then(Step::Stall)])
    .await;
    let mut subscriber = hub.subscriber();
    let begun = Instant::now();
    for expected in [connected(1, Resume::Live), event(2)] {
        assert_eq!(subscriber.next().await.unwrap(), expected);
    }
    assert!(begun.elapsed() >= Duration::from_secs(75), "longer than any one silence may be");
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_the_hub_says_and_longer_after_failures() {
    let mut subscriber = builder("http://127.0.0.1:1").build().unwrap();
    let mut wait_after = |retry_after: Option<u64>| {
        let refusal = Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            title: String::new(),
            detail: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        };
        subscriber.take_failure(ConnectionError::Status(refusal)).unwrap();
        match subscriber.state {
            State::Waiting(until) => until - Instant::now(),
            _ => panic!("it waits"),
        }
    };
    assert_eq!(wait_after(Some(7)), Duration::from_secs(7));
    assert!(wait_after(Some(20)) >= Duration::from_secs(20));
    assert_eq!(wait_after(Some(1_000_000)), SERVER_WAIT_MAX);
    let waits: Vec<_> = (0..40).map(|_| wait_after(None)).collect();
    assert!(waits.iter().all(|wait| (RECONNECT_WAIT_MIN..=RECONNECT_WAIT_MAX).contains(wait)));
    assert!(waits.iter().any(|wait| *wait > RECONNECT_WAIT_MAX / 2), "{waits:?}");
}

#[tokio::test]
async fn nothing_is_lost_where_next_is_dropped_at_any_moment() {
    let texts: String = (2..30).map(event_text).collect();
    let hub = ScriptedHub::start([
        stream(&(hello(1, "live") + &texts)).in_bytes(),
        stream(&(hello(29, "resumed") + &event_text(30))).in_bytes().then(Step::Stall),
    ])
    .await;
    let mut subscriber = hub.subscriber();
    let mut seen = Vec::new();
    let patient = timeout(WAIT_MAX, async {
        while seen.last() != Some(&event(30)) {
            tokio::select! {
                biased;
                item = subscriber.next() => seen.push(item.unwrap()),
                () = ready(()) => yield_now().await,
            }
        }
    });
    patient.await.expect("everything comes");
    seen.retain(|item| matches!(item, Item::Event { .. }));
    assert_eq!(seen, (2..=30).map(event).collect::<Vec<_>>());
}

/// A hub with a log of events that cuts every connection somewhere else: each event comes once, in
/// order, however often that happens.
#[tokio::test]
async fn cuts_at_any_byte_lose_and_repeat_nothing() {
    const EVENTS: u64 = 300;
    let mut places = (0..).map(|n: usize| n * 7_919 % 1_201);
    let hub = ScriptedHub::answering("127.0.0.1:0", move |request| {
        let (resume, after) = match last_event_id(request) {
            None => ("live", 0),
            Some(id) => ("resumed", id.parse::<Cursor>().unwrap().sequence.0),
        };
        let mut text = hello(after, resume);
        text.extend((after + 1..=EVENTS).map(event_text));
        let ended = places.next().unwrap().min(text.len());
        Some(stream(&text[..ended]))
    })
    .await;
    let mut subscriber = builder(&hub.url).reading(Reading::Strict).build().unwrap();
    let (mut seen, mut cuts) = (Vec::new(), 0);
    while seen.len() < usize::try_from(EVENTS).unwrap() {
        match next(&mut subscriber).await {
            item @ Item::Event { .. } => seen.push(item),
            item => cuts += usize::from(is_cut(&item)),
        }
    }
    assert_eq!(seen, (1..=EVENTS).map(event).collect::<Vec<_>>());
    assert!(cuts > 20, "{cuts} cuts");
}

#[tokio::test]
async fn one_connection_can_be_driven_by_hand() {
    let hub = ScriptedHub::start([
        stream(&(hello(1, "live") + &event_text(2))).in_bytes().then(Step::End),
        plain("404 Not Found", "", ""),
    ])
    .await;
    let url = format!("{}/v1/events?topic=%00", hub.url);
    let options = || ConnectionOptions {
        last_event_id: Some("anything".into()),
        reading: Reading::Strict,
        ..ConnectionOptions::default()
    };
    let mut connection = Connection::open(&url, options()).await.unwrap();
    assert_eq!(connection.headers()["transfer-encoding"], "chunked");
    let first = connection.next_frame().await.unwrap().unwrap();
    assert_eq!(first.event_type, "tidewire.hello");
    assert_eq!(connection.retry(), Some(Duration::from_millis(1)));
    let second = Frame::read(connection.next_frame().await.unwrap().unwrap());
    assert!(matches!(second, Ok(Frame::Event { cursor, .. }) if cursor == at(2)));
    assert_eq!(connection.next_frame().await.unwrap(), None);
    assert_eq!(connection.last_event_id(), at(2).to_string());
    assert_eq!(hub.last_event_ids(), [Some("anything".into())]);
    let refusal = Connection::open(&url, options()).await.unwrap_err();
    assert!(matches!(refusal, ConnectionError::Status(refusal) if refusal.status == 404));
}
