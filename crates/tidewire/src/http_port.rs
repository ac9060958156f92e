//! The HTTP port of a process without an edge: requests that are answered, and done.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::open_files;

/// Connections at once; one more is closed at once. Publishers share few connections, and who needs
/// more of them should stream over gRPC.
const CONNECTIONS_MAX: usize = 10_000;
/// Bytes of a request's head, and of what is held for a connection in each direction.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// How long a client may take to send the head of a request, or to send another request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take to end, once it shall: what was accepted gets its answer.
const END_MAX: Duration = Duration::from_secs(5);
/// The wait after a failure to accept, such as for want of file descriptors.
const ACCEPT_AGAIN_DELAY: Duration = Duration::from_millis(50);

/// Serves routes until it is told to stop, and then until every connection has ended or was cut
/// off.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    open_files_max: u64,
    stop: CancellationToken,
) {
    let connections_max = open_files::connections_max(CONNECTIONS_MAX, open_files_max);
    let connections = TaskTracker::new();
    let http = Arc::new(http());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok(_) if connections.len() >= connections_max => {
                debug!(connections_max, "a connection is refused");
            }
            Ok((socket, _)) => {
                connections.spawn(connection(socket, routes.clone(), http.clone(), stop.clone()));
            }
            Err(error) => {
                warn!(%error, "a connection cannot be accepted: is the limit of open files too low?");
                sleep(ACCEPT_AGAIN_DELAY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    http
}

async fn connection(
    socket: TcpStream,
    routes: Router,
    http: Arc<http1::Builder>,
    stop: CancellationToken,
) {
    // Without it answers wait for the client's acknowledgement of the one before; it is no loss.
    let _as_it_is = socket.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        routes.clone().oneshot(request.map(Body::new))
    });
    let connection = http.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(END_MAX, connection).await {
                Ok(outcome) => outcome,
                Err(_) => return debug!("a connection did not end in time, and was cut off"),
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "a connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
        task::JoinHandle,
    };

    use super::*;

    const MANY_FILES: u64 = 1_000_000;

    async fn served(routes: Router, files: u64) -> (TcpStream, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, routes, files, stop.clone()));
        (TcpStream::connect(address).await.unwrap(), stop, task)
    }

    #[tokio::test]
    async fn what_was_accepted_is_answered_before_the_end() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let routes = Router::new().route("/", {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            post(async move || {
                begun.notify_one();
                go_on.notified().await;
                "done"
            })
        });
        let (mut client, stop, served) = served(routes, MANY_FILES).await;
        client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        begun.notified().await;
        stop.cancel();
        go_on.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        served.await.unwrap();
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed() {
        let (first, stop, served) = served(Router::new(), 2).await;
        let mut second = TcpStream::connect(first.peer_addr().unwrap()).await.unwrap();
        assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
        stop.cancel();
        served.await.unwrap();
    }
}
