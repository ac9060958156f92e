//! Killed, and out of space: tried in a child process, which is this test run once more.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tidewire_core::{Backbone, EventId, NewEvent, PublishError};
use tidewire_log::{Config, Log};

use crate::{event, open, read_all};

/// Tells a test run as a child where its log is.
const CHILD_DIR: &str = "TIDEWIRE_TEST_CHILD_DIR";
const ACKNOWLEDGED: &str = "acknowledged ";

/// This test binary, to run one test in a child. Extra shell commands go before it.
fn child(before: &str, test: &str, dir: &TempDir) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" --exact {test} --nocapture")]);
    command.arg(env::current_exe().unwrap());
    command.env(CHILD_DIR, dir.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Publishes for ever, several at once, and says what was acknowledged.
async fn publish_until_killed(log: &Log) {
    for n in 0_u64.. {
        let one = |part: &str| event("t", format!("{n} {part}"));
        let (a, b) = tokio::join!(log.publish(one("a")), log.publish(one("b")));
        println!("{ACKNOWLEDGED}{}", a.unwrap().cursor.sequence);
        println!("{ACKNOWLEDGED}{}", b.unwrap().cursor.sequence);
    }
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    if let Ok(dir) = env::var(CHILD_DIR) {
        return publish_until_killed(&*open(&Config::new(dir)).await).await;
    }
    let dir = TempDir::new().unwrap();
    let name = "crash::a_killed_process_has_lost_nothing_that_it_acknowledged";
    let mut acknowledged = 0;
    for life in 1..=4 {
        let mut child = child("", name, &dir).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let receipts = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once(ACKNOWLEDGED).and_then(|(_, sequence)| sequence.parse::<u64>().ok())
        });
        // Killed somewhere in the middle; what stands in the pipe by then was acknowledged too.
        for (n, sequence) in receipts.enumerate() {
            if n == 150 * life {
                child.kill().unwrap();
            }
            acknowledged = acknowledged.max(sequence);
        }
        child.wait().unwrap();
        let log = open(&Config::new(dir.path())).await;
        let head = log.bounds().await.unwrap().head.0;
        assert!(head >= acknowledged, "{acknowledged} were acknowledged, {head} are there");
        let sequences: Vec<_> =
            read_all(&log).await.iter().map(|event| event.cursor.sequence.0).collect();
        assert_eq!(sequences, (1..=head).collect::<Vec<_>>());
        log.close().await;
    }
    assert!(acknowledged > 1_500, "the child got to publish: {acknowledged}");
}

/// Publishes into a file that may not grow beyond 64 KiB.
async fn publish_until_full(log: &Log, dir: &Path) {
    let numbered = |n: usize, bytes: usize| NewEvent {
        id: EventId::parse(&format!("id-{n}")).unwrap(),
        ..event("t", format!("{n} {}", "x".repeat(bytes)))
    };
    for n in 0..10 {
        log.publish(numbered(n, 1_000)).await.unwrap();
    }
    let bytes = || fs::metadata(dir.join("00000000000000000001.seg")).unwrap().len();
    let before = bytes();
    // The first part of it fits.
    let refused = log.publish(numbered(10, 58_000)).await.unwrap_err();
    assert!(matches!(refused, PublishError::Unavailable(_)), "{refused}");
    assert!(refused.to_string().contains("cannot write"), "{refused}");
    assert_eq!(log.failure(), None, "the log goes on");
    assert_eq!(bytes(), before, "nothing of it stays");
    // Under the same id, now that there is space enough for it.
    let receipt = log.publish(numbered(10, 100)).await.unwrap();
    assert!(!receipt.duplicate);
    assert_eq!(receipt.cursor.sequence.0, 11);
    assert_eq!(read_all(log).await.len(), 11);
    println!("{ACKNOWLEDGED}11");
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_and_nothing_half_written_stays() {
    if let Ok(dir) = env::var(CHILD_DIR) {
        return publish_until_full(&*open(&Config::new(&dir)).await, Path::new(&dir)).await;
    }
    let dir = TempDir::new().unwrap();
    let name = "crash::a_full_disk_refuses_publishes_and_nothing_half_written_stays";
    // POSIX counts the limit in blocks of 512 bytes. The signal, ignored, becomes an error.
    let output = child("trap '' XFSZ; ulimit -f 128;", name, &dir).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("acknowledged 11"), "the child said: {text}");
    let log = open(&Config::new(dir.path())).await;
    let events = read_all(&log).await;
    assert_eq!(events.len(), 11);
    assert!(events[10].event.data.as_bytes().starts_with(b"10 "));
    assert!(events[10].event.data.as_bytes().len() < 200);
}
