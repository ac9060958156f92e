//! In which form a client is refused, and its stream ended: the one that it survives.
//!
//! A browser's own `EventSource` never comes back from an error status, and always from a stream
//! that has ended. Some libraries stop for good where a stream ends cleanly, and come back from an
//! error status or a stream that broke off.

use http::{HeaderMap, HeaderName, header};
use tidewire_core::Invalid;

use crate::request::{choice, decode, pairs};

/// Browsers send it with every request, and let no page set it.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// How one client is refused for now, and how the hub ends its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) overload: Overload,
    pub(crate) end: End,
}

/// What says that a client should come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overload {
    /// A stream of one frame.
    Soft,
    /// A status: 503 or 429, with `Retry-After`.
    Status,
}

/// How a stream ends by the hub's will, always behind a whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In good order.
    Eof,
    /// As if the connection had broken: without the last chunk.
    Abort,
}

impl Form {
    /// The form for who waits for an answer and for no stream.
    pub(crate) const STATUS: Self = Self { overload: Overload::Status, end: End::Eof };

    /// The form by a request's headers, and by `overload` and `end` where its query has them.
    ///
    /// # Errors
    /// [`Invalid`] names the parameter and the reason.
    pub(crate) fn parse(query: &str, headers: &HeaderMap) -> Result<Self, Invalid> {
        let mut form = Self::of(headers);
        for (name, value) in pairs(query) {
            match &*name {
                "overload" => {
                    let choices = [("soft", Overload::Soft), ("status", Overload::Status)];
                    form.overload = choice("overload", &decode(value)?, choices)?;
                }
                "end" => {
                    let choices = [("eof", End::Eof), ("abort", End::Abort)];
                    form.end = choice("end", &decode(value)?, choices)?;
                }
                _ => {}
            }
        }
        Ok(form)
    }

    /// The form by a request's headers alone.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if is_native_event_source(headers) {
            Self { overload: Overload::Soft, end: End::Eof }
        } else {
            Self { overload: Overload::Status, end: End::Abort }
        }
    }
}

/// Whether a browser's own `EventSource` asks: Chromium's and Firefox' requests look like this, and
/// those of libraries over `fetch` accept more or say nothing of caches.
fn is_native_event_source(headers: &HeaderMap) -> bool {
    let is = |name: HeaderName, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|held| held == value) && values.next().is_none()
    };
    headers.contains_key(SEC_FETCH_MODE)
        && is(header::ACCEPT, "text/event-stream")
        && is(header::CACHE_CONTROL, "no-cache")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SOFT: Form = Form { overload: Overload::Soft, end: End::Eof };
    const HARD: Form = Form { overload: Overload::Status, end: End::Abort };

    /// What clients send, of what matters here (measured).
    const CHROMIUM: [&str; 3] = ["cors", "text/event-stream", "no-cache"];
    const CURL: [&str; 3] = ["", "*/*", ""];
    const FETCH_EVENT_SOURCE: [&str; 3] = ["cors", "text/event-stream", ""];
    const HTMX: [&str; 3] = ["cors", "text/html, text/event-stream", "no-cache"];
    const OUR_CLIENT: [&str; 3] = ["", "text/event-stream", "no-store"];
    const NO_BROWSER: [&str; 3] = ["", "text/event-stream", "no-cache"];

    fn headers([mode, accept, cache]: [&'static str; 3]) -> HeaderMap {
        let named =
            [(SEC_FETCH_MODE, mode), (header::ACCEPT, accept), (header::CACHE_CONTROL, cache)];
        let given = named.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn each_client_gets_the_form_that_it_survives() {
        for (client, query, form) in [
            (CHROMIUM, "topic=a", SOFT),
            (CURL, "topic=a", HARD),
            (FETCH_EVENT_SOURCE, "topic=a", HARD),
            (HTMX, "topic=a", HARD),
            (OUR_CLIENT, "topic=a", HARD),
            (NO_BROWSER, "topic=a", HARD),
            (CURL, "overload=soft", Form { overload: Overload::Soft, end: End::Abort }),
            (CURL, "end=eof", Form { overload: Overload::Status, end: End::Eof }),
            (CURL, "end=%65of&overload=soft", SOFT),
            (CHROMIUM, "overload=status&end=abort", HARD),
            (CHROMIUM, "end=abort&end=eof", SOFT),
            (CHROMIUM, "%FF=1&x=%FF&&ends=abort", SOFT),
        ] {
            assert_eq!(Form::parse(query, &headers(client)), Ok(form), "{client:?} {query}");
        }
    }

    #[test]
    fn two_of_a_header_are_not_what_a_browser_sends() {
        let mut headers = headers(CHROMIUM);
        headers.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        assert_eq!(Form::of(&headers), HARD);
    }

    #[test]
    fn a_choice_that_is_none_is_refused_by_name() {
        for (query, message) in [
            ("overload=hard", "overload: is neither `soft` nor `status`"),
            ("end=", "end: is neither `eof` nor `abort`"),
            ("end", "end: is neither `eof` nor `abort`"),
        ] {
            let refusal = Form::parse(query, &HeaderMap::new()).unwrap_err();
            assert_eq!(refusal.to_string(), message);
        }
    }
}
