//! Subscribers that others wrote, and real browsers, before a real hub: what each does when its stream
//! ends or is refused. Some need what `make setup-clients` installs; `make test-clients` runs them too.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]

mod browser;
mod browsers;
mod client;
mod finding;
mod gate;
mod hub;
mod table;
