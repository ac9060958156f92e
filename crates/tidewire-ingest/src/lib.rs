//! Tidewire's publishing service: events come in over gRPC and HTTP, and each is answered with a
//! receipt once the [`Backbone`](tidewire_core::Backbone) has stored it, or with why it has none.
//!
//! All three doors (unary and batch calls, the stream, HTTP) share one way in: [`Ingest`]. It knows
//! no implementation of the backbone, no subscriber and no SSE.

mod answer;
mod border;
mod budget;
mod calls;
mod config;
mod grpc;
mod http;
mod ingest;
mod json;
pub mod metrics;
mod problem;
mod publish_stream;
mod publishing;
mod refusal;
mod refused;
mod serve;
mod status;
mod traces;

pub use config::Config;
pub use ingest::Ingest;
pub use serve::ServeError;
