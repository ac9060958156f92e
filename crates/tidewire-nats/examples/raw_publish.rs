//! The floor under publishing: the same events by `async-nats` alone, many in flight, each with an
//! id and acknowledged, nothing repeated.
//!
//! `loadtest publish --on nats` starts it in turn with a stream through an ingest, on the stream
//! that the ingest has made. By hand:
//!
//! ```sh
//! raw_publish <url> <subject> <events> <in flight> <bytes> </dev/null
//! ```
//!
//! It prints one line of JSON, and ends when its input does: until then whoever started it can see
//! what the process has used.
#![expect(clippy::print_stdout, reason = "its result is its purpose")]

use std::{
    env,
    error::Error,
    future::pending,
    io::{self, Read as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, HeaderMap, HeaderName, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// By which JetStream knows a repetition.
const ID: HeaderName = HeaderName::from_static("Nats-Msg-Id");
/// Acknowledgements that may wait to be looked at.
const ACKNOWLEDGEMENTS_MAX: usize = 65_536;
/// How long no acknowledgement may come. Nothing is repeated: one that is lost never comes.
const SILENCE_MAX: Duration = Duration::from_secs(15);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What to publish, and how many at once.
#[derive(Clone)]
struct Load {
    subject: String,
    events: usize,
    in_flight: usize,
    event_bytes: usize,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [url, subject, events, in_flight, event_bytes] = &arguments[..] else {
        return Err("usage: raw_publish <url> <subject> <events> <in flight> <bytes>".into());
    };
    let load = Load {
        subject: subject.clone(),
        events: events.parse()?,
        in_flight: in_flight.parse()?,
        event_bytes: event_bytes.parse()?,
    };
    let servers: Vec<_> = url.split(',').collect();
    let client =
        ConnectOptions::new().subscription_capacity(ACKNOWLEDGEMENTS_MAX).connect(servers).await?;
    println!("{}", publish(client, load).await?);
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn publish(client: Client, load: Load) -> Outcome<serde_json::Value> {
    let inbox = client.new_inbox();
    let acknowledgements = client.subscribe(format!("{inbox}.*")).await?;
    let flight = Arc::new(Flight::new(&load));
    let taking = tokio::spawn(take(acknowledgements, load.events, Arc::clone(&flight)));
    let failing = async {
        match send(&client, &inbox, &load, &flight).await {
            Ok(()) => pending().await,
            Err(error) => error,
        }
    };
    // Where acknowledgements stay away there is no more room, and sending would wait for ever.
    let mut took = tokio::select! {
        took = taking => took??,
        error = failing => return Err(error),
    };
    let elapsed = flight.began.elapsed();
    took.sort_unstable();
    let [p50, p99] = [50, 99].map(|percent| took.get((took.len().max(1) - 1) * percent / 100));
    Ok(json!({
        "seconds": elapsed.as_secs_f64(),
        "p50_microseconds": p50,
        "p99_microseconds": p99,
    }))
}

/// What the one who sends and the one who takes share.
struct Flight {
    began: Instant,
    /// When each event was sent, in microseconds from the beginning.
    sent_at: Vec<AtomicU64>,
    room: Semaphore,
}

impl Flight {
    fn new(load: &Load) -> Self {
        Self {
            began: Instant::now(),
            sent_at: (0..load.events).map(|_| AtomicU64::new(0)).collect(),
            room: Semaphore::new(load.in_flight),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

async fn send(client: &Client, inbox: &str, load: &Load, flight: &Flight) -> Outcome<()> {
    let data = Bytes::from(vec![b'x'; load.event_bytes]);
    for (number, sent_at) in flight.sent_at.iter().enumerate() {
        flight.room.acquire().await?.forget();
        sent_at.store(flight.now(), Relaxed);
        let mut headers = HeaderMap::new();
        headers.insert(ID, format!("i:{:032x}", rand::random::<u128>()));
        let (subject, reply) = (load.subject.clone(), format!("{inbox}.{number}"));
        client.publish_with_reply_and_headers(subject, reply, headers, data.clone()).await?;
    }
    Ok(())
}

/// Takes every acknowledgement; says how many microseconds each took.
async fn take(
    mut acknowledgements: Subscriber,
    events: usize,
    flight: Arc<Flight>,
) -> Outcome<Vec<u64>> {
    let mut took = Vec::with_capacity(events);
    while took.len() < events {
        let next = timeout(SILENCE_MAX, acknowledgements.next()).await;
        let next =
            next.map_err(|_| format!("{} of {events} acknowledged, and no more", took.len()));
        let message = next?.ok_or("the connection ended")?;
        let number: usize = message.subject.rsplit('.').next().unwrap_or_default().parse()?;
        let sent_at = flight.sent_at.get(number).ok_or("an answer to nothing")?;
        check(&message.payload)?;
        took.push(flight.now().saturating_sub(sent_at.load(Relaxed)));
        flight.room.add_permits(1);
    }
    Ok(took)
}

/// Whether it was stored, and once.
fn check(payload: &[u8]) -> Outcome<()> {
    #[derive(serde::Deserialize)]
    struct Answer {
        seq: Option<u64>,
        #[serde(default)]
        duplicate: bool,
    }
    let answer: Answer = serde_json::from_slice(payload)?;
    match answer.seq {
        Some(_) if !answer.duplicate => Ok(()),
        _ => Err(String::from_utf8_lossy(payload).into()),
    }
}
