//! One thread that holds many connections: it hears what new ones are for (`arriving`), hands what their
//! feeds get to all streams at rest, in turns, and gives to a task of its own whichever needs more than that.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    os::fd::AsRawFd as _,
    sync::Arc,
    task::Context,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mio::{Events, Interest, Poll, Token, event::Event, unix::SourceFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slab::Slab;
use tokio::{runtime::Handle, time::Instant};
use tracing::error;

use self::{
    arriving::Coming,
    batches::{Batches, Sent},
    full::Full,
};
use super::{
    NOISE_BYTES_MAX, Resting, busy, chunk,
    circle::Circle,
    sweepers::{Collected, Mail, Post, Sweepers},
    ticks::{Tick, Ticks},
};
use crate::{
    SlowStream,
    connection::count_broken,
    feed::{Behind, Feed, Listener},
    resting::Due,
    status::SLOWEST_MAX,
    subscription::Shared,
};

mod arriving;
mod batches;
mod full;
#[cfg(test)]
mod hot_path;

/// What wakes the thread, among its sockets, …
pub(super) const WAKE: Token = Token(usize::MAX);
/// … and the listener, where it waits for that.
pub(super) const DOOR: Token = Token(usize::MAX - 1);
/// Streams that are looked at before other feeds have their turn: about a millisecond, so that few
/// are not kept waiting by many.
const TURN_STREAMS: usize = 256;
/// Bytes after which a socket is asked whether it has room: one call to the kernel for two dozen small
/// events.
const ASKED_AFTER_BYTES: usize = 8 * 1024;
/// Readinesses that are taken at once.
const EVENTS_MAX: usize = 1_024;

pub(super) struct Sweeper {
    poll: Poll,
    post: Arc<Post>,
    /// What has come by post, empty but for its room while nobody looks at it.
    came: Collected,
    listener: Arc<dyn Listener>,
    shared: Arc<Shared>,
    sweepers: Sweepers,
    runtime: Handle,
    /// What accepts connections, where that is here.
    accepting: Option<BoxFuture<'static, ()>>,
    connections: Slab<Connection>,
    /// Those that have come, and have said something.
    arrived: VecDeque<usize>,
    /// Those that have begun to rest.
    begun: Vec<Begun>,
    feeds: Slab<Watched>,
    /// Those whose streams are to be looked at.
    turns: VecDeque<usize>,
    ticks: Ticks,
    /// Those whose socket has no room for what they were handed.
    full: Full,
    /// What has been sent and is not counted yet.
    sent: Sent,
    is_ending: bool,
}

/// A connection, by what it is to its sweeper.
enum Connection {
    /// Its client has still to say what it is for.
    Comes(Box<Coming>),
    /// It is being begun. Nobody sees this but who begins it.
    Begins,
    Rests(Box<Swept>),
}

/// A stream that rests here.
struct Swept {
    resting: Resting,
    /// What its socket has not taken yet of what it was handed.
    unsent: Bytes,
    /// Whether it waits for room in its socket. What its feed has is left there meanwhile.
    is_full: bool,
    noise: usize,
    /// Bytes that its socket has taken since it was asked whether it has room.
    unasked: usize,
    feed: usize,
    /// Its place among its feed's streams.
    place: usize,
    tick: Tick,
}

/// A stream that rests from now on.
struct Begun {
    key: usize,
    feed: usize,
    /// What it is first to be sent.
    first: Vec<u8>,
}

/// A feed, and the streams here that wait for it.
struct Watched {
    feed: Arc<Feed>,
    streams: Circle,
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
            came: Collected::default(),
            shared,
            sweepers,
            runtime,
            accepting: None,
            connections: Slab::new(),
            arrived: VecDeque::new(),
            begun: Vec::new(),
            feeds: Slab::new(),
            turns: VecDeque::new(),
            ticks: Ticks::new(Instant::now()),
            full: Full::default(),
            sent: Sent::default(),
            is_ending: false,
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) {
        // What cannot be done at once is spawned there.
        let runtime = self.runtime.clone();
        let _inside = runtime.enter();
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_ending {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return error!(%error, "streams at rest can be waited for no more"),
            }
            self.post.is_looking();
            self.hear_sockets(&events);
            self.open_mail();
            self.hear_out();
            self.look_at_begun();
            self.sweep();
            self.look_at_due();
            self.count();
        }
    }

    /// Counts what has been sent since it counted last: counters that all threads share are not
    /// touched for each delivery.
    fn count(&mut self) {
        self.shared.sent.count_events(std::mem::take(&mut self.sent.events));
        self.shared.sent.count_bytes(std::mem::take(&mut self.sent.bytes));
        self.shared.sent.observe_latency(&self.sent.stamps);
        self.sent.stamps.clear();
    }

    /// How long to wait for sockets and mail at most: not at all where there is more to do.
    fn wait(&self) -> Option<Duration> {
        if !self.turns.is_empty() || !self.arrived.is_empty() || !self.post.may_wait() {
            return Some(Duration::ZERO);
        }
        self.ticks.wake_at().map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn open_mail(&mut self) {
        let mut came = std::mem::take(&mut self.came);
        self.post.collect(&mut came);
        for feed in came.moved.drain(..) {
            self.feed_has_moved(feed);
        }
        for mail in came.mail.drain(..) {
            match mail {
                Mail::Arrival(arrival) => self.welcome(*arrival),
                Mail::Stream(resting) => self.take(*resting),
                Mail::Accepting(accepting) => {
                    self.accepting = Some(accepting);
                    self.accept();
                }
                Mail::News => self.tell_news(),
                Mail::Slowest(answer) => {
                    // Who asked may not wait any more.
                    let _unheard = answer.try_send(self.slowest());
                }
                Mail::End => self.is_ending = true,
            }
        }
        self.came = came;
    }

    /// Accepts connections, which come back as mail, here or to others.
    fn accept(&mut self) {
        let waker = Arc::clone(&self.post).into();
        if let Some(accepting) = &mut self.accepting
            && accepting.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            self.accepting = None;
        }
    }

    /// Gives a connection a place, and waits for it from now on.
    fn put(&mut self, socket: &TcpStream) -> Option<usize> {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        // Room is waited for by those who have none: at first each has.
        let (fd, interest) = (socket.as_raw_fd(), Interest::READABLE);
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), Token(key), interest)
        {
            count_broken(&error);
            return None;
        }
        entry.insert(Connection::Begins);
        Some(key)
    }

    /// Takes a stream that rests from now on.
    fn take(&mut self, resting: Resting) {
        if let Some(key) = self.put(&resting.socket) {
            self.rest(key, resting, Vec::new());
        }
    }

    /// Lets a stream rest at a place, where it is handed this first, with what its feed has.
    fn rest(&mut self, key: usize, mut resting: Resting, first: Vec<u8>) {
        let subscription = &mut resting.stream.subscription;
        subscription.hear_news();
        let due = subscription.due();
        let Some(feed) = subscription.feed() else {
            self.connections.remove(key);
            return self.hand_back(resting, first);
        };
        let entry = self.feeds.vacant_entry();
        let feed = match feed.listen(&self.listener, entry.key()) {
            Some(watched) => watched,
            None => {
                let key = entry.key();
                entry.insert(Watched { feed: Arc::clone(feed), streams: Circle::default() });
                key
            }
        };
        let place = self.feeds[feed].streams.add(key);
        let tick = self.ticks.put(key, due);
        let swept = Swept {
            resting,
            unsent: Bytes::new(),
            is_full: false,
            noise: 0,
            unasked: 0,
            feed,
            place,
            tick,
        };
        self.connections[key] = Connection::Rests(Box::new(swept));
        self.begun.push(Begun { key, feed, first });
    }

    /// Hands streams that have begun to rest what is first to be sent: all of them together, since the
    /// way through the kernel costs more where other things are done in between, and who comes at the same
    /// time often wants the same.
    fn look_at_begun(&mut self) {
        let mut begun = std::mem::take(&mut self.begun);
        let now = Instant::now();
        for alike in begun.chunk_by_mut(|one, other| one.feed == other.feed) {
            let Some(watched) = self.feeds.get(alike[0].feed) else { continue };
            let mut batches = Batches::of(&watched.feed);
            for Begun { key, first, .. } in alike {
                self.look_first(*key, std::mem::take(first), &mut batches, now);
            }
            self.sent.stamps.add_all(&batches.stamps(), 1);
        }
        begun.clear();
        self.begun = begun;
    }

    /// Tells all streams of a drain, or the end: each has a moment now. At the end nobody is heard who
    /// has not asked for anything.
    fn tell_news(&mut self) {
        let is_ending = self.shared.drain.ending().is_cancelled();
        self.connections.retain(|_, connection| !(is_ending && connection.comes()));
        for (key, connection) in &mut self.connections {
            if let Connection::Rests(swept) = connection {
                let subscription = &mut swept.resting.stream.subscription;
                subscription.hear_news();
                swept.tick = self.ticks.put(key, subscription.due());
            }
        }
    }

    /// It may have been let go of meanwhile. Where another one has its place, that is looked at in vain.
    fn feed_has_moved(&mut self, key: usize) {
        let Some(watched) = self.feeds.get_mut(key) else { return };
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
            self.sent.stamps.add_all(&batches.stamps(), 1);
            if self.feeds.get(key).is_some_and(|watched| watched.streams.has_turns()) {
                self.turns.push_back(key);
            }
        }
    }

    fn look_alone(&mut self, key: usize) {
        let Some(swept) = swept(&mut self.connections, key) else { return };
        let mut batches = Batches::of(&self.feeds[swept.feed].feed);
        self.look(key, &mut batches, Instant::now());
        self.sent.stamps.add_all(&batches.stamps(), 1);
    }

    /// Hands a stream what is first to be sent, and all that its feed has, in one write where it can be.
    /// What came since it last looked has rung for nobody here.
    fn look_first(&mut self, key: usize, mut first: Vec<u8>, batches: &mut Batches, now: Instant) {
        let Some(swept) = swept(&mut self.connections, key) else { return };
        if !first.is_empty() {
            let subscription = &mut swept.resting.stream.subscription;
            if let Some(position) = subscription.position()
                && let Ok(Some(made)) = batches.behind(position, now)
            {
                first.extend_from_slice(&made.framed);
                self.sent.hand(subscription, made, now);
            }
            self.send(key, first);
        }
        self.look(key, batches, now);
    }

    /// Hands a stream all that its feed has for it, as long as there is room in its socket.
    fn look(&mut self, key: usize, batches: &mut Batches, now: Instant) {
        let Some(swept) = swept(&mut self.connections, key) else { return };
        while !swept.is_full
            && let Some(position) = swept.resting.stream.subscription.position()
        {
            let made = match batches.behind(position, now) {
                Ok(Some(made)) => made,
                Ok(None) => return,
                Err(Behind) => {
                    swept.resting.stream.subscription.lag();
                    return self.leave(key, Leaves::ForTask);
                }
            };
            match swept.has_room() {
                Ok(true) => {}
                Ok(false) => return self.fill(key, Bytes::new()),
                Err(error) => return self.leave(key, Leaves::Broken(error)),
            }
            self.sent.hand(&mut swept.resting.stream.subscription, made, now);
            let framed = &made.framed;
            match swept.write(framed) {
                // What comes behind it rings again.
                Ok(written) if written == framed.len() && made.is_all() => return,
                Ok(written) if written == framed.len() => {}
                Ok(written) => return self.fill(key, framed.slice(written..)),
                Err(error) => return self.leave(key, Leaves::Broken(error)),
            }
        }
    }

    /// Sends a stream what is for it alone.
    fn send(&mut self, key: usize, bytes: Vec<u8>) {
        let Some(swept) = swept(&mut self.connections, key) else { return };
        match swept.write(&bytes) {
            Ok(written) if written == bytes.len() => {}
            Ok(written) => self.fill(key, Bytes::from(bytes).slice(written..)),
            Err(error) => self.leave(key, Leaves::Broken(error)),
        }
    }

    /// Has a stream wait for room in its socket, for this first.
    fn fill(&mut self, key: usize, unsent: Bytes) {
        let Some(swept) = swept(&mut self.connections, key) else { return };
        swept.unsent = unsent;
        swept.is_full = true;
        self.full.insert(key);
        let fd = swept.resting.socket.as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        // It tells at once where there is room by now.
        let registry = self.poll.registry();
        if let Err(error) = registry.reregister(&mut SourceFd(&fd), Token(key), interest) {
            self.leave(key, Leaves::Broken(error));
        }
    }

    fn hear_sockets(&mut self, events: &Events) {
        let mut accept_is_due = self.post.take_accept_is_due();
        for event in events {
            match event.token() {
                WAKE => {}
                DOOR => accept_is_due = true,
                Token(_) => self.socket_is_ready(event),
            }
        }
        if accept_is_due {
            self.accept();
        }
    }

    fn socket_is_ready(&mut self, event: &Event) {
        let Token(key) = event.token();
        if self.connections.get(key).is_some_and(Connection::comes) {
            return self.arrived.push_back(key);
        }
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
        let Some(swept) = swept(&mut self.connections, key) else { return Ok(()) };
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
        let Some(swept) = swept(&mut self.connections, key) else { return };
        if !swept.is_full {
            return;
        }
        let unsent = std::mem::take(&mut swept.unsent);
        match swept.write(&unsent) {
            Ok(written) if written == unsent.len() => {
                swept.is_full = false;
                self.full.remove(key);
                self.look_alone(key);
            }
            Ok(written) => swept.unsent = unsent.slice(written..),
            Err(error) => self.leave(key, Leaves::Broken(error)),
        }
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        while let Some((tick, keys)) = self.ticks.pop(now) {
            for key in keys {
                match self.connections.get(key) {
                    Some(Connection::Rests(swept)) if swept.tick == tick => {
                        self.break_silence(key, now);
                    }
                    Some(Connection::Comes(coming)) if coming.tick == tick => {
                        self.wait_no_longer(key, now);
                    }
                    _ => {}
                }
            }
        }
    }

    fn break_silence(&mut self, key: usize, now: Instant) {
        let Some(swept) = swept(&mut self.connections, key) else { return };
        let subscription = &mut swept.resting.stream.subscription;
        let due = subscription.break_silence(now, swept.is_full);
        swept.tick = self.ticks.put(key, subscription.due());
        match due {
            Due::Later => {}
            Due::Over => self.leave(key, Leaves::ForTask),
            Due::Bytes(bytes) => self.send(key, chunk::of(&bytes)),
        }
    }

    /// Lets a stream go.
    fn leave(&mut self, key: usize, leaves: Leaves) {
        let Some(Connection::Rests(left)) = self.connections.try_remove(key) else { return };
        let Swept { resting, unsent, feed, place, .. } = *left;
        self.full.remove(key);
        if let Some(moved) = self.feeds[feed].streams.remove(place)
            && let Some(moved) = swept(&mut self.connections, moved)
        {
            moved.place = place;
        }
        self.forget_without_streams(feed);
        match leaves {
            Leaves::ForTask => {
                self.hand_back(resting, unsent.into());
            }
            Leaves::Gone => {}
            Leaves::Broken(error) => count_broken(&error),
        }
    }

    /// The streams that are furthest behind, of those whose clients take nothing now. All others have
    /// what there is, and are not looked at.
    fn slowest(&self) -> Vec<SlowStream> {
        let full = self.full.keys().filter_map(|key| match self.connections.get(key)? {
            Connection::Rests(swept) => Some(&swept.resting.stream),
            Connection::Comes(_) | Connection::Begins => None,
        });
        let mut full: Vec<_> = full.collect();
        full.sort_unstable_by_key(|stream| stream.subscription.handed_up_to().sequence);
        full.truncate(SLOWEST_MAX);
        full.into_iter().map(|stream| stream.subscription.stalled(stream.place.client())).collect()
    }

    fn forget_without_streams(&mut self, feed: usize) {
        if self.feeds.get(feed).is_some_and(|watched| watched.streams.is_empty()) {
            let watched = self.feeds.remove(feed);
            watched.feed.leave(&self.listener);
        }
    }

    /// Gives a stream to a task.
    fn hand_back(&self, Resting { socket, stream }: Resting, unsent: Vec<u8>) {
        let (sweepers, ending) = (self.sweepers.clone(), self.shared.drain.ending().clone());
        self.give_to_task(socket, async move |socket| {
            busy::carry(socket, stream, unsent, sweepers, ending).await;
        });
    }

    /// Waits no longer for a socket, and has it served by a task.
    fn give_to_task<F>(&self, socket: TcpStream, serve: impl FnOnce(tokio::net::TcpStream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let fd = socket.as_raw_fd();
        // An error is a socket that has ended, which its task will see.
        let _ended = self.poll.registry().deregister(&mut SourceFd(&fd));
        match tokio::net::TcpStream::from_std(socket) {
            Ok(socket) => drop(self.runtime.spawn(serve(socket))),
            Err(error) => count_broken(&error),
        }
    }
}

impl Connection {
    fn comes(&self) -> bool {
        matches!(self, Self::Comes(_))
    }
}

/// The stream that rests at a place.
fn swept(connections: &mut Slab<Connection>, key: usize) -> Option<&mut Swept> {
    match connections.get_mut(key) {
        Some(Connection::Rests(swept)) => Some(swept),
        _ => None,
    }
}

impl Swept {
    /// Whether the socket shall take more: whether less than half of what may wait in it does, by
    /// `TCP_NOTSENT_LOWAT` where there is such, as far as it was asked.
    ///
    /// Who writes without asking is stopped late: the kernel asks before it begins a buffer of up to 64 KiB,
    /// and not before it appends to one that has begun.
    fn has_room(&mut self) -> io::Result<bool> {
        if self.unasked < ASKED_AFTER_BYTES {
            return Ok(true);
        }
        let mut asked = [PollFd::new(&self.resting.socket, PollFlags::OUT)];
        // An error of the socket's counts as room: the write that follows says which.
        let has_room = poll(&mut asked, Some(&Timespec::default()))? > 0;
        if has_room {
            self.unasked = 0;
        }
        Ok(has_room)
    }

    /// Writes as much as the socket takes now.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut socket, mut written) = (&self.resting.socket, 0);
        while written < bytes.len() {
            match socket.write(&bytes[written..]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unasked += written;
        Ok(written)
    }
}
