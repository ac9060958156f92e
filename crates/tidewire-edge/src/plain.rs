//! Event streams over plain HTTP/1.1, written by the edge itself: below hyper, whose buffers are most of
//! what a connection costs there.
//!
//! A sweeper is a thread that holds many connections. It hears what a new one is for, and begins the stream
//! that it asks for, if nothing has to be waited for. One that has been handed all there is rests with
//! it, little more than a socket and a position, and is handed each new event. One that has something
//! to do, such as a page to read, is carried by a task of its own (`busy`). See decision 16.

use std::net::TcpStream;

use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{admission::Place, form::End, subscription::Subscription};

mod arrival;
mod busy;
mod chunk;
mod circle;
mod doorbell;
mod head;
mod opening;
mod sweeper;
mod sweepers;
mod ticks;

pub(crate) use arrival::Arrival;
pub(crate) use busy::{Answer, answer, refuse, serve};
pub(crate) use doorbell::Doorbell;
pub(crate) use opening::{Opening, open};
pub(crate) use sweepers::{SweeperThreads, Sweepers, WeakSweepers};

/// Bytes that a client may send behind its request. Nothing is expected from it.
const NOISE_BYTES_MAX: usize = 64 * 1024;

/// What a connection holds until it ends.
pub(crate) struct Held {
    pub(crate) _place: Place,
    pub(crate) _open: TaskTrackerToken,
}

/// A stream, but for its socket.
pub(crate) struct Stream {
    pub(crate) subscription: Subscription,
    pub(crate) end: End,
    pub(crate) place: Place,
    pub(crate) _held: Option<Held>,
}

/// A stream that has been handed all there was.
pub(crate) struct Resting {
    socket: TcpStream,
    stream: Stream,
}
