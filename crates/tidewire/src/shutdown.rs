//! What signals ask of a process that serves: to leave, to hurry, to be gone.

use std::{future::Future, process::ExitCode};

use tokio_util::sync::CancellationToken;

use crate::signals::{Caught, Signals};

/// How urgently the process shall end. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    asked: CancellationToken,
    hurried: CancellationToken,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        let asked = CancellationToken::new();
        Self { hurried: CancellationToken::new(), asked }
    }

    /// Cancelled when the process shall leave, with the time that it takes for that.
    pub(crate) fn asked(&self) -> &CancellationToken {
        &self.asked
    }

    /// Cancelled when it shall wait for nothing but what is in its hands.
    pub(crate) fn hurried(&self) -> &CancellationToken {
        &self.hurried
    }

    /// Asks it to leave, and to hurry.
    pub(crate) fn hurry(&self) {
        self.asked.cancel();
        self.hurried.cancel();
    }

    /// Lives until the life ends by itself, which signals ask it to: SIGTERM to leave, Ctrl-C or a
    /// second signal to hurry. Whoever hurries it a second time drops it where it stands, and the
    /// exit code says by which signal, as a shell would.
    pub(crate) async fn while_living<T>(
        &self,
        mut signals: Signals,
        life: impl Future<Output = T>,
    ) -> Result<T, ExitCode> {
        tokio::pin!(life);
        loop {
            tokio::select! {
                ended = &mut life => return Ok(ended),
                caught = signals.next() => match caught {
                    caught if self.hurried.is_cancelled() => return Err(caught.exit_code()),
                    Caught::Terminate if !self.asked.is_cancelled() => self.asked.cancel(),
                    Caught::Terminate | Caught::Interrupt => self.hurry(),
                }
            }
        }
    }
}
