//! What stands between a client and the hub: it hands requests on byte by byte, counts the streams that
//! begin, can hold requests back, and serves browsers their pages and takes what these tell.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::client::CLIENTS;

/// How long anything may take that has to come, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How much may wait that pages have told.
const SAID_MAX: usize = 10_000;
/// How every stream begins.
const HELLO: &[u8] = b"event: tidewire.hello\n";

/// Dropping it cuts every connection through it.
pub(crate) struct Gate {
    /// `http://127.0.0.1:port`, the same whatever becomes of the hub.
    pub(crate) url: String,
    road: Arc<Road>,
    taking: JoinHandle<()>,
}

/// How far a stream has come, each counted from the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Requests for streams that have come, those that are held included.
    pub(crate) asked: usize,
    /// Streams that have begun: the hub has said hello.
    pub(crate) begun: usize,
    /// Streams that had begun and have ended, whoever ended them.
    pub(crate) ended: usize,
    /// Requests that have been answered without a stream.
    pub(crate) refused: usize,
    /// Requests that named a cursor in the header, and in the query.
    pub(crate) by_header: usize,
    pub(crate) by_query: usize,
}

struct Road {
    hub: String,
    /// How many requests for streams may pass, counted from the beginning.
    passing: watch::Sender<usize>,
    seen: watch::Sender<Seen>,
    said: mpsc::Sender<String>,
}

impl Gate {
    /// Opens the road to a hub. The receiver has the lines that pages tell.
    pub(crate) async fn open(hub: &str) -> (Self, mpsc::Receiver<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (said, lines) = mpsc::channel(SAID_MAX);
        let (passing, seen) = (watch::Sender::new(usize::MAX), watch::Sender::default());
        let road = Arc::new(Road { hub: hub.to_owned(), passing, seen, said });
        let taking = tokio::spawn(take(listener, Arc::clone(&road)));
        (Self { url, road, taking }, lines)
    }

    /// Holds requests for streams back from now on, but for the first.
    pub(crate) fn hold(&self) {
        self.road.passing.send_replace(self.seen().asked.max(1));
    }

    /// Lets those go on that are held.
    pub(crate) fn release(&self) {
        self.road.passing.send_replace(usize::MAX);
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.road.seen.borrow()
    }

    /// Waits until that much was seen.
    pub(crate) async fn until(&self, enough: impl FnMut(&Seen) -> bool) {
        until(self.road.seen.subscribe(), enough).await;
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Seen> {
        self.road.seen.subscribe()
    }
}

/// Waits until that much was seen at a gate.
pub(crate) async fn until(mut gate: watch::Receiver<Seen>, enough: impl FnMut(&Seen) -> bool) {
    // What it waits for would lock the gate as long as it is kept.
    let has_come = timeout(PATIENCE, gate.wait_for(enough)).await.is_ok();
    assert!(has_come, "no more than {:?}", *gate.borrow());
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

async fn take(listener: TcpListener, road: Arc<Road>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let road = Arc::clone(&road);
        connections.spawn(async move {
            // Whoever hangs up has its reasons.
            serve(client, &road).await.ok();
        });
    }
}

/// Serves one request, and closes.
async fn serve(mut client: TcpStream, road: &Road) -> io::Result<()> {
    client.set_nodelay(true)?;
    let head = read_head(&mut client).await?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    if path == "/said" {
        let body = read_body(&mut client, &head).await?;
        for line in body.lines() {
            road.said.send(line.to_owned()).await.ok();
        }
        client.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await
    } else if path.starts_with("/v1/") {
        pass_on(client, &head, road).await
    } else {
        client.write_all(&file(path)).await
    }
}

async fn pass_on(mut client: TcpStream, head: &str, road: &Road) -> io::Result<()> {
    let lower = head.to_lowercase();
    let mut number = 0;
    road.seen.send_modify(|seen| {
        seen.asked += 1;
        number = seen.asked;
        seen.by_header += usize::from(lower.contains("\nlast-event-id: "));
        seen.by_query += usize::from(lower.contains("&lasteventid="));
    });
    road.passing.subscribe().wait_for(|passing| number <= *passing).await.ok();
    let mut has_begun = false;
    let passed = async {
        let mut hub = TcpStream::connect(&road.hub).await?;
        hub.write_all(head.as_bytes()).await?;
        let (mut from_client, mut to_client) = client.split();
        let begins = || {
            has_begun = true;
            road.seen.send_modify(|seen| seen.begun += 1);
        };
        tokio::select! {
            passed = answer(&mut hub, &mut to_client, begins) => passed,
            // It sends nothing more: its connection ends.
            gone = from_client.read_u8() => gone.map(|_| ()),
        }
    }
    .await;
    road.seen.send_modify(|seen| match has_begun {
        true => seen.ended += 1,
        false => seen.refused += usize::from(passed.is_ok()),
    });
    passed
}

/// Hands the answer on as it comes, and says when a stream begins.
async fn answer(
    hub: &mut TcpStream,
    client: &mut (impl AsyncWrite + Unpin),
    mut begins: impl FnMut(),
) -> io::Result<()> {
    let mut beginning = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut has_begun = false;
    loop {
        let length = hub.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..length]).await?;
        if !has_begun {
            beginning.extend_from_slice(&buffer[..length]);
            has_begun = beginning.windows(HELLO.len()).any(|window| window == HELLO);
            if has_begun {
                begins();
            }
        }
    }
}

async fn read_head(client: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    // A byte at a time, so that the body stays where it is.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn read_body(client: &mut (impl AsyncRead + Unpin), head: &str) -> io::Result<String> {
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or_default()];
    client.read_exact(&mut body).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// A file of the clients' directory. Modules are named there without their `.js`, too.
fn file(path: &str) -> Vec<u8> {
    let path = Path::new(CLIENTS).join(path.trim_start_matches('/'));
    let is_file = |path: &Path| path.extension().is_some() && path.is_file();
    let path = if is_file(&path) { path } else { path.with_added_extension("js") };
    let Ok(body) = fs::read(&path) else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_vec();
    };
    let is_page = path.extension().is_some_and(|extension| extension == "html");
    let content_type = if is_page { "text/html" } else { "text/javascript" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), &body].concat()
}
