//! Ingests and edges die, and are replaced as in a rollout.

use super::{fleet::Fleet, run::Run};

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_killed_and_started_again() {
    let mut run = Run::begin().await;
    run.fleet.edges[0].kill();
    run.flow(3).await;
    run.fleet.edges[0].launch_again();
    run.fleet.edges[0].ready().await;
    run.end("an edge killed").await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_is_killed_and_its_publisher_goes_on_at_another() {
    let mut run = Run::begin().await;
    // One after the other, so that the one that is used is among them.
    for ingest in 0..run.fleet.ingests.len() {
        run.fleet.ingests[ingest].kill();
        run.flow(2).await;
        run.fleet.ingests[ingest].launch_again();
        run.fleet.ingests[ingest].ready().await;
    }
    run.end("an ingest killed").await.assert_kept();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_edges_are_drained_and_replaced_one_after_the_other() {
    let flags = ["--drain-delay=1s", "--drain-window=2s", "--drain-rate-max=25"];
    let mut run = Run::begin_on(Fleet::start_with_edges(&flags).await).await;
    for edge in 0..run.fleet.edges.len() {
        let edge = &mut run.fleet.edges[edge];
        assert!(edge.terminate().await.success(), "{}", edge.log());
        assert!(!edge.log().contains("streams=0"), "somebody was there: {}", edge.log());
        edge.launch_again();
        edge.ready().await;
        run.flow(1).await;
    }
    run.end("all edges drained and replaced").await.assert_kept();
}
