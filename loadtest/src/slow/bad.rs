//! A reader that hardly reads.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
    time::{MissedTickBehavior, interval},
};

use crate::sse;

/// What its kernel takes for it: little, so that it is the hub that has to wait, and soon.
const RECEIVE_BUFFER_BYTES: u32 = 4 * 1024;
/// What one that trickles reads in a second.
const BYTES_PER_SECOND: usize = 100;

/// How badly one reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bad {
    ReadsNothing,
    Trickles,
}

impl Bad {
    /// Connects and asks, and reads nothing yet.
    pub(super) async fn subscribe(self, http: String, filter: String) -> anyhow::Result<BadReader> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let mut socket = socket.connect(sse::address(&http).parse()?).await?;
        sse::ask(&mut socket, &filter, None, "").await?;
        Ok(BadReader { kind: self, socket })
    }
}

/// One that has subscribed.
pub(super) struct BadReader {
    kind: Bad,
    socket: TcpStream,
}

impl BadReader {
    /// Reads as badly as it does, until it is let go. Who reads nothing does not learn of that.
    pub(super) async fn read(mut self) {
        if let Bad::ReadsNothing = self.kind {
            return std::future::pending().await;
        }
        let mut buffer = [0; BYTES_PER_SECOND];
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            if !matches!(self.socket.read(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    }
}
