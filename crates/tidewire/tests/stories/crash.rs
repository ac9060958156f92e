//! Nothing lost, nothing twice: the hub is killed again and again while events flow.

use std::{mem, time::Duration};

use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use tidewire_client::{Cursor, EventData, EventId, Item, NewEvent, Start, StreamOptions, Topic};
use tidewire_testbed::checker::{Seen, Truth, Violation};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::hub::Hub;

/// Topics that the events are spread over, one after the other.
const TOPICS: u64 = 10;
/// How long a subscriber may wait for its next event before the story ends without it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Story {
    events: u64,
    kills: usize,
    subscribers: u64,
    fault: Option<Fault>,
}

/// A lie on the way to the first subscriber.
#[derive(Clone, Copy)]
enum Fault {
    Drop,
    Double,
    Swap,
}

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_while_100_000_events_flow_lose_and_repeat_nothing() {
    let story = Story { events: 100_000, kills: 5, subscribers: 50, fault: None };
    for (subscriber, verdict) in (0..).zip(tell(story).await) {
        assert_eq!(verdict, Ok(()), "subscriber {subscriber}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_story_with_a_planted_fault_is_judged_a_violation() {
    for (fault, expected) in [
        (Fault::Drop, Violation::Lost { n: 500 }),
        (Fault::Double, Violation::Repeated { n: 500 }),
        (Fault::Swap, Violation::OutOfOrder { n: 500 }),
    ] {
        let story = Story { events: 5_000, kills: 1, subscribers: 2, fault: Some(fault) };
        let verdicts = tell(story).await;
        assert_eq!(verdicts, [Err(expected), Ok(())]);
    }
}

/// Publishes on one stream while the hub dies at random moments; every subscriber's verdict.
async fn tell(story: Story) -> Vec<Result<(), Violation>> {
    let mut hub = Hub::start().await;
    let (receipts_seen, mut progress) = watch::channel(0);
    let mut subscribers = JoinSet::new();
    for k in 0..story.subscribers {
        let subscriber = hub.subscriber(&filter(k)).from(Start::Earliest).build().unwrap();
        let wanted = (0..story.events).filter(|n| wants(k, *n)).count();
        let fault = story.fault.filter(|_| k == 0);
        subscribers.spawn(async move { (k, listen(subscriber, wanted, fault).await) });
    }
    let publishing = tokio::spawn(publish(hub.publisher(), story.events, receipts_seen));

    let seed = rand::random();
    println!("kills at receipts by seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut moments: Vec<_> =
        (0..story.kills).map(|_| random.random_range(1..story.events * 9 / 10)).collect();
    moments.sort_unstable();
    for (nth, moment) in moments.iter().enumerate() {
        progress.wait_for(|receipts| receipts >= moment).await.unwrap();
        hub.kill();
        if takes_nats_along(nth, hub.nats_nodes()) {
            hub.kill_nats().await;
        }
        hub.start_again().await;
    }

    let truth = Truth { receipts: publishing.await.unwrap() };
    let missing = truth.receipts.iter().filter(|receipt| receipt.is_none()).count();
    assert_eq!(missing, 0, "a stream that heals itself brings every receipt");
    let mut all_seen = subscribers.join_all().await;
    all_seen.sort_by_key(|(k, _)| *k);
    let deliveries: usize = all_seen.iter().map(|(_, seen)| seen.len()).sum();
    println!("killed at {moments:?} receipts; {missing} without; {deliveries} deliveries");
    all_seen.iter().map(|(k, seen)| truth.judge(|n| wants(*k, n), seen)).collect()
}

/// Whether a kill ends a NATS server as well: one alone every second time, of several the leader
/// once, since they take seconds to find another.
fn takes_nats_along(nth: usize, nodes: usize) -> bool {
    match nodes {
        0 => false,
        1 => nth % 2 == 1,
        _ => nth == 2,
    }
}

/// Every fifth subscriber wants everything, the others one topic each.
fn filter(k: u64) -> String {
    if k.is_multiple_of(5) { "story.>".into() } else { format!("story.{}", k % TOPICS) }
}

fn wants(k: u64, n: u64) -> bool {
    k.is_multiple_of(5) || n % TOPICS == k % TOPICS
}

async fn publish(
    publisher: tidewire_client::Publisher,
    events: u64,
    receipts_seen: watch::Sender<u64>,
) -> Vec<Option<Cursor>> {
    let stream = publisher.stream(StreamOptions::default());
    let (pending, mut answers) = tokio::sync::mpsc::channel(8_192);
    let counting = tokio::spawn(async move {
        let mut receipts = Vec::new();
        while let Some(answer) = answers.recv().await {
            let answer: tidewire_client::Pending = answer;
            receipts.push(answer.await.ok().map(|receipt| receipt.cursor));
            receipts_seen.send_modify(|seen| *seen += 1);
        }
        receipts
    });
    for n in 0..events {
        let topic = Topic::parse(&format!("story.{}", n % TOPICS)).unwrap();
        let event = NewEvent {
            id: EventId::parse(&format!("story-{n}")).unwrap(),
            ..NewEvent::new(topic, EventData::parse(n.to_string(), 100).unwrap())
        };
        pending.send(stream.send(event).await.unwrap()).await.unwrap();
    }
    drop(pending);
    stream.finish().await.unwrap();
    counting.await.unwrap()
}

/// Listens, coming back by cursor, until as many events have come as are wanted. Which is the last
/// is not known: what the hub could not store at first may stand behind what was sent after it.
async fn listen(
    mut subscriber: tidewire_client::Subscriber,
    wanted: usize,
    fault: Option<Fault>,
) -> Vec<Seen> {
    let (mut came, mut seen) = (0, Vec::new());
    while came < wanted
        && let Ok(item) = timeout(PATIENCE, subscriber.next()).await
    {
        match item.unwrap() {
            Item::Event { cursor, data, .. } => {
                came += 1;
                pass_on(Seen { n: data.parse().unwrap(), cursor }, fault, &mut seen);
            }
            Item::Gap { reason, requested, .. } => panic!("a gap after {requested}: {reason:?}"),
            Item::Connected { .. } | Item::Disconnected { .. } => {}
            Item::Ended => panic!("the hub said not to come back"),
        }
    }
    seen
}

/// What the subscriber gets of a frame on its way, where somebody lies about the one of 500, or
/// swaps it with the next.
fn pass_on(frame: Seen, fault: Option<Fault>, seen: &mut Vec<Seen>) {
    seen.push(frame);
    match fault {
        Some(Fault::Drop) if frame.n == 500 => {
            seen.pop();
        }
        Some(Fault::Double) if frame.n == 500 => seen.push(frame),
        Some(Fault::Swap) => {
            if let [.., before, newest] = &mut seen[..]
                && before.n == 500
            {
                mem::swap(before, newest);
            }
        }
        _ => {}
    }
}
