//! A tail: pages read one after the other, and at the head a wait for the next commit.

use std::vec;

use futures_util::stream;
use tidewire_core::{Event, EventStream, Interest, PageLimit, ReadError, Sequence};
use tokio::sync::watch;

use crate::{
    reader::{self, Place},
    reads::Reads,
    shared::unavailable,
};

/// What a tail reads ahead of its reader.
const AHEAD: PageLimit = PageLimit { events: 1_024, bytes: 1024 * 1024 };

/// A place that moves along with the log.
struct Tail {
    reads: Reads,
    head: watch::Receiver<Sequence>,
    interest: Interest,
    place: Place,
    ready: vec::IntoIter<Event>,
}

/// Follows the log from `place` on.
pub(crate) fn follow(reads: Reads, head: watch::Receiver<Sequence>, place: Place) -> EventStream {
    let interest = Interest::everything();
    let tail = Tail { reads, head, interest, place, ready: Vec::new().into_iter() };
    Box::pin(stream::try_unfold(tail, async |mut tail| {
        let event = tail.next().await?;
        Ok(Some((event, tail)))
    }))
}

impl Tail {
    async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            if let Some(event) = self.ready.next() {
                return Ok(event);
            }
            self.reads.shared.check_alive()?;
            // Marked as seen before it is compared, so that no later one is slept through.
            let head = *self.head.borrow_and_update();
            if self.place.after.sequence < head {
                self.read_on().await?;
            } else if self.head.changed().await.is_err() {
                return Err(unavailable("the log is closed"));
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), ReadError> {
        let (interest, mut place) = (self.interest.clone(), self.place.clone());
        let read = self.reads.run(move |shared| {
            let page = reader::read(shared, &interest, &mut place, AHEAD)?;
            Ok((page.events, place))
        });
        let (events, place) = read.await?;
        self.ready = events.into_iter();
        self.place = place;
        Ok(())
    }
}
