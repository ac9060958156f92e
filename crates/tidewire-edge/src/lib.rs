//! The subscribing service: events out as Server-Sent Events, resumed exactly by cursor.
//!
//! One ordered tail of the log, one dispatcher and one window in memory for each edge; each
//! subscription is a position in it. See `docs/architecture.md` for how the parts meet.

mod accept_rate;
mod acknowledging;
mod admission;
mod body;
mod by_topic;
mod client_address;
mod coding;
mod complaints;
mod config;
mod connection;
mod connection_name;
mod drain;
mod edge;
mod envelope;
mod event_stream;
mod fanout;
mod feed;
mod follow;
mod form;
mod frame;
mod from;
mod gap;
mod gzip;
mod http;
mod last;
pub mod metrics;
mod overload;
mod page;
mod plain;
mod poll;
mod posted;
mod probe;
mod problem;
mod reading;
mod refusal;
mod refused;
mod replays;
mod request;
mod resting;
mod returns;
mod server;
mod start;
mod stream;
mod subscription;
mod tls;
mod traces;
mod window;

pub use acknowledging::Acknowledged;
pub use client_address::{Network, NotANetwork};
pub use coding::Coding;
pub use config::Config;
pub use drain::DrainPlan;
pub use edge::Edge;
pub use envelope::Envelope;
pub use from::From;
pub use gap::Gap;
pub use poll::{PollAnswer, PollError, PollRequest};
pub use request::{Conflate, OnGap, SubscribeRequest};
pub use subscription::Subscription;
pub use tls::{Tls, TlsError, TlsFiles};
