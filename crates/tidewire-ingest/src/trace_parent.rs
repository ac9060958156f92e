//! The W3C `traceparent` header of a call.

/// A well-formed `traceparent`: `<version>-<trace id>-<parent id>-<flags>` in lower-case hex, of
/// 2, 32, 16 and 2 digits (W3C Trace Context, section 3.2). Longer ones of versions to come are
/// left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceParent(Box<str>);

impl TraceParent {
    /// The attribute, and the header, that it is kept under.
    pub(crate) const NAME: &str = "traceparent";

    /// Parses a header; `None` where it is malformed, which is never the caller's error.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let [version, trace, parent, flags] = [2, 32, 16, 2].map(|digits| {
            fields.next().filter(|field| field.len() == digits && field.bytes().all(is_hex))
        });
        let version = version.filter(|version| *version != "ff");
        let trace = trace.filter(|trace| trace.bytes().any(|digit| digit != b'0'));
        let parent = parent.filter(|parent| parent.bytes().any(|digit| digit != b'0'));
        let whole = version.and(trace).and(parent).and(flags).is_some() && fields.next().is_none();
        whole.then(|| Self(text.into()))
    }

    /// The header's text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_taken_whole_or_not_at_all() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceParent::parse(good).unwrap().as_str(), good);
        for bad in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7a-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad:?}");
        }
    }
}
