//! What one subscriber has seen, in a few numbers, and what of it should not have been.

use super::{
    Fault,
    frames::{Event, Frame},
};
use crate::flow::{self, Flow, Wanted};

/// What a subscriber has got so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) flow: Flow,
    pub(super) wanted: Wanted,
    is_strict: bool,
    expects: Expects,
    /// Its first event, and how many there were.
    pub(super) first: u64,
    pub(super) count: u64,
    /// A rolling hash of all data.
    pub(super) hash: u64,
    position: Option<u64>,
    /// Something was not as it should have been: the hash says nothing any more.
    pub(super) is_spoilt: bool,
}

/// The event that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// Not known yet: it has just come.
    Any,
    /// Nor yet known, but it was there when it was last said how many events there are.
    Soon,
    /// This one, or an earlier one that was under way when it came.
    AtMost(u64),
    Exactly(u64),
}

impl Seen {
    /// Of one who is there before the flow begins, or comes to one that flows.
    pub(super) fn new(flow: Flow, wanted: Wanted, is_before: bool, is_strict: bool) -> Self {
        let expects =
            if is_before { Expects::Exactly(wanted.first_from(flow, 0)) } else { Expects::Any };
        Self {
            flow,
            wanted,
            is_strict,
            expects,
            first: 0,
            count: 0,
            hash: 0,
            position: None,
            is_spoilt: false,
        }
    }

    /// It is subscribed now, and events from this one on had not been published some time ago. The
    /// second time it must get the first of them that it wants, if not earlier ones: where that time
    /// ago is later than the first time.
    pub(super) fn must_get_from(&mut self, event: u64) {
        self.expects = match self.expects {
            Expects::Any => Expects::Soon,
            Expects::Soon => Expects::AtMost(self.wanted.first_from(self.flow, event)),
            known => known,
        };
    }

    /// Whether it lacks one of the first so many events.
    pub(super) fn lacks_of(&self, events: u64) -> bool {
        match self.expects {
            Expects::Any | Expects::Soon => false,
            Expects::AtMost(next) | Expects::Exactly(next) => next < events,
        }
    }

    /// Takes a frame; says how many violations it is, by what they are.
    pub(super) fn take(&mut self, frame: Frame, violations: &mut Violations) -> Result<(), Fault> {
        let before = *violations;
        match frame {
            Frame::Event(event) => {
                self.judge_position(event.position, true, violations);
                self.judge(event, violations);
            }
            Frame::Note { position } => self.judge_position(position, false, violations),
            Frame::Gap => violations.gaps += 1,
            Frame::Farewell => return Err(Fault::Ended),
        }
        self.is_spoilt |= *violations != before;
        Ok(())
    }

    fn judge_position(
        &mut self,
        position: Option<u64>,
        is_event: bool,
        violations: &mut Violations,
    ) {
        if !self.is_strict {
            return;
        }
        let goes_on = match (self.position, position) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(now)) => now > before || (now == before && !is_event),
        };
        if !goes_on {
            violations.ids += 1;
        }
        self.position = position;
    }

    fn judge(&mut self, event: Event, violations: &mut Violations) {
        let number = event.number;
        if event.flow != u64::from(self.flow.number)
            || self.wanted.first_from(self.flow, number) != number
        {
            violations.not_asked_for += 1;
            return;
        }
        let is_known = match self.expects {
            Expects::Any | Expects::Soon => false,
            Expects::AtMost(next) => number > next,
            Expects::Exactly(_) => true,
        };
        match self.expects {
            Expects::AtMost(next) | Expects::Exactly(next) if is_known => {
                if number < next {
                    violations.repeated += 1;
                    return;
                }
                violations.lost += self.between(next, number);
            }
            _ => {}
        }
        if self.count == 0 {
            self.first = number;
        }
        self.count += 1;
        self.hash = flow::hash_after(self.hash, event.checksum);
        self.expects = Expects::Exactly(self.wanted.first_from(self.flow, number + 1));
    }

    /// How many wanted events there are from one up to another.
    fn between(&self, from: u64, to: u64) -> u64 {
        let mut count = 0;
        let mut next = from;
        while next < to {
            count += 1;
            next = self.wanted.first_from(self.flow, next + 1);
        }
        count
    }
}

/// What must not be, counted over many subscribers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Violations {
    /// Events that were left out before a later one.
    pub(crate) lost: u64,
    /// Events that came again, or after a later one.
    pub(crate) repeated: u64,
    /// Events of a topic that was not asked for.
    pub(crate) not_asked_for: u64,
    /// Ids that do not grow.
    pub(crate) ids: u64,
    /// Gaps, which nobody should have had.
    pub(crate) gaps: u64,
    /// Streams whose bytes are no frames of events, or no chunks.
    pub(crate) malformed: u64,
    /// Connections that were not let in.
    pub(crate) refused: u64,
    /// Streams that ended.
    pub(crate) ended: u64,
    /// Subscribers whose events were not those that were published, by their hash.
    pub(crate) other_content: u64,
    /// Subscribers that still lacked an event when all was over.
    pub(crate) incomplete: u64,
    /// Deliveries that the hub's own metric has too few or too many of.
    pub(crate) miscounted: u64,
}

impl Violations {
    pub(crate) fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("lost", self.lost),
            ("repeated or out of order", self.repeated),
            ("not asked for", self.not_asked_for),
            ("ids that do not grow", self.ids),
            ("gaps", self.gaps),
            ("malformed", self.malformed),
            ("refused", self.refused),
            ("streams that ended", self.ended),
            ("other content", self.other_content),
            ("incomplete", self.incomplete),
            ("counted otherwise by the hub", self.miscounted),
        ]
    }

    pub(crate) fn add(&mut self, others: &Self) {
        self.lost += others.lost;
        self.repeated += others.repeated;
        self.not_asked_for += others.not_asked_for;
        self.ids += others.ids;
        self.gaps += others.gaps;
        self.malformed += others.malformed;
        self.refused += others.refused;
        self.ended += others.ended;
        self.other_content += others.other_content;
        self.incomplete += others.incomplete;
        self.miscounted += others.miscounted;
    }

    pub(crate) fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Flow = Flow { number: 2, topics: 20 };

    fn event(number: u64, position: u64) -> Frame {
        Frame::Event(Event { flow: 2, number, due: 0, checksum: 7, position: Some(position) })
    }

    fn judged(seen: &mut Seen, frames: &[Frame]) -> Violations {
        let mut violations = Violations::default();
        for frame in frames {
            seen.take(*frame, &mut violations).unwrap();
        }
        violations
    }

    #[test]
    fn what_comes_in_order_is_all_there_is() {
        let mut seen = Seen::new(FLOW, Wanted::One(3), true, true);
        let frames = [
            Frame::Note { position: Some(4) },
            event(3, 8),
            Frame::Note { position: Some(8) },
            event(23, 9),
        ];
        assert_eq!(judged(&mut seen, &frames), Violations::default());
        assert_eq!((seen.first, seen.count, seen.is_spoilt), (3, 2, false));
        assert!(!seen.lacks_of(43));
        assert!(seen.lacks_of(44), "event 43 is the next of this topic");
        assert_eq!(seen.take(Frame::Farewell, &mut Violations::default()), Err(Fault::Ended));
    }

    #[test]
    fn every_planted_fault_is_noticed() {
        let none = Violations::default();
        for (fault, frames, expected) in [
            ("a hole", vec![event(43, 9)], Violations { lost: 1, ..none }),
            ("a long hole", vec![event(83, 9)], Violations { lost: 3, ..none }),
            ("a repeat", vec![event(3, 9)], Violations { repeated: 1, ..none }),
            (
                "two in the wrong order",
                vec![event(43, 9), event(23, 10)],
                Violations { lost: 1, repeated: 1, ..none },
            ),
            ("another topic", vec![event(24, 9)], Violations { not_asked_for: 1, ..none }),
            ("the same id again", vec![event(23, 8)], Violations { ids: 1, ..none }),
            (
                "a cursor that goes back",
                vec![Frame::Note { position: Some(7) }],
                Violations { ids: 1, ..none },
            ),
            ("no id", vec![Frame::Note { position: None }], Violations { ids: 1, ..none }),
            ("a gap", vec![Frame::Gap], Violations { gaps: 1, ..none }),
        ] {
            let mut seen = Seen::new(FLOW, Wanted::One(3), true, true);
            assert_eq!(judged(&mut seen, &[event(3, 8)]), none);
            assert_eq!(judged(&mut seen, &frames), expected, "{fault}");
            assert!(seen.is_spoilt, "{fault}");
        }
    }

    #[test]
    fn one_that_comes_to_a_flow_must_get_what_is_published_from_then_on() {
        let newcomer = || Seen::new(FLOW, Wanted::One(3), false, false);
        let none = Violations::default();
        let mut seen = newcomer();
        seen.must_get_from(10);
        seen.must_get_from(50);
        assert!(!seen.lacks_of(63));
        assert!(seen.lacks_of(64));
        assert_eq!(judged(&mut seen, &[event(43, 0), event(63, 0)]), none, "earlier is no fault");
        let mut seen = newcomer();
        seen.must_get_from(10);
        seen.must_get_from(50);
        assert_eq!(judged(&mut seen, &[event(83, 0)]), Violations { lost: 1, ..none });
        assert_eq!(judged(&mut newcomer(), &[event(83, 0)]), none, "nobody knows when it came");
    }
}
