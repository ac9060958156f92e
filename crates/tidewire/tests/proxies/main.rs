//! Real proxies before real edges, with the configurations that the documents give and with their
//! own defaults: what comes through, and when. `make setup-proxies` installs them.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]
#![expect(clippy::print_stderr, reason = "a test that fails tells what the proxy logged")]

mod claims;
mod configured;
mod envoy;
mod finding;
mod hub;
mod program;
mod proxy;
mod stream;
mod table;
mod upstreams;
