//! Subscribers that come back by themselves, and what they saw.

use tidewire_client::{Cursor, GapReason, Item, Reading, Start, Subscriber, TopicFilter};
use tidewire_testbed::checker::Seen;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};

use super::{fleet::PATIENCE, pauses::Pauses};

/// Every so manieth subscriber wants everything, the others one topic each.
const EVERYTHING_EVERY: u64 = 10;

/// Subscribers `0, 1, 2 …`.
pub(crate) struct Audience {
    listening: JoinSet<(u64, Heard)>,
    ending: watch::Sender<Option<Ending>>,
    topics: u64,
}

/// The last event for each subscriber.
struct Ending {
    lasts: Vec<Option<Cursor>>,
}

/// What a subscriber saw.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) seen: Vec<Seen>,
    pub(crate) gaps: Vec<GapSeen>,
    /// How often it was connected.
    pub(crate) connections: usize,
    pub(crate) pauses: Pauses,
}

/// A gap that it was told.
#[derive(Debug)]
pub(crate) struct GapSeen {
    pub(crate) reason: GapReason,
    /// How many events it had seen before.
    pub(crate) after: usize,
    pub(crate) resumed_from: Cursor,
}

/// What is done to a subscriber's events on their way to it.
pub(crate) type Lie = fn(Seen, &mut Vec<Seen>);

pub(crate) fn truthfully(frame: Seen, seen: &mut Vec<Seen>) {
    seen.push(frame);
}

impl Audience {
    /// So many subscribers at this address, from the beginning of the log, and who is lied to.
    pub(crate) fn begin(url: &str, subscribers: u64, topics: u64, lie_to: fn(u64) -> Lie) -> Self {
        let (ending, _) = watch::channel(None);
        let mut listening = JoinSet::new();
        for k in 0..subscribers {
            let subscriber = subscriber(url, k, topics).from(Start::Earliest).build().unwrap();
            let ending = ending.subscribe();
            listening.spawn(async move { (k, listen(subscriber, k, ending, lie_to(k)).await) });
        }
        Self { listening, ending, topics }
    }

    /// Waits until everybody has seen the last of what they want, or hears nothing any more. In the
    /// subscribers' order.
    pub(crate) async fn end(self, receipts: &[Option<Cursor>]) -> Vec<Heard> {
        let subscribers = u64::try_from(self.listening.len()).unwrap();
        let topics = self.topics;
        let lasts = (0..subscribers).map(|k| last(receipts, |n| wants(k, n, topics))).collect();
        self.ending.send_replace(Some(Ending { lasts }));
        let mut heard = self.listening.join_all().await;
        heard.sort_by_key(|(k, _)| *k);
        heard.into_iter().map(|(_, heard)| heard).collect()
    }
}

/// A subscription for what the subscriber wants.
pub(crate) fn subscriber(url: &str, k: u64, topics: u64) -> tidewire_client::SubscriberBuilder {
    let filter =
        if wants_everything(k) { "story.>".into() } else { format!("story.{}", k % topics) };
    Subscriber::builder(url)
        .filter(TopicFilter::parse(&filter).unwrap())
        .reading(Reading::Strict)
        .retry(Duration::from_millis(20))
}

/// Whether a subscriber wants an event.
pub(crate) fn wants(k: u64, n: u64, topics: u64) -> bool {
    wants_everything(k) || n % topics == k % topics
}

fn wants_everything(k: u64) -> bool {
    k.is_multiple_of(EVERYTHING_EVERY)
}

/// The furthest place of those wanted, in the life of the log in which it ended.
pub(crate) fn last(receipts: &[Option<Cursor>], wants: impl Fn(u64) -> bool) -> Option<Cursor> {
    let epoch = receipts.iter().rev().flatten().next()?.epoch;
    (0..)
        .zip(receipts)
        .filter(|(n, _)| wants(*n))
        .filter_map(|(_, receipt)| receipt.filter(|receipt| receipt.epoch == epoch))
        .max_by_key(|cursor| cursor.sequence)
}

/// Listens, coming back by cursor, until it has seen the last event that it wants.
async fn listen(
    mut subscriber: Subscriber,
    k: u64,
    mut ending: watch::Receiver<Option<Ending>>,
    lie: Lie,
) -> Heard {
    let mut heard = Heard::default();
    let mut last = None;
    let mut patience = Instant::now() + PATIENCE;
    while last.is_none_or(|last| !heard.has_seen(last)) {
        tokio::select! {
            item = subscriber.next() => match item.unwrap() {
                Item::Event { cursor, data, .. } => {
                    patience = Instant::now() + PATIENCE;
                    heard.pauses.mark();
                    lie(Seen { n: data.parse().unwrap(), cursor }, &mut heard.seen);
                }
                Item::Gap { reason, resumed_from, .. } => {
                    heard.gaps.push(GapSeen { reason, after: heard.seen.len(), resumed_from });
                }
                Item::Connected { .. } => heard.connections += 1,
                Item::Disconnected { .. } => {}
                Item::Ended => panic!("the hub said not to come back"),
            },
            // Nobody ends it while there are receipts to come.
            Ok(()) = ending.changed() => {
                let ending = ending.borrow_and_update();
                let Some(Ending { lasts }) = &*ending else { continue };
                let Some(wanted) = lasts[usize::try_from(k).unwrap()] else { break };
                last = Some(wanted);
            }
            () = sleep_until(patience) => break,
        }
    }
    heard
}

impl Heard {
    fn has_seen(&self, last: Cursor) -> bool {
        self.seen.last().is_some_and(|seen| seen.cursor >= last)
    }
}
