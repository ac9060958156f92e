//! How connections come to a sweeper: it hears what they are for, and begins the stream that is asked for.
//! What is something else, or cannot be done at once, is for a task.

use std::{future::ready, net::TcpStream};

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{Connection, Sweeper};
use crate::{
    connection::count_broken,
    plain::{Answer, Arrival, Opening, Resting, busy, chunk, ticks::Tick},
    resting::Next,
};

/// Connections that are heard out before streams have their turn: a millisecond or two.
const HEARD_OUT_AT_ONCE: usize = 64;
/// Bytes that a stream may begin with before it is for a task, beside what it is handed last.
const FIRST_BYTES_MAX: usize = 16 * 1024;

/// A connection whose client has still to say what it is for.
pub(super) struct Coming {
    arrival: Arrival,
    pub(super) tick: Tick,
}

impl Sweeper {
    /// Waits for what a client says that has just come.
    pub(super) fn welcome(&mut self, arrival: Arrival) {
        // Whoever looks for those that are to be let go may have looked already.
        if self.shared.drain.ending().is_cancelled() {
            return;
        }
        if let Some(key) = self.put(&arrival.socket) {
            let tick = self.ticks.put(key, arrival.ask_by());
            self.connections[key] = Connection::Comes(Box::new(Coming { arrival, tick }));
        }
    }

    /// Hears some of those who have come.
    pub(super) fn hear_out(&mut self) {
        for _ in 0..HEARD_OUT_AT_ONCE {
            match self.arrived.pop_front() {
                Some(key) => self.hear(key),
                None => return,
            }
        }
    }

    fn hear(&mut self, key: usize) {
        let Some(Connection::Comes(coming)) = self.connections.get_mut(key) else { return };
        match coming.arrival.read() {
            Ok(None) => {}
            Ok(Some(opening)) => self.begin(key, opening),
            Err(error) => {
                self.connections.remove(key);
                count_broken(&error);
            }
        }
    }

    /// Closes a connection whose client has taken its time, unless it has some left.
    pub(super) fn wait_no_longer(&mut self, key: usize, now: Instant) {
        let Some(Connection::Comes(coming)) = self.connections.get_mut(key) else { return };
        if coming.arrival.ask_by() > now {
            coming.tick = self.ticks.put(key, coming.arrival.ask_by());
            return;
        }
        coming.arrival.connections.nothing_came(coming.arrival.came.peer);
        self.connections.remove(key);
    }

    /// Begins what is asked for.
    fn begin(&mut self, key: usize, opening: Opening) {
        let place = &mut self.connections[key];
        let Connection::Comes(coming) = std::mem::replace(place, Connection::Begins) else {
            return;
        };
        let Arrival { socket, came, held, connections, .. } = coming.arrival;
        let (request, lean) = match (opening, connections.lean()) {
            (Opening::Stream(request), Some(lean)) => (request, lean),
            (opening, _) => {
                self.connections.remove(key);
                return self.give_to_task(socket, async move |socket| {
                    connections.serve_opened(opening, socket, came, Some(held)).await;
                });
            }
        };
        let mut answer = Box::pin(lean.ask(request, came, Some(held)));
        match answer.as_mut().now_or_never() {
            Some(Answer::Stream(stream, first)) => {
                self.settle(key, Resting { socket, stream }, first);
            }
            Some(answer) => self.answer_in_task(key, socket, ready(answer)),
            None => self.answer_in_task(key, socket, answer),
        }
    }

    fn answer_in_task(
        &mut self,
        key: usize,
        socket: TcpStream,
        answer: impl Future<Output = Answer> + Send + 'static,
    ) {
        self.connections.remove(key);
        let (sweepers, ending) = (self.sweepers.clone(), self.shared.drain.ending().clone());
        self.give_to_task(socket, async move |socket| {
            busy::serve(socket, answer, sweepers, ending).await;
        });
    }

    /// Lets a stream rest that has begun, if it has been handed all there was when this is sent.
    fn settle(&mut self, key: usize, mut resting: Resting, mut first: Vec<u8>) {
        while first.len() < FIRST_BYTES_MAX {
            match resting.stream.subscription.advance(true).now_or_never() {
                Some(Next::Bytes(bytes)) => chunk::write(&mut first, &bytes),
                Some(Next::Rest) => return self.rest(key, resting, first),
                Some(Next::End) | None => break,
            }
        }
        self.connections.remove(key);
        self.hand_back(resting, first);
    }
}
