//! A [`Backbone`](tidewire_core::Backbone) on NATS JetStream.
//!
//! Events are published with an id and repeated under it until they are acknowledged; the log is
//! followed by one pull at a time that is checked for holes; pages are read a few at a time, and
//! stretches that many want are read once for all. The stream itself is made and judged by
//! [`Nats`] where its [`Config`] says so.

mod api;
mod blocks;
mod config;
mod connection;
mod cover;
mod filling;
mod keeper;
mod kept_open;
mod known;
pub mod metrics;
mod nats;
mod pages;
mod publisher;
mod pull;
mod reading;
mod regions;
mod relay;
mod round_trips;
mod shared;
mod stored;
mod stream;
mod subject;
mod tail;
mod told;

pub use config::{
    Access, Compression, Config, Login, ServerUrl, Storage, StreamName, StreamPolicy,
    StreamSettings, Tls,
};
pub use nats::{Failure, Nats, StartError};
