//! Whether the process should be sent work, and if not, why not.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// Says what a part is missing, if it is not ready.
pub(crate) type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Not ready until it has something to ask, and again once shutdown begins.
pub(crate) struct Readiness {
    shutdown: CancellationToken,
    checks: OnceLock<Vec<Check>>,
}

impl Readiness {
    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, checks: OnceLock::new() }
    }

    /// The parts have been started: from now on they are asked.
    pub(crate) fn started(&self, checks: Vec<Check>) {
        let _started_before = self.checks.set(checks);
    }

    /// What keeps the process from being ready; nothing when it is.
    pub(crate) fn missing(&self) -> Vec<String> {
        if self.shutdown.is_cancelled() {
            return vec!["stopping".into()];
        }
        match self.checks.get() {
            None => vec!["starting".into()],
            Some(checks) => checks.iter().filter_map(|check| check()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    use super::*;

    #[test]
    fn says_what_is_missing_from_the_first_moment_to_the_last() {
        let shutdown = CancellationToken::new();
        let readiness = Readiness::new(shutdown.clone());
        assert_eq!(readiness.missing(), ["starting"]);

        let warm = Arc::new(AtomicBool::new(false));
        let asked = warm.clone();
        readiness.started(vec![
            Box::new(|| None),
            Box::new(move || (!asked.load(Relaxed)).then(|| "edge not warm".into())),
        ]);
        assert_eq!(readiness.missing(), ["edge not warm"]);
        warm.store(true, Relaxed);
        assert!(readiness.missing().is_empty());

        shutdown.cancel();
        assert_eq!(readiness.missing(), ["stopping"]);
    }
}
