//! Edges hold nothing: a client that is never long at one sees one sequence.

use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use tidewire_client::{Cursor, Item, Reading, Start, Subscriber, SubscriberBuilder, TopicFilter};
use tidewire_testbed::checker::{Seen, Truth};
use tokio::time::{Instant, timeout};

use super::{
    audience::last,
    fleet::{Fleet, PATIENCE},
    publishing::Publishing,
};

const MOVES: usize = 1_000;
/// So many things happen at one edge at most before the client moves on.
const ITEMS_MAX: usize = 8;
const TOPICS: u64 = 10;
const EVENTS_PER_SECOND: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_moves_between_three_edges_a_thousand_times_sees_one_sequence() {
    let fleet = Fleet::start().await;
    let publishing = Publishing::begin(&fleet.intake.url(), TOPICS, EVENTS_PER_SECOND);
    publishing.flow(1).await;
    let seed = rand::random();
    println!("the client moves by seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = Client::default();
    let began = Instant::now();
    for _ in 0..MOVES {
        let edge = random.random_range(0..fleet.edges.len());
        let items = random.random_range(0..=ITEMS_MAX);
        client.stay(&fleet.edges[edge].http, items).await;
    }
    let moved = began.elapsed();
    let receipts = publishing.end().await.receipts;
    let end = last(&receipts, |_| true);
    client.stay_until(&fleet.edges[0].http, end).await;
    let verdict = Truth { receipts }.judge(|_| true, &client.seen);
    println!(
        "{MOVES} moves in {:.1} s, {} events: {verdict:?}",
        moved.as_secs_f64(),
        client.seen.len()
    );
    assert_eq!(verdict, Ok(()));
}

#[derive(Default)]
struct Client {
    cursor: Option<Cursor>,
    seen: Vec<Seen>,
}

impl Client {
    /// Takes so many items at this edge. Nothing at all is asked for where that is none.
    async fn stay(&mut self, edge: &str, items: usize) {
        let mut subscriber = self.subscriber(edge).build().unwrap();
        for _ in 0..items {
            self.take(&mut subscriber).await;
        }
    }

    async fn stay_until(&mut self, edge: &str, end: Option<Cursor>) {
        let mut subscriber = self.subscriber(edge).build().unwrap();
        while self.seen.last().map(|seen| seen.cursor) < end {
            self.take(&mut subscriber).await;
        }
    }

    fn subscriber(&self, edge: &str) -> SubscriberBuilder {
        let all = Subscriber::builder(edge)
            .filter(TopicFilter::parse("story.>").unwrap())
            .reading(Reading::Strict);
        match self.cursor {
            Some(cursor) => all.cursor(cursor),
            None => all.from(Start::Earliest),
        }
    }

    async fn take(&mut self, subscriber: &mut Subscriber) {
        let item = timeout(PATIENCE, subscriber.next()).await.expect("events go on coming");
        match item.unwrap() {
            Item::Event { cursor, data, .. } => {
                self.seen.push(Seen { n: data.parse().unwrap(), cursor });
            }
            Item::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
        self.cursor = subscriber.cursor();
    }
}
