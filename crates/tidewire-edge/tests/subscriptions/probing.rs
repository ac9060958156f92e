//! When a probe is sent, and what is not sent behind it.

use std::time::Duration;

use tidewire_edge::Config;
use tokio::time::Instant;

use super::timing::{Reader, Story};

const PROBE: &str = "event: tidewire.probe\n";

/// What comes next, and after how many milliseconds.
async fn next(reader: &mut Reader) -> (String, u128) {
    let asked_at = Instant::now();
    let said = reader.next().await;
    (said, asked_at.elapsed().as_millis())
}

fn is_about(milliseconds: u128, expected: u128) -> bool {
    // The timer's own millisecond is allowed for.
    (expected..=expected + 2).contains(&milliseconds)
}

#[tokio::test(start_paused = true)]
async fn a_probe_comes_after_a_second_of_silence_and_nothing_behind_it_for_three() {
    let mut story = Story::begin_with(Config::default());
    story.publish();
    for (control, heartbeat) in [(true, None), (true, Some(2)), (false, Some(2))] {
        let mut reader = story
            .subscribe("quiet", |request| {
                request.control = control;
                request.heartbeat = heartbeat.map(Duration::from_secs);
                request.probe = true;
            })
            .await;
        let hello = reader.next().await;
        let (probe, after) = next(&mut reader).await;
        assert!(is_about(after, 1_000), "{after} ms");
        let head = story.log.lock().head();
        assert!(probe.starts_with(&format!("{PROBE}id: {head}\n")), "{probe}");
        let (_, connection) = probe.split_once("\"connection\":\"").unwrap();
        assert!(!control || hello.contains(&connection[..24]), "{hello} {probe}");
        let (said, after) = next(&mut reader).await;
        assert_eq!(said, ":\n");
        assert!(after >= 3_000 && (heartbeat.is_none() || is_about(after, 3_000)), "{after} ms");
        let (said, after) = next(&mut reader).await;
        assert_eq!(said, ":\n", "there is one probe");
        assert!(heartbeat.is_none() || after <= 2_002, "{after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_no_probe_and_puts_one_off() {
    let mut story = Story::begin_with(Config::default());
    let mut reader = story.subscribe(">", |request| request.probe = true).await;
    reader.next().await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        story.publish();
        let (said, after) = next(&mut reader).await;
        assert!(!said.contains("tidewire.") && is_about(after, 0), "{said} after {after} ms");
    }
    let (said, after) = next(&mut reader).await;
    assert!(said.starts_with(PROBE) && is_about(after, 1_000), "{said} after {after} ms");
    story.publish();
    let (said, after) = next(&mut reader).await;
    assert!(!said.contains("tidewire.") && is_about(after, 0), "{said} after {after} ms");
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_not_sent_while_a_page_is_read() {
    let mut story = Story::begin_with(Config { window_events_max: 1, ..Config::default() });
    for _ in 0..3 {
        story.publish();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    story.log.lock().read_takes = Duration::from_millis(2_500);
    let mut reader = story
        .subscribe(">", |request| {
            request.from = tidewire_edge::From::Earliest;
            request.probe = true;
        })
        .await;
    reader.next().await;
    let mut events = 0;
    loop {
        let (said, after) = next(&mut reader).await;
        assert!(after <= 1_002, "until the probe it is never silent for longer: {after} ms");
        match said {
            said if said.starts_with(PROBE) => break,
            said if said == ":\n" => {}
            said => events += said.matches("data: ").count(),
        }
    }
    assert_eq!(events, 3);
}
