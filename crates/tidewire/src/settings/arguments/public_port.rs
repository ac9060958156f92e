//! How the edge's port meets what is outside: encrypted or not, and how much of it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tidewire_edge::{Config, Tls, TlsFiles};

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
            http2_streams_max: u32::try_from(self.http2_streams_max).unwrap_or(u32::MAX),
            ..config
        })
    }
}
