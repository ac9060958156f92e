//! Clients over TLS, HTTP/2 or both: tasks of tokio and whole libraries, and so not thin, but told what
//! to do, judged and heard like the others. They come at once and stay.

mod connecting;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::Semaphore,
    task::JoinSet,
    time::interval,
};

use self::connecting::Connector;
use super::{
    COMING_MAX, Fault, STATUS_INTERVAL_US,
    frames::{Frame, Frames},
    seen::Seen,
};
use crate::{
    clock,
    fleet::message::{Got, Opening, Order, Status},
    histogram::Histogram,
};

/// Does what its input says, until that ends.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run() -> anyhow::Result<()> {
    let clients = Arc::new(Clients::default());
    let mut connections = JoinSet::new();
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut ticks = interval(Duration::from_micros(STATUS_INTERVAL_US));
    loop {
        tokio::select! {
            _ = ticks.tick() => clients.tell(None)?,
            order = orders.next_line() => {
                // Without one nobody is there any more who would read what they say.
                let Some(order) = order? else { return Ok(()) };
                match serde_json::from_str(&order)? {
                    Order::Finish => return clients.tell(Some(clients.got())),
                    Order::Open(opening) => {
                        clients.state.lock().status.coming += opening.count;
                        open(&clients, opening, &mut connections)?;
                    }
                    order => clients.state.lock().obey(&order)?,
                }
                clients.state.lock().status.orders += 1;
            }
            Some(ended) = connections.join_next() => ended?,
        }
    }
}

/// Has subscribers come: each connection is a task.
fn open(
    clients: &Arc<Clients>,
    opening: Opening,
    connections: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    ensure!(
        opening.rate == 0 && opening.is_before,
        "these clients come at once, before all events"
    );
    ensure!(!opening.wanted.is_empty(), "subscribers want something");
    let flows = usize::from(opening.flow.number) + 1;
    clients.state.lock().latencies.resize_with(flows, Histogram::default);
    let (opening, coming) =
        (Arc::new(opening), Arc::new(Semaphore::new(usize::try_from(COMING_MAX)?)));
    let connector = Arc::new(Connector::new(Arc::clone(&opening))?);
    let mut numbers = 0..usize::try_from(opening.count)?;
    while !numbers.is_empty() {
        let streams: Vec<_> = numbers
            .by_ref()
            .take(connector.streams())
            .map(|number| clients.stream(&opening, number))
            .collect();
        let (connector, coming) = (Arc::clone(&connector), Arc::clone(&coming));
        connections.spawn(async move {
            // It is never closed.
            let Ok(place) = coming.acquire_owned().await else { return };
            connector.connect(streams, place).await;
        });
    }
    Ok(())
}

/// All clients of the process.
#[derive(Default)]
struct Clients {
    state: Mutex<State>,
    /// What sockets held.
    received_bytes: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    status: Status,
    latencies: Vec<Histogram>,
    /// How many events each flow has, where it has no more.
    settled: HashMap<u16, u64>,
    streams: Vec<(Seen, bool)>,
}

/// One subscriber's stream.
pub(super) struct Stream {
    clients: Arc<Clients>,
    index: usize,
    filter: String,
    frames: Frames,
    is_strict: bool,
}

impl Clients {
    fn stream(self: &Arc<Self>, opening: &Opening, number: usize) -> Stream {
        let wanted = opening.wanted[number % opening.wanted.len()];
        let Opening { flow, is_before, is_strict, .. } = *opening;
        let mut state = self.state.lock();
        let index = state.streams.len();
        state.streams.push((Seen::new(flow, wanted, is_before, is_strict), false));
        let filter = wanted.filter(flow);
        Stream { clients: Arc::clone(self), index, filter, frames: Frames::default(), is_strict }
    }

    /// Says how things are.
    fn tell(&self, got: Option<Vec<(Got, u64)>>) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        let lacks = |seen: &Seen| {
            let events = state.settled.get(&seen.flow.number);
            events.is_some_and(|events| seen.lacks_of(*events))
        };
        let lacking = state.streams.iter().filter(|(seen, is_live)| *is_live && lacks(seen));
        state.status.lacking = lacking.count() as u64;
        state.status.received_bytes = self.received_bytes.load(Relaxed);
        state.status.got = got;
        state.status.latencies = state.latencies.iter_mut().map(Histogram::take).collect();
        let mut line = serde_json::to_vec(&state.status)?;
        line.push(b'\n');
        io::stdout().write_all(&line).context("nobody reads what clients say")?;
        Ok(io::stdout().flush()?)
    }

    /// What everybody got.
    fn got(&self) -> Vec<(Got, u64)> {
        let mut all = HashMap::new();
        for (Seen { flow, wanted, first, count, hash, is_spoilt, .. }, _) in
            &self.state.lock().streams
        {
            let got = Got {
                flow: flow.number,
                wanted: *wanted,
                first: *first,
                count: *count,
                hash: *hash,
            };
            if !is_spoilt {
                *all.entry(got).or_default() += 1;
            }
        }
        all.into_iter().collect()
    }
}

impl State {
    fn obey(&mut self, order: &Order) -> anyhow::Result<()> {
        match *order {
            Order::Settle { flow, events } => drop(self.settled.insert(flow, events)),
            Order::Published { .. } => {}
            Order::Close { .. }
            | Order::Open(_)
            | Order::Stall { .. }
            | Order::Wake
            | Order::Finish => {
                bail!("these clients stay")
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Its answer has begun.
    fn begins(&self) {
        let state = &mut *self.clients.state.lock();
        state.streams[self.index].1 = true;
        state.status.coming -= 1;
        state.status.live += 1;
    }

    /// Judges bytes of events as they come.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let now = clock::microseconds();
        let state = &mut *self.clients.state.lock();
        let (seen, _) = &mut state.streams[self.index];
        let latencies = &mut state.latencies[usize::from(seen.flow.number)];
        let Status { deliveries, violations, .. } = &mut state.status;
        self.frames.take(bytes, self.is_strict, |frame| {
            if let Frame::Event(event) = frame {
                *deliveries += 1;
                latencies.count_one(now.saturating_sub(event.due));
            }
            seen.take(frame, violations)
        })
    }

    /// It is over, which it should not be.
    fn ends(&self, fault: Fault) {
        let state = &mut *self.clients.state.lock();
        let is_live = std::mem::take(&mut state.streams[self.index].1);
        let Status { violations, live, coming, .. } = &mut state.status;
        *(if is_live { live } else { coming }) -= 1;
        match fault {
            Fault::Refused => violations.refused += 1,
            Fault::Malformed => violations.malformed += 1,
            Fault::Ended => violations.ended += 1,
        }
    }
}
