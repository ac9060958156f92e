//! A cluster under faults: real NATS servers, ingests and edges, a publisher that never stops, and
//! subscribers that come back to any edge, each judged by every receipt.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]
#![expect(clippy::print_stdout, reason = "a fault tells how long it was felt")]

mod anew;
mod audience;
mod disk;
mod fleet;
mod full_disks;
mod jetstream;
mod pauses;
mod planted;
mod processes;
mod publishing;
mod run;
mod servers;
mod storm;
mod tails;
mod wanderer;
