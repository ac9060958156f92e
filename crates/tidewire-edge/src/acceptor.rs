//! A listener whose connections nobody waits for yet: who serves them decides by what.

use std::{
    io,
    net::{IpAddr, TcpStream},
    os::fd::OwnedFd,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpListener,
};

pub(crate) struct Acceptor(AsyncFd<mio::net::TcpListener>);

impl Acceptor {
    /// Takes over a listener.
    ///
    /// # Errors
    /// Where it cannot be waited for.
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        let listener = mio::net::TcpListener::from_std(listener.into_std()?);
        #[expect(
            deprecated,
            reason = "what is in its place is unsafe for types that may give another descriptor than before"
        )]
        let listener = AsyncFd::with_interest(listener, Interest::READABLE)?;
        Ok(Self(listener))
    }

    /// Waits for the next connection, whose socket does not block.
    ///
    /// # Errors
    /// Such as for want of file descriptors.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        let accept = mio::net::TcpListener::accept;
        let (socket, peer) = self.0.async_io(Interest::READABLE, accept).await?;
        Ok((OwnedFd::from(socket).into(), peer.ip()))
    }
}
