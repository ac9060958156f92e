//! A fleet at work: events flow, subscribers come and go, until somebody ends it and judges.

use std::{ops::Range, sync::Arc};

use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use tidewire_client::Cursor;
use tidewire_testbed::{
    Balancer,
    checker::{Truth, Violation},
};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    audience::{Audience, Heard, Lie, truthfully, wants},
    fleet::Fleet,
    publishing::{Published, Publishing},
};

pub(crate) const TOPICS: u64 = 10;
const SUBSCRIBERS: u64 = 200;
const EVENTS_PER_SECOND: u64 = 500;
/// Every now and then all subscribers are cut off at once.
const CUT_INTERVAL: Range<Duration> = Duration::from_secs(2)..Duration::from_secs(5);
/// The same, where it is to happen all the time.
const CUT_INTERVAL_SHORT: Duration = Duration::from_millis(100);

pub(crate) struct Run {
    pub(crate) fleet: Fleet,
    pub(crate) publishing: Publishing,
    audience: Audience,
    _cutting: AbortOnDropHandle<()>,
    began: Instant,
}

/// What came of it.
pub(crate) struct Report {
    pub(crate) truth: Truth,
    /// Of each subscriber.
    pub(crate) heard: Vec<Heard>,
}

impl Run {
    /// A fleet of its own, with events flowing for two seconds.
    pub(crate) async fn begin() -> Self {
        Self::begin_on(Fleet::start().await).await
    }

    pub(crate) async fn begin_on(fleet: Fleet) -> Self {
        Self::begin_with_lies(fleet, |_| truthfully).await
    }

    pub(crate) async fn begin_with_lies(fleet: Fleet, lie_to: fn(u64) -> Lie) -> Self {
        let began = Instant::now();
        let audience = Audience::begin(&fleet.door.url(), SUBSCRIBERS, TOPICS, lie_to);
        let publishing = Publishing::begin(&fleet.intake.url(), TOPICS, EVENTS_PER_SECOND);
        let cutting = AbortOnDropHandle::new(tokio::spawn(cut(Arc::clone(&fleet.door))));
        let run = Self { fleet, publishing, audience, _cutting: cutting, began };
        run.flow(2).await;
        run
    }

    /// Waits until so many more seconds' worth of events have been stored.
    pub(crate) async fn flow(&self, seconds: u64) {
        self.publishing.flow(seconds).await;
    }

    /// The same while subscribers are cut off all the time.
    pub(crate) async fn flow_with_many_cuts(&self, seconds: u64) {
        let cutting = async {
            loop {
                sleep(CUT_INTERVAL_SHORT).await;
                self.fleet.door.cut();
            }
        };
        tokio::select! {
            () = self.flow(seconds) => {}
            () = cutting => {}
        }
    }

    /// Ends it two seconds later, and says what the fault was felt like.
    pub(crate) async fn end(self, fault: &str) -> Report {
        self.flow(2).await;
        let Published { receipts, pause } = self.publishing.end().await;
        let heard = self.audience.end(&receipts).await;
        let deliveries: usize = heard.iter().map(|heard| heard.seen.len()).sum();
        let connections: usize = heard.iter().map(|heard| heard.connections).sum();
        let mut pauses: Vec<_> = heard.iter().map(|heard| heard.pauses.longest).collect();
        pauses.sort_unstable();
        println!(
            "{fault}: {} events, {deliveries} deliveries over {connections} connections in {:.0} s; \
             the longest pause of receipts {:.2} s, of subscribers {:.2} s (median {:.2} s)",
            receipts.len(),
            self.began.elapsed().as_secs_f64(),
            pause.as_secs_f64(),
            pauses[pauses.len() - 1].as_secs_f64(),
            pauses[pauses.len() / 2].as_secs_f64(),
        );
        Report { truth: Truth { receipts }, heard }
    }
}

impl Report {
    /// Every event has its receipt, and every subscriber saw all of its own: nothing lost, twice,
    /// moved or out of order, and no gap.
    pub(crate) fn assert_kept(&self) {
        let missing = self.truth.receipts.iter().filter(|receipt| receipt.is_none()).count();
        assert_eq!(missing, 0, "events without a receipt");
        for ((k, heard), verdict) in (0_u64..).zip(&self.heard).zip(self.verdicts()) {
            assert_eq!(verdict, Ok(()), "subscriber {k}");
            assert!(heard.gaps.is_empty(), "subscriber {k}: {:?}", heard.gaps);
        }
        println!("    nothing lost, twice, moved or out of order, and no gap");
    }

    pub(crate) fn verdicts(&self) -> Vec<Result<(), Violation>> {
        let judge =
            |(k, heard): (u64, &Heard)| self.truth.judge(|n| wants(k, n, TOPICS), &heard.seen);
        (0..).zip(&self.heard).map(judge).collect()
    }

    /// Of every event, the receipt, where it is one of these.
    pub(crate) fn receipts_where(&self, is_one: impl Fn(Cursor) -> bool) -> Vec<Option<Cursor>> {
        let receipts = self.truth.receipts.iter();
        receipts.map(|receipt| receipt.filter(|receipt| is_one(*receipt))).collect()
    }
}

async fn cut(door: Arc<Balancer>) {
    let seed = rand::random();
    println!("subscribers are cut off by seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        sleep(random.random_range(CUT_INTERVAL)).await;
        door.cut();
    }
}
