//! A real Prometheus over a real hub: the rules and their cases, the dashboards' expressions and the data
//! that they find, and an alert that fires and is over. `make setup-prometheus` installs it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]
#![expect(clippy::print_stderr, reason = "a test that fails tells what Prometheus logged")]

mod alarm;
mod dashboards;
mod data;
mod hub;
mod load;
mod prometheus;
mod promtool;
mod rules;
