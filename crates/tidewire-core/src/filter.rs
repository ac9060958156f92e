//! A pattern of topics: what one `topic=` parameter asks for.

use std::{fmt, sync::Arc};

use crate::{
    Invalid, Topic,
    topic::{check_length, check_token},
};

/// A topic whose tokens may also be `*` (exactly one token) or, last only, `>` (one or more):
/// `orders.*.42`, `orders.>`, `>`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter {
    text: Arc<str>,
    /// Whether it has no wildcard: then one comparison decides.
    is_exact: bool,
}

impl TopicFilter {
    /// Parses a filter.
    ///
    /// # Errors
    /// [`Invalid`] where it is no topic even with wildcards allowed, a wildcard is only part of a
    /// token, or `>` is not the last token.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_length("filter", text)?;
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            match token {
                "*" => {}
                ">" if tokens.peek().is_none() => {}
                ">" => return Err(Invalid::new("filter", "`>` is allowed as the last token only")),
                _ if token.contains(['*', '>']) => {
                    return Err(Invalid::new("filter", "a wildcard must be a token of its own"));
                }
                _ => check_token("filter", token)?,
            }
        }
        let is_exact = text.split('.').all(|token| token != "*" && token != ">");
        Ok(Self { text: text.into(), is_exact })
    }

    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same, shared with the filter.
    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The filter's tokens, wildcards included, in order.
    pub fn tokens(&self) -> std::str::Split<'_, char> {
        self.text.split('.')
    }

    /// Whether the filter names exactly one topic.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Whether the topic is wanted. This is the reference that every index is held to.
    pub fn matches(&self, topic: &Topic) -> bool {
        if self.is_exact {
            return *self.text == *topic.as_str();
        }
        let mut topic_tokens = topic.tokens();
        for wanted in self.tokens() {
            match (wanted, topic_tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        topic_tokens.next().is_none()
    }
}

impl From<Topic> for TopicFilter {
    /// The filter that wants exactly this topic.
    fn from(topic: Topic) -> Self {
        Self { text: topic.as_str().into(), is_exact: true }
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicFilter({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_the_protocol_says() {
        for (filter, topic, wanted) in [
            ("orders.eu.42", "orders.eu.42", true),
            ("orders.eu.42", "orders.eu.43", false),
            ("orders.eu", "orders.eu.42", false),
            ("orders.eu.42", "orders.eu", false),
            ("orders.*.42", "orders.eu.42", true),
            ("orders.*.42", "orders.eu.x.42", false),
            ("orders.*", "orders", false),
            ("orders.>", "orders.eu.42", true),
            ("orders.>", "orders", false),
            ("*", "orders", true),
            ("*", "orders.eu", false),
            (">", "orders.eu.42", true),
            ("*.>", "orders", false),
            ("*.>", "orders.eu", true),
        ] {
            let parsed = TopicFilter::parse(filter).unwrap();
            assert_eq!(parsed.matches(&Topic::parse(topic).unwrap()), wanted, "{filter} {topic}");
        }
    }

    #[test]
    fn refuses_misplaced_wildcards_and_bad_tokens() {
        for (text, reason) in [
            ("", "is empty"),
            ("a.>.b", "last token only"),
            (">.a", "last token only"),
            ("a*", "token of its own"),
            ("a.b>", "token of its own"),
            ("**", "token of its own"),
            ("a..b", "empty token"),
            ("a b", "U+0020"),
            ("a\n", "U+000A"),
        ] {
            let refusal = TopicFilter::parse(text).unwrap_err();
            assert_eq!(refusal.field, "filter");
            assert!(refusal.reason.contains(reason), "{text:?}: {}", refusal.reason);
        }
    }
}
