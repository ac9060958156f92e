//! Pages of wanted events, and the last of each topic.

use std::time::Duration;

use tidewire_core::{Bounds, Cursor, Interest, Page, PageLimit, ReadError, UnixMillis};

use crate::{
    cover::cover,
    filling::Filling,
    kept_open::Kind,
    known::unavailable,
    metrics,
    pull::{Begin, Pull},
    reading::{Next, Reading},
    shared::Shared,
};

/// How old what is known of the stream may be for a page from a block that is held.
const KNOWN_AGE_MAX: Duration = Duration::from_secs(1);
/// How many blocks one page goes through at most.
const BLOCKS_MAX: usize = 8;
/// How far behind the head everything is read in shared blocks: some tens of milliseconds of the
/// server's time, whoever asks.
const NEAR_SEQUENCES: u64 = 32_768;
/// Events asked for at once for one page.
const REQUEST_EVENTS_MAX: usize = 512;

/// A page of what is wanted behind `after`.
pub(crate) async fn read(
    shared: &Shared,
    interest: &Interest,
    after: Cursor,
    limit: PageLimit,
) -> Result<Page, ReadError> {
    let bounds = known_for(shared, after).await?;
    if after == bounds.head() {
        return Ok(Page { events: Vec::new(), next: after });
    }
    let is_near = bounds.head.0 - after.sequence.0 <= NEAR_SEQUENCES;
    if is_near
        || *interest == Interest::everything()
        || shared.regions.is_asked_often(after.sequence)
    {
        read_blocks(shared, interest, after, limit, bounds).await
    } else {
        let page = read_place(shared, Kind::Wanted, interest, after, limit).await?;
        // What has left the stream before it came to its turn has left no trace in the page.
        shared.known.fresh().await?.bounds.check(after)?;
        Ok(page)
    }
}

/// The last event of each wanted topic, of those behind `after`.
pub(crate) async fn latest(
    shared: &Shared,
    interest: &Interest,
    after: Cursor,
    limit: PageLimit,
) -> Result<Page, ReadError> {
    let bounds = shared.known.fresh().await?.bounds;
    match bounds.check(after) {
        Ok(()) | Err(ReadError::Expired { .. }) => {}
        Err(error) => return Err(error),
    }
    if after == bounds.head() {
        return Ok(Page { events: Vec::new(), next: after });
    }
    let page = read_place(shared, Kind::Latest, interest, after, limit).await?;
    let epoch = shared.known.fresh().await?.bounds.epoch;
    if epoch == after.epoch { Ok(page) } else { Err(ReadError::ForeignEpoch { epoch }) }
}

/// The cursor behind which the events of a moment and later stand.
pub(crate) async fn cursor_at(shared: &Shared, time: UnixMillis) -> Result<Cursor, ReadError> {
    let _permit = shared.permit().await?;
    let all = [shared.subjects.all()];
    let opened = Pull::open(&shared.api, shared.api.connection(), Begin::AtTime(time), &all).await;
    let pull = opened.map_err(|error| unavailable(error.to_string()))?;
    let before = pull.before;
    pull.close().await;
    let bounds = shared.known.fresh().await?.bounds;
    let start = bounds.start().sequence;
    Ok(Cursor::new(bounds.epoch, before.clamp(start, bounds.head.max(start))))
}

/// What is known of the stream, if that is enough to read behind `after`.
async fn known_for(shared: &Shared, after: Cursor) -> Result<Bounds, ReadError> {
    let recent = shared.known.recent(KNOWN_AGE_MAX).map(|known| known.bounds);
    if let Some(bounds) =
        recent.filter(|bounds| after < bounds.head() && bounds.check(after).is_ok())
    {
        return Ok(bounds);
    }
    let bounds = shared.known.fresh().await?.bounds;
    bounds.check(after)?;
    Ok(bounds)
}

async fn read_blocks(
    shared: &Shared,
    interest: &Interest,
    after: Cursor,
    limit: PageLimit,
    bounds: Bounds,
) -> Result<Page, ReadError> {
    let mut page = Filling::new(after, limit);
    for _ in 0..BLOCKS_MAX {
        let at = page.next.sequence.next();
        let block = shared.blocks.holding(shared, after.epoch, at, bounds.head).await?;
        if block.from > at {
            if page.next > after {
                // What comes next has left meanwhile. The next call says so.
                break;
            }
            return Err(ReadError::Expired {
                oldest: Cursor::new(after.epoch, block.from.previous()),
            });
        }
        let now = UnixMillis::now();
        for place in block.wanted(interest, at) {
            let event = &block.events[place];
            if event.expires() > now && !page.take(event.clone()) {
                return Ok(page.cut());
            }
        }
        page.next.sequence = block.to;
        if block.to >= bounds.head {
            break;
        }
    }
    Ok(page.whole())
}

/// A page from a place of its own, which stays open for the page after.
async fn read_place(
    shared: &Shared,
    kind: Kind,
    interest: &Interest,
    after: Cursor,
    limit: PageLimit,
) -> Result<Page, ReadError> {
    let _permit = shared.permit().await?;
    metrics::count_read(kind.as_str());
    let (mut reading, mut left_over) = match shared.kept_open.take(kind, interest, after) {
        Some(kept) => kept,
        None => (open(shared, kind, interest, after).await?, None),
    };
    let mut page = Filling::new(after, limit);
    let events_max = limit.events.clamp(1, REQUEST_EVENTS_MAX);
    loop {
        let event = match left_over.take() {
            Some(event) => event,
            None => match reading.next(shared, events_max).await {
                Ok(Next::Event(event)) => *event,
                Ok(Next::Finished) => {
                    page.next.sequence = reading.end;
                    reading.close().await;
                    return Ok(page.whole());
                }
                // What is read is read; the next page begins with another place.
                Err(_) if reading.read_to > after.sequence => {
                    page.next.sequence = reading.read_to;
                    return Ok(page.whole());
                }
                Err(error) => return Err(error),
            },
        };
        let is_wanted = interest.wants(&event.event.topic) && event.expires() > UnixMillis::now();
        if is_wanted && !page.take(event.clone()) {
            let page = page.cut();
            shared.kept_open.keep(kind, interest, page.next, reading, event);
            return Ok(page);
        }
    }
}

async fn open(
    shared: &Shared,
    kind: Kind,
    interest: &Interest,
    after: Cursor,
) -> Result<Reading, ReadError> {
    let bounds = shared.known.fresh().await?.bounds;
    if bounds.epoch != after.epoch {
        return Err(ReadError::ForeignEpoch { epoch: bounds.epoch });
    }
    let begin = match kind {
        Kind::Wanted => Begin::At(after.sequence.next()),
        Kind::Latest => Begin::LastOfEachTopic,
    };
    let subjects = cover(interest, &shared.subjects);
    Reading::open(shared, begin, after, bounds.head, subjects).await
}
