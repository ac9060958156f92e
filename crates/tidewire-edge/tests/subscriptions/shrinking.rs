//! What gzip saves, and what it costs the edge, for JSON of several sizes; in one process, without
//! sockets. The times mean something in a release build only:
//! `cargo test --release -p tidewire-edge --test subscriptions shrinking -- --nocapture`

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tidewire_core::{Interest, TopicFilter};
use tidewire_edge::{Coding, Config, Edge, SubscribeRequest};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{decoder::Decoder, model::ModelLog};

const EVENTS: u64 = 200;
const SUBSCRIBERS: [usize; 2] = [1, 101];

/// Bytes of data, and how much smaller a stream of them gets at least, in hundredths.
const SIZES: [(usize, usize); 4] = [(100, 95), (300, 115), (1_000, 170), (4_000, 230)];

#[tokio::test]
async fn a_stream_by_gzip_is_never_much_longer_and_shrinks_with_larger_events() {
    println!("data     plain      gzip   ratio   µs for an event      µs more for a delivery");
    for (data_bytes, shrinks) in SIZES {
        let [plain, gzip] = [Coding::Identity, Coding::Gzip].map(async |coding| {
            let alone = measure(data_bytes, coding, SUBSCRIBERS[0]).await;
            let many = measure(data_bytes, coding, SUBSCRIBERS[1]).await;
            let more = f64::from(u32::try_from(SUBSCRIBERS[1] - SUBSCRIBERS[0]).unwrap());
            (alone.bytes, alone.event_micros, (many.event_micros - alone.event_micros) / more)
        });
        let (plain, gzip) = (plain.await, gzip.await);
        let ratio = plain.0 * 100 / gzip.0;
        println!(
            "{data_bytes:5} {:8} {:8}   {}.{:02}    {:5.1} {:5.1}   {:5.2} {:5.2}",
            plain.0,
            gzip.0,
            ratio / 100,
            ratio % 100,
            plain.1,
            gzip.1,
            plain.2,
            gzip.2,
        );
        assert!(ratio >= shrinks, "{data_bytes}: {ratio}");
    }
}

struct Measured {
    /// That one subscriber got.
    bytes: usize,
    event_micros: f64,
}

async fn measure(data_bytes: usize, coding: Coding, subscribers: usize) -> Measured {
    let log = Arc::new(ModelLog::new(1));
    log.settle();
    // No heartbeat comes between, however long it takes.
    let config = Config { heartbeat_interval: Duration::from_secs(3_600), ..Config::default() };
    let edge = Edge::start(config, Arc::clone(&log) as _, CancellationToken::new());
    let interest = Interest::new([TopicFilter::parse(">").unwrap()]).unwrap();
    let mut readers = Vec::new();
    let mut handed_out = Vec::new();
    for _ in 0..subscribers {
        let request = SubscribeRequest { coding, ..SubscribeRequest::new(interest.clone()) };
        let mut subscription = edge.subscribe(request).await.unwrap();
        handed_out = vec![subscription.next().await.unwrap()];
        // From here on it waits for what comes.
        timeout(Duration::from_millis(1), subscription.next()).await.unwrap_err();
        readers.push(subscription);
    }
    let mut random = StdRng::seed_from_u64(7);
    (0..EVENTS).for_each(|_| log.publish_data(&json(data_bytes, &mut random)));
    let began = processor_micros();
    for n in 1..=EVENTS {
        log.release_to(n);
        let (one, others) = readers.split_first_mut().unwrap();
        handed_out.push(one.next().await.unwrap());
        for other in others {
            other.next().await.unwrap();
        }
    }
    let event_micros = (processor_micros() - began) / EVENTS as f64;
    let mut decoder = Decoder::of(coding);
    for bytes in &handed_out {
        assert!(decoder.read(bytes).ends_with("}\n\n"), "whole frames");
    }
    Measured { bytes: handed_out.iter().map(Bytes::len).sum(), event_micros }
}

/// What this thread has taken of a processor so far.
fn processor_micros() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: u64 = statistics.split(' ').next().unwrap().parse().unwrap();
    nanoseconds as f64 / 1e3
}

/// Such as measuring and trading programs write it: names that come again, and values that do not.
fn json(bytes: usize, random: &mut StdRng) -> String {
    let names = ["symbol", "bid", "venue", "trader", "timestamp", "volume", "currency", "account"];
    let mut fields = Vec::new();
    let mut length = 0;
    while length < bytes {
        let name = names[fields.len() % names.len()];
        let value = match fields.len() % 4 {
            0 => format!("\"{}\"", ["ABC", "EUR", "XETRA", "open"][random.random_range(0..4)]),
            1 => format!("{}.{:02}", random.random_range(0..1_000), random.random_range(0..100)),
            2 => random.random_range(0..1_000_000).to_string(),
            _ => format!("\"{:08x}\"", random.random::<u32>()),
        };
        let field = format!("\"{name}\":{value}");
        length += field.len() + 1;
        fields.push(field);
    }
    format!("{{{}}}", fields.join(","))
}
