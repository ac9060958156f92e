//! How connections come: accepted within bounds, on sockets that hold little, each served alone.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use socket2::SockRef;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config,
    accept_rate::AcceptRate,
    acceptor::Acceptor,
    complaints,
    connection::{Came, Connections, Lean},
    http::stream_route,
    overload::Overload,
    plain::{Held, SweeperThreads},
    stream::Streams,
    subscription::Shared,
};

/// Bytes that the kernel takes for a socket beyond what it has already sent: a stalled reader pins
/// about this much instead of megabytes.
const NOT_SENT_BYTES_MAX: u32 = 16 * 1024;
/// Connections that the kernel holds until they are accepted: the clients of an edge that died come
/// to the others all at once. By default there is room for 128, and each one beyond waits a second
/// or more to try again. The kernel may hold fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 8_192;
/// Whether a socket begins with the options of its listener, as they were when it came.
const INHERITED: bool = cfg!(target_os = "linux");
/// The wait after a failure to accept, such as for want of file descriptors.
const ACCEPT_AGAIN_DELAY: Duration = Duration::from_millis(50);

/// Serves a router on a listener until `ending` is cancelled, and then until every connection has
/// ended. Subscriptions end by themselves; other requests finish, or are cut off.
///
/// # Errors
/// Where the listener's socket options cannot be set, or the threads not be started that hold streams.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let (config, ending) = (&shared.config, shared.drain.ending());
    SockRef::from(&listener).listen(BACKLOG)?;
    if INHERITED {
        prepare(&listener, config)?;
    }
    // Where there is TLS, there is no plain HTTP.
    let (acceptor, threads) = if config.lean_streams && config.tls.is_none() {
        let (threads, doorbell) = SweeperThreads::start(shared)?;
        (Acceptor::by_poller(listener, doorbell)?, Some(threads))
    } else {
        (Acceptor::by_runtime(listener)?, None)
    };
    let sweepers = threads.as_ref().map(|threads| threads.sweepers().clone());
    if let Some(sweepers) = &sweepers {
        // An edge serves once; those of the first time are looked at.
        let _served_before = shared.sweepers.set(sweepers.downgrade());
    }
    tokio::join!(keep_certificate_fresh(config, ending), async {
        let streams = Streams::new(config.write_timeout);
        let route = stream_route(shared);
        let lean = sweepers.clone().map(|sweepers| Lean { sweepers, route });
        let connections = Connections::new(router, config, streams.clone(), &shared.drain, lean)
            .noting(Arc::clone(&shared.notes));
        let overload = Arc::new(Overload::new(shared, &streams, sweepers.clone()));
        let served = TaskTracker::new();
        let door = Door {
            connections: Arc::new(connections),
            overload: Arc::clone(&overload),
            served: served.clone(),
            shared: Arc::clone(shared),
        };
        match &sweepers {
            Some(sweepers) => sweepers.accept(door.accept(acceptor)).await,
            None => door.accept(acceptor).await,
        }
        overload.ended().await;
        served.close();
        served.wait().await;
        streams.ended().await;
    });
    Ok(())
}

/// What connections come to that are accepted.
struct Door {
    connections: Arc<Connections>,
    overload: Arc<Overload>,
    served: TaskTracker,
    shared: Arc<Shared>,
}

impl Door {
    /// Accepts connections until the edge ends.
    async fn accept(self, acceptor: Acceptor) {
        let ending = self.shared.drain.ending().clone();
        if let Some(never) = ending.run_until_cancelled(self.accept_all(acceptor)).await {
            match never {}
        }
    }

    async fn accept_all(&self, mut acceptor: Acceptor) -> Infallible {
        let config = &self.shared.config;
        let mut rate = AcceptRate::new(config.accept_rate_max);
        loop {
            if let Some(until) = rate.next() {
                acceptor.pause(until).await;
            }
            match acceptor.accept().await {
                Ok((socket, peer)) => {
                    if !(INHERITED && acceptor.has_caught_up()) {
                        // It fails where the client has gone already, which is seen when it is read.
                        let _gone = prepare(&socket, config);
                    }
                    self.take(socket, peer);
                }
                Err(error) => {
                    complaints::not_accepted(&error, &self.shared.notes);
                    acceptor.pause(Instant::now() + ACCEPT_AGAIN_DELAY).await;
                }
            }
        }
    }

    /// Has a connection served, where there is room for it.
    fn take(&self, socket: TcpStream, peer: IpAddr) {
        match self.shared.admission.connection(peer) {
            Ok(place) => {
                let held = Held { _place: place, _open: self.served.token() };
                self.connections.welcome(socket, Came::from(peer), held);
            }
            Err(full) => {
                complaints::no_room(full, peer, &self.shared);
                self.overload.answer(socket, Came::from(peer), full);
            }
        }
    }
}

async fn keep_certificate_fresh(config: &Config, ending: &CancellationToken) {
    if let Some(tls) = &config.tls {
        tls.keep_fresh(config.certificate_look_interval, ending).await;
    }
}

/// Has a socket hold little, say at once what it has, and end where its client takes nothing.
fn prepare<'s>(socket: impl Into<SockRef<'s>>, config: &Config) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX)?;
        socket.set_tcp_user_timeout(Some(config.write_timeout))?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// What [`INHERITED`] says of this kernel.
    #[tokio::test]
    async fn a_socket_begins_with_the_options_of_its_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config { write_timeout: Duration::from_secs(7), ..Config::default() };
        prepare(&listener, &config).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&socket);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOT_SENT_BYTES_MAX);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(config.write_timeout));
    }
}
