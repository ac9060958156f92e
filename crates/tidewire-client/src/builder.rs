//! What to subscribe to, and how: the parameters of one subscription.

use std::{fmt::Write as _, str::FromStr, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tidewire_core::{Cursor, Interest, Invalid, TopicFilter};

use crate::{
    connection::{ConnectionOptions, HEARTBEATS_MISSED_MAX, check_url},
    parser::Reading,
    subscriber::Subscriber,
};

/// How long to wait before coming back until the hub has said how long.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// Everything in a query's value but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a subscription without a cursor begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// With what comes from now on.
    #[default]
    Now,
    /// With the oldest event that is retained.
    Earliest,
    /// With the last event of every wanted topic.
    Latest,
    /// With the last so many events, at most 1,000.
    Last(u16),
    /// With the events since an RFC 3339 time, which the hub checks.
    Since(String),
}

impl FromStr for Start {
    type Err = Invalid;

    /// Reads what `from=` takes: `now`, `earliest`, `latest`, `last:N`, or else a time.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Ok(match text {
            "now" => Self::Now,
            "earliest" => Self::Earliest,
            "latest" => Self::Latest,
            _ => match text.strip_prefix("last:") {
                None => Self::Since(text.to_owned()),
                Some(number) => Self::Last(number.parse().map_err(|_| {
                    Invalid::new("from", "is `last:` without a number of events behind it")
                })?),
            },
        })
    }
}

/// Where to go on after a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// With the oldest event that is retained: what the hub does unless told otherwise.
    Earliest,
    /// With what comes from now on.
    Now,
}

/// What an event's data comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// Nothing: the data as it was published.
    None,
    /// A CloudEvents JSON object, with the topic as its `subject`.
    CloudEvents,
}

/// Describes a [`Subscriber`]. What is not said is left to the hub.
#[derive(Debug, Clone)]
pub struct SubscriberBuilder {
    base_url: String,
    filters: Vec<TopicFilter>,
    cursor: Option<Cursor>,
    from: Option<Start>,
    on_gap: Option<OnGap>,
    envelope: Option<Envelope>,
    heartbeat: Option<Duration>,
    control: bool,
    retry: Duration,
    options: ConnectionOptions,
}

impl SubscriberBuilder {
    pub(crate) fn new(base_url: String) -> Self {
        Self {
            base_url,
            filters: Vec::new(),
            cursor: None,
            from: None,
            on_gap: None,
            envelope: None,
            heartbeat: None,
            control: true,
            retry: RETRY_DEFAULT,
            options: ConnectionOptions::default(),
        }
    }

    /// Wants the topics of one more filter.
    #[must_use]
    pub fn filter(mut self, filter: TopicFilter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Wants the topics of some more filters.
    #[must_use]
    pub fn filters(mut self, filters: impl IntoIterator<Item = TopicFilter>) -> Self {
        self.filters.extend(filters);
        self
    }

    /// Resumes after this cursor, which beats [`from`](Self::from).
    #[must_use]
    pub fn cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Begins there, where there is no cursor.
    #[must_use]
    pub fn from(mut self, start: Start) -> Self {
        self.from = Some(start);
        self
    }

    /// Goes on there after a gap.
    #[must_use]
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.on_gap = Some(on_gap);
        self
    }

    /// Asks for data in this envelope.
    #[must_use]
    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = Some(envelope);
        self
    }

    /// Asks for a heartbeat this often, in whole seconds from 2 to 30. A connection is given up
    /// after three of them have stayed away.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Whether the hub's own frames are wanted: without them there is no
    /// [`Connected`](crate::Item::Connected), and a cursor moves with events only. A gap comes
    /// always.
    #[must_use]
    pub fn control(mut self, control: bool) -> Self {
        self.control = control;
        self
    }

    /// How long to wait before coming back until the hub has said how long; 1 s by default.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// How much to forgive; everything that a browser does, by default.
    #[must_use]
    pub fn reading(mut self, reading: Reading) -> Self {
        self.options.reading = reading;
        self
    }

    /// Bytes of one frame, beyond which the subscription ends with an error; 2 MiB by default.
    #[must_use]
    pub fn frame_bytes_max(mut self, frame_bytes_max: usize) -> Self {
        self.options.frame_bytes_max = frame_bytes_max;
        self
    }

    /// The subscriber, which connects once [`Subscriber::next`] is awaited.
    ///
    /// # Errors
    /// [`Invalid`] for an address that is not `http://`, for no filter, or for too many.
    pub fn build(mut self) -> Result<Subscriber, Invalid> {
        let interest = Interest::new(std::mem::take(&mut self.filters))?;
        let url =
            format!("{}/v1/events?{}", self.base_url.trim_end_matches('/'), self.query(&interest));
        check_url(&url)?;
        if let Some(interval) = self.heartbeat {
            self.options.silence_max = interval.saturating_mul(HEARTBEATS_MISSED_MAX);
        }
        Ok(Subscriber::new(url, self.options, self.cursor, self.retry))
    }

    fn query(&self, interest: &Interest) -> String {
        let mut query = Query::default();
        for filter in interest.filters() {
            query.push("topic", filter.as_str());
        }
        match &self.from {
            None => {}
            Some(Start::Now) => query.push("from", "now"),
            Some(Start::Earliest) => query.push("from", "earliest"),
            Some(Start::Latest) => query.push("from", "latest"),
            Some(Start::Last(events)) => query.push("from", &format!("last:{events}")),
            Some(Start::Since(time)) => query.push("from", time),
        }
        match self.on_gap {
            None => {}
            Some(OnGap::Earliest) => query.push("on_gap", "earliest"),
            Some(OnGap::Now) => query.push("on_gap", "now"),
        }
        match self.envelope {
            None => {}
            Some(Envelope::None) => query.push("envelope", "none"),
            Some(Envelope::CloudEvents) => query.push("envelope", "cloudevents"),
        }
        if let Some(interval) = self.heartbeat {
            query.push("heartbeat", &interval.as_secs().to_string());
        }
        if !self.control {
            query.push("control", "0");
        }
        query.0
    }
}

/// A query that is being written.
#[derive(Default)]
struct Query(String);

impl Query {
    fn push(&mut self, name: &str, value: &str) {
        let joint = if self.0.is_empty() { "" } else { "&" };
        // Writing to a string does not fail.
        let _ = write!(self.0, "{joint}{name}={}", utf8_percent_encode(value, ENCODED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> SubscriberBuilder {
        Subscriber::builder("http://127.0.0.1:1").filter(TopicFilter::parse(">").unwrap())
    }

    fn query(builder: &SubscriberBuilder) -> String {
        builder.query(&Interest::new(builder.filters.clone()).unwrap())
    }

    #[test]
    fn asks_for_what_was_said_and_nothing_else() {
        assert_eq!(query(&everything()), "topic=%3E");
        let all = everything()
            .filters(["a.*", "é&b.c"].map(|text| TopicFilter::parse(text).unwrap()))
            .from("2026-01-02T03:04:05+02:00".parse().unwrap())
            .on_gap(OnGap::Now)
            .envelope(Envelope::CloudEvents)
            .heartbeat(Duration::from_secs(2))
            .control(false);
        assert_eq!(
            query(&all),
            "topic=%3E&topic=a.%2A&topic=%C3%A9%26b.c&from=2026-01-02T03%3A04%3A05%2B02%3A00\
             &on_gap=now&envelope=cloudevents&heartbeat=2&control=0"
        );
        assert_eq!(query(&everything().from("last:7".parse().unwrap())), "topic=%3E&from=last%3A7");
        assert!("last:x".parse::<Start>().is_err());
    }

    #[test]
    fn refuses_an_address_or_filters_that_cannot_be() {
        for (url, reason) in [
            ("", "http://"),
            ("127.0.0.1:8080", "is no URL"),
            ("https://127.0.0.1", "http://"),
            ("http://", "is no URL"),
        ] {
            let builder = Subscriber::builder(url).filter(TopicFilter::parse("a").unwrap());
            let refusal = builder.build().unwrap_err();
            assert_eq!(refusal.field, "url");
            assert!(refusal.reason.contains(reason), "{url:?}: {refusal}");
        }
        assert_eq!(Subscriber::builder("http://127.0.0.1:1").build().unwrap_err().field, "topic");
    }
}
