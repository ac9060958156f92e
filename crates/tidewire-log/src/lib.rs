//! The embedded log: a [`Backbone`](tidewire_core::Backbone) in a directory, durable before it
//! acknowledges.
//!
//! One thread writes ([`Log`] feeds it); any number of readers read the same files. The layout of
//! the files stands in `segment.rs` and `record.rs`.

mod commit;
mod config;
mod deduplication;
mod directory;
mod error;
mod log;
pub mod metrics;
mod queue;
mod reader;
mod reads;
mod record;
mod recovery;
mod retention;
mod scan;
mod segment;
mod shared;
mod tail;
#[cfg(test)]
mod testing;
mod topics;
mod writer;

pub use config::Config;
pub use error::OpenError;
pub use log::Log;
