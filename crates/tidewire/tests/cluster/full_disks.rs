//! The disk of one NATS server is full, or it may store no more.

use std::collections::BTreeMap;

use tidewire_testbed::NatsOptions;

use super::{
    disk::Disk,
    fleet::{Fleet, SERVERS},
    run::Run,
};

/// The server in question.
const FULL: usize = 0;
const OTHER: usize = 1;
/// The server gives back a little room now and then, and can go on for a moment.
const FILLS_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_the_streams_leader_is_full() {
    fill_a_disk(FULL, "the leader's disk full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_a_follower_from_which_an_edge_follows_the_log_is_full() {
    fill_a_disk(OTHER, "the disk of a follower with a tail full").await;
}

/// Fills the disk of one server while this one leads; later frees it, and restarts its server.
async fn fill_a_disk(leader: usize, fault: &str) {
    let disk = Disk::mount();
    let options = NatsOptions {
        // More than the disk holds: the server does not know before it is full.
        store_bytes_max: Some(1 << 30),
        store_dirs: BTreeMap::from([(FULL, disk.store())]),
        ..NatsOptions::default()
    };
    let fleet = Fleet::start_with(options, &["--retention-bytes", "256MiB"]).await;
    fleet.let_lead(leader).await;
    fleet.let_a_tail_be_at(FULL).await;
    let run = Run::begin_on(fleet).await;
    let log_tells = || run.fleet.nats.log(FULL).contains("no space left on device");
    for _ in 0..FILLS_MAX {
        disk.fill();
        run.flow(1).await;
        if log_tells() {
            break;
        }
    }
    assert!(log_tells(), "the server was short of room");
    run.flow(4).await;
    assert_ne!(run.fleet.leader().await, FULL);
    disk.free();
    run.fleet.nats.restart(FULL).await;
    run.end(fault).await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_leader_may_store_no_more() {
    reach_the_limit(|full| full, "the leader at its limit of storage").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_from_which_an_edge_follows_the_log_may_store_no_more() {
    let fault = "a follower with a tail at its limit of storage";
    reach_the_limit(|full| (full + 1) % SERVERS, fault).await;
}

/// Another stream takes all that one server may store, while the server leads that is chosen by
/// it. It stays so: a server at its limit refuses even to delete a stream.
async fn reach_the_limit(leader_by_full: fn(usize) -> usize, fault: &str) {
    const OTHERS: &str = "OTHERS";
    let options = NatsOptions { store_bytes_max: Some(64 << 20), ..NatsOptions::default() };
    let fleet = Fleet::start_with(options, &["--retention-bytes", "32MiB"]).await;
    let mut jetstream = fleet.jetstream().await;
    jetstream.make_stream(OTHERS, "others").await;
    let full = fleet.leader_of(OTHERS).await;
    fleet.let_lead(leader_by_full(full)).await;
    fleet.let_a_tail_be_at(full).await;
    let run = Run::begin_on(fleet).await;
    let piece = vec![b'.'; 1_000_000];
    while jetstream.publish("others", &piece).await {}
    run.flow(6).await;
    assert_ne!(run.fleet.leader().await, full);
    let behind = run.fleet.last_sequence_at(full).await;
    assert!(behind < run.publishing.receipts().len(), "it stores no more");
    run.end(fault).await.assert_kept();
}
