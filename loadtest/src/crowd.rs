//! Many subscribers at once, and the verdict on all of them.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{output, viewer::Viewer};

/// How long the last of them may take to get the last event.
const PATIENCE: Duration = Duration::from_secs(60);
/// Violations that are printed.
const PRINTED_MAX: usize = 10;

/// How many events there are, once that is known.
pub(crate) type End = watch::Receiver<Option<usize>>;

/// Subscribers of one source.
pub(crate) struct Crowd {
    viewers: JoinSet<anyhow::Result<u32>>,
    /// Where they are told how many events there are.
    end: watch::Sender<Option<usize>>,
}

impl Crowd {
    /// These subscribers, who connect at once.
    pub(crate) fn start(viewers: impl Iterator<Item = Viewer>) -> Self {
        Self::of(viewers, Viewer::watch)
    }

    /// Subscribers of any kind, by what each does until the end that it is told. It says how often
    /// it had to connect again.
    pub(crate) fn of<Subscriber, Watching>(
        subscribers: impl Iterator<Item = Subscriber>,
        watch: impl Fn(Subscriber, End) -> Watching,
    ) -> Self
    where
        Watching: Future<Output = anyhow::Result<u32>> + Send + 'static,
    {
        let end = watch::Sender::new(None);
        let viewers = subscribers.map(|subscriber| watch(subscriber, end.subscribe())).collect();
        Self { viewers, end }
    }

    /// Waits until each of them has got all of so many events. Says how often they had to connect
    /// again.
    ///
    /// # Errors
    /// Somebody got something else.
    pub(crate) async fn finish(mut self, events: usize) -> anyhow::Result<u32> {
        self.end.send_replace(Some(events));
        let deadline = Instant::now() + PATIENCE;
        let (mut connected_again, mut violations) = (0, 0);
        while let Some(seen) = timeout_at(deadline, self.viewers.join_next())
            .await
            .with_context(|| format!("{} subscribers wait for more", self.viewers.len()))?
        {
            match seen? {
                Ok(again) => connected_again += again,
                Err(violation) => {
                    violations += 1;
                    if violations <= PRINTED_MAX {
                        output::line(format!("violation: {violation:#}"));
                    }
                }
            }
        }
        if violations > 0 {
            bail!("{violations} subscribers did not get what they should have");
        }
        Ok(connected_again)
    }
}
