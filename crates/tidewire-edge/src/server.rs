//! How frames reach sockets: HTTP/1.1 by hyper, on sockets that hold little.

use std::{error::Error as _, io, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::{Config, metrics};

/// Bytes that the kernel takes for a socket beyond what it has already sent: a stalled reader pins
/// about this much instead of megabytes.
const NOT_SENT_BYTES_MAX: u32 = 16 * 1024;
/// Connections that the kernel holds until they are accepted: the clients of an edge that died come
/// to the others all at once. By default there is room for 128, and each one beyond waits a second
/// or more to try again. The kernel may hold fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 8_192;
/// Bytes of a request's head, and of what hyper holds for a connection in each direction.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// Logged complaints about connections come at most this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a connection may take to end, once it shall: a request half sent is not waited for.
const END_MAX: Duration = Duration::from_secs(5);
/// The wait after a failure to accept, such as for want of file descriptors.
const ACCEPT_AGAIN_DELAY: Duration = Duration::from_millis(50);

/// Serves a router on a listener until `ending` is cancelled, and then until every connection has
/// ended. Subscriptions end by themselves; other requests finish, or are cut off.
///
/// # Errors
/// Where the listener's socket options cannot be set.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    config: &Config,
    ending: CancellationToken,
) -> io::Result<()> {
    prepare(&listener, config)?;
    let connections = TaskTracker::new();
    let builder = Arc::new(builder(config));
    let mut complaints = Complaints::default();
    while let Some(accepted) = ending.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok(_) if connections.len() >= config.connections_max => complaints.refused(config),
            Ok((socket, _)) => {
                let connection =
                    serve_connection(socket, router.clone(), builder.clone(), ending.clone());
                connections.spawn(connection);
            }
            Err(error) => {
                complaints.not_accepted(&error);
                sleep(ACCEPT_AGAIN_DELAY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Connections that are not served: each is counted, and now and then one is logged.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    fn refused(&mut self, config: &Config) {
        metrics::count_refused("full");
        if self.is_due() {
            let connections_max = config.connections_max;
            warn!(connections_max, "connections are refused: raise the limit, or add hubs");
        }
    }

    fn not_accepted(&mut self, error: &io::Error) {
        metrics::count_refused("not_accepted");
        if self.is_due() {
            warn!(%error, "connections cannot be accepted: is the limit of open files too low?");
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}

/// Sets what every accepted socket inherits.
fn prepare(listener: &TcpListener, config: &Config) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.listen(BACKLOG)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX)?;
        socket.set_tcp_user_timeout(Some(config.write_timeout))?;
    }
    Ok(())
}

fn builder(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

async fn serve_connection(
    socket: TcpStream,
    router: Router,
    builder: Arc<http1::Builder>,
    ending: CancellationToken,
) {
    let service = router.map_request(|request: http::Request<_>| request.map(Body::new));
    let connection =
        builder.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(END_MAX, connection).await {
                Ok(outcome) => outcome,
                Err(_) => return debug!("a connection did not end in time, and was cut off"),
            }
        }
    };
    if let Err(error) = outcome {
        metrics::count_broken(is_timeout(&error));
        debug!(%error, "a connection ended with an error");
    }
}

/// Whether the kernel gave the connection up because nothing was taken for the write timeout.
fn is_timeout(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}
