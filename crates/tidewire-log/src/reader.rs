//! Reading: pages of wanted events, the last of each topic, and the place of a moment.

use std::{collections::HashMap, sync::Arc};

use tidewire_core::{
    Cursor, Epoch, Event, Interest, Invalid, Page, PageLimit, ReadError, Sequence, Topic,
    UnixMillis,
};

use crate::{
    record::Record,
    scan::{CHUNK_BYTES, Scan, ScanError},
    segment::Segment,
    shared::{Shared, unavailable},
    topics::TopicKey,
};

/// Bytes of the log that one call goes through, at most: a few milliseconds from the page cache.
/// A page holds no more of them.
const SCAN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Topics that one call of `latest` answers, at most: each costs a read of its own.
const LATEST_EVENTS_MAX: usize = 4_096;
/// Bytes read for a single event; a larger one costs a second read.
const SINGLE_BYTES: usize = 4 * 1024;

/// A reader's place in the log.
#[derive(Clone)]
pub(crate) struct Place {
    /// Everything up to here has been read.
    pub(crate) after: Cursor,
    /// Where the next record begins, once that is known. A reader that stands in a segment reads
    /// it to its end, even where it has left the log meanwhile.
    at: Option<(Arc<Segment>, u64)>,
}

impl Place {
    pub(crate) fn new(after: Cursor) -> Self {
        Self { after, at: None }
    }
}

/// Reads a page of wanted events behind `place`, and moves it along.
pub(crate) fn read(
    shared: &Shared,
    interest: &Interest,
    place: &mut Place,
    limit: PageLimit,
) -> Result<Page, ReadError> {
    let bounds = shared.bounds();
    if place.at.is_none() {
        bounds.check(place.after)?;
    }
    let start = place.after;
    let mut page = Filling::new(shared.epoch, interest, limit);
    while place.after.sequence < bounds.head {
        let Some((segment, offset)) = place.at.take().or_else(|| find(shared, place.after)) else {
            if place.after > start {
                // It has left while what stands before it was read. The next call says so.
                break;
            }
            return Err(ReadError::Expired { oldest: shared.bounds().start() });
        };
        let end = segment.extent().end;
        let mut scan = Scan::new(&segment.file, shared.epoch, offset, end, CHUNK_BYTES);
        let reached = read_segment(&mut scan, &mut page, &mut place.after, bounds.head)
            .map_err(|error| broken(&segment, &error))?;
        let stopped = reached < end;
        if stopped || place.after.sequence == bounds.head {
            place.at = Some((segment, reached));
        }
        if stopped {
            break;
        }
    }
    Ok(Page { events: page.events, next: place.after })
}

/// The segment and the place in it from which the record behind `after` is found.
fn find(shared: &Shared, after: Cursor) -> Option<(Arc<Segment>, u64)> {
    let next = after.sequence.next();
    let segment = shared.segment_of(next)?;
    let offset = segment.extent().offset_near(next);
    Some((segment, offset))
}

/// Reads on to the end of a segment, or until no more may be read: where the next record begins.
fn read_segment(
    scan: &mut Scan<'_>,
    page: &mut Filling<'_>,
    after: &mut Cursor,
    head: Sequence,
) -> Result<u64, BrokenError> {
    while let Some((offset, record)) = scan.next()? {
        let sequence = record.stamp.sequence;
        if sequence <= after.sequence {
            continue;
        }
        if sequence > head || !page.take(&record)? {
            return Ok(offset);
        }
        after.sequence = sequence;
    }
    Ok(scan.offset())
}

/// Reads the last event of every wanted topic behind `after`.
pub(crate) fn latest(
    shared: &Shared,
    interest: &Interest,
    after: Cursor,
    limit: PageLimit,
) -> Result<Page, ReadError> {
    match shared.bounds().check(after) {
        Ok(()) | Err(ReadError::Expired { .. }) => {}
        Err(error) => return Err(error),
    }
    let limit = PageLimit { events: limit.events.min(LATEST_EVENTS_MAX), ..limit };
    let mut page = Filling::new(shared.epoch, interest, limit);
    let (found, head) = {
        let topics = shared.topics.read();
        (topics.find(interest, after.sequence, page.now), topics.head())
    };
    for event in found {
        // What has left retention meanwhile is no longer the last of anything.
        let Some(segment) = shared.segment_of(event.sequence) else { continue };
        let end = segment.extent().end;
        let mut scan = Scan::new(&segment.file, shared.epoch, event.offset, end, SINGLE_BYTES);
        let taken = scan.next().map_err(BrokenError::from).and_then(|found| match found {
            Some((_, record)) if record.stamp.sequence == event.sequence => Ok(page.take(&record)?),
            _ => Err(BrokenError::Moved(event.sequence)),
        });
        if !taken.map_err(|error| broken(&segment, &error))? {
            let next = page.events.last().map_or(after, |event| event.cursor);
            return Ok(Page { events: page.events, next });
        }
    }
    let next = Cursor::new(shared.epoch, head.max(after.sequence));
    Ok(Page { events: page.events, next })
}

/// The cursor after which the events of this time or later stand.
pub(crate) fn cursor_at(shared: &Shared, time: UnixMillis) -> Result<Cursor, ReadError> {
    let head = shared.bounds().head();
    let holds_it =
        |segment: &Arc<Segment>| segment.extent().times.is_some_and(|(_, last)| last >= time);
    let Some(segment) = shared.segments().into_iter().find(holds_it) else { return Ok(head) };
    let (offset, end) = {
        let extent = segment.extent();
        (extent.offset_near_time(time), extent.end)
    };
    let mut scan = Scan::new(&segment.file, shared.epoch, offset, end, CHUNK_BYTES);
    while let Some((_, record)) = scan.next().map_err(|error| broken(&segment, &error.into()))? {
        if record.stamp.time >= time {
            let before = record.stamp.sequence.previous();
            return Ok(Cursor::new(shared.epoch, before.min(head.sequence)));
        }
    }
    Ok(head)
}

/// A page that is being filled.
struct Filling<'i> {
    epoch: Epoch,
    interest: &'i Interest,
    limit: PageLimit,
    now: UnixMillis,
    events: Vec<Event>,
    /// Bytes of their data.
    bytes: usize,
    /// Bytes of the records gone through.
    scanned: usize,
    /// The topics met, and whether they are wanted: most of them come again and again.
    topics: HashMap<TopicKey, bool>,
}

impl<'i> Filling<'i> {
    fn new(epoch: Epoch, interest: &'i Interest, limit: PageLimit) -> Self {
        Self {
            epoch,
            interest,
            limit,
            now: UnixMillis::now(),
            events: Vec::new(),
            bytes: 0,
            scanned: 0,
            topics: HashMap::new(),
        }
    }

    /// Takes a record's event if it is wanted. Where it says no, the page is as long as it may be,
    /// and ends before this record.
    fn take(&mut self, record: &Record<'_>) -> Result<bool, Invalid> {
        let full = self.events.len() >= self.limit.events.max(1);
        if full || self.scanned >= SCAN_BYTES_MAX {
            return Ok(false);
        }
        if record.expires() > self.now
            && let Some(topic) = self.wanted(record.topic)?
        {
            let bytes = self.bytes + record.data.len();
            if !self.events.is_empty() && bytes > self.limit.bytes {
                return Ok(false);
            }
            self.events.push(record.to_event(self.epoch, topic)?);
            self.bytes = bytes;
        }
        self.scanned += record.bytes;
        Ok(true)
    }

    fn wanted(&mut self, text: &str) -> Result<Option<Topic>, Invalid> {
        if let Some((topic, wanted)) = self.topics.get_key_value(text) {
            return Ok(wanted.then(|| topic.0.clone()));
        }
        let topic = Topic::parse(text)?;
        let wanted = self.interest.wants(&topic);
        self.topics.insert(TopicKey(topic.clone()), wanted);
        Ok(wanted.then_some(topic))
    }
}

/// Why a segment that was whole when the log was opened cannot be read.
#[derive(Debug, thiserror::Error)]
enum BrokenError {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("holds an event that this version does not take: {0}")]
    Event(#[from] Invalid),
    #[error("event {0} is not where it was written")]
    Moved(Sequence),
}

fn broken(segment: &Segment, error: &BrokenError) -> ReadError {
    unavailable(format!("{}: {error}", segment.path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidewire_core::TopicFilter;

    use super::*;
    use crate::{
        config::Config,
        testing::{ALL, START, TestLog, cursors, event, events, read, stored, with_ttl},
    };

    fn interest(filter: &str) -> Interest {
        Interest::new([TopicFilter::parse(filter).unwrap()]).unwrap()
    }

    fn start(log: &TestLog) -> Place {
        Place::new(log.shared.bounds().start())
    }

    #[test]
    fn one_call_goes_through_a_bounded_part_of_the_log() {
        let mut log = TestLog::new();
        for _ in 0..6 {
            log.commit(vec![event("t", &"x".repeat(1_000_000)); 2]);
        }
        let mut place = start(&log);
        let page = read(&log.shared, &interest("absent"), &mut place, ALL).unwrap();
        assert_eq!(page.events, []);
        assert_eq!(page.next.sequence, Sequence(5), "4 MiB are begun with four events and a part");
        let mut pages = 1;
        while place.after != log.shared.bounds().head() {
            read(&log.shared, &interest("absent"), &mut place, ALL).unwrap();
            pages += 1;
        }
        assert_eq!(pages, 3);
    }

    #[test]
    fn a_reader_finds_every_place_by_the_sparse_index() {
        let mut log = TestLog::with(|config| Config { segment_bytes: 300_000, ..config });
        let mut published = Vec::new();
        for n in 0..60_usize {
            let of_size = |m: usize| event("t", &"x".repeat((5 * n + m) * 37 % 9_000 + 1));
            published.extend(stored(log.commit((0..5).map(of_size).collect())));
        }
        for (n, after) in published.iter().enumerate() {
            let limit = PageLimit { events: 3, ..ALL };
            let page = read(&log.shared, &interest(">"), &mut Place::new(*after), limit).unwrap();
            let end = published.len().min(n + 4);
            assert_eq!(cursors(&page.events), published[n + 1..end], "after {after}");
        }
    }

    #[test]
    fn a_reader_in_a_segment_that_leaves_reads_it_to_its_end_and_then_has_expired() {
        let age = Duration::from_secs(8);
        let mut log = TestLog::with(|config| Config { retention_age: age, ..config });
        let old = stored(log.commit(events(10)));
        let mut place = start(&log);
        let limit = PageLimit { events: 4, ..ALL };
        let first = read(&log.shared, &interest(">"), &mut place, limit).unwrap();
        // A new segment begins, then another, and the first two leave.
        for seconds in [2, 20] {
            log.commit_at(events(1), UnixMillis(START.0 + seconds * 1_000));
        }
        assert_eq!(log.shared.segment_count(), 1);
        let rest = read(&log.shared, &interest(">"), &mut place, ALL).unwrap();
        assert_eq!(cursors(&[first.events, rest.events].concat()), old);
        let expired = reader_error(&log, &mut place);
        assert!(
            matches!(expired, ReadError::Expired { oldest } if oldest == log.shared.bounds().start())
        );
        assert!(matches!(reader_error(&log, &mut Place::new(old[3])), ReadError::Expired { .. }));
    }

    fn reader_error(log: &TestLog, place: &mut Place) -> ReadError {
        super::read(&log.shared, &interest(">"), place, ALL).unwrap_err()
    }

    #[test]
    fn events_past_their_ttl_are_left_out_everywhere() {
        let mut log = TestLog::new();
        let now = UnixMillis::now();
        let ago = |seconds: u64| now.before(Duration::from_secs(seconds));
        log.commit_at(vec![event("a", "lasting")], ago(200));
        log.commit_at(vec![with_ttl(event("a", "passed"), 60)], ago(100));
        log.commit_at(vec![with_ttl(event("b", "passed"), 60)], ago(100));
        log.commit_at(vec![with_ttl(event("c", "not yet"), 3_600)], ago(100));
        let texts = |events: &[Event]| -> Vec<_> {
            events.iter().map(|event| event.event.data.as_bytes().clone()).collect()
        };
        assert_eq!(texts(&log.read()), ["lasting", "not yet"]);
        let start = log.shared.bounds().start();
        let page = latest(&log.shared, &interest(">"), start, ALL).unwrap();
        assert_eq!(texts(&page.events), ["lasting", "not yet"]);
        assert_eq!(page.next, log.shared.bounds().head());
        let page = read(&log.shared, &interest("b"), &mut Place::new(start), ALL).unwrap();
        assert_eq!(page, Page { events: vec![], next: log.shared.bounds().head() });
    }

    #[test]
    fn the_cursor_of_a_moment_is_found_across_segments() {
        let mut log =
            TestLog::with(|config| Config { retention_bytes: 80_000, segment_bytes: 1, ..config });
        let at = |n: u64| UnixMillis(START.0 + n * 10);
        let mut published = Vec::new();
        for n in 0..40 {
            published.extend(stored(log.commit_at(events(2), at(n))));
        }
        assert!(log.shared.segment_count() > 10);
        for n in 1..40 {
            let before = published[2 * n - 1];
            let (n, found) = (n as u64, |time| cursor_at(&log.shared, time).unwrap());
            assert_eq!(found(at(n)), before);
            assert_eq!(found(UnixMillis(at(n).0 - 9)), before);
        }
        assert_eq!(cursor_at(&log.shared, at(40)).unwrap(), log.shared.bounds().head());
        assert_eq!(cursor_at(&log.shared, at(0)).unwrap(), log.shared.bounds().start());
    }

    #[test]
    fn the_cursor_of_a_moment_stands_before_all_events_of_that_moment() {
        let mut log = TestLog::new();
        log.commit(events(1));
        let first = log.shared.bounds().head();
        let moment = UnixMillis(START.0 + 1);
        log.commit_at(vec![event("t", &"x".repeat(50_000)); 6], moment);
        assert_eq!(cursor_at(&log.shared, moment).unwrap(), first);
    }

    #[test]
    fn a_page_holds_no_more_bytes_than_asked_for() {
        let mut log = TestLog::new();
        let published = stored(log.commit(vec![event("t", &"x".repeat(100)); 5]));
        let limit = PageLimit { bytes: 250, ..ALL };
        let page = read(&log.shared, &interest(">"), &mut start(&log), limit).unwrap();
        assert_eq!(cursors(&page.events), published[..2]);
        assert_eq!(page.next, published[1]);
    }

    #[test]
    fn damage_done_to_an_open_log_is_an_error_that_names_the_file() {
        let mut log = TestLog::new();
        log.commit(events(3));
        let path = crate::testing::segment_files(&log.config.dir).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = reader_error(&log, &mut start(&log)).to_string();
        assert!(error.contains(".seg: damaged at byte 28"), "{error}");
        let error = latest(&log.shared, &interest(">"), start(&log).after, ALL).unwrap_err();
        assert!(error.to_string().contains(".seg: damaged at byte 28"), "{error}");
    }
}
