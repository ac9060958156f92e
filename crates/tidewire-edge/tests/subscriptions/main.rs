//! The subscription loop against a model of the log, in simulated time.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]

mod acknowledging;
mod at_rest;
mod conflating;
mod decoder;
mod leaving;
mod model;
mod polling;
mod probing;
mod schedules;
mod shrinking;
mod starts;
mod timing;
