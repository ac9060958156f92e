//! Real NATS servers, processes of the hub and a load balancer on free ports of 127.0.0.1, for tests
//! and measurements; and the judge of what came of it.
//!
//! What goes wrong here is the end of a test, so it panics, and says what is missing. Needs a Unix,
//! and for the figures of a process Linux.
#![expect(clippy::expect_used, reason = "for tests: a failed expectation is their result")]
#![expect(clippy::print_stderr, reason = "a test that fails tells what the servers logged")]

mod balancer;
mod binary;
pub mod checker;
mod cluster;
mod config;
mod http;
mod leash;
mod node;
mod options;
mod ports;
mod process;
mod signal;
mod usage;

pub use balancer::Balancer;
pub use cluster::NatsCluster;
pub use http::{Answer, get};
pub use options::NatsOptions;
pub use ports::free as free_ports;
pub use process::{Process, command, under_shell};
