//! A listener whose connections nobody waits for yet: who serves them decides by what.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, TcpStream},
    os::fd::OwnedFd,
    task::Poll,
};

use mio::net::TcpListener as Listener;
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpListener,
    time::{Instant, sleep_until},
};

use crate::plain::Doorbell;

/// Connections that are accepted before whoever polls has other things to do.
const AT_ONCE: usize = 64;

/// Accepts connections.
pub(crate) struct Acceptor {
    listener: Awaited,
    has_caught_up: bool,
}

/// A listener, by who knows when there is somebody.
enum Awaited {
    ByRuntime(AsyncFd<Listener>),
    /// Whoever polls does, by this bell. Until somebody has to wait, so many were accepted.
    ByPoller {
        listener: Listener,
        doorbell: Doorbell,
        in_a_row: usize,
    },
}

impl Acceptor {
    /// Takes over a listener that the runtime waits for.
    ///
    /// # Errors
    /// Where it cannot be waited for.
    pub(crate) fn by_runtime(listener: TcpListener) -> io::Result<Self> {
        let listener = Listener::from_std(listener.into_std()?);
        #[expect(
            deprecated,
            reason = "what is in its place is unsafe for types that may give another descriptor than before"
        )]
        let listener = AsyncFd::with_interest(listener, Interest::READABLE)?;
        Ok(Self { listener: Awaited::ByRuntime(listener), has_caught_up: false })
    }

    /// Takes over a listener for somebody who polls when the bell rings.
    ///
    /// # Errors
    /// Where the runtime does not let go of it.
    pub(crate) fn by_poller(listener: TcpListener, doorbell: Doorbell) -> io::Result<Self> {
        let listener = Listener::from_std(listener.into_std()?);
        let listener = Awaited::ByPoller { listener, doorbell, in_a_row: 0 };
        Ok(Self { listener, has_caught_up: false })
    }

    /// Lets those who come wait until a moment. Who polls does not hear of them before.
    pub(crate) async fn pause(&mut self, until: Instant) {
        if let Awaited::ByPoller { listener, doorbell, .. } = &mut self.listener {
            doorbell.switch_off(listener);
        }
        sleep_until(until).await;
    }

    /// Waits for the next connection, whose socket does not block.
    ///
    /// # Errors
    /// Such as for want of file descriptors.
    pub(crate) async fn accept(&mut self) -> io::Result<(TcpStream, IpAddr)> {
        let Self { listener, has_caught_up } = self;
        let mut accept = |listener: &Listener| {
            let accepted = listener.accept();
            *has_caught_up |= is_nobody_there(&accepted);
            accepted
        };
        let (socket, peer) = match listener {
            Awaited::ByRuntime(listener) => listener.async_io(Interest::READABLE, accept).await?,
            Awaited::ByPoller { listener, doorbell, in_a_row } => {
                poll_fn(|context| {
                    if *in_a_row == AT_ONCE {
                        *in_a_row = 0;
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let accepted = accept(listener);
                    if !is_nobody_there(&accepted) {
                        *in_a_row += 1;
                        return Poll::Ready(accepted);
                    }
                    *in_a_row = 0;
                    match doorbell.switch_on(listener) {
                        Ok(()) => Poll::Pending,
                        Err(error) => Poll::Ready(Err(error)),
                    }
                })
                .await?
            }
        };
        Ok((OwnedFd::from(socket).into(), peer.ip()))
    }

    /// Whether all have been accepted that had come before it accepted for the first time.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.has_caught_up
    }
}

fn is_nobody_there<T>(accepted: &io::Result<T>) -> bool {
    matches!(accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
