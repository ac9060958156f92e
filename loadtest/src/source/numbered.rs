//! Publishes the numbered events of a flow on an absolute schedule, and remembers what they held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    clock,
    content::Content,
    flow::Flow,
    server::{Server, publishing::Publishing},
};

/// Between the decision to begin and the first event.
const BEGIN_AFTER: Duration = Duration::from_millis(20);

/// What of a flow has been published.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) flow: Flow,
    /// Of the data of each event.
    pub(crate) checksums: Vec<u32>,
}

impl Record {
    pub(crate) fn events(&self) -> u64 {
        self.checksums.len() as u64
    }
}

/// When events come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Bursts each second.
    pub(crate) rate: f64,
    /// Events of one burst, handed in together.
    pub(crate) burst: u64,
    /// How many bursts.
    pub(crate) bursts: u64,
}

/// Publishes one flow, in as many pieces as is wanted.
pub(crate) struct Numbered {
    pub(crate) record: Record,
    publishing: Publishing,
    event_bytes: usize,
    pub(crate) content: Content,
    /// How many events have been handed in, or are about to be.
    pub(crate) handed_in: Arc<AtomicU64>,
    /// Ends a schedule before its time.
    pub(crate) is_over: Arc<AtomicBool>,
}

impl Numbered {
    pub(crate) async fn new(
        server: &Server,
        flow: Flow,
        event_bytes: usize,
    ) -> anyhow::Result<Self> {
        let record = Record { flow, checksums: Vec::new() };
        let publishing = Publishing::open(server).await?;
        let (handed_in, is_over) = (Arc::default(), Arc::default());
        let content = Content::Letter;
        Ok(Self { record, publishing, event_bytes, content, handed_in, is_over })
    }

    /// Publishes as the schedule says, however late it is; returns when the server has taken all.
    pub(crate) async fn publish(&mut self, schedule: Schedule) -> anyhow::Result<()> {
        let flow = self.record.flow;
        let begin = Instant::now() + BEGIN_AFTER;
        let begin_us = clock::microseconds() + u64::try_from(BEGIN_AFTER.as_micros())?;
        let mut events = Vec::new();
        for number in 0..schedule.bursts {
            #[expect(clippy::cast_precision_loss, reason = "bursts are far below 2^52")]
            let due = Duration::from_secs_f64(number as f64 / schedule.rate);
            sleep_until(begin + due).await;
            if self.is_over.load(Relaxed) {
                break;
            }
            let due = begin_us + u64::try_from(due.as_micros())?;
            events.clear();
            for _ in 0..schedule.burst {
                let event = self.record.events();
                let mut data = String::with_capacity(self.event_bytes + 1);
                flow.write_data(event, due, self.content, self.event_bytes, &mut data);
                self.record.checksums.push(crc32fast::hash(data.as_bytes()));
                events.push((flow.topic(event), data));
            }
            self.handed_in.store(self.record.events(), Relaxed);
            self.publishing.publish(&mut events).await?;
        }
        self.publishing.all_taken().await
    }
}
