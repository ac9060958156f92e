//! One publisher's connection to a server, in the server's own way.

use anyhow::{Context, bail, ensure};
use tidewire_client::{EventData, NewEvent, PublishStream, Publisher, StreamOptions, Topic};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};

use super::{Peer, Server};

/// Events unanswered at once, for a server that answers each by itself.
const IN_FLIGHT_MAX: usize = 4_096;
/// No server answers with more lines before its body.
const HEAD_LINES_MAX: usize = 40;

/// Where events are handed in.
pub(crate) enum Publishing {
    /// A `PublishStream`, and what takes its receipts.
    Grpc {
        stream: PublishStream,
        pending: mpsc::Sender<Taking>,
        taking: JoinHandle<anyhow::Result<()>>,
    },
    /// A connection for requests of HTTP, which are sent without waiting for each answer. It is made
    /// for the first of them: some servers close one that asks for nothing.
    Http { address: String, connection: Option<BufReader<TcpStream>>, peer: Peer },
    /// The floor's control.
    Control { connection: BufReader<TcpStream> },
}

/// What is waited for.
pub(crate) enum Taking {
    Receipt(tidewire_client::Pending),
    /// Somebody waits until there is nothing before it.
    Everything(tokio::sync::oneshot::Sender<()>),
}

impl Publishing {
    pub(crate) async fn open(server: &Server) -> anyhow::Result<Self> {
        if server.peer.is_hub() {
            return Self::grpc(&server.publish);
        }
        let address = server.publish.clone();
        Ok(match server.peer {
            Peer::Floor => Self::Control { connection: connect(&address).await? },
            peer => Self::Http { address, connection: None, peer },
        })
    }

    fn grpc(url: &str) -> anyhow::Result<Self> {
        let options = StreamOptions { in_flight_max: IN_FLIGHT_MAX, ..StreamOptions::default() };
        let stream = Publisher::connect(url)?.stream(options);
        let (pending, mut taken) = mpsc::channel(IN_FLIGHT_MAX);
        let taking = tokio::spawn(async move {
            while let Some(taking) = taken.recv().await {
                match taking {
                    Taking::Receipt(pending) => {
                        let receipt = pending.await?;
                        ensure!(!receipt.duplicate, "a random id was stored before");
                    }
                    // Who waited may have given up.
                    Taking::Everything(told) => told.send(()).unwrap_or_default(),
                }
            }
            Ok(())
        });
        Ok(Self::Grpc { stream, pending, taking })
    }

    /// Hands in events, by topic and data, as near together as the server's way allows.
    pub(crate) async fn publish(
        &mut self,
        events: &mut Vec<(String, String)>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Grpc { stream, pending, .. } => {
                for (topic, data) in events.drain(..) {
                    let bytes_max = data.len();
                    let data = EventData::parse(data, bytes_max)?;
                    let answer = stream.send(NewEvent::new(Topic::parse(&topic)?, data)).await?;
                    let sent = pending.send(Taking::Receipt(answer)).await;
                    sent.ok().context("a receipt was none")?;
                }
            }
            Self::Http { address, connection, peer } => {
                let connection = match connection {
                    Some(connection) => connection,
                    None => connection.insert(connect(address).await?),
                };
                let requests: String =
                    events.iter().map(|(topic, data)| peer.request(topic, data)).collect();
                connection.write_all(requests.as_bytes()).await?;
                for _ in events.drain(..) {
                    read_answer(connection).await?;
                }
            }
            Self::Control { connection } => {
                let mut burst: String =
                    events.drain(..).flat_map(|(_, data)| [data, "\n".to_owned()]).collect();
                burst.push('\n');
                connection.write_all(burst.as_bytes()).await?;
                ensure!(connection.read_u8().await? == b'\n', "the floor's answer");
            }
        }
        Ok(())
    }

    /// Waits until the server has taken all that was handed in.
    pub(crate) async fn all_taken(&mut self) -> anyhow::Result<()> {
        let Self::Grpc { pending, taking, .. } = self else { return Ok(()) };
        let (told, waiting) = tokio::sync::oneshot::channel();
        // Where that fails, the taker's error says why.
        pending.send(Taking::Everything(told)).await.ok();
        if waiting.await.is_err() {
            taking.await??;
            bail!("receipts end");
        }
        Ok(())
    }
}

async fn connect(address: &str) -> anyhow::Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(BufReader::new(socket))
}

/// Reads an answer as far as its end, which its length says.
async fn read_answer(connection: &mut BufReader<TcpStream>) -> anyhow::Result<()> {
    let (mut line, mut length) = (String::new(), 0);
    for number in 0..HEAD_LINES_MAX {
        line.clear();
        connection.read_line(&mut line).await?;
        let text = line.trim_end();
        if number == 0 {
            ensure!(text.starts_with("HTTP/1.1 2"), "a publisher was answered {text:?}");
        }
        if let Some((name, value)) = text.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse()?;
        }
        if text.is_empty() {
            let mut body = vec![0; length];
            connection.read_exact(&mut body).await?;
            return Ok(());
        }
    }
    bail!("an answer's head does not end")
}
