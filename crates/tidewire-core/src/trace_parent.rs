//! Where a trace goes on: the W3C `traceparent`, as a header of a call and an attribute of an event.

/// A well-formed `traceparent`: `<version>-<trace id>-<span id>-<flags>` in lower-case hex, of
/// 2, 32, 16 and 2 digits (W3C Trace Context, section 3.2). Longer ones of versions to come are
/// left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(Box<str>);

impl TraceParent {
    /// The attribute, and the header, that it is kept under.
    pub const NAME: &str = "traceparent";

    /// Parses a header; `None` where it is malformed, which is never the caller's error.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let [version, trace, span, flags] = [2, 32, 16, 2].map(|digits| {
            fields.next().filter(|field| field.len() == digits && field.bytes().all(is_hex))
        });
        let version = version.filter(|version| *version != "ff");
        let trace = trace.filter(|trace| trace.bytes().any(|digit| digit != b'0'));
        let span = span.filter(|span| span.bytes().any(|digit| digit != b'0'));
        let whole = version.and(trace).and(span).and(flags).is_some() && fields.next().is_none();
        whole.then(|| Self(text.into()))
    }

    /// That of a span that is recorded.
    #[must_use]
    pub fn of_sampled(trace_id: u128, span_id: u64) -> Self {
        Self(format!("00-{trace_id:032x}-{span_id:016x}-01").into())
    }

    /// The header's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        u128::from_str_radix(&self.0[3..35], 16).unwrap_or_default()
    }

    /// The span that the next one is caused by.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        u64::from_str_radix(&self.0[36..52], 16).unwrap_or_default()
    }

    /// Whether that span is recorded, and so the next one should be.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.0[53..], 16).is_ok_and(|flags| flags & 1 == 1)
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

    #[test]
    fn its_parts_are_what_its_text_says() {
        let (trace, span) = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7);
        let made = TraceParent::of_sampled(trace, span);
        assert_eq!(made.as_str(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let read = TraceParent::parse(made.as_str()).unwrap();
        assert_eq!((read.trace_id(), read.span_id(), read.is_sampled()), (trace, span, true));
        for (flags, is_sampled) in [("00", false), ("03", true), ("02", false)] {
            let text = format!("{}{flags}", &made.as_str()[..53]);
            assert_eq!(TraceParent::parse(&text).unwrap().is_sampled(), is_sampled, "{text}");
        }
    }
}
