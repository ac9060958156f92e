//! Processes of thin clients: told what to do, listened to, and judged together.

pub(crate) mod message;

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use self::message::{Got, Opening, Order, Status};
use crate::{
    flow::{self, Flow, Wanted},
    histogram::Histogram,
    server::{Peer, Server},
    source::numbered::Record,
    thin::Violations,
};

/// Connections of one process: below the 20,000 files that it may have where nothing else is said.
pub(crate) const CONNECTIONS_MAX: u64 = 15_000;
/// How long all connections may take to come, or the last events to arrive, with nothing moving.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Processes of clients of one server.
pub(crate) struct Fleet {
    workers: Vec<Worker>,
    pub(crate) heard: Arc<Heard>,
}

struct Worker {
    child: Child,
    input: ChildStdin,
    listening: JoinHandle<anyhow::Result<()>>,
    from: Ipv4Addr,
    orders: u64,
}

/// What all of them have said.
#[derive(Default)]
pub(crate) struct Heard {
    latest: Mutex<Vec<Status>>,
    times: Mutex<Times>,
}

/// The times of deliveries, by flow.
#[derive(Default)]
struct Times {
    since_look: Vec<Histogram>,
    since_mark: Vec<Histogram>,
}

/// Subscribers that come, before it is said by which process.
#[derive(Debug, Clone)]
pub(crate) struct Coming {
    pub(crate) flow: Flow,
    /// What each wants, in turn.
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) count: u64,
    pub(crate) is_before: bool,
    pub(crate) rate: u64,
}

impl Fleet {
    /// Starts as many processes as so many connections by plain HTTP/1.1 need.
    pub(crate) fn start(connections: u64) -> anyhow::Result<Self> {
        Self::start_as("clients", connections)
    }

    /// Starts as many processes as so many streams of a kind of server need.
    pub(crate) fn start_for(peer: Peer, streams: u64) -> anyhow::Result<Self> {
        let kind = if peer.transport().is_some() { "carried-clients" } else { "clients" };
        Self::start_as(kind, streams)
    }

    fn start_as(kind: &'static str, connections: u64) -> anyhow::Result<Self> {
        let heard = Arc::new(Heard::default());
        let count = connections.div_ceil(CONNECTIONS_MAX).max(1);
        let numbers = 0..usize::try_from(count)?;
        heard.latest.lock().resize_with(numbers.len(), Status::default);
        let workers = numbers.map(|number| Worker::start(kind, number, &heard));
        let workers = workers.collect::<anyhow::Result<_>>()?;
        Ok(Self { workers, heard })
    }

    /// Has subscribers come, shared out over the processes.
    pub(crate) async fn open(&mut self, server: &Server, coming: &Coming) -> anyhow::Result<()> {
        let workers = self.workers.len() as u64;
        let mut given = 0;
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let until = coming.count * (number as u64 + 1) / workers;
            let count = until - given;
            let mut wanted = coming.wanted.clone();
            // Each process goes on where the one before it ended.
            let turn = usize::try_from(given)? % wanted.len();
            wanted.rotate_left(turn);
            given = until;
            let order = Order::Open(Opening {
                to: server.http,
                from: worker.from,
                path: server.path.clone(),
                flow: coming.flow,
                wanted,
                count,
                is_before: coming.is_before,
                is_strict: server.peer.is_strict(),
                is_gzip: server.peer.is_gzip(),
                transport: server.peer.transport(),
                certificate: server.certificate(),
                rate: coming.rate / workers,
            });
            worker.tell(&order).await?;
        }
        Ok(())
    }

    /// Waits until all that were told to come have a stream, or were refused.
    pub(crate) async fn all_live(&self) -> anyhow::Result<()> {
        let left = |heard: &Heard| heard.sum(|status| status.coming);
        let left = self.until_none(left).await?;
        ensure!(left == 0, "{left} connections have no stream");
        Ok(())
    }

    /// Lets so many of a flow's subscribers go.
    pub(crate) async fn close(&mut self, flow: Flow, count: u64) -> anyhow::Result<()> {
        self.tell_shares(count, |count| Order::Close { flow: flow.number, count }).await
    }

    /// Has so many of a flow's subscribers read nothing more. Returns when they do not.
    pub(crate) async fn stall(&mut self, flow: Flow, count: u64) -> anyhow::Result<()> {
        self.tell_shares(count, |count| Order::Stall { flow: flow.number, count }).await?;
        self.until_none(|_| 0).await?;
        Ok(())
    }

    /// Has all read again that were stalled: they must still get everything.
    pub(crate) async fn wake(&mut self) -> anyhow::Result<()> {
        self.tell_all(&Order::Wake).await
    }

    /// Says that events from this one on have not been published yet, and waits until all have read
    /// it: what is said next time was not known to anybody before that.
    pub(crate) async fn published(&mut self, flow: Flow, events: u64) -> anyhow::Result<()> {
        self.tell_all(&Order::Published { flow: flow.number, events }).await?;
        self.until_none(|_| 0).await?;
        Ok(())
    }

    /// Waits until everybody has everything of a flow that has ended, or nothing more comes.
    pub(crate) async fn settle(&mut self, record: &Record) -> anyhow::Result<()> {
        let (flow, events) = (record.flow.number, record.events());
        self.tell_all(&Order::Settle { flow, events }).await?;
        self.until_none(|heard| heard.sum(|status| status.lacking)).await?;
        Ok(())
    }

    /// Ends all, and says what of all that came should not have been.
    pub(crate) async fn finish(mut self, records: &[Record]) -> anyhow::Result<Verdict> {
        let incomplete = self.heard.sum(|status| status.lacking);
        let connections = self.heard.sum(|status| status.live);
        self.tell_all(&Order::Finish).await?;
        for mut worker in self.workers {
            let listening = timeout(PATIENCE, worker.listening).await;
            listening.context("clients did not end")???;
            ensure!(worker.child.wait().await?.success(), "a process of clients failed");
        }
        let mut violations = Violations { incomplete, ..Violations::default() };
        let mut known = HashMap::new();
        for status in self.heard.latest.lock().iter() {
            violations.add(&status.violations);
            for (got, count) in status.got.as_ref().context("what clients got")? {
                let expected = *known.entry(*got).or_insert_with(|| expected_hash(got, records));
                if expected != Some(got.hash) {
                    violations.other_content += count;
                }
            }
        }
        let deliveries = self.heard.sum(|status| status.deliveries);
        Ok(Verdict { violations, deliveries, connections })
    }

    /// Tells each process its share of so many subscribers.
    async fn tell_shares(
        &mut self,
        count: u64,
        order: impl Fn(u64) -> Order,
    ) -> anyhow::Result<()> {
        let workers = self.workers.len() as u64;
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let number = number as u64;
            let share = count * (number + 1) / workers - count * number / workers;
            worker.tell(&order(share)).await?;
        }
        Ok(())
    }

    async fn tell_all(&mut self, order: &Order) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            worker.tell(order).await?;
        }
        Ok(())
    }

    /// Waits until every order has been read and there are none of these any more, or nothing has
    /// changed for long. Says how many there are then.
    async fn until_none(&self, count: impl Fn(&Heard) -> u64) -> anyhow::Result<u64> {
        let mut moved = (Instant::now(), (0, 0));
        loop {
            if self.workers.iter().any(|worker| worker.listening.is_finished()) {
                bail!("a process of clients ended");
            }
            let orders = self.workers.iter().map(|worker| worker.orders);
            let has_read = |(status, orders): (&Status, u64)| status.orders >= orders;
            let have_read = self.heard.latest.lock().iter().zip(orders).all(has_read);
            let left = count(&self.heard);
            if have_read && left == 0 {
                return Ok(0);
            }
            let now = (left, self.heard.sum(|status| status.deliveries));
            if now != moved.1 {
                moved = (Instant::now(), now);
            } else if moved.0.elapsed() > PATIENCE {
                return Ok(left);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

impl Worker {
    fn start(kind: &str, number: usize, heard: &Arc<Heard>) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("its input")?;
        let output = child.stdout.take().context("its output")?;
        let listening = tokio::spawn(listen(output, number, Arc::clone(heard)));
        let from = next_address()?;
        Ok(Self { child, input, listening, from, orders: 0 })
    }

    async fn tell(&mut self, order: &Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders += 1;
        self.input.write_all(&line).await.context("a process of clients takes no orders")
    }
}

/// An address for one process of clients, which no other has had: one has some 28,000 ports, and those
/// of connections that are over stay taken for a minute.
fn next_address() -> anyhow::Result<Ipv4Addr> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let given = GIVEN.fetch_add(1, Relaxed);
    // 127.0.0.1 is the servers'.
    Ok(Ipv4Addr::new(127, 0, u8::try_from(given / 250)?, u8::try_from(given % 250 + 2)?))
}

async fn listen(output: ChildStdout, number: usize, heard: Arc<Heard>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        let status: Status = serde_json::from_str(&line)?;
        heard.times.lock().take(&status);
        heard.latest.lock()[number] = status;
    }
    Ok(())
}

impl Heard {
    /// Of all processes.
    pub(crate) fn sum(&self, figure: impl Fn(&Status) -> u64) -> u64 {
        self.latest.lock().iter().map(figure).sum()
    }

    /// The times of each flow's deliveries since the last look.
    pub(crate) fn look(&self) -> Vec<Histogram> {
        std::mem::take(&mut self.times.lock().since_look)
    }

    /// Forgets the times until now.
    pub(crate) fn mark(&self) {
        self.times.lock().since_mark.clear();
    }

    /// The times of a flow's deliveries since the mark.
    pub(crate) fn since_mark(&self, flow: Flow) -> Histogram {
        let times = self.times.lock();
        times.since_mark.get(usize::from(flow.number)).cloned().unwrap_or_default()
    }
}

impl Times {
    fn take(&mut self, status: &Status) {
        for times in [&mut self.since_look, &mut self.since_mark] {
            times.resize_with(times.len().max(status.latencies.len()), Histogram::default);
            for (times, told) in times.iter_mut().zip(&status.latencies) {
                times.append_told(told);
            }
        }
    }
}

/// What came of all subscribers.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Verdict {
    pub(crate) violations: Violations,
    pub(crate) deliveries: u64,
    /// Connections that were open to the end.
    pub(crate) connections: u64,
}

impl Verdict {
    /// In words.
    pub(crate) fn describe(&self) -> String {
        let named = self.violations.named();
        let named: Vec<_> = named.iter().filter(|(_, count)| *count > 0).collect();
        if named.is_empty() {
            return format!("{} deliveries: each once, in order, as published", self.deliveries);
        }
        let named: Vec<_> = named.iter().map(|(name, count)| format!("{count} {name}")).collect();
        format!("{} deliveries: VIOLATED: {}", self.deliveries, named.join(", "))
    }
}

/// The rolling hash of one who got what was published; none where so much was not.
fn expected_hash(got: &Got, records: &[Record]) -> Option<u64> {
    let record = records.iter().find(|record| record.flow.number == got.flow)?;
    let (mut hash, mut next) = (0, got.first);
    for _ in 0..got.count {
        hash = flow::hash_after(hash, *record.checksums.get(usize::try_from(next).ok()?)?);
        next = got.wanted.first_from(record.flow, next + 1);
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_with_other_bytes_is_another_hash() {
        let flow = Flow { number: 0, topics: 2 };
        let record = |checksums| [Record { flow, checksums }];
        let got = |hash| Got { flow: 0, wanted: Wanted::One(1), first: 1, count: 2, hash };
        let hash = flow::hash_after(flow::hash_after(0, 20), 40);
        let expected = |checksums| expected_hash(&got(hash), &record(checksums));
        assert_eq!(expected(vec![10, 20, 30, 40]), Some(hash));
        assert_ne!(expected(vec![10, 20, 30, 41]), Some(hash));
        assert_eq!(expected(vec![10, 20, 30]), None, "more than was published");
    }
}
