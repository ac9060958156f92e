//! The contract of every backbone.

use std::{fs, path::Path, sync::Arc};

use async_trait::async_trait;
use tempfile::TempDir;
use tidewire_core::{Backbone, Cursor, EventId, NewEvent, conformance::Fixture};
use tidewire_log::{Config, Log};

use crate::{event, open};

tidewire_core::conformance_tests!(Embedded::default());

/// A log in a directory, in segments so small that every case goes through many.
#[derive(Default)]
struct Embedded {
    opened: Option<(TempDir, Arc<Log>)>,
}

impl Embedded {
    async fn open_in(&mut self, dir: TempDir) -> Arc<dyn Backbone> {
        let log = open(&Config {
            retention_bytes: 4 * 1024 * 1024,
            segment_bytes: 1,
            ..Config::new(dir.path())
        })
        .await;
        self.opened = Some((dir, log.clone()));
        log
    }

    fn opened(&self) -> &(TempDir, Arc<Log>) {
        self.opened.as_ref().expect("the log was opened before")
    }
}

#[async_trait]
impl Fixture for Embedded {
    async fn open(&mut self) -> Arc<dyn Backbone> {
        self.open_in(TempDir::new().unwrap()).await
    }

    /// Opens what lay on the disk while the log was open: nothing was put in order before.
    async fn reopen(&mut self) -> Arc<dyn Backbone> {
        if self.opened.is_none() {
            return self.open().await;
        }
        let copy = TempDir::new().unwrap();
        copy_files(self.opened().0.path(), copy.path());
        self.open_in(copy).await
    }

    async fn recreate(&mut self) -> Arc<dyn Backbone> {
        let (dir, log) = self.opened.take().expect("the log was opened before");
        log.close().await;
        fs::remove_dir_all(dir.path()).unwrap();
        self.open_in(dir).await
    }

    async fn expire(&mut self, cursor: Cursor) {
        let log = &self.opened().1;
        let filling = NewEvent {
            id: EventId::parse("filling").unwrap(),
            ..event("filling", "x".repeat(50_000))
        };
        while log.bounds().await.unwrap().oldest.previous() <= cursor.sequence {
            log.publish(NewEvent { id: None, ..filling.clone() }).await.unwrap();
        }
        // A commit is answered before segments are removed for it. A duplicate is answered after
        // that, and removes nothing itself.
        log.publish(filling.clone()).await.unwrap();
        assert!(log.publish(filling).await.unwrap().duplicate);
    }

    /// Beneath the log is the disk; its faults are tried where the writer is.
    async fn disturb(&mut self) {}
}

fn copy_files(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
