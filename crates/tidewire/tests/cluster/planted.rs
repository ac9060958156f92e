//! The checker itself: what is dropped, doubled, swapped or left out on the way is found.

use tidewire_testbed::checker::{Seen, Violation};

use super::{
    audience::{Lie, truthfully},
    fleet::Fleet,
    run::Run,
};

/// Where the lies are.
const AT: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn lies_on_the_way_to_subscribers_are_judged_violations() {
    let mut run = Run::begin_with_lies(Fleet::start().await, lie_to).await;
    run.fleet.edges[0].kill();
    run.flow(2).await;
    let verdicts = run.end("an edge killed, and lies").await.verdicts();
    for (k, verdict) in (0..).zip(verdicts) {
        let expected = match k {
            0 | 30 => Err(Violation::Lost { n: AT }),
            10 => Err(Violation::Repeated { n: AT }),
            20 => Err(Violation::OutOfOrder { n: AT }),
            _ => Ok(()),
        };
        assert_eq!(verdict, expected, "subscriber {k}");
    }
}

/// These want everything, so that they meet the lie.
fn lie_to(k: u64) -> Lie {
    match k {
        0 => drop_one,
        10 => double_one,
        20 => swap_two,
        30 => leave_a_silent_gap,
        _ => truthfully,
    }
}

fn drop_one(frame: Seen, seen: &mut Vec<Seen>) {
    if frame.n != AT {
        seen.push(frame);
    }
}

fn double_one(frame: Seen, seen: &mut Vec<Seen>) {
    seen.push(frame);
    if frame.n == AT {
        seen.push(frame);
    }
}

fn swap_two(frame: Seen, seen: &mut Vec<Seen>) {
    seen.push(frame);
    if frame.n == AT + 1 {
        let newest = seen.len() - 1;
        seen.swap(newest - 1, newest);
    }
}

fn leave_a_silent_gap(frame: Seen, seen: &mut Vec<Seen>) {
    if !(AT..AT + 50).contains(&frame.n) {
        seen.push(frame);
    }
}
