//! A certificate for 127.0.0.1 in files, made by itself, as a hub is told of one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

/// The files, as long as it is held.
pub(crate) struct Certificate {
    _directory: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let made = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let directory = TempDir::with_prefix("loadtest-certificate-")?;
        let [certificate, key] = ["hub.crt", "hub.key"].map(|name| directory.path().join(name));
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { _directory: directory, certificate, key })
    }

    /// What clients trust.
    pub(crate) fn path(&self) -> &Path {
        &self.certificate
    }

    /// What the hub is told.
    pub(crate) fn flags(&self) -> [String; 4] {
        let path = |path: &Path| path.display().to_string();
        let [certificate, key] = [path(&self.certificate), path(&self.key)];
        ["--tls-certificate".to_owned(), certificate, "--tls-key".to_owned(), key]
    }
}
