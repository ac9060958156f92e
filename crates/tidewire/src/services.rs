//! Tasks that run as long as the process serves, and end in a bounded time.

use std::{collections::BTreeSet, future::Future};

use anyhow::{Context, bail};
use tokio::task::JoinSet;

/// What runs, each under the name by which it is told to people. Dropping it ends them at once.
#[derive(Default)]
pub(crate) struct Services {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    running: BTreeSet<&'static str>,
}

impl Services {
    /// Starts one. It ends by itself when it is told to, by a token of its own.
    pub(crate) fn start<E>(
        &mut self,
        name: &'static str,
        service: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error>,
    {
        self.running.insert(name);
        self.tasks.spawn(async move { (name, service.await.map_err(Into::into)) });
    }

    /// Waits until one has ended; for ever where none runs.
    ///
    /// # Errors
    /// Why it failed, if it did.
    pub(crate) async fn one_ended(&mut self) -> anyhow::Result<&'static str> {
        let Some(ended) = self.tasks.join_next().await else {
            return std::future::pending().await;
        };
        let (name, outcome) = ended.context("a service panicked")?;
        self.running.remove(name);
        outcome.with_context(|| format!("{name} failed"))?;
        Ok(name)
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    /// The first failure, or what has not ended when the time is up; it is ended then without
    /// ceremony.
    pub(crate) async fn all_ended(
        mut self,
        time_up: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let ending = async {
            while !self.tasks.is_empty() {
                self.one_ended().await?;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            outcome = ending => return outcome,
            () = time_up => {}
        }
        let late: Vec<_> = self.running.into_iter().collect();
        bail!("did not end in time, and was cut off: {}", late.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const LONG: Duration = Duration::from_secs(8);

    async fn until(stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn names_what_did_not_end_in_time() {
        let stop = CancellationToken::new();
        let mut services = Services::default();
        services.start("the quick one", until(stop.clone()));
        services.start("the stuck one", pending::<anyhow::Result<()>>());
        stop.cancel();
        let error = services.all_ended(sleep(LONG)).await.unwrap_err().to_string();
        assert!(error.contains("in time") && error.contains("the stuck one"), "{error}");
        assert!(!error.contains("the quick one"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_told_apart_from_one_that_ends() {
        let mut services = Services::default();
        services.start("the failing one", async { Err(anyhow::anyhow!("no more")) });
        services.start("the waiting one", pending::<anyhow::Result<()>>());
        let error = services.one_ended().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the failing one failed: no more");

        let mut services = Services::default();
        services.start("the ending one", async { anyhow::Ok(()) });
        assert_eq!(services.one_ended().await.unwrap(), "the ending one");
        services.all_ended(sleep(LONG)).await.unwrap();
    }
}
