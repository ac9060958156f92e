//! NATS servers die, freeze and restart.

use tokio::time::{Duration, sleep};

use super::{fleet::SERVERS, run::Run};

const FREEZE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_the_stream_is_killed_and_started_again() {
    let run = Run::begin().await;
    let leader = run.fleet.leader().await;
    run.fleet.nats.kill(leader);
    run.flow(3).await;
    run.fleet.nats.start_node(leader);
    run.fleet.nats.wait_healthy(leader).await;
    run.end("the stream's leader killed").await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_the_stream_is_frozen_for_ten_seconds() {
    let run = Run::begin().await;
    let leader = run.fleet.leader().await;
    freeze(&run, leader).await;
    run.end("the stream's leader frozen").await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_from_which_an_edge_follows_the_log_is_frozen_for_ten_seconds() {
    let run = Run::begin().await;
    let follower = (run.fleet.leader().await + 1) % SERVERS;
    run.fleet.let_a_tail_be_at(follower).await;
    freeze(&run, follower).await;
    run.end("a follower with a tail frozen").await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_are_restarted_one_after_the_other() {
    let run = Run::begin().await;
    for server in 0..SERVERS {
        run.fleet.nats.restart(server).await;
        run.flow(1).await;
    }
    run.end("a rolling restart of the servers").await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_are_killed_at_once_and_started_again() {
    let run = Run::begin().await;
    (0..SERVERS).for_each(|server| run.fleet.nats.kill(server));
    (0..SERVERS).for_each(|server| run.fleet.nats.start_node(server));
    run.fleet.nats.ready().await;
    run.end("all servers killed and started").await.assert_kept();
}

async fn freeze(run: &Run, server: usize) {
    run.fleet.nats.stop(server);
    sleep(FREEZE).await;
    run.fleet.nats.cont(server);
    run.fleet.nats.wait_healthy(server).await;
    run.flow(2).await;
}
