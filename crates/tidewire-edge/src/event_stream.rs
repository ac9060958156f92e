//! An answer that is an event stream, and who writes it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{future::ready, stream};
use http::{HeaderName, HeaderValue, header};
use parking_lot::Mutex;

use crate::{
    Subscription,
    admission::Place,
    body::{self, Flushes},
    carried::Entered,
    form::End,
};

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Headers of an answer, with what is added to them later.
const HEADERS: usize = 12;
/// What says that a connection takes no other request.
pub(crate) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What is streamed, and how the hub ends it.
pub(crate) struct EventStream {
    pub(crate) frames: Frames,
    pub(crate) end: End,
}

pub(crate) enum Frames {
    /// What a subscription hands out; its place is free again when it ends.
    Of(Box<Subscription>, Place),
    /// This one alone.
    One(Bytes),
}

/// Who writes an event stream over HTTP/1.1; the routes find it among the request's extensions. An
/// HTTP/2 stream has none.
#[derive(Clone)]
pub(crate) enum Carrier {
    /// hyper, from a body that may wait for these.
    Hyper(Flushes),
    /// Whoever looks here once the routes have answered.
    Handover(Handover),
}

/// Where a stream is left for who writes it.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<EventStream>>>);

impl Handover {
    pub(crate) fn take(&self) -> Option<EventStream> {
        self.0.lock().take()
    }
}

impl EventStream {
    /// The answer. It is the last on its connection: a browser would send its next request on the
    /// same one, to the same edge, which may be old, full or leaving.
    pub(crate) fn into_response(self, carrier: Option<Carrier>) -> Response {
        let body = match carrier {
            Some(Carrier::Handover(handover)) => {
                *handover.0.lock() = Some(self);
                Body::empty()
            }
            Some(Carrier::Hyper(flushes)) => self.into_body(Some(flushes)),
            None => self.into_body(None),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.extend([
            (header::CONNECTION, CLOSE),
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, no-transform")),
            (ACCEL_BUFFERING, HeaderValue::from_static("no")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ]);
        response
    }

    fn into_body(self, flushes: Option<Flushes>) -> Body {
        let form = self.end;
        match self.frames {
            Frames::One(frame) => {
                body::of_frames(stream::once(ready(frame)), move || form, flushes)
            }
            Frames::Of(subscription, place) => {
                let is_held_back = Arc::<AtomicBool>::default();
                let end = {
                    let is_held_back = Arc::clone(&is_held_back);
                    move || if is_held_back.load(Relaxed) { End::Eof } else { form }
                };
                let entered = Entered::new(&subscription, place.client());
                let held = (subscription, (place, entered), is_held_back);
                let frames = stream::unfold(held, async |(mut subscription, kept, held_back)| {
                    // Whoever is asked for more has taken what it was handed.
                    kept.1.waits();
                    let bytes = subscription.next().await;
                    kept.1.handed(&subscription);
                    held_back.store(subscription.is_held_back(), Relaxed);
                    Some((bytes?, (subscription, kept, held_back)))
                });
                body::of_frames(frames, end, flushes)
            }
        }
    }
}
