//! Topics and filters as NATS subjects, and back.
//!
//! A log's subjects are `tw.<stream>.` and the topic's tokens. In a token `A-Z a-z 0-9 _ -` stay as
//! they are, and every other byte becomes `%` and two hex digits: no byte of a client reaches a
//! subject raw, two topics never share one, and a wildcard can only come from a filter's own.

use tidewire_core::Topic;

use crate::config::StreamName;

/// The subjects of one log.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    prefix: String,
}

impl Subjects {
    pub(crate) fn of(stream: &StreamName) -> Self {
        Self { prefix: format!("tw.{stream}.") }
    }

    /// The subject that stands for every topic.
    pub(crate) fn all(&self) -> String {
        format!("{}>", self.prefix)
    }

    pub(crate) fn of_topic(&self, topic: &Topic) -> String {
        self.join(topic.tokens(), push_escaped)
    }

    /// The subject for a pattern's tokens, of which `*` and `>` are wildcards, as in filters.
    pub(crate) fn of_pattern<'t>(&self, tokens: impl Iterator<Item = &'t str>) -> String {
        self.join(tokens, |subject, token| match token {
            "*" | ">" => subject.push_str(token),
            literal => push_escaped(subject, literal),
        })
    }

    fn join<'t>(
        &self,
        tokens: impl Iterator<Item = &'t str>,
        push: impl Fn(&mut String, &str),
    ) -> String {
        let mut subject = self.prefix.clone();
        for (n, token) in tokens.enumerate() {
            if n > 0 {
                subject.push('.');
            }
            push(&mut subject, token);
        }
        subject
    }

    /// The topic that a subject stands for; `None` where it is not one of ours.
    pub(crate) fn topic(&self, subject: &str) -> Option<Topic> {
        let escaped = subject.strip_prefix(&self.prefix)?;
        if escaped.bytes().all(|byte| is_plain(byte) || byte == b'.') {
            return Topic::parse(escaped).ok();
        }
        let mut bytes = Vec::with_capacity(escaped.len());
        let mut rest = escaped.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(if byte == b'%' {
                hex(rest.next()?)? << 4 | hex(rest.next()?)?
            } else {
                byte
            });
        }
        let topic = Topic::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
        // Only the one spelling that we write: another would be a second subject for one topic.
        (self.of_topic(&topic) == subject).then_some(topic)
    }
}

fn push_escaped(subject: &mut String, token: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in token.bytes() {
        if is_plain(byte) {
            subject.push(char::from(byte));
        } else {
            subject.push('%');
            subject.push(char::from(HEX[usize::from(byte >> 4)]));
            subject.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Whether a byte stands for itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewire_core::{TopicFilter, limits::TOPIC_BYTES_MAX};

    use super::*;

    fn subjects() -> Subjects {
        Subjects::of(&StreamName::default())
    }

    fn subject(topic: &str) -> String {
        subjects().of_topic(&Topic::parse(topic).unwrap())
    }

    #[test]
    fn only_plain_characters_stand_for_themselves() {
        for (topic, wanted) in [
            ("orders.eu.42", "tw.TIDEWIRE.orders.eu.42"),
            ("$JS.API", "tw.TIDEWIRE.%24JS.API"),
            ("_INBOX.x", "tw.TIDEWIRE._INBOX.x"),
            ("é.日", "tw.TIDEWIRE.%C3%A9.%E6%97%A5"),
            ("a%2Eb", "tw.TIDEWIRE.a%252Eb"),
            ("a:b/c~d", "tw.TIDEWIRE.a%3Ab%2Fc%7Ed"),
        ] {
            assert_eq!(subject(topic), wanted);
        }
    }

    #[test]
    fn wildcards_come_from_filters_only() {
        let of = |filter| subjects().of_pattern(TopicFilter::parse(filter).unwrap().tokens());
        assert_eq!(of("*.a%.>"), "tw.TIDEWIRE.*.a%25.>");
        assert_eq!(of(">"), subjects().all());
    }

    #[test]
    fn what_we_did_not_write_is_no_topic() {
        for foreign in [
            "tw.OTHER.a",
            "tw.TIDEWIRE.",
            "tw.TIDEWIRE.a..b",
            "a",
            "tw.TIDEWIRE.%41",
            "tw.TIDEWIRE.%e9",
            "tw.TIDEWIRE.%C3",
            "tw.TIDEWIRE.a%2Eb",
            "tw.TIDEWIRE.%2A",
            "tw.TIDEWIRE.%4",
            "tw.TIDEWIRE.é",
            "tw.TIDEWIRE.a:b",
        ] {
            assert_eq!(subjects().topic(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_longest_topic_stays_far_below_the_servers_control_line() {
        let longest = subject(&"é".repeat(TOPIC_BYTES_MAX / 2));
        assert!(longest.len() < 1_024, "{}", longest.len());
    }

    proptest! {
        #[test]
        fn every_topic_comes_back_and_has_plain_characters_only(text in "[ -~é日.]{1,40}") {
            if let Ok(topic) = Topic::parse(&text) {
                let subject = subjects().of_topic(&topic);
                prop_assert!(subject.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-%.".contains(&b)));
                prop_assert_eq!(subjects().topic(&subject), Some(topic));
            }
        }
    }
}
