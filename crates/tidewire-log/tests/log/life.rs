//! Opening, closing, and being dropped.

use futures_util::StreamExt;
use tempfile::TempDir;
use tidewire_core::{Backbone, PublishError, ReadError};
use tidewire_log::{Config, Log, OpenError};

use crate::{cursors_of, event, open, publish_all, read_all};

#[tokio::test]
async fn a_second_process_is_told_that_the_log_is_open() {
    let dir = TempDir::new().unwrap();
    let log = open(&Config::new(dir.path())).await;
    let second = Log::open(Config::new(dir.path())).await.map(drop).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }));
    assert!(second.to_string().contains("another process has this log open"), "{second}");
    log.close().await;
    open(&Config::new(dir.path())).await;
}

#[tokio::test]
async fn closing_stores_what_was_accepted_and_refuses_what_comes_later() {
    let dir = TempDir::new().unwrap();
    let config = Config::new(dir.path());
    let log = open(&config).await;
    let start = log.bounds().await.unwrap().start();
    let mut tail = log.tail(start).await.unwrap();
    assert_eq!(log.failure(), None);

    let events = (0..500).map(|n| event("t", n.to_string()));
    let (receipts, ()) = tokio::join!(publish_all(&log, events), log.close());
    let cursors = cursors_of(receipts);
    assert_eq!(log.failure().as_deref(), Some("the log is closed"));
    let late = log.publish(event("t", "late")).await.unwrap_err();
    assert!(matches!(late, PublishError::Unavailable(_)));
    for cursor in &cursors {
        assert_eq!(tail.next().await.unwrap().unwrap().cursor, *cursor);
    }
    assert!(matches!(tail.next().await, Some(Err(ReadError::Unavailable(_)))));
    assert!(tail.next().await.is_none(), "an error is the last item of a tail");
    log.close().await;

    let log = open(&config).await;
    let read: Vec<_> = read_all(&log).await.iter().map(|event| event.cursor).collect();
    assert_eq!(read, cursors);
}

#[tokio::test]
async fn a_dropped_log_lets_go_of_its_directory() {
    let dir = TempDir::new().unwrap();
    let config = Config::new(dir.path());
    let log = open(&config).await;
    let receipt = log.publish(event("t", "x")).await.unwrap();
    let mut tail = log.tail(receipt.cursor).await.unwrap();
    drop(log);
    // The tail ends when the writer has: then the directory is free.
    assert!(matches!(tail.next().await, Some(Err(ReadError::Unavailable(_)))));
    let log = open(&config).await;
    assert_eq!(log.bounds().await.unwrap().head(), receipt.cursor);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"not a directory").unwrap();
    let refused = Log::open(Config::new(&file)).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }));
    assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
}
