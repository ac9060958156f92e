//! The places from which edges follow the log are taken away.

use super::{fleet::STREAM, run::Run};

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_of_each_tail_is_deleted_again_and_again() {
    const TIMES: u32 = 3;
    let run = Run::begin().await;
    let mut jetstream = run.fleet.jetstream().await;
    for _ in 0..TIMES {
        let consumers = jetstream.consumers(STREAM).await;
        assert!(consumers.len() >= run.fleet.edges.len(), "each edge has one");
        for consumer in consumers {
            jetstream.delete_consumer(STREAM, &consumer.name).await;
        }
        run.flow(1).await;
    }
    for edge in &run.fleet.edges {
        let resets = edge.metric("tidewire_nats_tail_resets_total").await;
        assert!(resets >= f64::from(TIMES), "{resets}");
    }
    run.end("the tails' consumers deleted").await.assert_kept();
}
