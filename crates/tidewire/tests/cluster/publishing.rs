//! A publisher that goes on through everything, and knows every receipt.

use futures_util::{StreamExt, stream::FuturesUnordered};
use tidewire_client::{
    Cursor, EventData, EventId, NewEvent, Pending, PublishStream, Publisher, StreamOptions, Topic,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Duration, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{fleet::PATIENCE, pauses::Pauses};

/// How often some events are handed in.
const TICK: Duration = Duration::from_millis(10);
/// Events whose receipts are waited for. More than a stream has in flight: it is never full.
const UNANSWERED_MAX: usize = 8_192;

/// Events `0, 1, 2 …` on their way into the hub, spread over topics one after the other.
pub(crate) struct Publishing {
    stop: CancellationToken,
    known: watch::Receiver<Known>,
    handing_in: JoinHandle<()>,
    collecting: JoinHandle<Pauses>,
    events_per_second: u64,
}

#[derive(Default)]
struct Known {
    /// Of each event that was handed in, where there is one.
    receipts: Vec<Option<Cursor>>,
    /// How many there are.
    count: u64,
}

/// What became of it.
pub(crate) struct Published {
    /// Of each event, where there is one.
    pub(crate) receipts: Vec<Option<Cursor>>,
    /// The longest time without one.
    pub(crate) pause: Duration,
}

impl Publishing {
    pub(crate) fn begin(url: &str, topics: u64, events_per_second: u64) -> Self {
        let stop = CancellationToken::new();
        let stream = Publisher::connect(url).unwrap().stream(StreamOptions::default());
        let (unanswered, answers) = mpsc::channel(UNANSWERED_MAX);
        let (knowing, known) = watch::channel(Known::default());
        let handing_in =
            tokio::spawn(hand_in(stream, topics, events_per_second, unanswered, stop.clone()));
        let collecting = tokio::spawn(collect(answers, knowing));
        Self { stop, known, handing_in, collecting, events_per_second }
    }

    /// Waits until so many more seconds' worth of events have their receipts.
    pub(crate) async fn flow(&self, seconds: u64) {
        let mut known = self.known.clone();
        let wanted = known.borrow().count + seconds * self.events_per_second;
        let flowing = known.wait_for(|known| known.count >= wanted);
        let flowed = timeout(PATIENCE + Duration::from_secs(seconds), flowing).await;
        flowed.expect("events go on being stored").expect("the publisher goes on");
    }

    /// The receipts so far, of each event where there is one.
    pub(crate) fn receipts(&self) -> Vec<Option<Cursor>> {
        self.known.borrow().receipts.clone()
    }

    /// Hands nothing in any more, and waits for what is under way.
    pub(crate) async fn end(self) -> Published {
        self.stop.cancel();
        self.handing_in.await.unwrap();
        let pause = self.collecting.await.unwrap().longest;
        let receipts = self.known.borrow().receipts.clone();
        Published { receipts, pause }
    }
}

/// An event that says its number, and goes by it.
pub(crate) fn event(n: u64, topics: u64) -> NewEvent {
    let topic = Topic::parse(&format!("story.{}", n % topics)).unwrap();
    let data = EventData::parse(n.to_string(), 100).unwrap();
    NewEvent { id: EventId::parse(&format!("story-{n}")).unwrap(), ..NewEvent::new(topic, data) }
}

async fn hand_in(
    stream: PublishStream,
    topics: u64,
    events_per_second: u64,
    unanswered: mpsc::Sender<Pending>,
    stop: CancellationToken,
) {
    let mut ticks = interval(TICK);
    // After an interruption it goes on as before, without a burst of its own.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let each = events_per_second * u64::try_from(TICK.as_millis()).unwrap() / 1_000;
    let mut n = 0;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for _ in 0..each {
            let Ok(pending) = stream.send(event(n, topics)).await else { return };
            unanswered.send(pending).await.unwrap();
            n += 1;
        }
    }
    drop(unanswered);
    // Why it gave up, if it did, shows in the receipts that are missing.
    stream.finish().await.ok();
}

/// Takes the receipts as they come, which is not quite in order: what had to be sent again is late.
async fn collect(mut answers: mpsc::Receiver<Pending>, known: watch::Sender<Known>) -> Pauses {
    let mut pauses = Pauses::default();
    let mut unanswered = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(pending) = answers.recv() => {
                let mut n = 0;
                known.send_modify(|known| {
                    n = known.receipts.len();
                    known.receipts.push(None);
                });
                unanswered.push(async move { (n, pending.await) });
            }
            Some((n, answer)) = unanswered.next() => {
                let Ok(receipt) = answer else { continue };
                pauses.mark();
                known.send_modify(|known| {
                    known.receipts[n] = Some(receipt.cursor);
                    known.count += 1;
                });
            }
            else => return pauses,
        }
    }
}
