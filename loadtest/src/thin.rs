//! Clients as thin as they go: one thread over epoll, thousands of subscribers, and nothing allocated
//! for a delivery. It runs as a process of its own, which is told on its input what to do.
//!
//! epoll by `rustix`: the calls themselves in safe Rust, and nothing between them and the sockets that
//! a measurement would have to know of.

mod body;
pub(crate) mod carried;
mod connection;
mod frames;
mod inflating;
mod seen;

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use anyhow::{Context, ensure};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    io::{Errno, ioctl_fionbio, read},
};

pub(crate) use self::seen::Violations;
use self::{
    connection::{Buffers, Connection, Phase, Ports},
    seen::Seen,
};
use crate::{
    clock,
    fleet::message::{Got, Opening, Order, Status},
    histogram::Histogram,
};

/// Connections that may be on their way at once: fewer than a listener's queue holds.
const COMING_MAX: u64 = 256;
/// Sockets looked at after one wait.
const EVENTS_MAX: usize = 512;
/// How often it says how things are.
const STATUS_INTERVAL_US: u64 = 100_000;
/// The longest wait, so that connections that are due are begun.
const WAIT_MAX: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// What stands for the input among the sockets.
const INPUT: u64 = u64::MAX;

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Refused,
    Malformed,
    Ended,
}

/// Does what its input says, until that ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut clients = Clients::new()?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut buffers = Buffers::default();
    let mut told = clock::microseconds();
    while !clients.is_over {
        events.clear();
        match epoll::wait(&clients.epoll, spare_capacity(&mut events), Some(&WAIT_MAX)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            // Copied: its fields are packed.
            let data = event.data;
            if data.u64() == INPUT {
                clients.read_orders()?;
            } else {
                clients.serve(usize::try_from(data.u64())?, &mut buffers)?;
            }
        }
        clients.begin_connections()?;
        let now = clock::microseconds();
        // What it said last of all stands.
        if now >= told + STATUS_INTERVAL_US && !clients.is_over {
            told = now;
            clients.tell(None)?;
        }
    }
    Ok(())
}

struct Clients {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    ports: Ports,
    free: Vec<usize>,
    /// Where among the connections it is looked for the next of each flow that leaves or stalls.
    turns: HashMap<u16, usize>,
    openings: VecDeque<Begun>,
    /// The beginning of an order.
    input: Vec<u8>,
    /// How many events each flow has, where it has no more.
    settled: HashMap<u16, u64>,
    status: Status,
    latencies: Vec<Histogram>,
    /// What those got who have left.
    left: HashMap<Got, u64>,
    is_over: bool,
}

/// An opening under way.
struct Begun {
    opening: Rc<Opening>,
    since: u64,
    count: u64,
}

impl Clients {
    fn new() -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let input = io::stdin();
        ioctl_fionbio(&input, true)?;
        epoll::add(&epoll, input.as_fd(), EventData::new_u64(INPUT), EventFlags::IN)?;
        Ok(Self {
            epoll,
            connections: Vec::new(),
            ports: Ports::new(),
            free: Vec::new(),
            turns: HashMap::new(),
            openings: VecDeque::new(),
            input: Vec::new(),
            settled: HashMap::new(),
            status: Status::default(),
            latencies: Vec::new(),
            left: HashMap::new(),
            is_over: false,
        })
    }

    fn read_orders(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        match read(io::stdin(), &mut buffer) {
            // Nobody is there any more who would read what they say.
            Ok(0) => self.is_over = true,
            Ok(length) => self.input.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(end) = memchr::memchr(b'\n', &self.input) {
            let order = serde_json::from_slice(&self.input[..end])?;
            self.input.drain(..=end);
            self.obey(order)?;
            self.status.orders += 1;
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Open(opening) => {
                ensure!(!opening.wanted.is_empty(), "subscribers want something");
                let flows = usize::from(opening.flow.number) + 1;
                self.latencies.resize_with(self.latencies.len().max(flows), Histogram::default);
                self.status.coming += opening.count;
                let since = clock::microseconds();
                self.openings.push_back(Begun { opening: Rc::new(opening), since, count: 0 });
            }
            Order::Close { flow, count } => {
                for index in self.next_of(flow, count) {
                    self.close(index);
                }
            }
            Order::Stall { flow, count } => {
                for index in self.next_of(flow, count) {
                    self.set_stalled(index, true)?;
                }
            }
            Order::Wake => {
                for index in 0..self.connections.len() {
                    self.set_stalled(index, false)?;
                }
            }
            Order::Published { flow, events } => {
                for connection in self.connections.iter_mut().flatten() {
                    if connection.phase == Phase::Live && connection.seen.flow.number == flow {
                        connection.seen.must_get_from(events);
                    }
                }
            }
            Order::Settle { flow, events } => {
                self.settled.insert(flow, events);
            }
            Order::Finish => {
                for index in 0..self.connections.len() {
                    self.close(index);
                }
                let got = self.left.drain().collect();
                self.tell(Some(got))?;
                self.is_over = true;
            }
        }
        Ok(())
    }

    /// Those of a flow's subscribers who leave or stall next: all have their turn, so that one who has
    /// just come stays for a while.
    fn next_of(&mut self, flow: u16, count: u64) -> Vec<usize> {
        let length = self.connections.len();
        let is_one = |index: &usize| {
            let connection = self.connections[*index].as_ref();
            connection.is_some_and(|connection| {
                connection.phase == Phase::Live && connection.seen.flow.number == flow
            })
        };
        let turn = self.turns.get(&flow).copied().unwrap_or_default();
        let indices = (0..length).map(|offset| (turn + offset) % length).filter(is_one);
        let next: Vec<_> = indices.take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
        if let Some(last) = next.last() {
            self.turns.insert(flow, last + 1);
        }
        next
    }

    /// Has a connection read nothing, or read again, where that is not so yet.
    fn set_stalled(&mut self, index: usize, is_stalled: bool) -> anyhow::Result<()> {
        if let Some(connection) = self.connections[index].as_mut()
            && connection.is_stalled != is_stalled
        {
            connection.is_stalled = is_stalled;
            // A connection that ends is told in any case.
            let flags = if is_stalled { EventFlags::empty() } else { EventFlags::IN };
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &connection.socket, data, flags)?;
        }
        Ok(())
    }

    /// Begins the connections that are due, as long as not too many are on their way.
    fn begin_connections(&mut self) -> anyhow::Result<()> {
        while let Some(begun) = self.openings.front() {
            let opening = &begun.opening;
            if begun.count == opening.count {
                self.openings.pop_front();
                continue;
            }
            let due = if opening.rate == 0 {
                opening.count
            } else {
                (clock::microseconds() - begun.since) * opening.rate / 1_000_000
            };
            // Those that wait in all openings are not on their way yet.
            let waiting: u64 = self.openings.iter().map(|one| one.opening.count - one.count).sum();
            if begun.count >= due || self.status.coming - waiting >= COMING_MAX {
                return Ok(());
            }
            let opening = Rc::clone(opening);
            let turn = usize::try_from(begun.count)? % opening.wanted.len();
            if let Some(begun) = self.openings.front_mut() {
                begun.count += 1;
            }
            self.begin(opening, turn)?;
        }
        Ok(())
    }

    fn begin(&mut self, opening: Rc<Opening>, turn: usize) -> anyhow::Result<()> {
        let Ok(connection) = Connection::begin(opening, turn, &mut self.ports) else {
            self.status.coming -= 1;
            self.status.violations.refused += 1;
            return Ok(());
        };
        let index = self.free.pop().unwrap_or(self.connections.len());
        let data = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &connection.socket, data, EventFlags::OUT)?;
        if index == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[index] = Some(connection);
        Ok(())
    }

    fn serve(&mut self, index: usize, buffers: &mut Buffers) -> anyhow::Result<()> {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return Ok(());
        };
        let before = connection.phase;
        let done = if before == Phase::Connecting {
            let asked = connection.ask();
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &connection.socket, data, EventFlags::IN)?;
            asked.map(|()| 0)
        } else {
            let latencies = &mut self.latencies[usize::from(connection.seen.flow.number)];
            let deliveries = &mut self.status.deliveries;
            let now = clock::microseconds();
            connection.read(buffers, &mut self.status.violations, |due| {
                *deliveries += 1;
                latencies.count_one(now.saturating_sub(due));
            })
        };
        if before != Phase::Live && connection.phase == Phase::Live {
            self.status.coming -= 1;
            self.status.live += 1;
        }
        let violations = &mut self.status.violations;
        match done {
            Ok(received_bytes) => {
                self.status.received_bytes += received_bytes;
                return Ok(());
            }
            Err(Fault::Refused) => violations.refused += 1,
            Err(Fault::Malformed) => violations.malformed += 1,
            Err(Fault::Ended) => violations.ended += 1,
        }
        self.close(index);
        Ok(())
    }

    /// Closes a connection where there is one, and keeps what it got.
    fn close(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.free.push(index);
        match connection.phase {
            Phase::Live => self.status.live -= 1,
            Phase::Connecting | Phase::Asked => self.status.coming -= 1,
        }
        let Seen { flow, wanted, first, count, hash, is_spoilt, .. } = connection.seen;
        if !is_spoilt {
            let got = Got { flow: flow.number, wanted, first, count, hash };
            *self.left.entry(got).or_default() += 1;
        }
    }

    /// Says how things are.
    fn tell(&mut self, got: Option<Vec<(Got, u64)>>) -> anyhow::Result<()> {
        let lacks = |connection: &Connection| {
            let settled = self.settled.get(&connection.seen.flow.number);
            !connection.is_stalled
                && settled.is_some_and(|events| connection.seen.lacks_of(*events))
        };
        let lacking = self.connections.iter().flatten().filter(|connection| lacks(connection));
        self.status.lacking = lacking.count() as u64;
        self.status.got = got;
        self.status.latencies = self.latencies.iter_mut().map(Histogram::take).collect();
        let mut line = serde_json::to_vec(&self.status)?;
        line.push(b'\n');
        io::stdout().write_all(&line).context("nobody reads what clients say")?;
        Ok(io::stdout().flush()?)
    }
}
