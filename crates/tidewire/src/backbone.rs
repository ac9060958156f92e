//! The log that a process stands on, embedded or on NATS: opened, asked and closed alike.

use std::{future::pending, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use tidewire_core::{Backbone, Relay};
use tidewire_log::Log;
use tidewire_nats::{Nats, StreamSettings};
use tokio::time::timeout;
use tracing::warn;

use crate::{
    process,
    settings::{LogArgs, NatsArgs},
};

/// How long it may take to close, after everything that stands on it has ended.
pub(crate) const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A backbone, as the one who opened it holds it. Cheap to clone.
#[derive(Clone)]
pub(crate) enum OpenBackbone {
    /// In a directory.
    Embedded(Arc<Log>),
    /// In a stream on NATS.
    Nats(Arc<Nats>),
}

impl OpenBackbone {
    /// Opens the log in a directory.
    pub(crate) async fn embedded(args: &LogArgs) -> anyhow::Result<Self> {
        let log = Log::open(args.config()).await.with_context(|| {
            format!("cannot open the log in '{}' (--data-dir)", args.data_dir.display())
        })?;
        Ok(Self::Embedded(Arc::new(log)))
    }

    /// Begins to connect to NATS, in the name of a role; does not wait for it.
    pub(crate) async fn on_nats(
        args: &NatsArgs,
        role: &str,
        keep: Option<StreamSettings>,
    ) -> anyhow::Result<Self> {
        let name = format!("tidewire-{role}-{}", process::instance());
        let started = Nats::start(args.config(name, keep)).await;
        let nats = started.context("cannot use NATS as the settings say")?;
        Ok(Self::Nats(Arc::new(nats)))
    }

    /// What services know of it.
    pub(crate) fn backbone(&self) -> Arc<dyn Backbone> {
        match self {
            Self::Embedded(log) => Arc::clone(log) as _,
            Self::Nats(nats) => Arc::clone(nats) as _,
        }
    }

    /// The way to the other edges on it, where there may be any.
    pub(crate) fn relay(&self) -> Option<Arc<dyn Relay>> {
        match self {
            Self::Embedded(_) => None,
            Self::Nats(nats) => Some(Arc::clone(nats) as _),
        }
    }

    /// What is missing, where it cannot be used.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self {
            Self::Embedded(log) => log.failure().map(|reason| format!("log failed: {reason}")),
            Self::Nats(nats) => nats.trouble().map(|reason| format!("nats: {reason}")),
        }
    }

    /// Waits until the process cannot go on with it, whatever it waits for. An embedded log that
    /// failed is still read, so that is for operators to decide.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        match self {
            Self::Embedded(_) => pending().await,
            Self::Nats(nats) => anyhow!(nats.failed().await).context("cannot go on with NATS"),
        }
    }

    /// Closes it, in a bounded time.
    ///
    /// # Errors
    /// Where an embedded log did not close. What NATS does not answer any more is only logged:
    /// nobody waits for it.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        let seconds = CLOSE_MAX.as_secs();
        match self {
            Self::Embedded(log) => timeout(CLOSE_MAX, log.close())
                .await
                .with_context(|| format!("the log did not close within {seconds} s")),
            Self::Nats(nats) => {
                if timeout(CLOSE_MAX, nats.close()).await.is_err() {
                    warn!("the connections to NATS did not end within {seconds} s");
                }
                Ok(())
            }
        }
    }
}
