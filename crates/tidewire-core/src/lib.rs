//! Tidewire's vocabulary (topic, event, cursor), its limits, and its promise: the [`Backbone`]
//! contract with the conformance suite that holds every implementation to it.
//!
//! This crate speaks to no runtime, transport or storage; everything else speaks it.

mod backbone;
mod cursor;
mod event;
mod filter;
mod index;
mod interest;
mod invalid;
pub mod limits;
pub mod metric;
mod relay;
mod resume_point;
mod seldom;
mod topic;
mod trace_parent;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use backbone::{
    Backbone, Bounds, EventStream, Page, PageLimit, PublishError, ReadError, Receipt,
};
pub use cursor::{Cursor, Epoch, Sequence};
pub use event::{Attributes, Event, EventData, EventId, EventType, NewEvent, Ttl, UnixMillis};
pub use filter::TopicFilter;
pub use index::InterestIndex;
pub use interest::Interest;
pub use invalid::Invalid;
pub use metric::Metric;
pub use relay::{EdgeNumber, Relay, RelayError, WordStream};
pub use resume_point::ResumePoint;
pub use seldom::{Seldom, SeldomEach};
pub use topic::Topic;
pub use trace_parent::TraceParent;
