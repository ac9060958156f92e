//! How the edge's port meets what is outside: encrypted or not, and how much of it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tidewire_edge::{Coding, Config, Network, Tls, TlsFiles};

use crate::settings::{
    arguments::{nats::together, path},
    units::count,
};

/// How the HTTP port of a process with an edge meets what is outside.
#[derive(Debug, Args)]
#[command(next_help_heading = "Public port")]
pub(crate) struct PublicPortArgs {
    /// A PEM file with the certificate of the HTTP port and the chain behind it; with --tls-key. The
    /// port then speaks HTTPS only. When the file changes, new connections get the new certificate
    /// within seconds, and no stream ends.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) tls_certificate: Option<PathBuf>,

    /// A PEM file with the key of that certificate, not encrypted.
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub(crate) tls_key: Option<PathBuf>,

    /// How many requests an HTTP/2 connection may have open at once. A browser has one connection
    /// for all its tabs; where they have more streams open than this, every other request of the
    /// site waits: 1 to 65536.
    #[arg(long, value_name = "STREAMS", default_value = "256", value_parser = count(1..=65_536))]
    pub(crate) http2_streams_max: usize,

    /// How many connections one client address may have at once, and how many subscriptions; one
    /// more is refused so that a browser tries again. An IPv6 client counts as its /64. Behind a
    /// proxy that --trusted-proxy does not name, all clients are one address: 1 to 10000000.
    #[arg(
        long,
        value_name = "CONNECTIONS",
        default_value = "100000",
        value_parser = count(1..=10_000_000)
    )]
    pub(crate) connections_address_max: usize,

    /// A proxy, or a network of them, whose Forwarded or X-Forwarded-For header says which client a
    /// request is from; nobody else's does. Repeat it, or separate several by commas; none by
    /// default.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub(crate) trusted_proxy: Vec<Network>,

    /// How many connections are accepted in a second, after a second's worth at once. What comes
    /// beyond waits in the kernel's queue and is not refused, so that a storm does not take the time
    /// of those who are served: 1 to 1000000.
    #[arg(
        long,
        value_name = "CONNECTIONS",
        default_value = "5000",
        value_parser = count(1..=1_000_000)
    )]
    pub(crate) accept_rate_max: usize,

    /// What shrinks streams, for clients whose Accept-Encoding asks for it. An event is compressed
    /// alone, and once for all: one of 300 bytes shrinks little, one of some kilobytes to a third.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = CompressionKind::None)]
    pub(crate) compression: CompressionKind,
}

impl PublicPortArgs {
    /// Checks what no setting can say alone.
    pub(super) fn check(&self) -> Result<(), String> {
        together("tls_certificate", &self.tls_certificate, "tls_key", &self.tls_key)
    }

    /// How the port is spoken to.
    pub(crate) fn http_scheme(&self) -> &'static str {
        if self.tls_certificate.is_some() { "https" } else { "http" }
    }

    /// Puts these settings into an edge's.
    ///
    /// # Errors
    /// Where a file is no certificate or no key.
    pub(super) fn complete(&self, config: Config) -> anyhow::Result<Config> {
        let files = self.tls_certificate.clone().zip(self.tls_key.clone());
        let tls = files.map(|(certificate, key)| Tls::load(TlsFiles { certificate, key }));
        Ok(Config {
            tls: tls.transpose().context("TLS (--tls-certificate, --tls-key)")?,
            http2_streams_max: as_u32(self.http2_streams_max),
            connections_address_max: self.connections_address_max,
            trusted_proxies: self.trusted_proxy.clone(),
            accept_rate_max: as_u32(self.accept_rate_max),
            compression: match self.compression {
                CompressionKind::None => Coding::Identity,
                CompressionKind::Gzip => Coding::Gzip,
            },
            ..config
        })
    }
}

/// [`Coding`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionKind {
    /// Nothing
    None,
    /// gzip: fewer bytes, more processor time
    Gzip,
}

/// Counts are checked to be far below it.
fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
