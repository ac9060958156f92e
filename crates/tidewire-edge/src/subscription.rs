//! One client's way through the log: replaying, live, lagged, ended.
//!
//! First connect, resume, a slow reader and an interruption are the same two arms of one loop:
//! join the live events where they are near, or take a page: from memory, or else from the log.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use rand::RngExt as _;
use tidewire_core::{Backbone, Cursor, Page, ReadError, ResumePoint, UnixMillis};
use tokio::{
    sync::Semaphore,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Config, SubscribeRequest,
    acknowledging::{Acknowledgements, Owed},
    admission::Admission,
    carried::Carried,
    coding::Coded,
    connection_name::ConnectionName,
    drain::{Drain, Stay},
    fanout::{Attached, Fanout, Live},
    feed::{Batch, Behind, FeedKey},
    follow::TailHealth,
    frame::{self, Hello},
    gap::Gap,
    gzip::Check,
    metrics::{self, ClosedBecause, ReplayBecause, Sent, Streamed},
    notes::Notes,
    plain::WeakSweepers,
    probe::Probe,
    reading::{Found, find},
    replays::{Replays, Wanted},
    request::{Conflate, OnGap},
    resting::Next,
    returns::{Returns, milliseconds, sometime, soon},
    stamps::Stamps,
    start::{self, Place, Start},
    traces::{ConnectSpan, Traces},
    window::Recent,
};

/// Bytes of frames that are handed out together, unless one alone is longer: what a subscription
/// holds while they are sent.
const HANDED_OUT_BYTES_MAX: usize = 32 * 1024;
/// How long a quiet client's cursor may stand still while the log moves on.
const CURSOR_INTERVAL: Duration = Duration::from_secs(15);
/// The share of the heartbeat's interval, in percent, that may be taken off at random.
const HEARTBEAT_JITTER_PERCENT: u32 = 20;

/// What all subscriptions of an edge share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) health: Arc<TailHealth>,
    pub(crate) sent: Sent,
    pub(crate) streamed: Streamed,
    pub(crate) replays: Arc<Replays>,
    pub(crate) admission: Admission,
    pub(crate) drain: Drain,
    pub(crate) returns: Returns,
    pub(crate) traces: Traces,
    pub(crate) acknowledgements: Arc<Acknowledgements>,
    /// Bytes that answers to polls may hold.
    pub(crate) answers: Arc<Semaphore>,
    /// What went wrong last.
    pub(crate) notes: Arc<Notes>,
    /// The streams that tasks carry …
    pub(crate) carried: Carried,
    /// … and who holds those at rest, once there is somebody.
    pub(crate) sweepers: OnceLock<WeakSweepers>,
}

impl Shared {
    /// The log's head but for a moment's delay, where this edge knows it: while the tail catches up,
    /// its head is the past.
    pub(crate) fn near_head(&self) -> Option<Cursor> {
        if self.health.is_following() { self.fanout.head() } else { None }
    }
}

/// Who gets what a subscription hands out, and where that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A connection that stays.
    Stream,
    /// A poll, which counts for itself what it takes.
    Poll,
}

/// One client's way through the log. It yields bytes to send; how they reach a socket is not its
/// matter. Nothing is read for a client that does not take what it has been given.
pub struct Subscription {
    pub(crate) shared: Arc<Shared>,
    audience: Audience,
    /// Since when its client waits for it, or has it.
    pub(crate) since: Instant,
    pub(crate) key: FeedKey,
    on_gap: OnGap,
    conflate: Conflate,
    control: bool,
    heartbeat_interval: Duration,
    /// Everything wanted up to here has been handed out.
    pub(crate) cursor: Cursor,
    /// How far the snapshot that is being handed out goes, at least; `None` outside of one.
    snapshot_until: Option<Cursor>,
    /// The place among the live events; `None` while pages are read from the log.
    pub(crate) live: Option<Live>,
    /// The page that is being read, or waits for its turn.
    reading: Option<AbortOnDropHandle<Found>>,
    /// Since when it reads the log, however many pages that takes.
    replaying_since: Option<Instant>,
    opening: Option<Coded>,
    /// Of all that has been handed out.
    pub(crate) check: Check,
    pub(crate) name: ConnectionName,
    probe: Probe,
    /// Within how long the probe is to be acknowledged, and that it is.
    ack: Option<Duration>,
    pub(crate) owed: Option<Owed>,
    /// When a heartbeat is due, or the probe.
    pub(crate) quiet_until: Instant,
    /// The last point that the client got, and when.
    pub(crate) told: (ResumePoint, Instant),
    pub(crate) stay: Stay,
    closed_because: ClosedBecause,
    /// Until the first byte is handed out.
    connect: ConnectSpan,
}

impl Subscription {
    /// Finds where the subscription begins, and begins it there. Its client waits
    /// `since` then.
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        request: SubscribeRequest,
        audience: Audience,
        since: Instant,
    ) -> Result<(Self, Start), ReadError> {
        let start = start::find(&request, &shared).await?;
        if let Start::Live(_) = start {
            shared.streamed.count_start(request.from);
        }
        Ok((Self::new(shared, request, audience, since, &start), start))
    }

    /// Begins where `start` says.
    fn new(
        shared: Arc<Shared>,
        request: SubscribeRequest,
        audience: Audience,
        since: Instant,
        start: &Start,
    ) -> Self {
        let heartbeat_interval = request.heartbeat.unwrap_or(shared.config.heartbeat_interval);
        let now = Instant::now();
        let Place { after: cursor, snapshot_until } = start.place();
        let (stay, age) = match audience {
            Audience::Stream => {
                shared.streamed.count_opened(start.as_str());
                Stay::begin(shared.config.connection_age_max, &shared.drain)
            }
            Audience::Poll => (Stay::until_ending(&shared.drain), None),
        };
        let name = shared.acknowledgements.name();
        let mut subscription = Self {
            shared,
            audience,
            since,
            key: FeedKey {
                interest: request.interest,
                envelope: request.envelope,
                coding: request.coding,
            },
            on_gap: request.on_gap,
            conflate: request.conflate,
            control: request.control,
            heartbeat_interval,
            cursor,
            snapshot_until,
            live: None,
            reading: None,
            replaying_since: None,
            opening: None,
            check: Check::default(),
            name,
            probe: Probe::wanted(request.probe || request.ack.is_some()),
            ack: request.ack,
            owed: None,
            quiet_until: now,
            told: (start.place().point(), now),
            stay,
            closed_because: ClosedBecause::Client,
            connect: ConnectSpan::OFF,
        };
        subscription.opening = Some(subscription.open(start, age));
        subscription
    }

    /// Ends this span when the first byte is handed out.
    pub(crate) fn connected_by(&mut self, connect: ConnectSpan) {
        self.connect = connect;
    }

    /// Waits for the next bytes to send; `None` at the end. Each call's bytes are whole frames, in
    /// the coding that was asked for, and can be read as soon as they have come.
    /// Dropping the future before it is done loses nothing.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self.advance(false).await {
            Next::Bytes(bytes) => Some(bytes),
            Next::Rest | Next::End => None,
        }
    }

    /// Does what is next. Where it `rests`, it does not wait for live events.
    pub(crate) async fn advance(&mut self, rests: bool) -> Next {
        if self.closed_because != ClosedBecause::Client {
            return Next::End;
        }
        let Coded { bytes, check } = match self.opening.take() {
            Some(opening) => {
                if self.audience == Audience::Stream {
                    self.shared.streamed.observe_connect(self.since.elapsed());
                }
                opening
            }
            None => match self.advance_or_end(rests).await {
                Ok(Some(coded)) => coded,
                Ok(None) => return Next::Rest,
                Err(because) => match self.end(because) {
                    Some(coded) => coded,
                    None => return Next::End,
                },
            },
        };
        self.check = self.check.then(check);
        self.quiet_from(Instant::now());
        self.count_bytes(bytes.len());
        self.connect.first_byte();
        Next::Bytes(bytes)
    }

    /// Goes through the loop until there is something to hand out, or nothing but to wait for live
    /// events where it `rests`, or the hub ends the stream here; says why.
    async fn advance_or_end(&mut self, rests: bool) -> Result<Option<Coded>, ClosedBecause> {
        loop {
            if let Some(because) = self.over() {
                return Err(because);
            }
            if rests && self.live.is_some() {
                return Ok(None);
            }
            match self.stay.news().run_until_cancelled(self.step()).await {
                Some(Some(coded)) => return Ok(Some(coded)),
                Some(None) => {}
                None => self.stay.hear(&self.shared.drain),
            }
        }
    }

    /// Why the hub ends the stream here, if it does.
    pub(crate) fn over(&self) -> Option<ClosedBecause> {
        self.stay.over().or_else(|| {
            let is_overdue = self.owed.as_ref().is_some_and(Owed::is_overdue);
            is_overdue.then_some(ClosedBecause::Buffered)
        })
    }

    /// Whether it has ended since something seems to hold it back. Then it ends in good order,
    /// whatever its client survives: what holds it may throw away all of an answer that breaks off.
    pub(crate) fn is_held_back(&self) -> bool {
        self.closed_because == ClosedBecause::Buffered
    }

    /// One turn of the loop: join, or read a page. Dropping the future before it is done loses
    /// nothing.
    pub(crate) async fn step(&mut self) -> Option<Coded> {
        let until = self.due();
        if let Some(live) = &mut self.live {
            tokio::select! {
                biased;
                batch = live.next() => match batch {
                    Ok(batch) => return Some(self.take(batch)),
                    Err(Behind) => {
                        self.live = None;
                        self.begin_replay(ReplayBecause::Lagged);
                    }
                },
                () = sleep_until(until) => return self.keep_alive().map(|frame| self.encode(frame)),
            }
        } else if let Some(reading) = &mut self.reading {
            tokio::select! {
                biased;
                found = reading => {
                    self.reading = None;
                    let plain = found.ok().and_then(|found| self.take_found(found));
                    return plain.map(|plain| self.encode(plain));
                }
                () = sleep_until(until) => return self.keep_alive().map(|frame| self.encode(frame)),
            }
        } else if self.snapshot_until.is_some() {
            self.begin_replay(ReplayBecause::Snapshot);
            self.reading = Some(self.read());
        } else {
            match self.shared.fanout.attach(&self.key, self.cursor) {
                Attached::Joined(live) => {
                    // The same, and held once for all who want it.
                    self.key = live.feed().key.clone();
                    self.live = Some(live);
                    if let Some(since) = self.replaying_since.take() {
                        metrics::observe_replay(since.elapsed());
                    }
                }
                Attached::Recent(recent) => match self.take_recent(&recent) {
                    Some(coded) => return Some(coded),
                    None => yield_now().await,
                },
                Attached::Behind => {
                    self.begin_replay(ReplayBecause::Began);
                    self.reading = Some(self.read());
                }
            }
        }
        None
    }

    /// Whether all that is there has been handed out, but for what comes just now.
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Whether it reads from the log.
    pub(crate) fn is_replaying(&self) -> bool {
        self.replaying_since.is_some()
    }

    /// Moves on to the log's head over what is not wanted, where nothing that is waits before it:
    /// where its client has got to.
    pub(crate) fn catch_up(&mut self) -> ResumePoint {
        if let Some(head) = self.live.as_mut().and_then(Live::catch_up) {
            self.cursor = head;
        }
        ResumePoint { after: self.cursor, in_snapshot: self.snapshot_until.is_some() }
    }

    /// Counts a replay once, however many pages it takes.
    pub(crate) fn begin_replay(&mut self, because: ReplayBecause) {
        if self.replaying_since.is_none() {
            self.replaying_since = Some(Instant::now());
            metrics::count_replay(because);
        }
    }

    fn take(&mut self, batch: Batch) -> Coded {
        self.count_delivered(batch.events, &batch.stamps);
        self.tell(batch.cursor.into());
        batch.coded
    }

    /// One page from the log, once there is a permit for it. It is a task of its own, since a
    /// client whose socket is full is not asked for more: its read would hold the permit and wait.
    fn read(&self) -> AbortOnDropHandle<Found> {
        let wanted = Wanted {
            interest: self.key.interest.clone(),
            after: self.cursor,
            is_snapshot: self.snapshot_until.is_some(),
        };
        let shared = Arc::clone(&self.shared);
        AbortOnDropHandle::new(tokio::spawn(find(
            shared,
            wanted,
            self.snapshot_until,
            self.conflate,
        )))
    }

    fn take_found(&mut self, found: Found) -> Option<Bytes> {
        match found {
            Found::Page(page) => match self.snapshot_until {
                Some(until) => self.take_snapshot(&page, until),
                None => {
                    let envelope = self.key.envelope;
                    let frames = page.events.iter();
                    let frames = frames.map(|event| {
                        (event.cursor.into(), event.time, frame::event(event, envelope))
                    });
                    self.hand_out_plain(frames, page.next)
                }
            },
            Found::Conflated(until) => {
                metrics::count_conflation();
                self.snapshot_until = Some(until);
                let from = ResumePoint { after: self.cursor, in_snapshot: true };
                self.tell(from);
                Some(frame::conflated(from, until))
            }
            Found::Gone(reason, bounds) => {
                // The client's own cursor: it has not heard of pages that held nothing for it.
                let requested = self.told.0.to_string();
                let gap = Gap::new(reason, &requested, self.on_gap, &bounds);
                metrics::count_gap(reason);
                self.shared.notes.gap(reason, None);
                self.snapshot_until = None;
                self.tell(gap.resumed_from.into());
                Some(frame::gap(&gap))
            }
            Found::Nothing => None,
        }
    }

    /// A page of the snapshot. It is over where a page reaches the head at which it began: up to that
    /// page's end each topic's last event has been handed out, and all that stands behind comes as
    /// it does to everybody. Its last frame says so, so that whoever resumes behind it is not given
    /// a snapshot again.
    fn take_snapshot(&mut self, page: &Page, until: Cursor) -> Option<Bytes> {
        let envelope = self.key.envelope;
        let ends = page.next >= until;
        let last = page.events.last().map(|event| event.cursor).filter(|_| ends);
        let frames = page.events.iter().map(|event| {
            let in_snapshot = last != Some(event.cursor);
            let point = ResumePoint { after: event.cursor, in_snapshot };
            (point, event.time, frame::event_at(point, event, envelope))
        });
        let bytes = self.hand_out_plain(frames, page.next);
        let is_over = ends && self.cursor == page.next;
        if !is_over {
            return bytes;
        }
        self.snapshot_until = None;
        if bytes.is_some() && !self.control {
            return bytes;
        }
        self.tell(page.next.into());
        let end = frame::cursor(page.next);
        Some(match bytes {
            Some(bytes) => [bytes, end].concat().into(),
            None => end,
        })
    }

    /// What is wanted of the window's next events.
    fn take_recent(&mut self, recent: &Recent) -> Option<Coded> {
        let FeedKey { interest, envelope, coding } = self.key.clone();
        let now = UnixMillis::now();
        let wanted = recent
            .entries
            .iter()
            .filter(|entry| entry.event().expires() > now && interest.wants(entry.topic()));
        self.hand_out(
            wanted.map(|entry| {
                let coded = entry.coded_apart(envelope, coding);
                (entry.cursor().into(), entry.event().time, coded)
            }),
            recent.next,
        )
        .map(|(coded, _)| coded)
    }

    /// Hands out frames that are not coded yet: those of a page are coded together.
    fn hand_out_plain(
        &mut self,
        frames: impl Iterator<Item = (ResumePoint, UnixMillis, Bytes)>,
        next: Cursor,
    ) -> Option<Bytes> {
        let frames = frames.map(|(point, time, frame)| (point, time, Coded::identity(frame)));
        let (plain, events) = self.hand_out(frames, next)?;
        metrics::count_replayed(events);
        Some(plain.bytes)
    }

    /// Puts frames together, and moves to `next`. Where they are too long together, the rest is
    /// looked up again when these have left. Says how many there are.
    fn hand_out(
        &mut self,
        frames: impl Iterator<Item = (ResumePoint, UnixMillis, Coded)>,
        next: Cursor,
    ) -> Option<(Coded, usize)> {
        let mut taken: Vec<Coded> = Vec::new();
        let mut stamps = Stamps::default();
        let (mut length, mut reached) = (0, next);
        for (point, time, frame) in frames {
            if !taken.is_empty() && length + frame.bytes.len() > HANDED_OUT_BYTES_MAX {
                reached = self.cursor;
                break;
            }
            length += frame.bytes.len();
            taken.push(frame);
            stamps.add(time, 1);
            self.tell(point);
        }
        self.cursor = reached;
        self.count_delivered(taken.len(), &stamps);
        (!taken.is_empty()).then(|| (Coded::concat(taken.iter()), taken.len()))
    }

    /// The first frames. A gap comes before the hello: both move the client's cursor, and a cut
    /// between them must not let it resume behind a gap that it has never seen.
    fn open(&self, start: &Start, age: Option<Duration>) -> Coded {
        let mut frames = Vec::new();
        if let Start::Gap(gap) = start {
            metrics::count_gap(gap.reason);
            frames.push(frame::gap(gap));
        }
        if self.control {
            let hello = Hello {
                connection: &self.name.to_string(),
                edge: &self.shared.config.name,
                resume: start.as_str(),
                heartbeat_seconds: self.heartbeat_interval.as_secs(),
                max_age_seconds: age.map(|age| age.as_secs()),
            };
            let retry = milliseconds(sometime(&self.shared.config));
            frames.push(frame::hello(start.place().point(), retry, &hello));
        }
        // Something leaves at once in any case: a proxy may hold the head back until then.
        if frames.is_empty() {
            frames.push(frame::HEARTBEAT);
        }
        let frames = self.encode(frames.concat().into());
        Coded::concat([self.key.coding.head(), frames].iter())
    }

    /// What breaks a silence: a heartbeat, or in its place the cursor of a log that has moved on
    /// without this client, or the probe; nothing where the stream is over, or the silence goes on
    /// since the probe has been acknowledged meanwhile.
    pub(crate) fn keep_alive(&mut self) -> Option<Bytes> {
        if self.over().is_some() || Instant::now() < self.quiet_until {
            return None;
        }
        // While a page is read, more comes behind: a probe would be pushed on by that.
        if self.live.is_some() && self.probe.begin() {
            metrics::count_probe();
            let expect = |within| self.shared.acknowledgements.expect(self.name, within);
            self.owed = self.ack.map(expect);
            let point = self.catch_up();
            self.tell(point);
            return Some(frame::probe(point, &self.name.to_string()));
        }
        metrics::count_heartbeat();
        let (_, told_at) = self.told;
        let moved_on = (told_at.elapsed() >= CURSOR_INTERVAL).then(|| self.move_on()).flatten();
        Some(moved_on.unwrap_or(frame::HEARTBEAT))
    }

    /// The cursor of a log that has moved on without this client, if it has and the client wants to
    /// know.
    fn move_on(&mut self) -> Option<Bytes> {
        let point = self.catch_up();
        let (told, _) = self.told;
        // A snapshot's end is told by a cursor, so nothing before it is.
        (self.control && !point.in_snapshot && told != point).then(|| {
            self.tell(point);
            frame::cursor(point.after)
        })
    }

    /// The last bytes: those frames, and what ends the coding. An acknowledgement that comes once
    /// they have left is of nothing.
    fn end(&mut self, because: ClosedBecause) -> Option<Coded> {
        self.owed = None;
        let farewell = self.farewell(because).map_or_else(Coded::default, |last| self.encode(last));
        let end = self.key.coding.end(self.check.then(farewell.check));
        let last = Coded::concat([farewell, end].iter());
        (!last.bytes.is_empty()).then_some(last)
    }

    /// The last frames before the hub ends the stream. The cursor goes along: where streams end
    /// often, a quiet client would keep the one that it came with until that has expired.
    fn farewell(&mut self, because: ClosedBecause) -> Option<Bytes> {
        self.closed_because = because;
        let config = &self.shared.config;
        let reason = because.as_str();
        let farewell = match because {
            // It is part of what was asked for.
            ClosedBecause::Buffered => frame::buffered(milliseconds(sometime(config))),
            _ if !self.control => return None,
            ClosedBecause::Draining => {
                frame::retry(reason, self.shared.returns.appoint(soon(config)), None)
            }
            // Ages differ, so those who come back are spread already.
            ClosedBecause::Age | ClosedBecause::Client => {
                frame::retry(reason, milliseconds(sometime(config)), None)
            }
        };
        Some(match self.move_on() {
            None => farewell,
            Some(cursor) => [cursor, farewell].concat().into(),
        })
    }

    pub(crate) fn encode(&self, frames: Bytes) -> Coded {
        self.key.coding.encode(frames)
    }

    /// Notes that the client gets a point with what is handed out now.
    fn tell(&mut self, point: ResumePoint) {
        self.tell_at(point, Instant::now());
    }

    pub(crate) fn tell_at(&mut self, point: ResumePoint, now: Instant) {
        self.cursor = point.after;
        self.told = (point, now);
    }

    fn count_delivered(&self, events: usize, stamps: &Stamps) {
        if self.audience == Audience::Stream {
            self.shared.sent.count_events(events);
            self.shared.sent.observe_latency(&stamps.no_older_than(self.since.elapsed()));
        }
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        if self.audience == Audience::Stream {
            self.shared.sent.count_bytes(bytes);
        }
    }

    /// A silence begins now.
    pub(crate) fn quiet_from(&mut self, now: Instant) {
        self.quiet_until = now + self.quiet_interval();
    }

    fn quiet_interval(&mut self) -> Duration {
        let taken_off = rand::rng().random_range(0..=HEARTBEAT_JITTER_PERCENT);
        self.probe.silence(self.heartbeat_interval * (100 - taken_off) / 100)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.audience == Audience::Stream {
            self.shared.streamed.count_closed(self.closed_because, self.since.elapsed());
        }
    }
}
