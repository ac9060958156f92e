//! Stories of the whole hub: the real binary, real clients, real signals and kills.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]
#![expect(clippy::print_stdout, reason = "a story tells its figures")]

mod acknowledging;
mod bad_subscriptions;
mod certificate;
mod clients;
mod collector;
mod commands;
mod conflating;
mod crash;
mod ending;
mod full_disk;
mod full_house;
mod hub;
mod lifecycle;
mod logging;
mod metrics;
mod page;
mod polling;
mod posting;
mod raw;
mod resuming;
mod slow_reader;
mod starting;
mod status;
mod tracing;
