//! SIGTERM and Ctrl-C: the first asks for an end in good order, the second ends at once.

use std::{future::Future, io, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals that end a process. While this lives, they no longer end it by themselves.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// # Errors
    /// Where the system does not let signals be caught.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Does the work, and cancels the token at the first signal. At the second the work is
    /// dropped where it stands, and the exit code says which signal it was, as a shell would.
    pub(crate) async fn while_doing<T>(
        mut self,
        shutdown: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<T, ExitCode> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                code = self.next() => {
                    if shutdown.is_cancelled() {
                        return Err(ExitCode::from(code));
                    }
                    shutdown.cancel();
                }
            }
        }
    }

    /// Waits for a signal: 128 and its number.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}
