//! A connection that has just come, until its client has said what for.

use std::{
    io::{self, Read as _},
    net::TcpStream,
    sync::Arc,
};

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    Held,
    opening::{Opening, READ_BYTES, opening},
};
use crate::connection::{Came, Connections};

/// A connection, what its client has said so far, and who serves it then.
pub(crate) struct Arrival {
    pub(super) socket: TcpStream,
    pub(super) came: Came,
    pub(super) held: Held,
    pub(super) connections: Arc<Connections>,
    said: BytesMut,
    reads: usize,
}

impl Arrival {
    pub(crate) fn new(
        socket: TcpStream,
        came: Came,
        held: Held,
        connections: Arc<Connections>,
    ) -> Self {
        Self { socket, came, held, connections, said: BytesMut::new(), reads: 0 }
    }

    /// Until when its client may take to ask for something.
    pub(super) fn ask_by(&self) -> Instant {
        self.connections.first_request_by(self.came.at)
    }

    /// Reads what has come; `None` where its beginning does not show yet what is asked for.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where nothing more comes.
    pub(super) fn read(&mut self) -> io::Result<Option<Opening>> {
        loop {
            let mut piece = [0; READ_BYTES];
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.said.extend_from_slice(&piece[..read]);
                    self.reads += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Some(opening) = opening(&mut self.said, self.reads, true) {
                return Ok(Some(opening));
            }
        }
    }
}
