//! The embedded log can write no more: publishers are told, nothing acknowledged is lost, and it goes on
//! once there is room. A limit on the size of files stands for the full disk.

use std::process::Command;

use tidewire_client::{EventData, Item, NewEvent, PublishError, Start, Topic};
use tidewire_testbed::under_shell;

use super::hub::Hub;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_room_refuses_keeps_what_it_has_and_goes_on_with_room() {
    let mut hub = Hub::embedded().await;
    hub.terminate().await;
    // 512 blocks of 512 bytes. The signal that comes with the limit is ignored: writes fail.
    hub.edge.start_again_as(|command| under_shell("trap '' XFSZ; ulimit -S -f 512", &command));

    let publisher = hub.publisher();
    let mut acknowledged = Vec::new();
    let refusal = loop {
        match publisher.publish(large()).await {
            Ok(receipt) => acknowledged.push(receipt.cursor),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100, "the limit holds");
    };
    assert!(matches!(refusal, PublishError::Unavailable { .. }), "{refusal}");
    assert!(acknowledged.len() > 3, "{acknowledged:?}");

    let pid = hub.edge.pid().to_string();
    let lift = ["--pid", &pid, "--fsize=unlimited:unlimited"];
    let lifted = Command::new("prlimit").args(lift).status();
    assert!(lifted.expect("prlimit, of util-linux, is there").success());
    acknowledged.push(publisher.publish(large()).await.expect("there is room again").cursor);

    hub.kill();
    hub.start_again().await;
    let mut subscriber = hub.subscriber("t").from(Start::Earliest).build().unwrap();
    for expected in acknowledged {
        loop {
            match subscriber.next().await.unwrap() {
                Item::Event { cursor, .. } => break assert_eq!(cursor, expected),
                Item::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn large() -> NewEvent {
    let data = EventData::parse("x".repeat(50_000), 60_000).unwrap();
    NewEvent::new(Topic::parse("t").unwrap(), data)
}
