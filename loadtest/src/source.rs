//! Publishes numbered events on one stream, and remembers every receipt.

pub(crate) mod numbered;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tidewire_client::Cursor;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{latency::Latencies, pipeline, topics::Topics};

/// How often it is looked whether subscribers have got far enough.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// When the next event comes.
#[derive(Debug, Clone)]
pub(crate) enum Pace {
    /// So many each second, until it is stopped.
    EachSecond(u32),
    /// As fast as receipts come, until there were so many.
    Free(usize),
    /// As fast as they are delivered, until there were so many.
    Delivered(Delivered),
}

/// Keeps publishing near its subscribers.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) events: usize,
    /// Deliveries that there have been.
    pub(crate) count: Arc<AtomicU64>,
    /// Deliveries of one event.
    pub(crate) each: usize,
    /// Events that may be published and not yet delivered.
    pub(crate) ahead_max: usize,
}

impl Pace {
    /// Waits until the event of this number is due. False where there is none.
    async fn is_due(&self, number: usize, began: Instant) -> bool {
        match self {
            Self::EachSecond(events) => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let due = began + Duration::from_secs(1) * number / *events;
                if due > Instant::now() {
                    sleep_until(due).await;
                }
                true
            }
            Self::Free(events) => number < *events,
            Self::Delivered(delivered) => {
                let expected = number.saturating_sub(delivered.ahead_max) * delivered.each;
                while delivered.count.load(Relaxed) < expected as u64 {
                    sleep(LOOK_INTERVAL).await;
                }
                number < delivered.events
            }
        }
    }
}

/// A publisher that runs.
pub(crate) struct Source {
    pub(crate) topics: Topics,
    receipts: Arc<Mutex<Vec<Stored>>>,
    is_stopping: Arc<AtomicBool>,
    sending: JoinHandle<anyhow::Result<()>>,
    taking: JoinHandle<anyhow::Result<()>>,
}

/// An event's receipt; events are counted from 0.
#[derive(Debug, Clone, Copy)]
struct Stored {
    cursor: Cursor,
    handed_in: Instant,
    took: Duration,
}

impl Source {
    /// Begins to publish.
    pub(crate) fn start(
        grpc: &str,
        topics: Topics,
        event_bytes: usize,
        in_flight: usize,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        let (sending, mut taken) = pipeline::open(grpc, in_flight)?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopping);
        let sending = tokio::spawn(async move {
            let began = Instant::now();
            let mut number = 0;
            while !stop.load(Relaxed) && pace.is_due(number, began).await {
                sending.send(topics.event(number, event_bytes)?).await?;
                number += 1;
            }
            sending.finish().await
        });
        let receipts = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&receipts);
        let taking = tokio::spawn(async move {
            while let Some(taken) = taken.next().await? {
                let pipeline::Taken { receipt, handed_in, took } = taken;
                record.lock().push(Stored { cursor: receipt.cursor, handed_in, took });
            }
            Ok(())
        });
        Ok(Self { topics, receipts, is_stopping, sending, taking })
    }

    /// How many events have a receipt by now.
    pub(crate) fn stored(&self) -> usize {
        self.receipts.lock().len()
    }

    /// How many had one at this moment.
    pub(crate) fn stored_by(&self, moment: Instant) -> usize {
        self.receipts.lock().partition_point(|stored| stored.handed_in + stored.took <= moment)
    }

    /// Where an event that has a receipt stands.
    pub(crate) fn cursor(&self, number: usize) -> Option<Cursor> {
        self.receipts.lock().get(number).map(|stored| stored.cursor)
    }

    /// When an event that has a receipt was handed in.
    pub(crate) fn handed_in(&self, number: usize) -> Option<Instant> {
        self.receipts.lock().get(number).map(|stored| stored.handed_in)
    }

    /// How long receipts took whose events were handed in between two moments.
    pub(crate) fn latencies(&self, from: Instant, until: Instant) -> Latencies {
        let mut latencies = Latencies::default();
        for stored in self.receipts.lock().iter() {
            if (from..until).contains(&stored.handed_in) {
                latencies.take(stored.took);
            }
        }
        latencies
    }

    /// Publishes nothing more; waits for the last receipt. Says how many there were.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<usize> {
        self.is_stopping.store(true, Relaxed);
        self.finish().await
    }

    /// Waits until its pace has no more events, and for the last receipt. Says how many there were.
    pub(crate) async fn finish(&mut self) -> anyhow::Result<usize> {
        (&mut self.sending).await??;
        (&mut self.taking).await??;
        Ok(self.stored())
    }
}
