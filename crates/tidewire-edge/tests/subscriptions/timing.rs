//! When things leave: at once, or within the times that the protocol promises.

use std::{sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use tidewire_core::{Backbone, Cursor, Interest, TopicFilter};
use tidewire_edge::{Config, Edge, Envelope, SubscribeRequest, Subscription};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::model::ModelLog;

pub(crate) struct Story {
    pub(crate) log: Arc<ModelLog>,
    pub(crate) edge: Edge,
    pub(crate) ending: CancellationToken,
    random: StdRng,
}

impl Story {
    fn begin() -> Self {
        Self::begin_with(Config::default())
    }

    pub(crate) fn begin_with(config: Config) -> Self {
        let log = Arc::new(ModelLog::new(1));
        log.settle();
        let ending = CancellationToken::new();
        let backbone = Arc::clone(&log) as Arc<dyn Backbone>;
        let edge = Edge::start(config, backbone, ending.clone());
        Self { log, edge, ending, random: StdRng::seed_from_u64(1) }
    }

    pub(crate) async fn subscribe(
        &self,
        filter: &str,
        change: impl FnOnce(&mut SubscribeRequest),
    ) -> Reader {
        let filter = TopicFilter::parse(filter).unwrap();
        let mut request = SubscribeRequest::new(Interest::new([filter]).unwrap());
        change(&mut request);
        Reader(self.edge.subscribe(request).await.unwrap())
    }

    pub(crate) fn publish(&mut self) {
        self.log.publish(1, 0, &mut self.random);
        self.log.settle();
    }
}

pub(crate) struct Reader(pub(crate) Subscription);

impl Reader {
    pub(crate) async fn next(&mut self) -> String {
        let bytes = timeout(Duration::from_secs(120), self.0.next()).await.unwrap().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_subscriber_gets_an_event_at_once() {
    let mut story = Story::begin();
    let mut reader = story.subscribe(">", |_| {}).await;
    assert!(reader.next().await.contains("tidewire.hello"), "the hello comes at once");
    let waiting = tokio::spawn(async move {
        let said = reader.next().await;
        (said, Instant::now())
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let published = Instant::now();
    story.publish();
    let (said, got) = waiting.await.unwrap();
    assert!(said.contains("data: "), "{said}");
    assert!(got - published < Duration::from_millis(10), "not only at the next heartbeat");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_has_a_heartbeat_in_time() {
    let story = Story::begin();
    for (asked, seconds) in [(None, 15), (Some(Duration::from_secs(2)), 2)] {
        let mut reader = story.subscribe("quiet", |request| request.heartbeat = asked).await;
        reader.next().await;
        for _ in 0..20 {
            let before = Instant::now();
            assert_eq!(reader.next().await, ":\n", "without a blank line");
            let silence = before.elapsed();
            let most = Duration::from_secs(seconds);
            assert!(silence <= most && silence >= most * 8 / 10, "{silence:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_clients_cursor_follows_the_log_within_thirty_seconds() {
    let mut story = Story::begin();
    let mut reader = story.subscribe("quiet", |_| {}).await;
    let mut untold = story.subscribe("quiet", |request| request.control = false).await;
    reader.next().await;
    for _ in 0..5 {
        story.publish();
        let head = story.log.lock().head();
        let since = Instant::now();
        let said = loop {
            let said = reader.next().await;
            if said != ":\n" {
                break said;
            }
        };
        assert_eq!(said, format!("event: tidewire.cursor\nid: {head}\ndata: {{}}\n\n"));
        assert!(since.elapsed() <= Duration::from_secs(30), "{:?}", since.elapsed());
        assert_eq!(untold.next().await, ":\n", "who wants no control frames gets none");
    }
}

#[tokio::test(start_paused = true)]
async fn ending_ends_a_waiting_stream_with_the_time_to_come_back() {
    let story = Story::begin();
    let mut reader = story.subscribe("quiet", |_| {}).await;
    reader.next().await;
    story.ending.cancel();
    let said = reader.next().await;
    assert!(said.starts_with("event: tidewire.retry\nretry: "), "{said}");
    assert_eq!(reader.0.next().await, None);
    story.edge.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn the_envelope_is_the_one_that_was_asked_for() {
    let mut story = Story::begin();
    let mut wrapped =
        story.subscribe(">", |request| request.envelope = Envelope::CloudEvents).await;
    wrapped.next().await;
    story.publish();
    assert!(wrapped.next().await.contains("\"subject\":"));
}

#[tokio::test(start_paused = true)]
async fn now_is_the_logs_head_also_while_the_tail_lags() {
    let log = Arc::new(ModelLog::new(1));
    log.publish(50, 0, &mut StdRng::seed_from_u64(1));
    let head: Cursor = log.lock().head();
    let ending = CancellationToken::new();
    let edge = Edge::start(Config::default(), Arc::clone(&log) as Arc<dyn Backbone>, ending);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(edge.trouble().is_some(), "nothing is released to the tail yet");
    let request = SubscribeRequest::new(Interest::everything());
    let subscription = loop {
        // The model fails now and then.
        if let Ok(subscription) = edge.subscribe(request.clone()).await {
            break subscription;
        }
    };
    let hello = Reader(subscription).next().await;
    assert!(hello.contains(&format!("id: {head}\n")), "{hello}");
}

#[tokio::test(start_paused = true)]
async fn an_event_past_its_ttl_is_left_out_of_what_memory_replays() {
    let mut story = Story::begin();
    story.publish();
    let start = story.log.lock().head();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Few, which a feed reaches back to, and many, which are looked up in pages.
    for many in [3, 400] {
        for _ in 0..many {
            story.log.publish_expired("t");
        }
        story.publish();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut reader =
            story.subscribe(">", |request| request.last_event_id = Some(start.to_string())).await;
        assert!(reader.next().await.contains("\"resumed\""));
        let said = reader.next().await;
        assert!(!said.contains("stale") && said.contains("data: "), "{said}");
    }
}
