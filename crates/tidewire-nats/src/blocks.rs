//! Stretches of the log that were read lately, each read once for all who want it.
//!
//! Clients that come back together want the same stretch, each for its own topics. Reading it
//! whole costs the server 2 to 4 µs an event, once; picking one topic's events out of it costs
//! 55 to 80 µs for each, for every client.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tidewire_core::{Cursor, Epoch, Event, Interest, ReadError, Sequence, Topic};
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    known::unavailable,
    metrics,
    pull::Begin,
    reading::{Next, Reading},
    shared::Shared,
};

/// Sequences of one block. Blocks begin where their number says, so that everybody's are the same.
const BLOCK_SEQUENCES: u64 = 1_024;
/// Bytes of events after which a block ends early, with the next one behind it.
const BLOCK_BYTES: usize = 2 * 1024 * 1024;
/// Bytes that are held together; the ones that were not used for longest go first.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many are held together.
const HELD_MAX: usize = 512;
/// How long one is held that nobody uses.
const UNUSED_MAX: Duration = Duration::from_secs(30);
/// Bytes that an event takes beside its data.
const EVENT_BYTES: usize = 400;

/// All events of a stretch of the log.
#[derive(Debug)]
pub(crate) struct Block {
    /// What was retained when it was read began here, at the earliest.
    pub(crate) from: Sequence,
    /// Everything from there up to here is in it.
    pub(crate) to: Sequence,
    pub(crate) events: Vec<Event>,
    /// Where each topic's events are among them.
    by_topic: HashMap<Box<str>, (Topic, Vec<usize>)>,
    bytes: usize,
}

impl Block {
    /// Where the wanted events are, from `at` on, in order.
    pub(crate) fn wanted(&self, interest: &Interest, at: Sequence) -> Vec<usize> {
        let from = self.events.partition_point(|event| event.cursor.sequence < at);
        let mut found = Vec::new();
        for filter in interest.filters() {
            if filter.is_exact() {
                let places = self.by_topic.get(filter.as_str()).map(|(_, places)| places);
                found.extend(places.into_iter().flatten());
            } else {
                let topics = self.by_topic.values().filter(|(topic, _)| filter.matches(topic));
                found.extend(topics.flat_map(|(_, places)| places));
            }
        }
        found.retain(|place| *place >= from);
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn by_topic(events: &[Event]) -> HashMap<Box<str>, (Topic, Vec<usize>)> {
    let mut places: HashMap<Box<str>, (Topic, Vec<usize>)> = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        let topic = &event.event.topic;
        match places.get_mut(topic.as_str()) {
            Some((_, places)) => places.push(place),
            None => {
                places.insert(topic.as_str().into(), (topic.clone(), vec![place]));
            }
        }
    }
    places
}

/// The blocks that are held, or being read.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    epoch: Option<Epoch>,
    /// By the sequence at which each begins.
    slots: BTreeMap<u64, Slot>,
}

#[derive(Debug)]
struct Slot {
    block: Arc<OnceCell<Arc<Block>>>,
    used_at: Instant,
}

impl Blocks {
    /// The block that holds `at`, which is not beyond the head. It is read once, whoever asks.
    pub(crate) async fn holding(
        &self,
        shared: &Shared,
        epoch: Epoch,
        at: Sequence,
        head: Sequence,
    ) -> Result<Arc<Block>, ReadError> {
        let mut from = Sequence((at.0.max(1) - 1) / BLOCK_SEQUENCES * BLOCK_SEQUENCES + 1);
        loop {
            let slot = self.slot(epoch, from);
            let block = slot.get_or_try_init(|| read(shared, epoch, from, head)).await?;
            if block.to >= at {
                return Ok(Arc::clone(block));
            }
            from = block.to.next();
        }
    }

    fn slot(&self, epoch: Epoch, from: Sequence) -> Arc<OnceCell<Arc<Block>>> {
        let mut held = self.0.lock();
        if held.epoch != Some(epoch) {
            *held = Held { epoch: Some(epoch), slots: BTreeMap::new() };
        }
        if !held.slots.contains_key(&from.0) {
            held.make_room();
        }
        let used_at = Instant::now();
        let slot =
            held.slots.entry(from.0).or_insert_with(|| Slot { block: Arc::default(), used_at });
        slot.used_at = used_at;
        Arc::clone(&slot.block)
    }

    /// Lets go what nobody has used for a while.
    pub(crate) fn tidy(&self) {
        self.0.lock().slots.retain(|_, slot| slot.used_at.elapsed() < UNUSED_MAX);
    }
}

impl Held {
    fn make_room(&mut self) {
        while self.slots.len() >= HELD_MAX || self.bytes() > HELD_BYTES_MAX {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used_at);
            let Some(from) = oldest.map(|(from, _)| *from) else { return };
            self.slots.remove(&from);
        }
    }

    fn bytes(&self) -> usize {
        self.slots.values().filter_map(|slot| slot.block.get()).map(|block| block.bytes).sum()
    }
}

async fn read(
    shared: &Shared,
    epoch: Epoch,
    from: Sequence,
    head: Sequence,
) -> Result<Arc<Block>, ReadError> {
    let _permit = shared.permit().await?;
    metrics::count_read("shared");
    let end =
        Sequence((from.0 - 1) / BLOCK_SEQUENCES * BLOCK_SEQUENCES + BLOCK_SEQUENCES).min(head);
    let all = vec![shared.subjects.all()];
    let after = Cursor::new(epoch, from.previous());
    let mut reading = Reading::open(shared, Begin::At(from), after, end, all).await?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    let mut to = end;
    loop {
        let wanted = usize::try_from(end.0 - reading.read_to.0).unwrap_or(usize::MAX);
        match reading.next(shared, wanted).await? {
            Next::Finished => break,
            Next::Event(event) => {
                bytes += event.event.data.as_bytes().len() + EVENT_BYTES;
                events.push(*event);
                if bytes > BLOCK_BYTES {
                    to = reading.read_to;
                    break;
                }
            }
        }
    }
    reading.close().await;
    let from = still_retained(shared, epoch, from, &events).await?;
    let by_topic = by_topic(&events);
    Ok(Arc::new(Block { from, to, events, by_topic, bytes }))
}

/// From where on the block holds what there was. Its beginning may have left the stream while it
/// was read, and the stream may have been made anew.
async fn still_retained(
    shared: &Shared,
    epoch: Epoch,
    from: Sequence,
    events: &[Event],
) -> Result<Sequence, ReadError> {
    let bounds = shared.known.fresh().await?.bounds;
    if bounds.epoch != epoch {
        return Err(ReadError::ForeignEpoch { epoch: bounds.epoch });
    }
    // Below the oldest, what is there may have holes: unless there are none.
    let below = events.iter().take_while(|event| event.cursor.sequence < bounds.oldest).count();
    let is_whole = bounds.oldest.0.saturating_sub(from.0) <= below as u64;
    Ok(if is_whole { from } else { bounds.oldest })
}

impl Shared {
    /// Leave to have a place open for pages.
    pub(crate) async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, ReadError> {
        self.reads.acquire().await.map_err(|_| unavailable("the backbone is closed"))
    }
}
