//! One thread that holds many streams at rest: it hands what their feeds get to all of them, in
//! turns, and gives back to a task of its own whichever needs more than that.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read as _, Write as _},
    net::TcpStream,
    os::fd::AsRawFd as _,
    sync::Arc,
    time::Duration,
};

use ::metrics::Gauge;
use bytes::Bytes;
use mio::{Events, Interest, Poll, Token, event::Event, unix::SourceFd};
use slab::Slab;
use tidewire_core::Cursor;
use tokio::{runtime::Handle, time::Instant};
use tracing::error;

use super::{
    NOISE_BYTES_MAX, Resting, busy, chunk,
    circle::Circle,
    sweepers::{Mail, Post, Sweepers},
    ticks::{Tick, Ticks},
};
use crate::{
    connection::count_broken,
    feed::{Batch, Behind, Feed, Listener},
    metrics,
    resting::Due,
    stamps::Stamps,
    subscription::Shared,
};

/// What wakes the thread, among its sockets.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Streams that are looked at before other feeds have their turn: about a millisecond, so that few
/// are not kept waiting by many.
const TURN_STREAMS: usize = 256;
/// Readinesses that are taken at once.
const EVENTS_MAX: usize = 1_024;
/// Batches of one feed that are kept while its streams are looked at. Nearly all of them stand at one
/// position.
const BATCHES_MAX: usize = 8;

pub(super) struct Sweeper {
    poll: Poll,
    post: Arc<Post>,
    listener: Arc<dyn Listener>,
    shared: Arc<Shared>,
    sweepers: Sweepers,
    runtime: Handle,
    streams: Slab<Box<Swept>>,
    feeds: Slab<Watched>,
    /// Where among them the feed of a slot is.
    by_slot: HashMap<usize, usize>,
    /// Those whose streams are to be looked at.
    turns: VecDeque<usize>,
    ticks: Ticks,
    /// Events and bytes that have not been counted.
    sent: (usize, usize),
    /// When those events were stored.
    stamps: Stamps,
    /// Streams whose socket is full, here and elsewhere.
    slow: Gauge,
    is_ending: bool,
}

/// A stream that rests here.
struct Swept {
    resting: Resting,
    /// What its socket has not taken yet of what it was handed.
    unsent: Bytes,
    noise: usize,
    feed: usize,
    /// Its place among its feed's streams.
    place: usize,
    tick: Tick,
}

/// A feed, and the streams here that wait for it.
struct Watched {
    feed: Arc<Feed>,
    slot: usize,
    streams: Circle,
}

/// What one feed has behind some positions, as it is sent: made once for all who stand there.
struct Batches {
    feed: Arc<Feed>,
    made: Vec<(Cursor, Option<Made>)>,
    /// Of those that are kept no more.
    stamps: Stamps,
}

/// A batch, and how often it has been handed out whole to streams that are older than its events.
struct Made {
    batch: Batch,
    framed: Bytes,
    since: Option<Instant>,
    handed: usize,
}

/// Why a stream does not rest here any more.
enum Leaves {
    /// It has something to do.
    ForTask,
    /// Its client has left.
    Gone,
    Broken(io::Error),
}

impl Sweeper {
    pub(super) fn new(
        poll: Poll,
        post: Arc<Post>,
        shared: Arc<Shared>,
        sweepers: Sweepers,
        runtime: Handle,
    ) -> Self {
        Self {
            poll,
            listener: Arc::clone(&post) as Arc<dyn Listener>,
            post,
            shared,
            sweepers,
            runtime,
            streams: Slab::new(),
            feeds: Slab::new(),
            by_slot: HashMap::new(),
            turns: VecDeque::new(),
            ticks: Ticks::new(Instant::now()),
            sent: (0, 0),
            stamps: Stamps::default(),
            slow: metrics::slow_readers(),
            is_ending: false,
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_ending {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return error!(%error, "streams at rest can be waited for no more"),
            }
            self.post.is_looking();
            for event in events.iter().filter(|event| event.token() != WAKE) {
                self.socket_is_ready(event);
            }
            self.open_mail();
            self.sweep();
            self.look_at_due();
            self.count();
        }
    }

    /// Counts what has been sent since it counted last: counters that all threads share are not
    /// touched for each delivery.
    fn count(&mut self) {
        let (events, bytes) = std::mem::take(&mut self.sent);
        self.shared.sent.count_events(events);
        self.shared.sent.count_bytes(bytes);
        self.shared.sent.observe_latency(&self.stamps);
        self.stamps.clear();
    }

    /// How long to wait for sockets and mail at most: not at all where there is more to do.
    fn wait(&self) -> Option<Duration> {
        if !self.turns.is_empty() || !self.post.may_wait() {
            return Some(Duration::ZERO);
        }
        self.ticks.wake_at().map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn open_mail(&mut self) {
        let (mail, moved) = self.post.collect();
        for slot in moved {
            self.feed_has_moved(slot);
        }
        for mail in mail {
            match mail {
                Mail::Stream(resting) => self.take(*resting),
                Mail::News => self.tell_news(),
                Mail::End => self.is_ending = true,
            }
        }
    }

    /// Takes a stream that rests from now on.
    fn take(&mut self, mut resting: Resting) {
        let subscription = &mut resting.stream.subscription;
        subscription.hear_news();
        let due = subscription.due();
        let Some((slot, feed)) = subscription.feed() else {
            return self.hand_back(resting, Bytes::new());
        };
        let feed = match self.by_slot.get(&slot) {
            Some(watched) => *watched,
            None => {
                feed.listen(Arc::clone(&self.listener), slot);
                let feed = Arc::clone(feed);
                let key = self.feeds.insert(Watched { feed, slot, streams: Circle::default() });
                self.by_slot.insert(slot, key);
                key
            }
        };
        let fd = resting.socket.as_raw_fd();
        let entry = self.streams.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), Token(key), interest)
        {
            self.forget_without_streams(feed);
            return count_broken(&error);
        }
        let place = self.feeds[feed].streams.add(key);
        let tick = self.ticks.put(key, due);
        let unsent = Bytes::new();
        entry.insert(Box::new(Swept { resting, unsent, noise: 0, feed, place, tick }));
        // What came since it last looked has rung for nobody here.
        self.look_alone(key);
    }

    /// Tells all streams of a drain, or the end: each has a moment now.
    fn tell_news(&mut self) {
        for (key, swept) in &mut self.streams {
            let subscription = &mut swept.resting.stream.subscription;
            subscription.hear_news();
            swept.tick = self.ticks.put(key, subscription.due());
        }
    }

    fn feed_has_moved(&mut self, slot: usize) {
        let Some(key) = self.by_slot.get(&slot).copied() else { return };
        let watched = &mut self.feeds[key];
        watched.feed.heard(&self.listener);
        if !watched.streams.has_turns() {
            self.turns.push_back(key);
        }
        watched.streams.begin();
    }

    /// Looks at some streams of feeds that have moved, feed by feed.
    fn sweep(&mut self) {
        let (now, mut looks) = (Instant::now(), TURN_STREAMS);
        while looks > 0
            && let Some(key) = self.turns.pop_front()
        {
            let Some(watched) = self.feeds.get(key) else { continue };
            let mut batches = Batches::of(&watched.feed);
            while looks > 0
                && let Some(stream) =
                    self.feeds.get_mut(key).and_then(|watched| watched.streams.turn())
            {
                looks -= 1;
                self.look(stream, &mut batches, now);
            }
            self.stamps.add_all(&batches.stamps(), 1);
            if self.feeds.get(key).is_some_and(|watched| watched.streams.has_turns()) {
                self.turns.push_back(key);
            }
        }
    }

    fn look_alone(&mut self, key: usize) {
        let Some(swept) = self.streams.get(key) else { return };
        let mut batches = Batches::of(&self.feeds[swept.feed].feed);
        self.look(key, &mut batches, Instant::now());
        self.stamps.add_all(&batches.stamps(), 1);
    }

    /// Hands a stream all that its feed has for it, unless it has still to take what it was handed
    /// before.
    fn look(&mut self, key: usize, batches: &mut Batches, now: Instant) {
        let Some(swept) = self.streams.get_mut(key).map(Box::as_mut) else { return };
        let subscription = &mut swept.resting.stream.subscription;
        while swept.unsent.is_empty()
            && let Some(position) = subscription.position()
        {
            let made = match batches.behind(position, now) {
                Ok(Some(made)) => made,
                Ok(None) => return,
                Err(Behind) => {
                    subscription.lag();
                    return self.leave(key, Leaves::ForTask);
                }
            };
            let Made { batch, framed, since, handed } = made;
            subscription.hand(batch, now);
            self.sent.0 += batch.events;
            self.sent.1 += batch.coded.bytes.len();
            if since.is_some_and(|since| subscription.since <= since) {
                *handed += 1;
            } else {
                let age = now.saturating_duration_since(subscription.since);
                self.stamps.add_all(&batch.stamps.no_older_than(age), 1);
            }
            match write(&swept.resting.socket, framed) {
                Ok(written) if written == framed.len() => {}
                Ok(written) => {
                    swept.unsent = framed.slice(written..);
                    self.slow.increment(1.0);
                }
                Err(error) => return self.leave(key, Leaves::Broken(error)),
            }
        }
    }

    fn socket_is_ready(&mut self, event: &Event) {
        let Token(key) = event.token();
        if (event.is_readable() || event.is_read_closed() || event.is_error())
            && let Err(leaves) = self.listen_to(key)
        {
            return self.leave(key, leaves);
        }
        if event.is_writable() {
            self.send_rest(key);
        }
    }

    /// Hears what a client says, which has nothing more to say.
    fn listen_to(&mut self, key: usize) -> Result<(), Leaves> {
        let Some(swept) = self.streams.get_mut(key) else { return Ok(()) };
        while swept.noise < NOISE_BYTES_MAX {
            match (&swept.resting.socket).read(&mut [0; 512]) {
                Ok(0) => return Err(Leaves::Gone),
                Ok(read) => swept.noise += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Leaves::Broken(error)),
            }
        }
        Err(Leaves::Gone)
    }

    /// Sends what a socket had no room for, and what has come meanwhile.
    fn send_rest(&mut self, key: usize) {
        let Some(swept) = self.streams.get_mut(key) else { return };
        if swept.unsent.is_empty() {
            return;
        }
        match write(&swept.resting.socket, &swept.unsent) {
            Ok(written) => {
                let _sent = swept.unsent.split_to(written);
            }
            Err(error) => return self.leave(key, Leaves::Broken(error)),
        }
        if swept.unsent.is_empty() {
            // It shares no memory with others any more.
            swept.unsent = Bytes::new();
            self.slow.decrement(1.0);
            self.look_alone(key);
        }
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        while let Some((tick, keys)) = self.ticks.pop(now) {
            for key in keys {
                if self.streams.get(key).is_some_and(|swept| swept.tick == tick) {
                    self.break_silence(key, now);
                }
            }
        }
    }

    fn break_silence(&mut self, key: usize, now: Instant) {
        let swept = &mut self.streams[key];
        let subscription = &mut swept.resting.stream.subscription;
        let is_stalled = !swept.unsent.is_empty();
        match subscription.break_silence(now, is_stalled) {
            Due::Later => {}
            Due::Over => return self.leave(key, Leaves::ForTask),
            Due::Bytes(bytes) => {
                let mut framed = chunk::of(&bytes);
                match write(&swept.resting.socket, &framed) {
                    Ok(written) if written == framed.len() => {}
                    Ok(written) => {
                        swept.unsent = framed.split_off(written).into();
                        self.slow.increment(1.0);
                    }
                    Err(error) => return self.leave(key, Leaves::Broken(error)),
                }
            }
        }
        let due = self.streams[key].resting.stream.subscription.due();
        self.streams[key].tick = self.ticks.put(key, due);
    }

    /// Lets a stream go.
    fn leave(&mut self, key: usize, leaves: Leaves) {
        let Some(swept) = self.streams.try_remove(key) else { return };
        let Swept { resting, unsent, feed, place, .. } = *swept;
        if !unsent.is_empty() {
            self.slow.decrement(1.0);
        }
        if let Some(moved) = self.feeds[feed].streams.remove(place) {
            self.streams[moved].place = place;
        }
        self.forget_without_streams(feed);
        match leaves {
            Leaves::ForTask => {
                let fd = resting.socket.as_raw_fd();
                // An error is a socket that has ended, which its task will see.
                let _ended = self.poll.registry().deregister(&mut SourceFd(&fd));
                self.hand_back(resting, unsent);
            }
            Leaves::Gone => {}
            Leaves::Broken(error) => count_broken(&error),
        }
    }

    fn forget_without_streams(&mut self, feed: usize) {
        if self.feeds.get(feed).is_some_and(|watched| watched.streams.is_empty()) {
            let watched = self.feeds.remove(feed);
            watched.feed.leave(&self.listener);
            self.by_slot.remove(&watched.slot);
        }
    }

    /// Gives a stream to a task.
    fn hand_back(&self, resting: Resting, unsent: Bytes) {
        let Resting { socket, stream } = resting;
        let (sweepers, ending) = (self.sweepers.clone(), self.shared.drain.ending().clone());
        self.runtime.spawn(async move {
            match tokio::net::TcpStream::from_std(socket) {
                Ok(socket) => busy::carry(socket, stream, unsent.into(), sweepers, ending).await,
                Err(error) => count_broken(&error),
            }
        });
    }
}

impl Batches {
    fn of(feed: &Arc<Feed>) -> Self {
        Self { feed: Arc::clone(feed), made: Vec::new(), stamps: Stamps::default() }
    }

    /// What the feed has next behind a position, if anything.
    fn behind(&mut self, position: Cursor, now: Instant) -> Result<Option<&mut Made>, Behind> {
        let made = self.made.iter().position(|(of, _)| *of == position);
        let index = match made {
            Some(index) => index,
            None => {
                let batch = self.feed.pending(position)?.map(|batch| Made::new(batch, now));
                if self.made.len() == BATCHES_MAX {
                    self.forget();
                }
                self.made.push((position, batch));
                self.made.len() - 1
            }
        };
        Ok(self.made[index].1.as_mut())
    }

    /// Keeps none of them any more, but for when their events were stored.
    fn forget(&mut self) {
        for Made { batch, handed, .. } in self.made.drain(..).filter_map(|(_, made)| made) {
            self.stamps.add_all(&batch.stamps, handed);
        }
    }

    /// When the events were stored that have been handed out whole to streams older than they.
    fn stamps(mut self) -> Stamps {
        self.forget();
        self.stamps
    }
}

impl Made {
    fn new(batch: Batch, now: Instant) -> Self {
        let framed = chunk::of(&batch.coded.bytes).into();
        // By the clock that streams' ages are told by.
        let since = now.checked_sub(batch.stamps.age());
        Self { batch, framed, since, handed: 0 }
    }
}

/// Writes as much as the socket takes now.
fn write(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
