//! SIGTERM and Ctrl-C.

use std::{future::Future, io, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals that end a process. While this lives, they no longer end it by themselves.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// A signal that has come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caught {
    /// SIGINT: somebody sits at a terminal, and waits.
    Interrupt,
    /// SIGTERM: whatever runs the process asks it to end.
    Terminate,
}

impl Caught {
    /// 128 and the signal's number.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        })
    }
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
                caught = self.next() => {
                    if shutdown.is_cancelled() {
                        return Err(caught.exit_code());
                    }
                    shutdown.cancel();
                }
            }
        }
    }

    /// Waits for a signal.
    pub(crate) async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
        }
    }
}
