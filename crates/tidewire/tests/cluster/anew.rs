//! The stream is deleted and made anew: another life of the log.

use tidewire_client::{Cursor, GapReason, Publisher};
use tidewire_testbed::checker::Truth;
use tokio::time::timeout;

use super::{
    audience::wants,
    fleet::{Fleet, PATIENCE, STREAM},
    publishing::event,
    run::{Report, Run, TOPICS},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_is_told_once_that_the_stream_was_made_anew_and_misses_nothing_after_it() {
    let run = Run::begin().await;
    run.fleet.jetstream().await.delete_stream(STREAM).await;
    // They come from edges that know it already to others that do not.
    run.flow_with_many_cuts(3).await;
    let report = run.end("the stream made anew").await;

    let receipts: Vec<_> = report.truth.receipts.iter().map(|receipt| receipt.unwrap()).collect();
    let (old, new) = (receipts[0].epoch, receipts[receipts.len() - 1].epoch);
    assert_ne!(old, new);
    assert!(receipts.iter().all(|receipt| [old, new].contains(&receipt.epoch)));
    for k in (0_u64..).take(report.heard.len()) {
        judge_both_lives(&report, k, |receipt| receipt.epoch == new);
    }
    println!(
        "    each subscriber was told once; nothing after it lost, twice, moved or out of order"
    );
}

fn judge_both_lives(report: &Report, k: u64, is_new: impl Fn(Cursor) -> bool) {
    let heard = &report.heard[usize::try_from(k).unwrap()];
    let [gap] = &heard.gaps[..] else { panic!("subscriber {k}: gaps {:?}", heard.gaps) };
    assert_eq!(gap.reason, GapReason::Epoch, "subscriber {k}");
    assert!(is_new(gap.resumed_from), "subscriber {k}: {gap:?}");
    let (before, after) = heard.seen.split_at(gap.after);

    // What the old stream held at its end may be lost with it, but nothing before that.
    let last = before.last().map(|seen| seen.cursor);
    let of_old = report.receipts_where(|receipt| !is_new(receipt));
    let was_there = |n: usize| of_old[n].is_none_or(|receipt| last >= Some(receipt));
    let of_its_own = |n: u64| wants(k, n, TOPICS) && was_there(usize::try_from(n).unwrap());
    let verdict = Truth { receipts: of_old.clone() }.judge(of_its_own, before);
    assert_eq!(verdict, Ok(()), "subscriber {k} before the gap");

    let of_new = report.receipts_where(is_new);
    let of_its_own = |n: u64| wants(k, n, TOPICS) && of_new[usize::try_from(n).unwrap()].is_some();
    let verdict = Truth { receipts: of_new.clone() }.judge(of_its_own, after);
    assert_eq!(verdict, Ok(()), "subscriber {k} after the gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_was_idle_meanwhile_gives_receipts_of_the_new_life() {
    let fleet = Fleet::start().await;
    let [busy, idle] = [0, 1].map(|i| Publisher::connect(&fleet.ingests[i].grpc).unwrap());
    let mut numbers = 0..;
    let old = publish(&busy, &mut numbers).await.epoch;
    assert_eq!(publish(&idle, &mut numbers).await.epoch, old);
    fleet.jetstream().await.delete_stream(STREAM).await;
    let mut new = publish(&busy, &mut numbers).await;
    // Further than the idle one has seen the old life go.
    while new.sequence.0 < 10 {
        new = publish(&busy, &mut numbers).await;
    }
    assert_ne!(new.epoch, old);
    assert_eq!(publish(&idle, &mut numbers).await.epoch, new.epoch);
}

/// Publishes the next event until there is a receipt for it.
async fn publish(publisher: &Publisher, numbers: &mut impl Iterator<Item = u64>) -> Cursor {
    let n = numbers.next().unwrap();
    let published = async {
        loop {
            match publisher.publish(event(n, 1)).await {
                Ok(receipt) => return receipt.cursor,
                Err(error) => assert!(error.may_pass(), "{error}"),
            }
        }
    };
    timeout(PATIENCE, published).await.expect("it is stored in the end")
}
