//! What an event is about: a topic, parsed once at the border.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::{
    Invalid,
    limits::{TOPIC_BYTES_MAX, TOPIC_TOKENS_MAX},
};

/// The name of what an event is about: 1 to 16 tokens joined by `.`, at most 255 bytes, such as
/// `orders.eu.42`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Parses a topic.
    ///
    /// # Errors
    /// [`Invalid`] where it is empty, too long, has too many tokens, or a token is empty or holds
    /// a wildcard, white space, a control or an invisible character.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_length("topic", text)?;
        for token in text.split('.') {
            if token.contains(['*', '>']) {
                return Err(Invalid::new(
                    "topic",
                    "holds a wildcard (`*` or `>`): wildcards belong in filters, not in topics",
                ));
            }
            check_token("topic", token)?;
        }
        Ok(Self(text.into()))
    }

    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic's tokens, in order.
    pub fn tokens(&self) -> std::str::Split<'_, char> {
        self.0.split('.')
    }

    /// Whether the topic is the system's own (its first token begins with `$` or `_`): nobody
    /// publishes to it from outside.
    pub fn is_system(&self) -> bool {
        self.0.starts_with(['$', '_'])
    }
}

/// So that a map by topics can be asked with a topic's text.
impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({:?})", self.as_str())
    }
}

/// Checks what topics and filters share: length and number of tokens.
pub(crate) fn check_length(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "is empty"));
    }
    if text.len() > TOPIC_BYTES_MAX {
        let reason = format!("has {} bytes; at most {TOPIC_BYTES_MAX} are allowed", text.len());
        return Err(Invalid::new(field, reason));
    }
    let tokens = text.split('.').count();
    if tokens > TOPIC_TOKENS_MAX {
        let reason = format!("has {tokens} tokens; at most {TOPIC_TOKENS_MAX} are allowed");
        return Err(Invalid::new(field, reason));
    }
    Ok(())
}

/// Checks one literal token: not empty, and printable throughout.
pub(crate) fn check_token(field: &'static str, token: &str) -> Result<(), Invalid> {
    if token.is_empty() {
        return Err(Invalid::new(field, "has an empty token (a dot at an end, or two in a row)"));
    }
    match token.chars().find(|c| !is_printable(*c)) {
        None => Ok(()),
        Some(c) => {
            let reason = format!(
                "holds U+{:04X}: white space, control and invisible characters are not allowed",
                u32::from(c)
            );
            Err(Invalid::new(field, reason))
        }
    }
}

/// Whether a reader can see the character: no white space, no control, no format character that
/// would let two topics look alike (Unicode's general category Cf, and its noncharacters).
fn is_printable(c: char) -> bool {
    !(c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{FDD0}'..='\u{FDEF}' | '\u{E0000}'..='\u{E007F}')
        || u32::from(c) & 0xFFFE == 0xFFFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_protocol_allows() {
        let longest = "a".repeat(255);
        let deepest = ["t"; 16].join(".");
        for text in ["orders.eu.42", "a", "é.日本.🦀", "a-b_c:d/e", "$SYS.x", &longest, &deepest]
        {
            assert_eq!(Topic::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_everything_else_with_the_reason() {
        let too_long = "a".repeat(256);
        let too_deep = ["t"; 17].join(".");
        for (text, reason) in [
            ("", "is empty"),
            (".", "empty token"),
            ("a..b", "empty token"),
            ("a.", "empty token"),
            (".a", "empty token"),
            ("a.*", "wildcard"),
            ("a.>", "wildcard"),
            ("a.b*c", "wildcard"),
            ("a b", "U+0020"),
            ("a\tb", "U+0009"),
            ("a\r\nb", "U+000D"),
            ("a\0b", "U+0000"),
            ("a\u{7f}", "U+007F"),
            ("a\u{85}", "U+0085"),
            ("a\u{200b}b", "U+200B"),
            ("a\u{202e}b", "U+202E"),
            ("a\u{feff}", "U+FEFF"),
            ("a\u{2028}b", "U+2028"),
            ("a\u{1fffe}b", "U+1FFFE"),
            (&too_long, "256 bytes"),
            (&too_deep, "17 tokens"),
        ] {
            let refusal = Topic::parse(text).unwrap_err();
            assert_eq!(refusal.field, "topic");
            assert!(refusal.reason.contains(reason), "{text:?}: {}", refusal.reason);
        }
    }

    #[test]
    fn knows_the_systems_own_topics() {
        assert!(Topic::parse("$JS.API").unwrap().is_system());
        assert!(Topic::parse("_INBOX.x").unwrap().is_system());
        assert!(!Topic::parse("orders.$x._y").unwrap().is_system());
    }
}
