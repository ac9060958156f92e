//! What subscribers cost in memory: many that are idle, and some that read nothing.

use std::time::Duration;

use anyhow::{Context, ensure};
use tidewire_client::{EventData, NewEvent, Publisher, StreamOptions, Topic};
use tidewire_testbed::Process;
use tokio::{io::AsyncReadExt, net::TcpStream, time::sleep};

use crate::{output, processes, sse, usage::resident_bytes};

/// How many subscribers and events.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Idle subscribers.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Subscribers that read nothing while events pass.
    #[arg(long, default_value_t = 1_000)]
    stalled: usize,
    /// Events that pass.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
}

/// Time for the hub to settle before its memory is read: the allocator gives back what is free.
const SETTLE: Duration = Duration::from_secs(6);

/// Measures one after the other, each on a fresh hub.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    idle("one topic for all", &args, |_| "idle".into()).await?;
    idle("a topic for each", &args, |n| format!("idle.{n}")).await?;
    stalled(&args).await
}

async fn idle(how: &str, args: &Args, topic: impl Fn(usize) -> String) -> anyhow::Result<()> {
    let hub = processes::standalone(&[])?;
    let before = resident_bytes(hub.pid())?;
    let mut subscribers = Vec::with_capacity(args.idle);
    for n in 0..args.idle {
        subscribers.push(subscribe(&hub, &topic(n)).await?);
    }
    sleep(SETTLE).await;
    let during = resident_bytes(hub.pid())?;
    drop(subscribers);
    sleep(SETTLE).await;
    let after = resident_bytes(hub.pid())?;
    let each = during.saturating_sub(before) / args.idle.max(1) as u64;
    let (before, during, after) = (megabytes(before), megabytes(during), megabytes(after));
    output::line(format!(
        "{} idle subscribers, {how}: {before} MB before, {during} MB with them ({each} bytes \
         each), {after} MB after",
        args.idle
    ));
    Ok(())
}

async fn stalled(args: &Args) -> anyhow::Result<()> {
    let hub = processes::standalone(&[])?;
    let before = resident_bytes(hub.pid())?;
    let mut subscribers = Vec::with_capacity(args.stalled);
    for _ in 0..args.stalled {
        subscribers.push(subscribe(&hub, "load.stalled").await?);
    }
    let connected = resident_bytes(hub.pid())?;
    publish(&hub, args).await?;
    let during = resident_bytes(hub.pid())?;
    let mut one = subscribers.pop().context("at least one subscriber")?;
    let read = count_events(&mut one, args.events).await?;
    ensure!(read == args.events, "a stalled reader that reads again gets all: {read}");
    drop((one, subscribers));
    sleep(SETTLE).await;
    let after = resident_bytes(hub.pid())?;
    let sizes = [before, connected, during, after].map(megabytes);
    output::line(format!(
        "{} subscribers that read nothing while {} events of {} bytes pass: {} MB before, {} MB \
         connected, {} MB when all have passed, {} MB after they left; one of them then read all",
        args.stalled, args.events, args.event_bytes, sizes[0], sizes[1], sizes[2], sizes[3]
    ));
    Ok(())
}

/// Subscribes and reads as far as the hello.
async fn subscribe(hub: &Process, topic: &str) -> anyhow::Result<TcpStream> {
    let mut socket = sse::open(&hub.http, topic, None).await?;
    sse::hello(&mut socket).await?;
    Ok(socket)
}

async fn publish(hub: &Process, args: &Args) -> anyhow::Result<()> {
    let stream = Publisher::connect(&hub.grpc)?.stream(StreamOptions::default());
    let data = EventData::parse(vec![b'x'; args.event_bytes], args.event_bytes)?;
    let event = NewEvent::new(Topic::parse("load.stalled")?, data);
    let mut last = None;
    for _ in 0..args.events {
        last = Some(stream.send(event.clone()).await?);
    }
    stream.finish().await?;
    last.context("at least one event")?.await?;
    Ok(())
}

/// Reads until so many events have come, by the line that begins each one's data.
async fn count_events(socket: &mut TcpStream, wanted: usize) -> anyhow::Result<usize> {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen = 0;
    let mut line_begins = Matcher::new(b"\ndata: x");
    while seen < wanted {
        let read = socket.read(&mut buffer).await?;
        ensure!(read > 0, "the hub closed a connection");
        seen += line_begins.count(&buffer[..read]);
    }
    Ok(seen)
}

/// Counts a text in a flow of bytes, wherever it is cut.
struct Matcher {
    wanted: &'static [u8],
    matched: usize,
}

impl Matcher {
    fn new(wanted: &'static [u8]) -> Self {
        Self { wanted, matched: 0 }
    }

    fn count(&mut self, bytes: &[u8]) -> usize {
        let mut found = 0;
        for byte in bytes {
            if *byte == self.wanted[self.matched] {
                self.matched += 1;
            } else {
                // The text begins with its only line feed.
                self.matched = usize::from(*byte == self.wanted[0]);
            }
            if self.matched == self.wanted.len() {
                found += 1;
                self.matched = 0;
            }
        }
        found
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}
