//! The border: what a caller hands in becomes a [`NewEvent`], or a refusal that names the field.

use bytes::Bytes;
use tidewire_core::{
    Attributes, EventData, EventId, EventType, Invalid, NewEvent, Topic, TraceParent, Ttl,
    limits::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX},
};
use tidewire_proto::v1;

use crate::refusal::Refusal;

/// Checks the events of one call.
pub(crate) struct Border {
    event_bytes_max: usize,
    trace: Option<TraceParent>,
    /// The attributes of an event that brings none, made once for the call.
    attributes_default: Attributes,
}

/// An event as a caller spelled it; nothing is checked, and empty text stands for what is absent.
#[derive(Default)]
pub(crate) struct Handed {
    pub(crate) topic: String,
    pub(crate) event_type: String,
    pub(crate) id: String,
    pub(crate) data: Bytes,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) ttl_seconds: Option<u64>,
}

impl Border {
    pub(crate) fn new(event_bytes_max: usize, trace: Option<TraceParent>) -> Self {
        let entries = trace.iter().map(|trace| (TraceParent::NAME, trace.as_str()));
        // A well-formed header is a well-formed attribute.
        let attributes_default = Attributes::parse(entries).unwrap_or_default();
        Self { event_bytes_max: event_bytes_max.min(EVENT_BYTES_MAX), trace, attributes_default }
    }

    /// The same border with another trace, for one event of a call.
    pub(crate) fn with_trace(&self, trace: TraceParent) -> Self {
        Self::new(self.event_bytes_max, Some(trace))
    }

    /// Checks an event of a gRPC message.
    pub(crate) fn check_proto(&self, event: Option<v1::Event>) -> Result<NewEvent, Refusal> {
        let event = event.ok_or_else(|| Invalid::new("event", "is missing"))?;
        self.check(Handed {
            topic: event.topic,
            event_type: event.r#type,
            id: event.id,
            data: event.data.into(),
            attributes: event.attributes.into_iter().collect(),
            // What is not a whole number of seconds is 0 here, which is refused for that reason.
            ttl_seconds: event.ttl.map(|ttl| match ttl.nanos {
                0 => u64::try_from(ttl.seconds).unwrap_or(0),
                _ => 0,
            }),
        })
    }

    /// Checks an event, field by field; the first fault is the answer.
    pub(crate) fn check(&self, event: Handed) -> Result<NewEvent, Refusal> {
        let topic = Topic::parse(&event.topic)?;
        if topic.is_system() {
            let reason = "begins with `$` or `_`, which is the system's own";
            return Err(Invalid::new("topic", reason).into());
        }
        Ok(NewEvent {
            topic,
            event_type: EventType::parse(&event.event_type)?,
            id: EventId::parse(&event.id)?,
            data: self.check_data(event.data)?,
            attributes: self.check_attributes(event.attributes)?,
            ttl: event.ttl_seconds.map(Ttl::from_seconds).transpose()?,
        })
    }

    fn check_data(&self, data: Bytes) -> Result<EventData, Refusal> {
        let bytes = data.len();
        EventData::parse(data, self.event_bytes_max).map_err(|invalid| {
            if bytes > self.event_bytes_max {
                Refusal::TooLarge(invalid)
            } else {
                Refusal::Invalid(invalid)
            }
        })
    }

    /// The event's own attributes, and the call's trace where it fits beside them.
    fn check_attributes(&self, mut entries: Vec<(String, String)>) -> Result<Attributes, Invalid> {
        if entries.is_empty() {
            return Ok(self.attributes_default.clone());
        }
        if let Some(trace) = &self.trace
            && has_room(&entries, trace)
        {
            entries.push((TraceParent::NAME.to_owned(), trace.as_str().to_owned()));
        }
        Attributes::parse(entries)
    }
}

/// Checks the number of events of a batch.
pub(crate) fn check_count(count: usize) -> Result<(), Invalid> {
    match count {
        0 => Err(Invalid::new("events", "is empty: hand in at least one event")),
        1..=BATCH_EVENTS_MAX => Ok(()),
        _ => {
            let reason = format!("has {count} events; at most {BATCH_EVENTS_MAX} are allowed");
            Err(Invalid::new("events", reason))
        }
    }
}

fn has_room(entries: &[(String, String)], trace: &TraceParent) -> bool {
    let bytes: usize = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
    entries.len() < ATTRIBUTES_MAX
        && bytes + TraceParent::NAME.len() + trace.as_str().len() <= ATTRIBUTES_BYTES_MAX
        && entries.iter().all(|(name, _)| name != TraceParent::NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn attributes(entries: Vec<(String, String)>) -> Attributes {
        Border::new(100, TraceParent::parse(TRACE)).check_attributes(entries).unwrap()
    }

    fn entry(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_calls_trace_goes_beside_the_events_attributes() {
        assert_eq!(attributes(vec![]).get("traceparent"), Some(TRACE));
        let beside = attributes(vec![entry("a", "1")]);
        assert_eq!((beside.get("a"), beside.get("traceparent")), (Some("1"), Some(TRACE)));
    }

    #[test]
    fn the_events_own_trace_wins() {
        assert_eq!(attributes(vec![entry("traceparent", "own")]).get("traceparent"), Some("own"));
    }

    #[test]
    fn a_trace_that_does_not_fit_is_left_out_and_refuses_nothing() {
        let full = (0..16).map(|n| entry(&format!("n{n}"), "v")).collect();
        assert_eq!(attributes(full).get("traceparent"), None);
        let long = vec![entry("a", &"x".repeat(4 * 1024 - 1 - 65))];
        assert_eq!(attributes(long).get("traceparent"), None);
        let fits = vec![entry("a", &"x".repeat(4 * 1024 - 1 - 66))];
        assert_eq!(attributes(fits).get("traceparent"), Some(TRACE));
    }
}
