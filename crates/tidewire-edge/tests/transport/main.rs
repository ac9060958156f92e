//! The public port as the network sees it: TLS, HTTP/2, and clients that mean no good.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]
#![expect(clippy::print_stdout, reason = "an attack tells its figures")]

mod admission;
mod attacks;
mod certificate;
mod frames;
mod gzip;
mod http2;
mod port;
mod quiet_log;
mod stalled;
mod streams;
mod tls;
